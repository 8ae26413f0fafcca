/** Whether the node takes a pod that was bound to it: the scheduler's filters once more, and what only the kubelet knows. */
import { matchesMap, parseNano, type Node, type NodeSelectorTerm, type Pod, type Taint } from "@k3s-p/plugin-api/kube";
import { matches, type Requirement } from "@k3s-p/plugin-api/kube";
import { mainContainers, initContainers } from "./pod.ts";
import type { Verdict } from "./pod-services.ts";
import type { ResizeRefusal } from "./resize.ts";
import { podTotal, qosClass } from "./resources.ts";
import { appArmorProfiles } from "./security.ts";
import type { PressureCondition } from "./thresholds.ts";
import { isCritical } from "./victims.ts";

export interface AdmissionInput {
  readonly pod: Pod;
  readonly node: Node;
  /** Other pods that use resources of the node. */
  readonly active: readonly Pod[];
  readonly maxPods: number;
  readonly allowedSysctls: readonly string[];
  /** The kernel enforces AppArmor profiles. */
  readonly appArmor: boolean;
  /** What the node is short of. */
  readonly pressure: readonly PressureCondition[];
}

const reject = (reason: string, message: string): Verdict => ({ phase: "Failed", reason, message });

type Check = (input: AdmissionInput) => Verdict | undefined;

const checks: readonly Check[] = [checkAppArmor, checkGroups, checkSysctls, checkPressure, checkResources, checkSelector, checkPorts, checkTaints, checkOs];

/** Undefined when the pod may run; static pods are never refused. */
export function admitPod(input: AdmissionInput): Verdict | undefined {
  for (const check of checks) {
    const verdict = check(input);
    if (verdict) return verdict;
  }
  return undefined;
}

function checkAppArmor({ pod, appArmor }: AdmissionInput): Verdict | undefined {
  if (appArmor || appArmorProfiles(pod).every((profile) => profile === "unconfined")) return undefined;
  return reject("AppArmor", "Cannot enforce AppArmor: AppArmor is not enabled on the host");
}

/** The runtime merges the groups that the image names, and cannot be told otherwise. */
function checkGroups({ pod }: AdmissionInput): Verdict | undefined {
  if (pod.spec?.securityContext?.supplementalGroupsPolicy !== "Strict") return undefined;
  return reject("SupplementalGroupsPolicyNotSupported", "SupplementalGroupsPolicy=Strict is not supported in this node");
}

/** Sysctls that a pod may set because they are namespaced and harmless to others. */
const safeSysctls = [
  "kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.tcp_syncookies", "net.ipv4.ping_group_range",
  "net.ipv4.ip_unprivileged_port_start", "net.ipv4.ip_local_reserved_ports", "net.ipv4.tcp_keepalive_time",
  "net.ipv4.tcp_fin_timeout", "net.ipv4.tcp_keepalive_intvl", "net.ipv4.tcp_keepalive_probes", "net.ipv4.tcp_rmem",
  "net.ipv4.tcp_wmem",
];

function checkSysctls({ pod, allowedSysctls }: AdmissionInput): Verdict | undefined {
  const allowed = [...safeSysctls, ...allowedSysctls].map((name) => name.replaceAll("/", "."));
  for (const { name } of pod.spec?.securityContext?.sysctls ?? []) {
    const dotted = name.replaceAll("/", ".");
    if (allowed.some((a) => a === dotted || (a.endsWith("*") && dotted.startsWith(a.slice(0, -1))))) continue;
    return reject("SysctlForbidden", `forbidden sysctl: "${name}" not allowlisted`);
  }
  return undefined;
}

/** Short of memory alone, the node still takes pods that state what they need, or that say they can bear it. */
function checkPressure({ pod, pressure }: AdmissionInput): Verdict | undefined {
  if (pressure.length === 0 || isCritical(pod)) return undefined;
  if (pressure.every((condition) => condition === "MemoryPressure") && (qosClass(pod) !== "BestEffort" || tolerates(pod, memoryPressure))) return undefined;
  return reject("Evicted", `Pod was rejected: The node had condition: [${pressure.join(" ")}]. `);
}

const memoryPressure: Taint = { key: "node.kubernetes.io/memory-pressure", effect: "NoSchedule" } as Taint;

/** Undefined when the node has room for the pod at its new size. */
export function refuseResize(input: AdmissionInput): ResizeRefusal | undefined {
  for (const name of ["memory", "cpu"]) {
    const wanted = podTotal(input.pod, "requests", name);
    const capacity = capacityOf(input.node, name);
    if (wanted <= capacity) continue;
    return { reason: "Infeasible", message: `Node didn't have enough capacity: ${name}, requested: ${wanted}, capacity: ${capacity}` };
  }
  const verdict = checkResources(input);
  return verdict && { reason: "Deferred", message: verdict.message };
}

