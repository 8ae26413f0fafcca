/** Runs containerd: with its configuration written, on a socket that nobody else answers on. */
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { k3spError, listens, replaceFile, type PluginContext } from "@k3s-p/plugin-api";
import { searchPath } from "./host.ts";

export interface DaemonOptions {
  readonly configFile: string;
  /** Contents that the configuration file must have. */
  readonly config: string;
  readonly socket: string;
  readonly root: string;
  readonly state: string;
}

/** Resolves when containerd listens. It ends with the plugin; containers do not, since each has a shim of its own. */
export async function runDaemon(ctx: Pick<PluginContext, "program" | "defer" | "signal">, options: DaemonOptions): Promise<void> {
  const { configFile, config, socket, root, state } = options;
  for (const dir of [state, root]) mkdirSync(dir, { recursive: true, mode: 0o711 });
  await refuseStranger(socket, ctx.signal);
  if (readIfThere(configFile) !== config) {
    mkdirSync(dirname(configFile), { recursive: true });
    await replaceFile(configFile, config);
  }
  const { pid } = await ctx.program({
    args: ["--config", configFile], env: daemonEnv(process.env), ready: { socket }, logFile: join(root, "containerd.log"),
  });
  const pidFile = join(state, "containerd.pid");
  writeFileSync(pidFile, `${pid}\n`, { mode: 0o600 });
  ctx.defer(() => rmSync(pidFile, { force: true }));
}

/** `CONTAINERD_HTTPS_PROXY` and its like are for containerd alone, as in K3s. */
export function daemonEnv(env: NodeJS.ProcessEnv): Record<string, string> {
  const prefix = "CONTAINERD_";
  const set = Object.entries({ ...env, PATH: searchPath.join(":") }).flatMap(([name, value]) => (value === undefined ? [] : [[name, value] as const]));
  const own = set.filter(([name]) => name.startsWith(prefix)).map(([name, value]) => [name.slice(prefix.length), value] as const);
  return Object.fromEntries([...set.filter(([name]) => !name.startsWith(prefix)), ...own]);
}

/** Milliseconds in which the containerd of a server that was killed a moment ago is gone. */
const endLag = 2000;

async function refuseStranger(socket: string, signal: AbortSignal): Promise<void> {
  for (const end = Date.now() + endLag; await listens(socket); ) {
    signal.throwIfAborted();
    if (Date.now() > end) {
      throw k3spError("K3SP_RUNTIME_FAILED", {
        message: `another containerd answers on ${socket}`,
        fix: "stop the other K3s or k3s-p first",
        plugin: "containerd",
      });
    }
    await sleep(20);
  }
}

function readIfThere(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}
