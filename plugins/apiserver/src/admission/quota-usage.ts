/** What an object costs, in the terms of ResourceQuota, and which quotas it falls under. */
import { parseNano } from "@k3s-p/plugin-api/kube";
import type { Obj } from "../resources/types.ts";

/** Nano units by quota resource name. */
export type Usage = ReadonlyMap<string, bigint>;

const ONE = 1_000_000_000n;
const defaultClassAnnotation = "volume.beta.kubernetes.io/storage-class";
/** Counted under their bare name too, for quotas older than `count/`. */
const namedCounts = new Set([
  "configmaps", "persistentvolumeclaims", "pods", "replicationcontrollers", "resourcequotas", "secrets", "services",
]);

export function usageOf(group: string, plural: string, object: Obj): Usage {
  const usage = new Map<string, bigint>([[`count/${group ? `${plural}.${group}` : plural}`, ONE]]);
  if (group !== "") return usage;
  if (namedCounts.has(plural)) usage.set(plural, ONE);
  if (plural === "pods") addPod(usage, object);
  if (plural === "services") addService(usage, object);
  if (plural === "persistentvolumeclaims") addClaim(usage, object);
  return usage;
}

/** A pod that has ended costs nothing but its `count/pods`. */
function addPod(usage: Map<string, bigint>, pod: Obj): void {
  if (hasEnded(pod)) {
    usage.delete("pods");
    return;
  }
  const requests = podResources(pod.spec, "requests");
  const limits = podResources(pod.spec, "limits");
  for (const [name, value] of requests) {
    if (standard.has(name)) usage.set(name, value);
    if (name.startsWith("hugepages-")) usage.set(name, value);
    usage.set(`requests.${name}`, value);
  }
  for (const [name, value] of limits) if (standard.has(name)) usage.set(`limits.${name}`, value);
}

const standard = new Set(["cpu", "memory", "ephemeral-storage"]);

const hasEnded = (pod: Obj): boolean => pod.status?.phase === "Failed" || pod.status?.phase === "Succeeded";

/** Sum of the containers, or the largest init container if that is more; sidecars count with both; overhead on top. */
function podResources(spec: Obj, part: "requests" | "limits"): Map<string, bigint> {
  const total = new Map<string, bigint>();
  const sidecars = new Map<string, bigint>();
  const peaks = new Map<string, bigint>();
  const add = (into: Map<string, bigint>, list: object | undefined) => {
    for (const [name, text] of Object.entries(list ?? {})) into.set(name, (into.get(name) ?? 0n) + (parseNano(text) ?? 0n));
  };
  for (const container of spec.containers ?? []) add(total, container.resources?.[part]);
  for (const container of spec.initContainers ?? []) {
    if (container.restartPolicy === "Always") {
      add(sidecars, container.resources?.[part]);
      add(total, container.resources?.[part]);
      continue;
    }
    for (const [name, text] of Object.entries<string>(container.resources?.[part] ?? {})) {
      const value = (parseNano(text) ?? 0n) + (sidecars.get(name) ?? 0n);
      if (value > (peaks.get(name) ?? 0n)) peaks.set(name, value);
    }
  }
  for (const [name, value] of peaks) if (value > (total.get(name) ?? 0n)) total.set(name, value);
  for (const [name, text] of Object.entries<string>(spec.resources?.[part] ?? {})) total.set(name, parseNano(text) ?? 0n);
  if (spec.overhead) add(total, part === "requests" ? spec.overhead : withKeys(spec.overhead, total));
  return total;
}

const withKeys = (overhead: Record<string, string>, total: ReadonlyMap<string, bigint>): object =>
  Object.fromEntries(Object.entries(overhead).filter(([name]) => total.has(name)));

function addService(usage: Map<string, bigint>, service: Obj): void {
  const { type, ports = [], allocateLoadBalancerNodePorts } = service.spec ?? {};
  const balanced = type === "LoadBalancer";
  usage.set("services.loadbalancers", balanced ? ONE : 0n);
  const onNodes = type === "NodePort" || (balanced && (allocateLoadBalancerNodePorts !== false || ports.some((p: Obj) => p.nodePort)));
  usage.set("services.nodeports", onNodes ? BigInt(ports.length) * ONE : 0n);
}

