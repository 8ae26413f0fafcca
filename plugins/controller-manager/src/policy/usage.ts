/** What one object uses of each quota resource, and which scopes it falls under. Pure. */
import {
  addResources, formatNano, parseNano, type PersistentVolumeClaim, type Pod, type ResourceQuota,
  type Service,
} from "@k3s-p/plugin-api/kube";
import { isTerminal } from "../lib/pods.ts";

export type Usage = Map<string, bigint>;
const ONE = 1_000_000_000n;

type Selector = NonNullable<NonNullable<ResourceQuota["spec"]>["scopeSelector"]>;
type ScopeRequirement = NonNullable<Selector["matchExpressions"]>[number];

/** The larger of all app containers together and each init container; sidecars count with both. */
function podTotals(pod: Pod, kind: "requests" | "limits"): Usage {
  const sum = (list: readonly { resources?: any }[]) => {
    const total: Usage = new Map();
    for (const container of list) addResources(total, container.resources?.[kind]);
    return total;
  };
  const inits = pod.spec?.initContainers ?? [];
  const sidecars = inits.filter((container) => container.restartPolicy === "Always");
  const total = sum([...(pod.spec?.containers ?? []), ...sidecars]);
  for (const [i, container] of inits.entries()) {
    const before = inits.slice(0, i).filter((other) => other.restartPolicy === "Always");
    for (const [name, amount] of sum([container, ...before])) if (amount > (total.get(name) ?? 0n)) total.set(name, amount);
  }
  addResources(total, pod.spec?.overhead as Record<string, string> | undefined);
  return total;
}

/** A pod counts until it has ended, or its grace period is over. */
export function countsForQuota(pod: Pod, now: Date): boolean {
  if (isTerminal(pod)) return false;
  const { deletionTimestamp, deletionGracePeriodSeconds } = pod.metadata;
  if (!deletionTimestamp || deletionGracePeriodSeconds === undefined) return true;
  return Date.parse(deletionTimestamp) + deletionGracePeriodSeconds * 1000 >= now.getTime();
}

export function podUsage(pod: Pod, now: Date): Usage {
  const usage: Usage = new Map([["count/pods", ONE]]);
  if (!countsForQuota(pod, now)) return usage;
  usage.set("pods", ONE);
  for (const [name, amount] of podTotals(pod, "requests")) {
    usage.set(`requests.${name}`, amount);
    if (["cpu", "memory", "ephemeral-storage"].includes(name) || name.startsWith("hugepages-")) usage.set(name, amount);
  }
  for (const [name, amount] of podTotals(pod, "limits")) usage.set(`limits.${name}`, amount);
  return usage;
}

export function serviceUsage(service: Service): Usage {
  const ports = BigInt(service.spec?.ports?.length ?? 0) * ONE;
  const usage: Usage = new Map([["services", ONE], ["count/services", ONE]]);
  const type = service.spec?.type;
  if (type === "LoadBalancer") usage.set("services.loadbalancers", ONE);
  if (type === "NodePort" || (type === "LoadBalancer" && service.spec?.allocateLoadBalancerNodePorts !== false))
    usage.set("services.nodeports", ports);
  return usage;
}

export function claimUsage(claim: PersistentVolumeClaim): Usage {
  const asked = parseNano(claim.spec?.resources?.requests?.storage ?? "0") ?? 0n;
  const usage: Usage = new Map([
    ["persistentvolumeclaims", ONE],
    ["count/persistentvolumeclaims", ONE],
    ["requests.storage", asked],
  ]);
  const sc = claim.spec?.storageClassName;
  if (sc) {
    usage.set(`${sc}.storageclass.storage.k8s.io/persistentvolumeclaims`, ONE);
    usage.set(`${sc}.storageclass.storage.k8s.io/requests.storage`, asked);
  }
  return usage;
}

const isBestEffort = (pod: Pod): boolean =>
  [...(pod.spec?.containers ?? []), ...(pod.spec?.initContainers ?? [])].every((container) => {
    const named = { ...container.resources?.requests, ...container.resources?.limits };
    return !("cpu" in named) && !("memory" in named);
  });

const hasCrossNamespaceTerm = (pod: Pod): boolean => {
  const { podAffinity, podAntiAffinity } = pod.spec?.affinity ?? {};
  const terms = [podAffinity, podAntiAffinity].flatMap((affinity) => [
    ...(affinity?.requiredDuringSchedulingIgnoredDuringExecution ?? []),
    ...(affinity?.preferredDuringSchedulingIgnoredDuringExecution ?? []).map((weighted) => weighted.podAffinityTerm),
  ]);
  return terms.some((term) => term.namespaces?.length || term.namespaceSelector !== undefined);
};

/** Whether all scopes of a quota hold for a pod. */
export function inScopes(quota: ResourceQuota, pod: Pod): boolean {
  const plain = (quota.spec?.scopes ?? []).map((scopeName): ScopeRequirement => ({ scopeName, operator: "Exists" }));
  return [...plain, ...(quota.spec?.scopeSelector?.matchExpressions ?? [])].every((requirement) =>
    inScope(requirement, pod),
  );
}

export const isScoped = (quota: ResourceQuota): boolean =>
  Boolean(quota.spec?.scopes?.length || quota.spec?.scopeSelector?.matchExpressions?.length);

function inScope({ scopeName, operator, values }: ScopeRequirement, pod: Pod): boolean {
  switch (scopeName) {
    case "Terminating": return pod.spec?.activeDeadlineSeconds !== undefined;
    case "NotTerminating": return pod.spec?.activeDeadlineSeconds === undefined;
    case "BestEffort": return isBestEffort(pod);
    case "NotBestEffort": return !isBestEffort(pod);
    case "CrossNamespacePodAffinity": return hasCrossNamespaceTerm(pod);
    case "PriorityClass": {
      const name = pod.spec?.priorityClassName ?? "";
      if (operator === "In") return values?.includes(name) ?? false;
      if (operator === "NotIn") return !values?.includes(name);
      return operator === "DoesNotExist" ? name === "" : name !== "";
    }
    default: return false;
  }
}

/** Text of an amount, in the family of suffixes that fits the resource. */
export function formatAmount(name: string, amount: bigint): string {
  return formatNano(amount, /memory|storage|hugepages/.test(name) ? "binary" : "decimal");
}
