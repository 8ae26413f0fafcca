/** Liveness, readiness and startup probes of every container, and what they say now. */
import type { Pod, Probe } from "@k3s-p/plugin-api/kube";
import { podEvent, type KubeletContext } from "../context.ts";
import { runProbe, type Target, type Verdict } from "../handlers.ts";
import { nameOf, namespaceOf, terminationGrace, uidOf, type ContainerRef } from "../pod.ts";
import { wheel } from "./wheel.ts";

type ProbeKind = "startup" | "liveness" | "readiness";

export interface ProbeResults {
  /** No startup probe, or it has succeeded. */
  started(containerId: string, ref: ContainerRef): boolean;
  ready(containerId: string, ref: ContainerRef): boolean;
  /** The probe for which the container must be killed. */
  failed(containerId: string): "startup" | "liveness" | undefined;
}

export interface Probes extends ProbeResults {
  /** Starts probing a running container; later calls bring the pod up to date. */
  watch(target: Target, ref: ContainerRef, startedAt: number): void;
  /** The container is being stopped: from now on only its readiness counts. */
  release(containerId: string): void;
  /** Ends the probes of a container. */
  forget(containerId: string): void;
}

interface Watched {
  target: Target;
  readonly ref: ContainerRef;
  readonly startedAt: number;
  readonly kinds: Map<ProbeKind, Worker>;
}

interface Worker {
  readonly probe: Probe;
  result: "success" | "failure" | undefined;
  streak: number;
  lastVerdict: string;
  cancel: () => void;
}

type ProbesContext = Pick<KubeletContext, "runtime" | "clock" | "events" | "figures">;

const words: Readonly<Record<ProbeKind, string>> = { startup: "Startup", liveness: "Liveness", readiness: "Readiness" };

