/** What is known of sandboxes and containers, by id and by pod, and who is told of changes. */
import type { ContainerStatus, PodSandboxStatus } from "@k3s-p/plugin-api/slots";
import { podUidOf } from "./pod.ts";

export interface PodRuntimeState {
  /** Newest first. */
  readonly sandboxes: readonly PodSandboxStatus[];
  readonly containers: readonly ContainerStatus[];
}

export interface RuntimeCache {
  /** Each tells the pod's listeners when something has changed that matters to them. */
  putSandbox(sandbox: PodSandboxStatus): void;
  putContainer(container: ContainerStatus): void;
  drop(id: string): void;
  pod(uid: string): PodRuntimeState;
  uids(): readonly string[];
  ids(): readonly string[];
  sandbox(id: string): PodSandboxStatus | undefined;
  container(id: string): ContainerStatus | undefined;
  onPod(uid: string, fn: () => void): () => void;
}

export function createRuntimeCache(onChange: (uid: string) => void): RuntimeCache {
  const sandboxes = new Map<string, PodSandboxStatus>();
  const containers = new Map<string, ContainerStatus>();
  const byPod = createGroups<string>();
  const listeners = createGroups<() => void>();

  function tell(uid: string | undefined): void {
    if (!uid) return;
    onChange(uid);
    for (const listener of listeners.of(uid)) listener();
  }

  return {
    putSandbox(sandbox) {
      const before = sandboxes.get(sandbox.id);
      const uid = podUidOf(sandbox);
      sandboxes.set(sandbox.id, sandbox);
      if (uid) byPod.add(uid, sandbox.id);
      if (!before || before.state !== sandbox.state || before.ips.length !== sandbox.ips.length) tell(uid);
    },
    putContainer(container) {
      const before = containers.get(container.id);
      const uid = podUidOf(container);
      containers.set(container.id, container);
      if (uid) byPod.add(uid, container.id);
      if (before?.state !== container.state || before.finishedAt !== container.finishedAt) tell(uid);
    },
    drop(id) {
      const known = containers.get(id) ?? sandboxes.get(id);
      const uid = known && podUidOf(known);
      sandboxes.delete(id);
      containers.delete(id);
      if (uid) byPod.remove(uid, id);
      tell(uid);
    },
    pod(uid) {
      const ids = [...byPod.of(uid)];
      return {
        sandboxes: ids.flatMap((id) => sandboxes.get(id) ?? []).sort(newestFirst),
        containers: ids.flatMap((id) => containers.get(id) ?? []).sort(newestFirst),
      };
    },
    uids: () => byPod.keys(),
    ids: () => [...sandboxes.keys(), ...containers.keys()],
    sandbox: (id) => sandboxes.get(id),
    container: (id) => containers.get(id),
    onPod(uid, fn) {
      listeners.add(uid, fn);
      return () => listeners.remove(uid, fn);
    },
  };
}

const newestFirst = (a: { readonly createdAt: bigint }, b: { readonly createdAt: bigint }): number => (a.createdAt > b.createdAt ? -1 : 1);

/** Sets by key; an empty one leaves nothing behind. */
function createGroups<T>() {
  const groups = new Map<string, Set<T>>();
  return {
    of: (key: string): ReadonlySet<T> => groups.get(key) ?? new Set<T>(),
    keys: (): readonly string[] => [...groups.keys()],
    add(key: string, value: T): void {
      const group = groups.get(key);
      if (group) group.add(value);
      else groups.set(key, new Set([value]));
    },
    remove(key: string, value: T): void {
      const group = groups.get(key);
      group?.delete(value);
      if (group?.size === 0) groups.delete(key);
    },
  };
}
