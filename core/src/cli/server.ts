/** `k3s-p server`: plans, starts, and stays until a signal. */
import { createLogBook } from "../admin/logs.ts";
import { createOperations } from "../admin/operations.ts";
import { adminSocket } from "../admin/path.ts";
import { listenAdmin, type AdminServer } from "../admin/server.ts";
import { createLogger } from "../log.ts";
import { planServer } from "../plan.ts";
import { attributeStrayErrors, describeError, startServer, type RunningServer } from "../server.ts";

/** A second signal does not wait. But the first may come twice at once: from the terminal, and passed on by the parent. */
const ECHO = 1000;

export const usages = (): readonly string[] => ["server [flags]"];

export async function run(argv: readonly string[]): Promise<number> {
  const plan = await planServer(argv);
  const logs = createLogBook(createLogger({ debug: plan.settings.values.get("debug")?.value === true }));
  const { log } = logs;
  const ended = Promise.withResolvers<number>();
  const fail = (error: unknown): void => {
    process.stderr.write(`${describeError(error)}\n`);
    ended.resolve(1);
  };
  let running: RunningServer | undefined;
  attributeStrayErrors(log("kernel"), (plugin, error) => running?.kernel.blame(plugin, error) ?? false, (error) => {
    fail(error);
    process.exit(1);
  });
  const signalled = Promise.withResolvers<void>();
  const abort = new AbortController();
  let since: number | undefined;
  const stopAt = (signal: NodeJS.Signals): void => {
    if (since === undefined) {
      since = performance.now();
      log("kernel").info(`${signal}: stopping`);
      signalled.resolve();
      abort.abort();
    } else if (performance.now() - since > ECHO) process.exit(1);
  };
  for (const signal of ["SIGTERM", "SIGINT"] as const) process.on(signal, stopAt);
  const starting = startServer(plan, { log, onFatal: fail, signal: abort.signal });
  const outcome = await Promise.race([
    starting.then(() => "started" as const, (error: unknown) => {
      if (!abort.signal.aborted) fail(error);
      return "failed" as const;
    }),
    signalled.promise.then(() => "signalled" as const),
  ]);
  let admin: AdminServer | void = undefined;
  if (outcome === "started") {
    running = await starting;
    const operations = createOperations({ kernel: running.kernel, server: plan, argv, logs });
    admin = await listenAdmin(adminSocket(plan.node.paths), operations).catch((error: Error) => void log("kernel").warn(`k3s-p plugin cannot reach this server: ${error.message}`));
  }
  if (outcome === "started") void signalled.promise.then(() => ended.resolve(0));
  else ended.resolve(0);
  const code = await ended.promise;
  if (admin) await admin.close();
  await starting.then((server) => server.stop(), () => {});
  log("kernel").info("stopped");
  // Neither sockets of clients that do not hang up, nor what a failed plugin left open, may hold the process.
  process.exit(code);
}
