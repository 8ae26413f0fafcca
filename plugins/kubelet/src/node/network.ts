/** Whether pods can have a network: told by the runtime, asked again when its CNI configuration changes on disk. */
import { mkdirSync, watch } from "node:fs";
import type { Runtime } from "@k3s-p/plugin-api/slots";
import { messageOf, type Logger } from "@k3s-p/plugin-api";
import { sleep, type Clock } from "../clock.ts";

export interface RuntimeHealth {
  /** Undefined when pods can have a network. */
  networkProblem(): string | undefined;
  /** Undefined when the runtime works. */
  runtimeProblem(): string | undefined;
  /** Why the node is not ready. One that was stays so while what it lacks may be back in a moment. */
  nodeProblem(wasReady: boolean): string | undefined;
  /** Asks the runtime now. */
  check(): Promise<void>;
  stop(): void;
}

/** A runtime or network plugin that starts with the server or takes another's place needs less; upstream gives a runtime 30 s. */
const GRACE = 10_000;

/** The runtime notices new files by itself, a little later: the waits until it has, milliseconds. */
const lag = [0, 20, 50, 100, 200, 400, 800, 1600];

export function runtimeHealth(
  ctx: { readonly runtime: Runtime; readonly clock: Clock; readonly log: Logger }, onChange: () => void,
): RuntimeHealth {
  const { runtime, clock, log } = ctx;
  let network: string | undefined = "container runtime status has not been reported yet";
  let broken: string | undefined;
  let lostAt = clock.now();
  let settling = false;
  const stopping = new AbortController();

  const problem = (): string | undefined => broken ?? network;

  async function check(): Promise<void> {
    const before = [network, broken].join();
    const wasWell = problem() === undefined;
    try {
      const status = await runtime.status();
      broken = status.runtimeReady ? undefined : `container runtime is down: ${status.message}`;
      network = status.networkReady ? undefined : `container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady message:${status.message}`;
    } catch (error) {
      broken = `container runtime status check may not have completed yet: ${messageOf(error)}`;
    }
    if (wasWell && problem() !== undefined) lostAt = clock.now();
    if ([network, broken].join() !== before) onChange();
  }

  async function settle(): Promise<void> {
    if (settling) return;
    settling = true;
    for (const wait of lag) {
      await sleep(clock, wait, stopping.signal);
      if (stopping.signal.aborted) break;
      await check();
      if (network === undefined) break;
    }
    settling = false;
  }

  const watcher = watchFolder(runtime.cni.confDir, () => void settle());
  watcher?.on("error", (error) => log.warn({ err: messageOf(error) }, "CNI configuration folder not watched"));

  return {
    networkProblem: () => network,
    runtimeProblem: () => broken,
    nodeProblem: (wasReady) => (wasReady && clock.now() - lostAt < GRACE ? undefined : problem()),
    check,
    stop() {
      stopping.abort();
      watcher?.close();
    },
  };
}

function watchFolder(folder: string, onChange: () => void): ReturnType<typeof watch> | undefined {
  try {
    mkdirSync(folder, { recursive: true });
    return watch(folder, { persistent: false }, onChange);
  } catch {
    return undefined;
  }
}