function addClaim(usage: Map<string, bigint>, claim: Obj): void {
  const size = parseNano(claim.spec?.resources?.requests?.storage ?? "0") ?? 0n;
  usage.set("requests.storage", size);
  const name = claim.metadata?.annotations?.[defaultClassAnnotation] ?? claim.spec?.storageClassName;
  if (!name) return;
  usage.set(`${name}.storageclass.storage.k8s.io/requests.storage`, size);
  usage.set(`${name}.storageclass.storage.k8s.io/persistentvolumeclaims`, ONE);
}

interface ScopeSelector {
  readonly scopeName: string;
  readonly operator: string;
  readonly values?: readonly string[];
}

/** Whether a quota's scopes admit the object: pods, or claims by the class of their attributes. */
export function inScope(quota: Obj, group: string, plural: string, object: Obj): boolean {
  const plain = ((quota.spec?.scopes ?? []) as string[]).map((scopeName) => ({ scopeName, operator: "Exists" }));
  const selectors: readonly ScopeSelector[] = [...plain, ...(quota.spec?.scopeSelector?.matchExpressions ?? [])];
  if (selectors.length === 0) return true;
  if (group !== "") return false;
  if (plural === "pods") return selectors.every((selector) => podInScope(object, selector));
  return plural === "persistentvolumeclaims" && selectors.every((selector) => claimInScope(object, selector));
}

/** By the class that is wanted, the one that is there, and the one on its way. */
function claimInScope({ spec, status }: Obj, selector: ScopeSelector): boolean {
  const names = [spec?.volumeAttributesClassName, status?.currentVolumeAttributesClassName, status?.modifyVolumeStatus?.targetVolumeAttributesClassName];
  return selector.scopeName === "VolumeAttributesClass" && namesSelected(selector, names.filter(Boolean) as string[]);
}

function namesSelected({ operator, values = [] }: ScopeSelector, names: readonly string[]): boolean {
  if (operator === "Exists") return names.length > 0;
  if (operator === "DoesNotExist") return names.length === 0;
  return names.some((name) => values.includes(name)) === (operator === "In");
}

function podInScope({ spec }: Obj, selector: ScopeSelector): boolean {
  switch (selector.scopeName) {
    case "Terminating": return spec.activeDeadlineSeconds !== undefined && spec.activeDeadlineSeconds >= 0;
    case "NotTerminating": return spec.activeDeadlineSeconds === undefined;
    case "BestEffort": return isBestEffort(spec);
    case "NotBestEffort": return !isBestEffort(spec);
    case "PriorityClass": return namesSelected(selector, spec.priorityClassName ? [spec.priorityClassName] : []);
    case "CrossNamespacePodAffinity": return reachesOtherNamespaces(spec.affinity);
    default: return false;
  }
}

function isBestEffort(spec: Obj): boolean {
  const all = [spec, ...(spec.containers ?? []), ...(spec.initContainers ?? [])];
  return all.every((container: Obj) => ["requests", "limits"].every((part) =>
    ["cpu", "memory"].every((name) => !parseNano(container.resources?.[part]?.[name] ?? "0"))));
}

function reachesOtherNamespaces(affinity: Obj | undefined): boolean {
  const terms = [affinity?.podAffinity, affinity?.podAntiAffinity].flatMap((part: Obj | undefined) => [
    ...(part?.requiredDuringSchedulingIgnoredDuringExecution ?? []),
    ...(part?.preferredDuringSchedulingIgnoredDuringExecution ?? []).map((weighted: Obj) => weighted.podAffinityTerm),
  ]);
  return terms.some((term: Obj) => term?.namespaces?.length > 0 || term?.namespaceSelector !== undefined);
}

/** Quota resources that every container must state, by container name: `{ "limits.cpu": ["a"] }`. */
export function unstated(pod: Obj, hard: readonly string[]): Record<string, string[]> {
  const missing: Record<string, string[]> = {};
  const wanted = hard.filter((name) => /^((requests|limits)\.)?(cpu|memory)$/.test(name));
  const containers: Obj[] = [...(pod.spec.containers ?? []), ...(pod.spec.initContainers ?? [])];
  for (const name of wanted) {
    const [part, resource] = name.includes(".") ? (name.split(".") as [string, string]) : ["requests", name];
    if (pod.spec.resources?.[part]?.[resource] !== undefined) continue;
    const without = containers.filter((container) => container.resources?.[part]?.[resource] === undefined);
    if (without.length > 0) missing[name] = without.map((container) => container.name);
  }
  return missing;
}
