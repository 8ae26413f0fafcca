/** The far end of the `process` mode: loads one plugin and gives it a context whose calls go to the server. */
import { k3spError, type Logger, type Plugin, type PluginContext, type StopReason } from "@k3s-p/plugin-api";
import { createBridge } from "@k3s-p/plugin-api/wire/bridge";
import { slotCatalogue } from "@k3s-p/plugin-api/slots";
import { liveHandle, type SlotCell } from "../kernel/handles.ts";
import { declared, loadPlugin } from "../kernel/hosts/inline.ts";
import { noProgram } from "./permissions.ts";

export interface ChildDeclared {
  readonly provides?: string;
  readonly needs: Readonly<Record<string, string>>;
  readonly wants: Readonly<Record<string, string>>;
  readonly parts: readonly ("ready" | "health" | "reconfigure")[];
}

/** A handle whose functions lead to the server, or what is needed to make one here. */
export type FarSlot = { readonly handle: object } | { readonly connection: unknown };

export interface ChildContext {
  readonly id: string;
  readonly config: object;
  readonly dirs: PluginContext["dirs"];
  readonly slots: Readonly<Record<string, FarSlot>>;
}

const tokens = new Map(slotCatalogue.map((slot) => [slot.id, slot]));
const abort = new AbortController();
const cells = new Map<string, SlotCell>();
const listeners = new Map<string, Set<() => void>>();
const undos: ((why: StopReason) => unknown)[] = [];
let definition: Plugin["definition"];
let impl: unknown;

const bridge = createBridge(
  { send: (message) => void (process.connected && process.send!(message)), onMessage: (fn) => void process.on("message", fn) },
  {
    ping: () => true,
    async load(manifest: { readonly id: string; readonly entry: string; readonly version: string }): Promise<ChildDeclared> {
      definition = (await loadPlugin(manifest)).definition;
      const { parts, ...rest } = declared(definition);
      return { ...rest, parts: [...parts] };
    },
    start: (context: ChildContext) => explained(context.id, async () => (impl = await definition.start(await contextOf(context)))),
    ready: () => definition.ready!(impl as never, abort.signal),
    health: () => definition.health!(impl as never),
    reconfigure: (next: object) => definition.reconfigure!(impl as never, next),
    abort: () => abort.abort(),
    async undo(why: StopReason) {
      abort.abort();
      for (const step of undos.splice(0).reverse()) await step(why);
    },
    async replaced(slot: string, far: FarSlot) {
      cells.get(slot)!.current = await implOf(slot, far);
      for (const fn of listeners.get(slot) ?? []) fn();
    },
  },
);

// The server ended, or has let go of this plugin after its undo steps.
process.on("disconnect", () => process.exit(0));
for (const event of ["uncaughtException", "unhandledRejection"] as const) {
  process.on(event, (error: unknown) => {
    void bridge.remote("fail")(error instanceof Error ? error : new Error(String(error)));
    setTimeout(() => process.exit(1), 200);
  });
}

async function contextOf({ id, config, dirs, slots }: ChildContext): Promise<PluginContext<any, any, any>> {
  for (const [slot, far] of Object.entries(slots)) cells.set(slot, { slot, current: await implOf(slot, far) });
  const handles = (wanted: Readonly<Record<string, { readonly id: string }>> = {}) => Object.freeze(Object.fromEntries(
    Object.entries(wanted).filter(([, slot]) => cells.has(slot.id)).map(([name, slot]) => [name, liveHandle(cells.get(slot.id)!)]),
  ));
  const call = (name: string, ...args: unknown[]): void => void bridge.remote(name)(...args).catch(() => {});
  return {
    id, config, dirs, signal: abort.signal, log: logger(call),
    needs: handles(definition.needs), wants: handles(definition.wants),
    slot: (slot) => cells.get(slot)?.current,
    hooks: hookNames as never,
    contribute: (point, value, order) => call("contribute", point.id, value, order),
    contributions: (point) => { throw k3spError("K3SP_PLUGIN_START_FAILED", { message: `${id}: the contributions to "${point.id}" cannot be read from another process`, plugin: id, fix: 'declare "isolation": "inline" and start the server with --allow-inline' }); },
    tap: (hook, fn, order) => call("tap", hook as unknown as string, fn, order),
    onReplaced(slot, fn) {
      const set = listeners.get(slot.id) ?? new Set();
      listeners.set(slot.id, set.add(fn));
    },
    defer: (undo) => void undos.push(undo),
    fail: (error) => call("fail", error),
    restart: (why) => call("restart", why),
    program: () => noProgram(id),
  };
}

/** Hooks are named across the process boundary. */
const hookNames = Object.freeze({ pluginReady: "pluginReady", serverReady: "serverReady", retired: "retired", stopping: "stopping" });

async function implOf(slot: string, far: FarSlot): Promise<object> {
  if ("handle" in far) return far.handle;
  const onError = (what: string, error: Error): void => void bridge.remote("log")("warn", `${slot}: ${what}: ${error.message}`).catch(() => {});
  return (await tokens.get(slot)!.derive!.connect!(far.connection, onError)) as object;
}

function logger(call: (name: string, ...args: unknown[]) => void): Logger {
  const at = (level: string) => (first: string | object, message?: string) => call("log", level, first, message);
  return { trace: () => {}, debug: at("debug"), info: at("info"), warn: at("warn"), error: at("error") } as Logger;
}

/** What Node's permission model refuses is said in the manifest's words. */
async function explained<T>(id: string, fn: () => Promise<T>): Promise<T> {
  try {
    return await fn();
  } catch (error) {
    const { code, permission = "", resource = "" } = error as { code?: string; permission?: string; resource?: string };
    if (code !== "ERR_ACCESS_DENIED") throw error;
    throw k3spError("K3SP_PERMISSION_DENIED", {
      message: `${id}: ${permission}${resource ? ` of ${resource}` : ""} is not among its permissions`, plugin: id, cause: error,
      fix: `declare it: ${declarations[permission] ?? "k3sp.permissions"} in the plugin's package.json`,
    });
  }
}

const declarations: Readonly<Record<string, string>> = {
  FileSystemRead: "k3sp.permissions.fs.read", FileSystemWrite: "k3sp.permissions.fs.write", Net: "k3sp.permissions.net",
  ChildProcess: 'needs "runner" and k3sp.permissions.exec',
};
