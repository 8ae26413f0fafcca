/** The pod's table row: readiness, the one-word status that people read first, restarts. */
import { ageColumn, nameColumn, text, wide } from "../columns.ts";
import { humanDuration, orNone } from "../human.ts";
import type { Column, Obj } from "../types.ts";

interface Summary {
  readonly ready: string;
  readonly status: string;
  readonly restarts: number;
  readonly lastRestart: number;
}

export const podColumns: readonly Column[] = [
  nameColumn,
  text("Ready", "The aggregate readiness state of this pod for accepting traffic.", (pod) => summarize(pod).ready),
  text("Status", "The aggregate status of the containers in this pod.", (pod) => summarize(pod).status),
  text("Restarts", "The number of times the containers in this pod have been restarted and when the last container in this pod has restarted.", restartsCell),
  ageColumn,
  wide("IP", "Address of the pod.", (pod) => orNone(pod.status?.podIPs?.[0]?.ip ?? pod.status?.podIP)),
  wide("Node", "Node that the pod is bound to.", (pod) => orNone(pod.spec?.nodeName)),
  wide("Nominated Node", "Node on which the scheduler makes room for the pod.", (pod) => orNone(pod.status?.nominatedNodeName)),
  wide("Readiness Gates", "Conditions beyond the containers' that the pod needs to be ready.", readinessGates),
];

function restartsCell(pod: Obj, now: number): string {
  const { restarts, lastRestart } = summarize(pod);
  return restarts !== 0 && lastRestart > 0 ? `${restarts} (${humanDuration(now - lastRestart)} ago)` : String(restarts);
}

function readinessGates(pod: Obj): string {
  const gates: readonly Obj[] = pod.spec?.readinessGates ?? [];
  if (gates.length === 0) return "<none>";
  const isTrue = (gate: Obj) => hasCondition(pod, gate.conditionType);
  return `${gates.filter(isTrue).length}/${gates.length}`;
}

const hasCondition = (pod: Obj, type: string): boolean =>
  (pod.status?.conditions ?? []).some((c: Obj) => c.type === type && c.status === "True");

/** Last pod summarized: the three cells of a row ask one after the other. */
let memo: { readonly pod: Obj; readonly summary: Summary } | undefined;

export function summarize(pod: Obj): Summary {
  if (memo?.pod !== pod) memo = { pod, summary: compute(pod) };
  return memo.summary;
}

function compute(pod: Obj): Summary {
  const init = initSummary(pod);
  const main = !init.reason || hasCondition(pod, "Initialized") ? mainSummary(pod, init) : undefined;
  const restarts = main ?? init;
  return {
    ready: `${init.ready + (main?.ready ?? 0)}/${init.restartable.size + (pod.spec?.containers?.length ?? 0)}`,
    status: deletionReason(pod) ?? main?.reason ?? init.reason ?? podReason(pod),
    restarts: restarts.restarts,
    lastRestart: restarts.lastRestart,
  };
}

function podReason(pod: Obj): string {
  const gated = (pod.status?.conditions ?? []).some((c: Obj) => c.type === "PodScheduled" && c.reason === "SchedulingGated");
  return gated ? "SchedulingGated" : pod.status?.reason || pod.status?.phase || "";
}

function deletionReason(pod: Obj): string | undefined {
  if (!pod.metadata?.deletionTimestamp) return undefined;
  if (pod.status?.reason === "NodeLost") return "Unknown";
  return pod.status?.phase === "Succeeded" || pod.status?.phase === "Failed" ? undefined : "Terminating";
}

interface InitSummary {
  /** Set while initializing: `Init:0/2`, `Init:CrashLoopBackOff`. */
  readonly reason: string | undefined;
  readonly ready: number;
  readonly restarts: number;
  readonly lastRestart: number;
  /** Sidecars count as containers of the running pod. */
  readonly restartable: ReadonlySet<string>;
  readonly sidecarRestarts: number;
  readonly sidecarLastRestart: number;
}

function initSummary(pod: Obj): InitSummary {
  const specs: readonly Obj[] = pod.spec?.initContainers ?? [];
  const restartable = new Set(specs.filter((c) => c.restartPolicy === "Always").map((c): string => c.name));
  let [ready, restarts, lastRestart, sidecarRestarts, sidecarLastRestart] = [0, 0, 0, 0, 0];
  let reason: string | undefined;
  for (const [index, status] of ((pod.status?.initContainerStatuses ?? []) as Obj[]).entries()) {
    restarts += status.restartCount ?? 0;
    lastRestart = Math.max(lastRestart, finishedBefore(status));
    const sidecar = restartable.has(status.name);
    if (sidecar) {
      sidecarRestarts += status.restartCount ?? 0;
      sidecarLastRestart = Math.max(sidecarLastRestart, finishedBefore(status));
    }
    if (status.state?.terminated && !status.state.terminated.exitCode) continue;
    if (sidecar && status.started) {
      if (status.ready) ready++;
      continue;
    }
    reason = initReason(status, index, specs.length);
    break;
  }
  return { reason, ready, restarts, lastRestart, restartable, sidecarRestarts, sidecarLastRestart };
}

function initReason(status: Obj, index: number, total: number): string {
  const { terminated, waiting } = status.state ?? {};
  if (terminated) return `Init:${terminatedReason(terminated)}`;
  if (waiting?.reason && waiting.reason !== "PodInitializing") return `Init:${waiting.reason}`;
  return `Init:${index}/${total}`;
}

const terminatedReason = (terminated: Obj): string =>
  terminated.reason || (terminated.signal ? `Signal:${terminated.signal}` : `ExitCode:${terminated.exitCode ?? 0}`);

const finishedBefore = (status: Obj): number => Date.parse(status.lastState?.terminated?.finishedAt ?? "") || 0;

function mainSummary(pod: Obj, init: InitSummary) {
  let reason = init.reason ?? podReason(pod);
  let [ready, restarts, lastRestart, running] = [0, init.sidecarRestarts, init.sidecarLastRestart, false];
  for (const status of [...((pod.status?.containerStatuses ?? []) as Obj[])].reverse()) {
    restarts += status.restartCount ?? 0;
    lastRestart = Math.max(lastRestart, finishedBefore(status));
    if (status.state?.waiting?.reason) reason = status.state.waiting.reason;
    else if (status.state?.terminated) reason = terminatedReason(status.state.terminated);
    else if (status.ready && status.state?.running) {
      running = true;
      ready++;
    }
  }
  if (reason === "Completed" && running) reason = hasCondition(pod, "Ready") ? "Running" : "NotReady";
  return { reason, ready, restarts, lastRestart };
}
