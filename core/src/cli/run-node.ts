/** What `k3s-p server` and `k3s-p agent` do from the plan to the exit: start, stay until a signal, stop. */
import { flushCompileCache } from "node:module";
import type { Logger } from "@k3s-p/plugin-api";
import type { Pki } from "@k3s-p/plugin-api/slots";
import { createLogBook } from "../admin/logs.ts";
import { createOperations } from "../admin/operations.ts";
import { adminSocket } from "../admin/path.ts";
import { listenAdmin, type AdminServer } from "../admin/server.ts";
import type { Settings } from "../config/load.ts";
import { createLogger } from "../log.ts";
import type { NodePlan } from "../plan.ts";
import { attributeStrayErrors, describeError, startNode, type RunningNode } from "../server.ts";
import { leave } from "./leave.ts";

/** A second signal does not wait. But the first may come twice at once: from the terminal, and passed on by the parent. */
const ECHO = 1000;

/** Milliseconds until all is loaded that a node soon needs. */
const LOADED = 30_000;

export interface Prepared {
  readonly plan: NodePlan;
  readonly pki?: Pki;
  readonly readAgain: () => Settings;
}

/** `prepare` may take long, as an agent's join does: the signal cuts it off, which is no failure. */
export async function runNode(settings: Settings, prepare: (log: Logger, signal: AbortSignal) => Promise<Prepared>): Promise<never> {
  const logs = createLogBook(createLogger({ debug: settings.values.get("debug")?.value === true }));
  const { log } = logs;
  const ended = Promise.withResolvers<number>();
  const fail = (error: unknown): void => {
    process.stderr.write(`${describeError(error)}\n`);
    ended.resolve(1);
  };
  const live: { begun?: true; node?: RunningNode; admin?: AdminServer | void } = {};
  attributeStrayErrors(log("kernel"), (plugin, error) => live.node?.kernel.blame(plugin, error) ?? false, (error) => {
    fail(error);
    leave(1);
  });
  const signal = untilSignal((name) => log("kernel").info(`${name}: stopping`));
  signal.addEventListener("abort", () => ended.resolve(0), { once: true });

  async function start(): Promise<void> {
    const { plan, pki, readAgain } = await prepare(log("kernel"), signal);
    signal.throwIfAborted();
    live.begun = true;
    const node = await startNode(plan, { log, onFatal: fail, signal, ...(pki && { pki }) });
    live.node = node;
    const operations = createOperations({ kernel: node.kernel, planned: plan, readAgain, logs });
    live.admin = await listenAdmin(adminSocket(plan.node.paths), operations).catch((error: Error) => log("kernel").warn(`k3s-p plugin cannot reach this server: ${error.message}`));
    // Node writes it at the exit, to which a machine without power does not come: each start would compile again.
    setTimeout(flushCompileCache, LOADED).unref();
  }

  const started = start().catch((error: unknown) => (signal.aborted ? undefined : fail(error)));
  const code = await ended.promise;
  await started;
  await live.admin?.close();
  await live.node?.stop();
  if (live.begun || signal.aborted) log("kernel").info("stopped");
  // Neither sockets of clients that do not hang up, nor what a failed plugin left open, may hold the process.
  leave(code);
}

function untilSignal(first: (name: NodeJS.Signals) => void): AbortSignal {
  const abort = new AbortController();
  let since: number | undefined;
  const stopAt = (name: NodeJS.Signals): void => {
    if (since === undefined) {
      since = performance.now();
      first(name);
      abort.abort();
    } else if (performance.now() - since > ECHO) leave(1);
  };
  for (const name of ["SIGTERM", "SIGINT"] as const) process.on(name, stopAt);
  return abort.signal;
}
