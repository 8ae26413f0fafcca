/**
 * What the runtime runs, by pod: listed once, then kept current by the runtime's events and by the kubelet's own
 * actions. There is no polling: a lost event stream, or another runtime, ends in one fresh list.
 */
import type { ContainerStatus, PodSandboxStatus, Runtime, RuntimeEvent } from "@k3s-p/plugin-api/slots";
import type { Logger } from "@k3s-p/plugin-api";
import { sleep, type Clock } from "./clock.ts";
import { podUidOf } from "./pod.ts";

export interface PodRuntimeState {
  /** Newest first. */
  readonly sandboxes: readonly PodSandboxStatus[];
  readonly containers: readonly ContainerStatus[];
}

export interface RuntimeView {
  start(): Promise<void>;
  /** Another provider of the runtime, or the same one after a restart: its events and its list from now on. */
  resume(): void;
  pod(uid: string): PodRuntimeState;
  uids(): readonly string[];
  container(id: string): ContainerStatus | undefined;
  /** Calls `fn` after every change of the pod's containers or sandboxes; returns the unsubscribe function. */
  onPod(uid: string, fn: () => void): () => void;
  /** Asks the runtime again about one container or sandbox. */
  refresh(id: string): Promise<void>;
  stop(): void;
}

/** An exit is announced before CRI's status has it; the waits until it does, milliseconds. */
const exitLag = [5, 20, 50, 100, 300, 1000];

type ViewContext = { readonly runtime: Runtime; readonly clock: Clock; readonly log: Logger };

export function runtimeView(ctx: ViewContext, onChange: (uid: string) => void): RuntimeView {
  const { runtime, clock, log } = ctx;
  const sandboxes = new Map<string, PodSandboxStatus>();
  const containers = new Map<string, ContainerStatus>();
  const byPod = new Map<string, Set<string>>();
  const reading = new Map<string, { again: boolean; done: Promise<void> }>();
  const listeners = new Map<string, Set<() => void>>();
  let unsubscribe: (() => void) | undefined;

  function tell(uid: string): void {
    onChange(uid);
    for (const listener of listeners.get(uid) ?? []) listener();
  }

  function index(id: string, uid: string | undefined): void {
    if (!uid) return;
    const ids = byPod.get(uid);
    if (ids) ids.add(id);
    else byPod.set(uid, new Set([id]));
  }

  function drop(id: string): void {
    const uid = uidOfId(id);
    sandboxes.delete(id);
    containers.delete(id);
    if (!uid) return;
    const ids = byPod.get(uid);
    ids?.delete(id);
    if (ids?.size === 0) byPod.delete(uid);
    tell(uid);
  }

  const uidOfId = (id: string): string | undefined => podUidOf(containers.get(id) ?? sandboxes.get(id) ?? { labels: {} });

  async function read(id: string): Promise<void> {
    if (!sandboxes.has(id)) {
      const status = await runtime.containerStatus(id);
      if (status) return keepContainer(id, status);
    }
    const sandbox = await runtime.podSandboxStatus(id);
    if (!sandbox) return drop(id);
    const before = sandboxes.get(id);
    sandboxes.set(id, sandbox);
    index(id, podUidOf(sandbox));
    const changed = !before || before.state !== sandbox.state || before.ips.length !== sandbox.ips.length;
    if (changed) notify(id);
  }

  function keepContainer(id: string, status: ContainerStatus): void {
    const before = containers.get(id);
    containers.set(id, status);
    index(id, podUidOf(status));
    if (before?.state !== status.state || before.finishedAt !== status.finishedAt) notify(id);
  }

  function notify(id: string): void {
    const uid = uidOfId(id);
    if (uid) tell(uid);
  }

  /** One read of an id at a time: an answer that was asked for earlier never overwrites a later one. */
  function refresh(id: string): Promise<void> {
    const running = reading.get(id);
    if (running) {
      running.again = true;
      return running.done;
    }
    const entry = { again: false, done: Promise.resolve() };
    entry.done = (async () => {
      try {
        do {
          entry.again = false;
          await read(id);
        } while (entry.again);
      } finally {
        reading.delete(id);
      }
    })();
    reading.set(id, entry);
    return entry.done;
  }

  const stillRuns = (id: string): boolean =>
    containers.get(id)?.state === "RUNNING" || sandboxes.get(id)?.state === "READY";

  async function onEvent(event: RuntimeEvent): Promise<void> {
    const { containerId: id, type } = event;
    await refresh(id);
    if (type !== "exited") return;
    for (const wait of exitLag) {
      if (!stillRuns(id)) return;
      await sleep(clock, wait);
      await refresh(id);
    }
  }

  async function list(): Promise<void> {
    const [listedSandboxes, listedContainers] = await Promise.all([runtime.listPodSandboxes(), runtime.listContainers()]);
    const present = new Set([...listedSandboxes, ...listedContainers].map((item) => item.id));
    for (const id of [...sandboxes.keys(), ...containers.keys()]) if (!present.has(id)) drop(id);
    await Promise.all([...present].map(refresh));
  }

  const report = (error: unknown): void => log.warn({ err: String(error) }, "runtime state not readable");

  const resync = (): void => void list().catch(report);

  function subscribe(): void {
    unsubscribe?.();
    unsubscribe = runtime.subscribe((event) => void onEvent(event).catch(report), resync);
  }

  return {
    async start() {
      subscribe();
      await list();
    },
    resume() {
      subscribe();
      resync();
    },
    pod(uid) {
      const ids = [...(byPod.get(uid) ?? [])];
      const newestFirst = (a: { createdAt: bigint }, b: { createdAt: bigint }): number => (a.createdAt > b.createdAt ? -1 : 1);
      return {
        sandboxes: ids.flatMap((id) => sandboxes.get(id) ?? []).sort(newestFirst),
        containers: ids.flatMap((id) => containers.get(id) ?? []).sort(newestFirst),
      };
    },
    uids: () => [...byPod.keys()],
    container: (id) => containers.get(id),
    onPod(uid, fn) {
      const set = listeners.get(uid) ?? new Set();
      listeners.set(uid, set.add(fn));
      return () => {
        set.delete(fn);
        if (set.size === 0) listeners.delete(uid);
      };
    },
    refresh,
    stop: () => unsubscribe?.(),
  };
}
