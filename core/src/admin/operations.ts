/** What `k3s-p plugin` can ask of a running server. */
import { k3spError } from "@k3s-p/plugin-api";
import type { Settings } from "../config/load.ts";
import { pluginConfigs } from "../config/plugins.ts";
import type { Change, Kernel, PluginStatus } from "../kernel/lifecycle.ts";
import { runsInServer } from "../isolation/program.ts";
import { didYouMean, type Manifest } from "../kernel/manifest.ts";
import type { Plan } from "../kernel/resolve.ts";
import { addedPlugin, noOverrides, planFrom, type NodePlan, type Overrides } from "../plan.ts";
import { isSource } from "../sources/locate.ts";
import { namedManifests, packagesFolder } from "../sources/manifests.ts";
import { datastoreOperations } from "./datastore.ts";
import { graphOf, listOf, timelineOf } from "./debug.ts";
import type { LogBook } from "./logs.ts";
import { keepAccounts } from "../accounts/accounts.ts";
import { lockFile, openApprovals } from "../approval/approvals.ts";
import { describeRights } from "../approval/rights.ts";
import type { ChangeResult, PendingResult, Request } from "./protocol.ts";

export interface AdminOptions {
  readonly kernel: Kernel;
  readonly planned: NodePlan;
  /** As at the start, what the files say now. */
  readonly readAgain: () => Settings;
  readonly logs: LogBook;
}

/** Sends events while it runs; `signal` is aborted when the asker has gone. */
export interface Conversation {
  readonly send: (event: unknown) => void;
  readonly signal: AbortSignal;
}

export type Operations = Readonly<Record<string, (request: Request, talk: Conversation) => Promise<unknown>>>;

