/** The real kernel over plugins of a test: what they do not provide is filled by the fakes that the test gives. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { definePlugin, isPlugin, type Logger, type Plugin, type Role, type Slot } from "@k3s-p/plugin-api";
import { pointCatalogue } from "@k3s-p/plugin-api/points";
import { slotCatalogue, kernelSlots, type NodeInfo } from "@k3s-p/plugin-api/slots";
import { localRunner, testNode } from "@k3s-p/plugin-api/testing";
import { createKernel, createPki, readManifest, resolvePlan, type Kernel, type KernelOptions, type Manifest } from "@k3s-p/core";
import { pluginConfigs } from "../../core/src/config/plugins.ts";

export interface TestKernelOptions {
  /** By id: a plugin made by `definePlugin`, or the folder of one. */
  readonly plugins: Readonly<Record<string, Plugin | string>>;
  /** Implementations of slots that no plugin here provides; `kube` may be a client. Required slots may be left out. */
  readonly slots?: Readonly<Record<string, object>>;
  /** Sections of the plugins, checked against their schemas as on a server. */
  readonly config?: Readonly<Record<string, object>>;
  readonly role?: Role;
  readonly node?: (dir: string) => NodeInfo;
  /** `manualClock()` makes restarts and back-off a matter of `clock.pass(ms)`. */
  readonly clock?: NonNullable<KernelOptions["clock"]>;
  /** Other options of the kernel itself, such as its timeouts. */
  readonly kernel?: Partial<KernelOptions>;
}

export interface TestKernel extends AsyncDisposable {
  readonly kernel: Kernel;
  readonly dir: string;
  /** `plugin level message` */
  readonly logged: readonly string[];
  slot<T>(id: string): T;
  stop(): Promise<void>;
}

/** Starts the kernel and resolves when it is ready; use with `await using`, or call `stop`. */
export async function createTestKernel(options: TestKernelOptions): Promise<TestKernel> {
  const dir = mkdtempSync(join(tmpdir(), "k3sp-kernel-"));
  const remove = () => rmSync(dir, { recursive: true, force: true });
  try {
    return await boot(options, dir, remove);
  } catch (error) {
    remove();
    throw error;
  }
}

async function boot(options: TestKernelOptions, dir: string, remove: () => void): Promise<TestKernel> {
  const { role = "server", slots = {}, config = {} } = options;
  const node = options.node?.(dir) ?? testNode(dir, { role });
  const refs = { node, runner: localRunner(), pki: createPki(node.paths.tls) };
  const own = new Map<string, Plugin>();
  const given = Object.entries(options.plugins).map(([id, plugin]) => describe(dir, id, plugin, own));
  const provided = new Set(given.flatMap((m) => Object.keys(m.provides)));
  const fakes = fakeProviders(slots, provided, role);
  const manifests = [...given, ...Object.entries(fakes).map(([id, plugin]) => describe(dir, id, plugin, own))];
  const plan = resolvePlan({ manifests, role, roles: [role], disabled: new Map(), slots: new Map() });
  const sections = new Map(Object.entries(config).map(([id, section]) => [id, { config: { ...section }, positions: new Map<string, string>() }]));
  const configs = await pluginConfigs(plan.plugins, { values: new Map(), slots: new Map(), warnings: [], plugins: sections });
  const logged: string[] = [];
  const kernel = createKernel({
    plan, configs, refs: { ...refs, ...pick(slots, kernelSlots) }, dirs: { data: join(dir, "plugins"), run: join(dir, "run-plugins") },
    log: (plugin) => memoryLogger(logged, plugin),
    load: async (m) => own.get(m.id) ?? ((await import(pathToFileURL(m.entry).href)) as { default: unknown }).default,
    ...(options.clock && { clock: options.clock }), ...options.kernel,
  });
  const stop = async () => {
    await kernel.stop();
    remove();
  };
  try {
    await kernel.start();
  } catch (error) {
    await stop();
    throw error;
  }
  return { kernel, dir, logged, stop, slot: (id) => kernel.slot(id), [Symbol.asyncDispose]: stop };
}

/** A definition gets a manifest that says what its code does, and all rights unless it asks for its own; a folder has one. */
function describe(dir: string, id: string, plugin: Plugin | string, own: Map<string, Plugin>): Manifest {
  const path = typeof plugin === "string" ? resolve(plugin) : join(dir, "manifests", id);
  if (isPlugin(plugin)) {
    own.set(id, plugin);
    const { provides, needs = {}, wants = {}, config, manifest } = plugin.definition;
    const ranges = (tokens: object) => Object.fromEntries((Object.values(tokens) as Slot<unknown>[]).map((slot) => [slot.id, "^1"]));
    const k3sp = {
      api: "^0.1.0", provides: provides ? { [provides.id]: provides.contract } : {}, needs: ranges(needs), wants: ranges(wants), isolation: "inline", contributes: pointCatalogue.map((point) => point.id),
      permissions: manifest?.permissions ?? { kube: "admin", exec: ["*"] },
      config: config ?? { type: "object", properties: {}, additionalProperties: true },
    };
    mkdirSync(path, { recursive: true });
    writeFileSync(join(path, "package.json"), JSON.stringify({ name: id, version: "1.0.0", type: "module", exports: "./plugin.js", k3sp }));
    writeFileSync(join(path, "plugin.js"), "");
  }
  const problems: Parameters<typeof readManifest>[1] = [];
  const manifest = readManifest({ kind: "default", label: "the test", path }, problems);
  if (!manifest) throw new Error(problems.map((p) => `${p.file}: ${p.path}: ${p.message}`).join("\n"));
  return manifest;
}

/** What the test gives for slots, and empty objects for the slots that the role cannot be without. */
function fakeProviders(slots: Readonly<Record<string, object>>, provided: ReadonlySet<string>, role: Role): Record<string, Plugin> {
  const fakes: Record<string, Plugin> = {};
  for (const slot of slotCatalogue) {
    if (slot.derive || kernelSlots.includes(slot.id) || provided.has(slot.id)) continue;
    const view = slot.id === "apiserver" && slots.kube ? { client: () => slots.kube } : undefined;
    const impl = slots[slot.id] ?? view ?? (slot.required.includes(role) ? {} : undefined);
    if (impl) fakes[`fake-${slot.id}`] = definePlugin({ provides: slot, start: () => impl as never });
  }
  return fakes;
}

const pick = (from: Readonly<Record<string, object>>, keys: readonly string[]): Record<string, object> =>
  Object.fromEntries(Object.entries(from).filter(([key]) => keys.includes(key)));

function memoryLogger(lines: string[], plugin: string): Logger {
  const at = (level: string) => (fields: string | object, message?: string) =>
    void lines.push(`${plugin} ${level} ${typeof fields === "string" ? fields : (message ?? "")}`);
  return { trace: at("trace"), debug: at("debug"), info: at("info"), warn: at("warn"), error: at("error") };
}
