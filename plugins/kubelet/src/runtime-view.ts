/**
 * What the runtime runs, by pod: listed once, then kept current by the runtime's events and by the kubelet's own
 * actions. There is no polling: a lost event stream, or another runtime, ends in one fresh list.
 */
import type { ContainerStatus, Runtime, RuntimeEvent } from "@k3s-p/plugin-api/slots";
import { sleep } from "./clock.ts";
import type { KubeletContext } from "./context.ts";
import { createRuntimeCache, type PodRuntimeState, type RuntimeCache } from "./runtime-cache.ts";

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

type ViewContext = Pick<KubeletContext, "runtime" | "clock" | "log" | "figures">;

export function runtimeView(ctx: ViewContext, onChange: (uid: string) => void): RuntimeView {
  const { runtime, log, figures } = ctx;
  const cache = createRuntimeCache(onChange);
  const refresh = oneAtATime((id) => read(runtime, cache, id));
  const report = (error: unknown): void => log.warn({ err: String(error) }, "runtime state not readable");
  const relist = (): Promise<void> => figures.timed("list", {}, () => list(runtime, cache, refresh));
  const resync = (): void => void relist().catch(report);
  let unsubscribe: (() => void) | undefined;

  function subscribe(): void {
    unsubscribe?.();
    unsubscribe = runtime.subscribe((event) => void follow(ctx, cache, refresh, event).catch(report), resync);
  }

  return {
    async start() {
      subscribe();
      await relist();
    },
    resume() {
      subscribe();
      resync();
    },
    pod: cache.pod, uids: cache.uids, container: cache.container, onPod: cache.onPod,
    refresh,
    stop: () => unsubscribe?.(),
  };
}

type Refresh = (id: string) => Promise<void>;

async function read(runtime: Runtime, cache: RuntimeCache, id: string): Promise<void> {
  if (!cache.sandbox(id)) {
    const container = await runtime.containerStatus(id);
    if (container) return cache.putContainer(container);
  }
  const sandbox = await runtime.podSandboxStatus(id);
  if (sandbox) cache.putSandbox(sandbox);
  else cache.drop(id);
}

/** One read of an id at a time: an answer that was asked for earlier never overwrites a later one. */
function oneAtATime(readOne: (id: string) => Promise<void>): Refresh {
  const reading = new Map<string, { again: boolean; done: Promise<void> }>();
  return (id) => {
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
          await readOne(id);
        } while (entry.again);
      } finally {
        reading.delete(id);
      }
    })();
    reading.set(id, entry);
    return entry.done;
  };
}

async function list(runtime: Runtime, cache: RuntimeCache, refresh: Refresh): Promise<void> {
  const [sandboxes, containers] = await Promise.all([runtime.listPodSandboxes(), runtime.listContainers()]);
  const present = new Set([...sandboxes, ...containers].map((item) => item.id));
  for (const id of cache.ids()) if (!present.has(id)) cache.drop(id);
  await Promise.all([...present].map(refresh));
}

async function follow({ clock }: ViewContext, cache: RuntimeCache, refresh: Refresh, { containerId: id, type }: RuntimeEvent): Promise<void> {
  await refresh(id);
  if (type !== "exited") return;
  for (const wait of exitLag) {
    if (cache.container(id)?.state !== "RUNNING" && cache.sandbox(id)?.state !== "READY") return;
    await sleep(clock, wait);
    await refresh(id);
  }
}
