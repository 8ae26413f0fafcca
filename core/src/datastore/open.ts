/** The configured datastore alone, on a data directory that no server uses: a plan of one plugin, started and stopped. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { k3spError, type Logger } from "@k3s-p/plugin-api";
import type { Datastore } from "@k3s-p/plugin-api/slots";
import { createHosts } from "../kernel/hosts/index.ts";
import { createKernel, type Kernel } from "../kernel/lifecycle.ts";
import { makeDataFolders } from "../node/data-folders.ts";
import { createPki } from "../pki/pki.ts";
import type { NodePlan } from "../plan.ts";
import { createRunner } from "../runner/runner.ts";

/** Rejects with `K3SP_DATASTORE_LOCKED` while a server holds it. `create` allows a data directory that is not there yet. */
export async function withDatastore<T>({ plan, configs, node }: NodePlan, create: boolean, work: (store: Datastore) => Promise<T>): Promise<T> {
  const { paths } = node;
  if (!create && !existsSync(paths.server)) {
    throw k3spError("K3SP_FLAG_INVALID", { message: `data-dir: ${paths.dataDir} holds no cluster`, fix: "name the folder of a server with --data-dir" });
  }
  if (create) await makeDataFolders(paths, "server");
  const provider = plan.plugins.filter((m) => "datastore" in m.provides);
  const runner = createRunner();
  const refs = { node, runner, pki: createPki(paths.tls) };
  const dirs = { data: join(paths.dataDir, "plugins"), run: join(paths.run, "plugins") };
  const kernel: Kernel = createKernel({
    plan: { ...plan, plugins: provider, choices: plan.choices.filter((choice) => choice.slot === "datastore"), edges: new Map(provider.map((m) => [m.id, []])) },
    configs, refs, dirs, log: () => quiet,
    host: createHosts({ paths: { ...paths }, dirs, refs, provider: (slot) => kernel.slot(slot) }),
  });
  try {
    await kernel.start();
    return await work(kernel.slot<Datastore>("datastore"));
  } finally {
    await kernel.stop();
    runner.stop();
  }
}

const silent = (): void => {};
const complain = (fields: string | object, message?: string): void => void process.stderr.write(`${typeof fields === "string" ? fields : message}\n`);
const quiet: Logger = { trace: silent, debug: silent, info: silent, warn: complain, error: complain };
