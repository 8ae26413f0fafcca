/** The plugin under test: read from its folder, started by itself with a fake for each slot that it needs. */
import { readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { isPlugin, type HealthResult, type Plugin } from "../plugin.ts";
import type { Slot } from "../contract.ts";
import { startAlone, type StartedPlugin } from "../testing.ts";
import type { ConformanceContext } from "./suite.ts";
import { createWorld, type World, type WorldOptions } from "./world.ts";

export interface Subject {
  /** The package's name without its scope. */
  readonly id: string;
  readonly folder: string;
  readonly plugin: Plugin;
  /** Slots that it provides. */
  readonly provides: readonly string[];
  /** The program of an `exec` plugin. */
  readonly program?: string | undefined;
  /** The schema's defaults with what the test sets. */
  readonly config: Readonly<Record<string, unknown>>;
  /** What its start must not be without on this machine, beyond what the slot's suite says. */
  readonly validate?: (config: object) => void | Promise<void>;
}

export interface SubjectOptions {
  readonly config?: Readonly<Record<string, unknown>>;
  /** Throws what the kernel would throw for a section of the configuration. */
  readonly validate?: Subject["validate"];
}

interface PackageFile {
  readonly name: string;
  readonly exports?: unknown;
  readonly k3sp?: { readonly provides?: object; readonly config?: unknown; readonly exec?: { readonly program?: string } };
}

/** Reads `package.json` and the schema, and loads the plugin. */
export async function openSubject(where: string | URL, options: SubjectOptions = {}): Promise<Subject> {
  const folder = resolve(where instanceof URL ? fileURLToPath(where) : where);
  const pkg = json(join(folder, "package.json")) as PackageFile;
  const entry = typeof pkg.exports === "string" ? pkg.exports : "./src/plugin.ts";
  const plugin: unknown = ((await import(pathToFileURL(join(folder, entry)).href)) as { default: unknown }).default;
  if (!isPlugin(plugin)) throw new TypeError(`${entry}: the default export is not a plugin; export default definePlugin({ ... })`);
  const section = pkg.k3sp?.config;
  const schema = (typeof section === "string" ? json(join(folder, section)) : (section ?? {})) as { properties?: Record<string, { default?: unknown }> };
  const defaults = Object.entries(schema.properties ?? {}).filter(([, p]) => p.default !== undefined).map(([name, p]) => [name, p.default] as const);
  return {
    id: pkg.name.replace(/^@k3s-p\/plugin-/, "").replace(/^@[^/]+\//, ""), folder, plugin,
    provides: Object.keys(pkg.k3sp?.provides ?? {}), config: { ...Object.fromEntries(defaults), ...options.config },
    program: programOf(folder, pkg), ...(options.validate && { validate: options.validate }),
  };
}

/** A path leads into the package, a name to the system's folders. */
function programOf(folder: string, { k3sp }: PackageFile): string | undefined {
  const program = k3sp?.exec?.program;
  return program?.includes("/") ? join(folder, program) : program;
}

const json = (path: string): unknown => JSON.parse(readFileSync(path, "utf8"));

export interface Started<T> extends StartedPlugin<T> {
  readonly world: World;
  health(): Promise<HealthResult>;
}

/** Starts the plugin in a world of fakes below the test's folder, up to and including its readiness gate. */
export async function startSubject<T>(
  subject: Subject, ctx: ConformanceContext, options: WorldOptions & { readonly abort?: AbortController; readonly world?: World } = {},
): Promise<Started<T>> {
  const world = options.world ?? (await createWorld(ctx.dir, options));
  const { definition } = subject.plugin;
  const tokens = Object.entries((definition.needs ?? {}) as Record<string, Slot<unknown>>);
  const needs = Object.fromEntries(tokens.map(([name, slot]) => [name, world.slots[slot.id]]));
  const abort = options.abort ?? new AbortController();
  const started = await startAlone<T>(subject.plugin, { id: subject.id, needs, config: subject.config, dir: ctx.dir, abort, program: subject.program });
  try {
    await definition.ready?.(started.impl as never, abort.signal);
  } catch (error) {
    await started.stop();
    throw error;
  }
  return { ...started, world, health: async () => (await definition.health?.(started.impl as never)) ?? { ok: true } };
}
