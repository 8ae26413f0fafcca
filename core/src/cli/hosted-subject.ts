/** A plugin in the isolation mode of its manifest, as a subject of the suites: its code runs where a server would run it. */
import { chmodSync } from "node:fs";
import { dirname, join } from "node:path";
import { definePlugin, k3spError, type PluginContext, type Slot } from "@k3s-p/plugin-api";
import type { Runner } from "@k3s-p/plugin-api/slots";
import type { Subject } from "@k3s-p/plugin-api/conformance/subject";
import { serveKube } from "@k3s-p/plugin-api/conformance/fake-server";
import type { FakeKube } from "@k3s-p/plugin-api/kube/fake";
import { testNode, testPaths } from "@k3s-p/plugin-api/testing";
import { makeFolders } from "../isolation/folders.ts";
import { restrictRunner } from "../isolation/permissions.ts";
import { slotById } from "../kernel/board.ts";
import type { PluginHost } from "../kernel/hosts/host.ts";
import { createHosts, type HostsOptions } from "../kernel/hosts/index.ts";
import type { Manifest } from "../kernel/manifest.ts";

interface Hosted {
  readonly host: PluginHost;
  readonly impl: unknown;
}

type Context = PluginContext<any, any, any>;

export function hostedSubject(manifest: Manifest, rest: Pick<Subject, "config" | "validate">): Subject {
  const [provided] = Object.keys(manifest.provides);
  const running = new WeakMap<object, Hosted>();
  const of = (impl: unknown) => running.get(impl as object)!;
  const plugin = definePlugin<Slot<any> | undefined, Record<string, Slot<any>>>({
    ...(provided && { provides: slotById.get(provided)! }),
    needs: Object.fromEntries(Object.keys(manifest.needs).map((id) => [id, slotById.get(id)!])),
    async start(ctx) {
      const { host, impl } = await startHosted(manifest, ctx);
      const known = (impl ?? {}) as object;
      running.set(known, { host, impl });
      return known;
    },
    async health(known) {
      const { host, impl } = of(known);
      const { parts } = await declaredBy.get(host)!;
      return parts.has("health") ? host.call("health", impl) : { ok: true };
    },
  });
  return { id: manifest.id, folder: manifest.dir, plugin, provides: Object.keys(manifest.provides), ...rest };
}

const declaredBy = new WeakMap<PluginHost, ReturnType<PluginHost["load"]>>();

/** As the kernel does: load, start, and wait for the gate. */
async function startHosted(manifest: Manifest, ctx: Context): Promise<Hosted> {
  const dirs = { data: join(ctx.dirs.data, manifest.id), run: join(ctx.dirs.run, manifest.id) };
  const root = dirname(ctx.dirs.data);
  // A program runs as a user of its own, who must reach its folders.
  for (const dir of [root, ctx.dirs.data, ctx.dirs.run]) chmodSync(dir, 0o711);
  makeFolders(manifest, dirs);
  const hosts = createHosts({ paths: { ...testPaths(root) }, dirs: ctx.dirs, ...(await reachable(ctx, root)) });
  const host = hosts(manifest, ctx.log);
  ctx.defer(() => host.stop());
  void host.exited.then((error) => ctx.fail(error));
  const loading = host.load();
  declaredBy.set(host, loading);
  const { parts } = await loading;
  ctx.signal.throwIfAborted();
  const slots: Record<string, object> = { ...(ctx.needs as Record<string, object>) };
  if (slots.runner) slots.runner = restrictRunner(slots.runner as Runner, manifest);
  const impl = await host.call("start", { ...ctx, dirs, needs: slots, slot: (id) => slots[id] });
  if (parts.has("ready")) await host.call("ready", impl, ctx.signal);
  return { host, impl };
}

/** How another process reaches the pretended cluster: over HTTPS, as it would reach a true one. */
async function reachable(ctx: Context, root: string): Promise<Pick<HostsOptions, "provider" | "refs">> {
  const client = ctx.needs.kube as FakeKube | undefined;
  if (!client) return { provider: noProvider, refs: {} };
  const { url, port, ca, close } = await serveKube(client);
  ctx.defer(close);
  return { provider: () => ({ url, port, client: () => client }), refs: { node: testNode(root), pki: { ca: () => ({ cert: ca }) } } };
}

function noProvider(slot: string): never {
  throw k3spError("K3SP_SLOT_UNAVAILABLE", { message: `the pretended cluster has no "${slot}" for another process` });
}
