/** What a pod asks of a node: requests over containers, init containers, sidecars and overhead, as plain numbers. */
import { findCondition, quantityMilli, quantityValue } from "@k3s-p/plugin-api/kube";
import type { ContainerSpec, Pod } from "@k3s-p/plugin-api/kube";

/** CPU in millicores, the rest in whole units; `scalars` are extended resources and huge pages. */
export interface Resources {
  cpu: number;
  memory: number;
  ephemeral: number;
  readonly scalars: Map<string, number>;
}

type ResourceList = Readonly<Record<string, string>> | undefined;

export const emptyResources = (): Resources => ({ cpu: 0, memory: 0, ephemeral: 0, scalars: new Map() });

/** What a container without requests counts for in scores, as upstream: 100m and 200 MiB. */
const defaultCpu = 100;
const defaultMemory = 200 * 1024 * 1024;

const remembered = new Map<string, number>();

/** Quantities repeat (`100m`, `64Mi`), and exact parsing costs a microsecond: remember the results. */
export function quantity(text: string | number, milli: boolean): number {
  const key = milli ? `m${text}` : `v${text}`;
  const known = remembered.get(key);
  if (known !== undefined) return known;
  const value = milli ? quantityMilli(text) : quantityValue(text);
  if (remembered.size > 4096) remembered.clear();
  remembered.set(key, value);
  return value;
}

export function toResources(list: ResourceList): Resources {
  const out = emptyResources();
  for (const [name, text] of Object.entries(list ?? {})) {
    if (name === "cpu") out.cpu = quantity(text, true);
    else if (name === "memory") out.memory = quantity(text, false);
    else if (name === "ephemeral-storage") out.ephemeral = quantity(text, false);
    else if (name !== "pods") out.scalars.set(name, quantity(text, false));
  }
  return out;
}

/** Adds `sign` times `b` to `a`. */
export function addTo(a: Resources, b: Resources, sign: 1 | -1 = 1): void {
  a.cpu += sign * b.cpu;
  a.memory += sign * b.memory;
  a.ephemeral += sign * b.ephemeral;
  for (const [name, value] of b.scalars) a.scalars.set(name, (a.scalars.get(name) ?? 0) + sign * value);
}

function raiseTo(a: Resources, b: Resources): void {
  a.cpu = Math.max(a.cpu, b.cpu);
  a.memory = Math.max(a.memory, b.memory);
  a.ephemeral = Math.max(a.ephemeral, b.ephemeral);
  for (const [name, value] of b.scalars) a.scalars.set(name, Math.max(a.scalars.get(name) ?? 0, value));
}

const sum = (a: Resources, b: Resources): Resources => {
  const out = { ...a, scalars: new Map(a.scalars) };
  addTo(out, b);
  return out;
};

/**
 * The pod's effective requests (KEP-753 for sidecars): the larger of all containers plus sidecars and of each
 * init container plus the sidecars started before it; then overhead. Requests at pod level win (KEP-2837).
 */
export function podRequests(pod: Pod): Resources {
  return effective(pod, (c) => containerRequests(pod, c));
}

/** As `podRequests`, with a default for every container that names no CPU or memory; used by scores only. */
export function podNonZeroRequests(pod: Pod): { readonly cpu: number; readonly memory: number } {
  const { cpu, memory } = effective(pod, (c) => {
    const asked = containerRequests(pod, c);
    const listed = c.resources?.requests;
    if (listed?.["cpu"] === undefined) asked.cpu = defaultCpu;
    if (listed?.["memory"] === undefined) asked.memory = defaultMemory;
    return asked;
  });
  return { cpu, memory };
}

function effective(pod: Pod, requestsOf: (c: ContainerSpec) => Resources): Resources {
  const total = emptyResources();
  for (const container of pod.spec?.containers ?? []) addTo(total, requestsOf(container));
  const sidecars = emptyResources();
  const init = emptyResources();
  for (const container of pod.spec?.initContainers ?? []) {
    const asked = requestsOf(container);
    if (container.restartPolicy === "Always") {
      addTo(sidecars, asked);
      raiseTo(init, sidecars);
    } else {
      raiseTo(init, sum(asked, sidecars));
    }
  }
  addTo(total, sidecars);
  raiseTo(total, init);
  applyPodLevel(total, pod);
  addTo(total, toResources(pod.spec?.overhead));
  return total;
}

function applyPodLevel(total: Resources, pod: Pod): void {
  const listed = pod.spec?.resources?.requests;
  if (!listed) return;
  const level = granted(pod, listed, pod.status);
  if (listed["cpu"] !== undefined) total.cpu = level.cpu;
  if (listed["memory"] !== undefined) total.memory = level.memory;
  for (const [name, value] of level.scalars) total.scalars.set(name, value);
}

function containerRequests(pod: Pod, container: ContainerSpec): Resources {
  const statuses = container.restartPolicy === "Always" ? pod.status?.initContainerStatuses : pod.status?.containerStatuses;
  return granted(pod, container.resources?.requests, statuses?.find((s) => s.name === container.name));
}

type Granted = Pick<NonNullable<Pod["status"]>, "resources" | "allocatedResources">;

/**
 * During an in-place resize the larger of what is asked, allocated and in force counts (KEP-1287); what is asked does
 * not when the node can never grant it.
 */
function granted(pod: Pod, listed: ResourceList, status: Granted | undefined): Resources {
  const hopeless = status?.resources !== undefined && findCondition(pod.status?.conditions, "PodResizePending")?.reason === "Infeasible";
  const asked = hopeless ? emptyResources() : toResources(listed);
  if (status?.allocatedResources) raiseTo(asked, toResources(status.allocatedResources));
  if (status?.resources?.requests) raiseTo(asked, toResources(status.resources.requests));
  return asked;
}