export function probes(ctx: ProbesContext, onChange: (uid: string) => void): Probes {
  const { clock } = ctx;
  const timer = wheel(clock);
  const watched = new Map<string, Watched>();

  function schedule(id: string, kind: ProbeKind, at: number): void {
    const worker = watched.get(id)?.kinds.get(kind);
    if (!worker) return;
    worker.cancel();
    worker.cancel = timer.at(at, () => void tick(id, kind));
  }

  async function tick(id: string, kind: ProbeKind): Promise<void> {
    const entry = watched.get(id);
    const worker = entry?.kinds.get(kind);
    if (!entry || !worker || isHeld(entry, kind)) return;
    const begun = clock.now();
    const verdict = await attempt(entry.target, worker.probe);
    record(entry.target, kind, verdict, (clock.now() - begun) / 1000);
    if (watched.get(id) !== entry) return;
    report(entry, kind, verdict);
    settle(entry, id, kind, worker, verdict);
    if (!isHeld(entry, kind)) schedule(id, kind, begun + pause(entry, kind, worker, begun));
  }

  function record({ pod, spec }: Target, kind: ProbeKind, { result }: Verdict, seconds: number): void {
    const labels = { container: spec.name, namespace: namespaceOf(pod), pod: nameOf(pod), pod_uid: uidOf(pod), probe_type: words[kind] };
    ctx.figures.probed(labels, ({ success: "successful", failure: "failed", unknown: "unknown" } as const)[result], seconds);
  }

  /** Upstream tries three times within one round before it believes an error of the probe itself. */
  async function attempt(target: Target, probe: Probe): Promise<Verdict> {
    let verdict: Verdict = { result: "unknown", output: "" };
    for (let i = 0; i < 3 && verdict.result === "unknown"; i++) verdict = await runProbe(ctx.runtime, target, probe);
    return verdict;
  }

  /**
   * A container that is not ready yet is asked again each second during its first period: it becomes ready when it
   * is, and not up to a period later. Failures in that time change nothing, as it counts as not ready anyway.
   */
  function pause(entry: Watched, kind: ProbeKind, worker: Worker, begun: number): number {
    const period = (worker.probe.periodSeconds ?? 10) * 1000;
    const first = entry.startedAt + (worker.probe.initialDelaySeconds ?? 0) * 1000 + period;
    return kind === "readiness" && worker.result !== "success" && begun < first ? 1000 : period;
  }

  function settle(entry: Watched, id: string, kind: ProbeKind, worker: Worker, verdict: Verdict): void {
    if (verdict.result === "unknown") return;
    worker.streak = verdict.result === worker.lastVerdict ? worker.streak + 1 : 1;
    worker.lastVerdict = verdict.result;
    const { successThreshold = 1, failureThreshold = 3 } = worker.probe;
    const threshold = verdict.result === "success" ? successThreshold : failureThreshold;
    if (worker.streak < threshold || worker.result === verdict.result) return;
    worker.result = verdict.result;
    if (kind === "startup" && verdict.result === "success") begin(entry, id);
    onChange(entry.target.pod.metadata.uid!);
  }

  function report(entry: Watched, kind: ProbeKind, verdict: Verdict): void {
    if (verdict.result === "success") return;
    const { pod } = entry.target;
    const how = verdict.result === "unknown" ? "errored and resulted in unknown state" : "failed";
    podEvent(ctx, pod, "Warning", "Unhealthy", `${words[kind]} probe ${how}: ${verdict.output}`, entry.ref.fieldPath);
  }

  /** A startup probe goes first and ends with its success; a container that is to be killed is left alone. */
  function isHeld(entry: Watched, kind: ProbeKind): boolean {
    const startup = entry.kinds.get("startup");
    if (kind === "startup") return startup?.result !== undefined;
    if (startup && startup.result !== "success") return true;
    return entry.kinds.get("liveness")?.result === "failure" && kind === "liveness";
  }

  function begin(entry: Watched, id: string): void {
    for (const [kind, worker] of entry.kinds) {
      if (isHeld(entry, kind)) continue;
      const due = entry.startedAt + (worker.probe.initialDelaySeconds ?? 0) * 1000;
      schedule(id, kind, Math.max(due, clock.now()));
    }
  }

  return {
    watch(target, ref, startedAt) {
      const known = watched.get(target.containerId);
      if (known) {
        known.target = target;
        return;
      }
      const kinds = new Map<ProbeKind, Worker>();
      for (const [kind, probe] of probesOf(ref)) {
        const result = adopted(target, kind) ? "success" : undefined;
        kinds.set(kind, { probe, result, streak: result ? 1 : 0, lastVerdict: result ?? "", cancel: () => {} });
      }
      if (kinds.size === 0) return;
      const entry = { target, ref, startedAt, kinds };
      watched.set(target.containerId, entry);
      begin(entry, target.containerId);
    },
    release(id) {
      const kinds = watched.get(id)?.kinds;
      for (const kind of ["startup", "liveness"] as const) {
        kinds?.get(kind)?.cancel();
        if (kinds?.get(kind)?.result === "failure" || kind === "liveness") kinds?.delete(kind);
      }
    },
    forget(id) {
      for (const worker of watched.get(id)?.kinds.values() ?? []) worker.cancel();
      watched.delete(id);
    },
    started: (id, ref) => !ref.spec.startupProbe || watched.get(id)?.kinds.get("startup")?.result === "success",
    ready(id, ref) {
      if (!this.started(id, ref)) return false;
      return !ref.spec.readinessProbe || watched.get(id)?.kinds.get("readiness")?.result === "success";
    },
    failed(id) {
      const kinds = watched.get(id)?.kinds;
      if (kinds?.get("startup")?.result === "failure") return "startup";
      return kinds?.get("liveness")?.result === "failure" ? "liveness" : undefined;
    },
  };
}

function probesOf({ spec, kind, sidecar }: ContainerRef): [ProbeKind, Probe][] {
  if (kind === "ephemeral" || (kind === "init" && !sidecar)) return [];
  const all: [ProbeKind, Probe | undefined][] = [
    ["startup", spec.startupProbe], ["liveness", spec.livenessProbe], ["readiness", spec.readinessProbe],
  ];
  return all.filter((entry): entry is [ProbeKind, Probe] => entry[1] !== undefined);
}

/** After a restart of the server, what the API says about this very container still holds. */
function adopted({ pod, containerId }: Target, kind: ProbeKind): boolean {
  const { containerStatuses = [], initContainerStatuses = [] } = pod.status ?? {};
  const known = [...containerStatuses, ...initContainerStatuses].find((s) => s.containerID?.endsWith(`://${containerId}`));
  return kind === "readiness" ? known?.ready === true : kind === "startup" && known?.started === true;
}

/** Seconds that a container has to end after a failed probe. */
export function probeGrace(pod: Pod, { spec }: ContainerRef, kind: "startup" | "liveness"): number {
  const probe = kind === "startup" ? spec.startupProbe : spec.livenessProbe;
  return probe?.terminationGracePeriodSeconds ?? terminationGrace(pod);
}