/** Millicores or bytes. */
const capacityOf = (node: Node, name: string): number =>
  Number((parseNano(node.status?.allocatable?.[name] ?? "0") ?? 0n) / (name === "cpu" ? 1_000_000n : 1_000_000_000n));

function checkResources({ pod, node, active, maxPods }: AdmissionInput): Verdict | undefined {
  if (active.length + 1 > maxPods) return outOf("pods", 1, active.length, maxPods);
  for (const name of ["cpu", "memory", "ephemeral-storage"]) {
    const wanted = podTotal(pod, "requests", name);
    if (wanted === 0) continue;
    const used = active.reduce((sum, other) => sum + podTotal(other, "requests", name), 0);
    const capacity = capacityOf(node, name);
    if (used + wanted > capacity) return outOf(name, wanted, used, capacity);
  }
  return undefined;
}

const outOf = (name: string, requested: number, used: number, capacity: number): Verdict =>
  reject(`OutOf${name}`, `Node didn't have enough resource: ${name}, requested: ${requested}, used: ${used}, capacity: ${capacity}`);

function checkSelector({ pod, node }: AdmissionInput): Verdict | undefined {
  const labels = node.metadata.labels ?? {};
  const terms = pod.spec?.affinity?.nodeAffinity?.requiredDuringSchedulingIgnoredDuringExecution?.nodeSelectorTerms;
  const fits = matchesMap(pod.spec?.nodeSelector, labels) && (!terms || terms.some((term) => termMatches(term, node)));
  return fits ? undefined : reject("NodeAffinity", "Pod was rejected: Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector");
}

function termMatches(term: NodeSelectorTerm, node: Node): boolean {
  const expressions = toRequirements(term.matchExpressions);
  const fields = toRequirements(term.matchFields);
  if (expressions.length + fields.length === 0) return false;
  return matches(expressions, node.metadata.labels) && matches(fields, { "metadata.name": node.metadata.name ?? "" });
}

const toRequirements = (list: NodeSelectorTerm["matchExpressions"]): Requirement[] =>
  (list ?? []).map((e) => ({ key: e.key, operator: e.operator as Requirement["operator"], values: e.values ?? [] }));

interface HostPort {
  readonly ip: string;
  readonly port: number;
  readonly protocol: string;
}

const hostPorts = (pod: Pod): HostPort[] =>
  [...mainContainers(pod), ...initContainers(pod).filter((ref) => ref.sidecar)].flatMap(({ spec }) => (spec.ports ?? [])
    .filter((port) => port.hostPort)
    .map((port) => ({ ip: port.hostIP || "0.0.0.0", port: port.hostPort!, protocol: port.protocol ?? "TCP" })));

function checkPorts({ pod, active }: AdmissionInput): Verdict | undefined {
  const taken = active.flatMap(hostPorts);
  const clash = hostPorts(pod).some((own) => taken.some((t) =>
    t.port === own.port && t.protocol === own.protocol && (t.ip === own.ip || t.ip === "0.0.0.0" || own.ip === "0.0.0.0")));
  return clash ? reject("NodePorts", "Pod was rejected: Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports") : undefined;
}

/** Only NoExecute: a pod that was bound by hand ignores NoSchedule. */
function checkTaints({ pod, node }: AdmissionInput): Verdict | undefined {
  const untolerated = (node.spec?.taints ?? []).find((taint) => taint.effect === "NoExecute" && !tolerates(pod, taint));
  return untolerated
    ? reject("TaintToleration", `Pod was rejected: Predicate TaintToleration failed: node(s) had untolerated taint {${untolerated.key}: ${untolerated.value ?? ""}}`)
    : undefined;
}

const tolerates = (pod: Pod, taint: Taint): boolean =>
  (pod.spec?.tolerations ?? []).some((t) =>
    (!t.effect || t.effect === taint.effect) && (!t.key || t.key === taint.key) &&
    ((t.operator ?? "Equal") === "Exists" || (t.value ?? "") === (taint.value ?? "")));

function checkOs({ pod, node }: AdmissionInput): Verdict | undefined {
  const wanted = pod.spec?.os?.name;
  const os = node.metadata.labels?.["kubernetes.io/os"];
  return wanted && os && wanted !== os ? reject("PodOSNotSupported", `Failed to admit pod as the OS field doesn't match node OS`) : undefined;
}