export function createOperations(options: AdminOptions): Operations {
  const { kernel, logs } = options;
  const { settings, node } = options.planned;
  const approvals = openApprovals(lockFile(node.paths));
  let overrides: Overrides = noOverrides;

  /** Plans anew with what was changed by hand, goes there, and remembers it when that worked. */
  async function change(next: Overrides): Promise<ChangeResult> {
    const before = kernel.plan();
    const { plan, configs } = await planFrom(settings, { role: node.role, overrides: next });
    const changes = await kernel.apply(plan, new Map([...configs, ...kernel.configs()]));
    overrides = next;
    await keepAccounts(kernel.slot("kube"), plan, node, logs.log("kernel"));
    return { lines: describeChange(changes, before, plan) };
  }

  function statusOf(name: string | undefined): PluginStatus | undefined {
    const list = kernel.status();
    const found = list.find((s) => s.id === name);
    const known = [...list.map((s) => s.id), ...kernel.plan().leftOut.map((l) => l.plugin)];
    if (found || known.includes(name ?? "")) return found;
    throw k3spError("K3SP_PLUGIN_UNKNOWN", { message: `no plugin is named "${name ?? ""}"${didYouMean(name ?? "", known)}` });
  }

  const manifestOf = (name: string): Manifest | undefined => kernel.plan().plugins.find((m) => m.id === name);

  async function fromSource(spec: string): Promise<Manifest> {
    const [manifest] = await namedManifests([addedPlugin(spec)], packagesFolder(settings));
    return manifest!;
  }

  /** As `--plugin` would have loaded it: it takes the place of the default provider of its slot. */
  async function add(spec: string): Promise<ChangeResult> {
    const { id } = await fromSource(spec);
    const disabled = new Map([...overrides.disabled].filter(([other]) => other !== id));
    return change({ ...overrides, disabled, enabled: new Set([...overrides.enabled, id]), plugins: new Map([...overrides.plugins, [id, spec]]) });
  }

  async function enable({ name = "" }: Request): Promise<ChangeResult> {
    if (isSource(name)) return add(name);
    const status = statusOf(name);
    if (status && (status.state === "ready" || status.state === "degraded")) return { lines: [`${name} is ${status.state} already`] };
    if (status) {
      await kernel.restart(name);
      return { lines: [`${name} ${status.version} is ready`] };
    }
    const enabled = new Set([...overrides.enabled, name]);
    const disabled = new Map([...overrides.disabled].filter(([id]) => id !== name));
    const result = await change({ ...overrides, enabled, disabled });
    const out = kernel.plan().leftOut.find((l) => l.plugin === name);
    if (out) throw k3spError("K3SP_SLOT_CONFLICT", { message: `${name} stays out: ${out.why}`, fix: replaceHint(name, out.why) });
    return result;
  }

  async function disable({ name = "", force = false }: Request): Promise<ChangeResult> {
    const status = statusOf(name);
    if (!status) return { lines: [`${name} is not loaded: ${kernel.plan().leftOut.find((l) => l.plugin === name)!.why}`] };
    const users = kernel.dependants(name);
    if (users.length && !force) {
      throw k3spError("K3SP_PLUGIN_NEEDED", { message: `${name} is needed by ${[...users].sort().join(", ")}`, fix: `disable them first, or stop them as well: k3s-p plugin disable ${name} --force` });
    }
    const off = [name, ...users];
    const disabled = new Map([...overrides.disabled, ...off.map((id) => [id, `k3s-p plugin disable ${name}`] as const)]);
    const enabled = new Set([...overrides.enabled].filter((id) => !off.includes(id)));
    return change({ ...overrides, disabled, enabled });
  }

  async function replace({ name = "", by = "" }: Request): Promise<ChangeResult> {
    if (!statusOf(name)) throw k3spError("K3SP_PLUGIN_UNKNOWN", { message: `${name} is not loaded, so nothing can take its place`, fix: `k3s-p plugin enable ${name}` });
    const old = manifestOf(name)!;
    const next = isSource(by) ? await fromSource(by) : await fromName(by);
    const slots = Object.keys(next.provides).filter((slot) => slot in old.provides);
    if (!slots.length && next.id !== name) {
      throw k3spError("K3SP_SLOT_MISSING", { message: `${next.id} does not provide what ${name} provides (${Object.keys(old.provides).join(", ") || "nothing"})`, fix: "name a plugin that provides the same slot" });
    }
    const disabled = new Map([...overrides.disabled].filter(([id]) => id !== next.id));
    return change({
      plugins: isSource(by) ? new Map([...overrides.plugins, [next.id, by]]) : overrides.plugins, disabled, enabled: new Set([...overrides.enabled, next.id]),
      slots: new Map([...overrides.slots, ...Object.keys(next.provides).map((slot) => [slot, next.id] as const)]),
    });
  }

  async function fromName(name: string): Promise<Manifest> {
    const { plan } = await planFrom(settings, { role: node.role, overrides });
    const known = [...plan.plugins, ...plan.spare];
    const found = known.find((m) => m.id === name);
    if (found) return found;
    throw k3spError("K3SP_PLUGIN_UNKNOWN", { message: `no plugin is named "${name}"${didYouMean(name, known.map((m) => m.id))}`, fix: "give a path such as ./my-cni, a package such as npm:my-cni, or a name of k3s-p plugin list" });
  }

  /** Reads config.yaml again for this plugin alone. */
  async function reload({ name = "" }: Request): Promise<ChangeResult> {
    const status = statusOf(name);
    const manifest = manifestOf(name);
    if (!status || !manifest) throw k3spError("K3SP_PLUGIN_UNKNOWN", { message: `${name} is not loaded`, fix: `k3s-p plugin enable ${name}` });
    const config = (await pluginConfigs([manifest], options.readAgain())).get(name)!;
    const changes = await kernel.apply(kernel.plan(), new Map([...kernel.configs(), [name, config]]));
    if (changes.length) return { lines: [`${name}: the new configuration is in force`] };
    if (status.state === "ready" && manifest.isolation === "inline") return { lines: [`${name}: the configuration has not changed; new code of an inline plugin needs a restart of the server`] };
    await kernel.restart(name);
    return { lines: [`${name} was started again`, ...(runsInServer(manifest) && manifest.source.kind === "user" ? ["new code of its module needs a restart of the server"] : [])] };
  }

  /** What waited for it starts now; what was refused in a change by hand is tried again by hand. */
  async function approve({ name = "" }: Request): Promise<ChangeResult> {
    await approvals.approve(name);
    const status = kernel.status().find((s) => s.id === name);
    if (!status || status.state === "ready" || status.state === "degraded") return { lines: [`${name} is approved`] };
    await kernel.restart(name);
    return { lines: [`${name} is approved`, `${name} ${status.version} is ready`] };
  }

  return {
    ...datastoreOperations(kernel),
    enable, disable, replace, reload, approve,
    pending: async ({ name = "" }): Promise<PendingResult> => approvals.pending(name) ?? { added: [] },
    list: async () => listOf(kernel),
    async inspect({ name = "" }) {
      const status = statusOf(name);
      const manifest = manifestOf(name);
      if (!status || !manifest) return { id: name, state: "left out", why: kernel.plan().leftOut.find((l) => l.plugin === name)!.why };
      const { description, source, entry, exec, provides, needs, wants, contributes } = manifest;
      const { state, rights, added } = approvals.of(manifest);
      return { ...status, description, from: source.label, entry, exec, provides, needs, wants, contributes, permissions: describeRights(rights), approval: state, notApproved: describeRights(added), neededBy: kernel.dependants(name), config: kernel.configs().get(name) };
    },
    graph: async () => graphOf(kernel),
    timeline: async () => timelineOf(kernel),
    async logs({ name = "", follow = false }, { send, signal }) {
      if (name !== "kernel") statusOf(name);
      for (const line of logs.last(name)) send(line);
      if (!follow) return {};
      const end = logs.follow(name, send);
      await new Promise((resolve) => signal.addEventListener("abort", resolve, { once: true }));
      end();
      return {};
    },
  };
}

const replaceHint = (name: string, why: string): string => {
  const other = /^replaced by (\S+)/.exec(why)?.[1];
  return other ? `k3s-p plugin replace ${other} ${name}` : "see k3s-p plugin list";
};

function describeChange(changes: readonly Change[], before: Plan, after: Plan): string[] {
  const done = changes.map((c) => `${c.kind} ${c.plugin} ${c.manifest.version}`);
  const taken = after.choices
    .map((c) => ({ ...c, old: before.choices.find((b) => b.slot === c.slot)?.plugin }))
    .filter((c) => c.old !== undefined && c.old !== c.plugin)
    .map((c) => `${c.slot}: ${c.plugin} ${c.version} (replaces ${c.old})`);
  return [...done, ...taken, ...(done.length ? ["this lasts until the server restarts; config.yaml decides what it starts with"] : ["nothing to change"])];
}
