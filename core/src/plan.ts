/** From settings to a checked plan: everything before any plugin code runs. */
import { k3spError, type Role } from "@k3s-p/plugin-api";
import { forAgents, type ForAgents } from "./agent/shared-settings.ts";
import { flagsOf } from "./config/flags.ts";
import { loadSettings, type Settings } from "./config/load.ts";
import { pluginConfigs } from "./config/plugins.ts";
import { agentPlugins, defaultPlugins, disableFlags, profiles } from "./defaults.ts";
import { runsInServer } from "./isolation/program.ts";
import { didYouMean, type Manifest } from "./kernel/manifest.ts";
import { resolvePlan, type Plan } from "./kernel/resolve.ts";
import { refused } from "./node/checks.ts";
import { nodeInfo } from "./node/identity.ts";
import { checkDnsAddresses } from "./node/networks.ts";
import { defaultManifests, namedManifests, namedPlugins, packagesFolder, type NamedPlugin } from "./sources/manifests.ts";
import { kernelSlots, slotCatalogue, type NodeInfo } from "@k3s-p/plugin-api/slots";

export interface NodePlan {
  readonly settings: Settings;
  readonly plan: Plan;
  readonly configs: ReadonlyMap<string, object>;
  readonly node: NodeInfo;
}

/** What was changed by hand on a running server; it goes before the settings. */
export interface Overrides {
  /** Plugin id -> why it is off. */
  readonly disabled: ReadonlyMap<string, string>;
  readonly enabled: ReadonlySet<string>;
  /** Id -> what `--plugin` could name as well; each takes the place of a plugin of the same name. */
  readonly plugins: ReadonlyMap<string, string>;
  readonly slots: ReadonlyMap<string, string>;
}
export const addedPlugin = (spec: string): NamedPlugin => ({ spec, label: `k3s-p plugin enable ${spec}` });
export const noOverrides: Overrides = { disabled: new Map(), enabled: new Set(), plugins: new Map(), slots: new Map() };

type Env = Readonly<Record<string, string | undefined>>;
export const readSettings = (argv: readonly string[], env: Env = process.env, role: Role = "server"): Settings =>
  loadSettings({ argv, env, flags: flagsOf(role) });

export const planServer = async (argv: readonly string[], env: Env = process.env): Promise<NodePlan> => planFrom(readSettings(argv, env));

export interface PlanOptions {
  readonly role?: Role;
  readonly overrides?: Overrides;
}

export async function planFrom(settings: Settings, { role = "server", overrides = noOverrides }: PlanOptions = {}): Promise<NodePlan> {
  const packages = packagesFolder(settings);
  const changed = await namedManifests([...overrides.plugins.values()].map(addedPlugin), packages);
  const others = [...defaultManifests(role), ...(await namedManifests(namedPlugins(settings), packages))];
  const manifests = [...others.filter((m) => !changed.some((c) => c.id === m.id)), ...changed].map((m) => isolated(m, settings));
  const disabled = disabledPlugins(settings, manifests);
  for (const [id, why] of overrides.disabled) disabled.set(id, why);
  for (const id of overrides.enabled) disabled.delete(id);
  const hasNode = settings.values.get("disable-agent")?.value !== true;
  const plan = resolvePlan({
    manifests, role, roles: role === "server" && hasNode ? ["server", "agent"] : [role], disabled,
    slots: new Map([...slotChoices(settings), ...overrides.slots]),
  });
  if (role === "server") checkUnmet(plan.plugins, settings);
  checkModules(plan.plugins, settings);
  checkSections(settings, manifests);
  const configs = await pluginConfigs(plan.plugins, settings);
  const node = nodeInfo(settings, [...disabled.keys(), ...disableList(settings)].filter(unique).sort(), role);
  if (plan.plugins.some((m) => "dns" in m.provides)) checkDnsAddresses(node.cluster, settings);
  if (role === "agent") return { settings, plan, configs, node };
  const told = hasNode ? forAgents(plan, configs, node.cluster) : await asWithNode(settings, overrides);
  return { settings, plan, configs, node: Object.freeze({ ...node, cluster: Object.freeze({ ...node.cluster, ...told }) }) };
}

/** Agents run what the server itself would run, though it has no node of its own. */
async function asWithNode(settings: Settings, overrides: Overrides): Promise<ForAgents> {
  const values = new Map([...settings.values].filter(([name]) => name !== "disable-agent"));
  const { shared, nodeSlots, agentPlugins: ids } = (await planFrom({ ...settings, values }, { overrides })).node.cluster;
  return { shared, nodeSlots, agentPlugins: ids };
}

interface Unmet {
  /** What is asked for, as it may be shown; undefined = nothing that is not here. */
  readonly asked: (value: string) => string | undefined;
  readonly why: string;
  readonly fix: string;
}

