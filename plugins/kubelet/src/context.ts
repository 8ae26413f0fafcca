/** What every part of the kubelet shares: the slots it was given, its options and its clock. */
import type { Logger } from "@k3s-p/plugin-api";
import type { EventRecorder, KubeClient, Pod } from "@k3s-p/plugin-api/kube";
import type { NodeInfo, Runner, Runtime } from "@k3s-p/plugin-api/slots";
import type { Clock } from "./clock.ts";
import type { Figures } from "./figures.ts";
import type { KubeletOptions } from "./options.ts";
import { podReference } from "./pod.ts";

export interface KubeletContext {
  readonly node: NodeInfo;
  readonly kube: KubeClient;
  readonly runtime: Runtime;
  readonly runner: Runner;
  readonly log: Logger;
  readonly clock: Clock;
  readonly options: KubeletOptions;
  readonly events: EventRecorder;
  readonly figures: Figures;
  /** Root of the cgroup file systems; `/sys/fs/cgroup`. */
  readonly cgroupRoot: string;
}

export type EventType = "Normal" | "Warning";

/** Records an event about a pod, or about one of its containers when a field path is given. */
export function podEvent(
  ctx: Pick<KubeletContext, "events">, pod: Pod, type: EventType, reason: string, message: string, fieldPath?: string,
): void {
  ctx.events.record(podReference(pod, fieldPath), type, reason, message);
}
