/** Whom a node that is short of something evicts, and what it tells them: upstream's ranks and words. */
import { formatNano, quantityValue, type Pod } from "@k3s-p/plugin-api/kube";
import { isStatic, mainContainers, initContainers, uidOf } from "./pod.ts";
import { podTotal } from "./resources.ts";
import { amountOf, signals, type Observation, type Signal, type Threshold } from "./thresholds.ts";

/** What a pod and its containers use now. */
export interface PodUse {
  readonly pod: Pod;
  readonly memory: number;
  readonly disk: number;
  readonly inodes: number;
  readonly processes: number;
  readonly containers: readonly { readonly name: string; readonly memory: number; readonly disk: number }[];
}

export const isCritical = (pod: Pod): boolean => isStatic(pod) || (pod.spec?.priority ?? 0) >= 2_000_000_000;

/** Who uses more than was asked for goes first, then the least important, then who exceeds most; critical pods never. */
export function victims(signal: Signal, pods: readonly Pod[], uses: readonly PodUse[]): Pod[] {
  const byUid = new Map(uses.map((use) => [uidOf(use.pod), use]));
  const excess = (pod: Pod): number => {
    const use = byUid.get(uidOf(pod));
    return use ? used(signal, use) - requested(signal, pod) : 0;
  };
  const exceeds = (pod: Pod): number => (signals[signal].resource !== "pids" && excess(pod) > 0 ? 0 : 1);
  const priority = (pod: Pod): number => pod.spec?.priority ?? 0;
  return pods.filter((pod) => !isCritical(pod))
    .sort((a, b) => exceeds(a) - exceeds(b) || priority(a) - priority(b) || excess(b) - excess(a));
}

function used(signal: Signal, use: PodUse): number {
  return { memory: use.memory, "ephemeral-storage": use.disk, inodes: use.inodes, pids: use.processes }[signals[signal].resource];
}

const requested = (signal: Signal, pod: Pod): number => {
  const { resource } = signals[signal];
  return resource === "memory" || resource === "ephemeral-storage" ? podTotal(pod, "requests", resource) : 0;
};

export function evictionMessage({ signal, value }: Threshold, { available, capacity }: Observation, use: PodUse | undefined): string {
  const { resource } = signals[signal];
  const text = (bytes: number): string => (resource === "memory" || resource === "ephemeral-storage" ? quantity(bytes) : String(bytes));
  const head = `The node was low on resource: ${resource}. Threshold quantity: ${text(amountOf(value, capacity))}, available: ${text(available)}. `;
  if (resource !== "memory" && resource !== "ephemeral-storage") return head;
  const specs = use ? [...mainContainers(use.pod), ...initContainers(use.pod)] : [];
  return head + (use?.containers ?? []).map((container) => {
    const request = specs.find(({ spec }) => spec.name === container.name)?.spec.resources?.requests?.[resource];
    const amount = resource === "memory" ? container.memory : container.disk;
    return amount > quantityValue(request) ? `Container ${container.name} was using ${quantity(amount)}, request is ${request ?? "0"}, has larger consumption of ${resource}. ` : "";
  }).join("");
}

/** Whole Ki, as the kernel and the disk count. */
const quantity = (bytes: number): string => formatNano(BigInt(Math.floor(bytes / 1024) * 1024) * 1_000_000_000n, "binary");