/** What must not be passed over: who asks for another cluster or another database must not get a new one instead. */
const unmet: Readonly<Record<string, Unmet>> = {
  server: {
    asked: (url) => url, why: "cannot be joined by a second server",
    fix: "use k3s-p agent to join this machine as a node; or leave it out, and a cluster of its own starts here",
  },
  "datastore-endpoint": {
    // The rest of the address may hold a password.
    asked: (endpoint) => (endpoint.startsWith("sqlite") ? undefined : (/^\w+(?=:\/\/)/.exec(endpoint)?.[0] ?? endpoint.split(":", 1)[0]!)),
    why: "is not a database that this datastore speaks to",
    fix: "leave it out, and the data is kept in SQLite; or name a plugin that provides the slot datastore with --plugin",
  },
};

/** A plugin that reads the flag may do what it asks for. */
function checkUnmet(plugins: readonly Manifest[], settings: Settings): void {
  for (const [name, { asked, why, fix }] of Object.entries(unmet)) {
    const value = settings.values.get(name)?.value;
    const what = value && !plugins.some((m) => name in m.flags) ? asked(String(value)) : undefined;
    if (what) throw refused(name, what, settings, why, fix);
  }
}

/** Code that did not come with the server runs in its process only when both the manifest and the user say so. */
const isolated = (m: Manifest, settings: Settings): Manifest => (m.isolation === "inline" && !mayRunInServer(m, settings) ? { ...m, isolation: "process" } : m);

const mayRunInServer = ({ id, source }: Manifest, settings: Settings): boolean =>
  source.kind === "default" || ((settings.values.get("allow-inline")?.value ?? []) as readonly string[]).includes(id);

/** The module of a program has no other place. */
function checkModules(plugins: readonly Manifest[], settings: Settings): void {
  const refused = plugins.find((m) => runsInServer(m) && !mayRunInServer(m, settings));
  if (!refused) return;
  throw k3spError("K3SP_PERMISSION_DENIED", {
    message: `${refused.id}: the module beside its program runs in the server's own process, which was not allowed`, plugin: refused.id,
    fix: `--allow-inline ${refused.id}`,
  });
}

const unique = <T>(value: T, index: number, all: readonly T[]): boolean => all.indexOf(value) === index;

const disableList = (settings: Settings): readonly string[] => (settings.values.get("disable")?.value ?? []) as readonly string[];

/** Plugin id -> the setting that turns it off. A name that is no plugin is an AddOn of the user's own. */
function disabledPlugins(settings: Settings, manifests: readonly Manifest[]): Map<string, string> {
  const known = new Set(manifests.map((m) => m.id));
  const disabled = new Map<string, string>();
  const add = (id: string, why: string) => known.has(id) && disabled.set(id, why);
  for (const id of disableList(settings)) add(id, `--disable ${id}`);
  for (const [flag, ids] of Object.entries(disableFlags)) {
    if (settings.values.get(flag)?.value === true) for (const id of ids) add(id, `--${flag}`);
  }
  for (const [id, section] of settings.plugins) if (section.enabled === false) add(id, `plugins.${id}.enabled: false`);
  if (settings.values.get("flannel-backend")?.value === "none") add("flannel", "--flannel-backend none");
  const profile = (settings.values.get("profile")?.value ?? "full") as string;
  if (!(profile in profiles)) {
    const names = Object.keys(profiles);
    throw k3spError("K3SP_FLAG_INVALID", { message: `profile: "${profile}" is not allowed`, detail: [`allowed: ${names.join(", ")}${didYouMean(profile, names)}`] });
  }
  const kept = profiles[profile];
  if (kept) for (const m of manifests) if (m.source.kind === "default" && !kept.includes(m.id)) add(m.id, `--profile ${profile}`);
  return disabled;
}

function slotChoices(settings: Settings): Map<string, string> {
  const choices = new Map<string, string>();
  for (const [slot, { value, source }] of settings.slots) {
    requireSlot(slot, source);
    choices.set(slot, String(value));
  }
  for (const text of (settings.values.get("slot")?.value ?? []) as readonly string[]) {
    const [slot, plugin] = text.split("=");
    if (!slot || !plugin) throw k3spError("K3SP_FLAG_INVALID", { message: `--slot ${text}: SLOT=PLUGIN is expected` });
    requireSlot(slot, `--slot ${text}`);
    choices.set(slot, plugin);
  }
  return choices;
}

function requireSlot(slot: string, source: string): void {
  const known = slotCatalogue.filter((s) => !s.derive && !kernelSlots.includes(s.id)).map((s) => s.id).sort();
  if (known.includes(slot)) return;
  throw k3spError("K3SP_SLOT_UNKNOWN", {
    message: `no slot is named "${slot}"${didYouMean(slot, known)}`, detail: [`from ${source}`], fix: `use one of ${known.join(", ")}`,
  });
}

/** A section for a plugin that does not exist would be lost silently; all nodes may have the same file. */
function checkSections(settings: Settings, manifests: readonly Manifest[]): void {
  const ids = [...defaultPlugins, ...agentPlugins, ...manifests.map((m) => m.id)];
  for (const [id, section] of settings.plugins) {
    if (ids.includes(id)) continue;
    throw k3spError("K3SP_CONFIG_INVALID", {
      message: `plugins.${id}: no such plugin${didYouMean(id, ids)}`,
      detail: [section.positions.get("") ?? ""], fix: "name a default plugin, or one that plugin: [PATH] loads",
    });
  }
}
