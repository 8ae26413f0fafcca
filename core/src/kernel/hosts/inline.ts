/** Runs a plugin's code in the server's own process: no cost, and no protection but attribution. */
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { isPlugin, k3spError, type Plugin, type PluginDefinition, type SlotMap } from "@k3s-p/plugin-api";
import type { Manifest } from "../manifest.ts";
import type { Calls, Declared, PluginHost } from "./host.ts";

type Definition = PluginDefinition<any, any, any, any>;

export function inlineHost(manifest: Manifest, load: (manifest: Manifest) => Promise<unknown> = importPlugin): PluginHost {
  let definition: Definition;
  return {
    exited: new Promise(() => {}),
    async load() {
      definition = (await loadPlugin(manifest, () => load(manifest))).definition;
      return declared(definition);
    },
    call<K extends keyof Calls>(part: K, ...args: Parameters<Calls[K]>) {
      // Called on the definition, and a synchronous throw becomes a rejection.
      return new Promise((resolve) => resolve(definition[part]!(...(args as [never, never])))) as ReturnType<Calls[K]>;
    },
    stop: async () => {},
  };
}

const installation = join(import.meta.dirname, "../../../..");

async function importPlugin({ entry }: Pick<Manifest, "entry">): Promise<unknown> {
  if (!entry.startsWith(installation)) (await import("../../isolation/share-api.ts")).shareApi();
  return ((await import(pathToFileURL(entry).href)) as { default?: unknown }).default;
}

type Named = Pick<Manifest, "id" | "version" | "entry">;

export async function loadPlugin(manifest: Named, load: () => Promise<unknown> = () => importPlugin(manifest)): Promise<Plugin> {
  let value: unknown;
  try {
    value = await load();
  } catch (cause) {
    throw loadError(manifest, String((cause as Error)?.message ?? cause), { cause });
  }
  if (isPlugin(value)) return value;
  throw loadError(manifest, "the default export is not a plugin", { fix: "export default definePlugin({ ... }) from @k3s-p/plugin-api" });
}

export const loadError = ({ id, version, entry }: Named, message: string, more: object = {}) =>
  k3spError("K3SP_PLUGIN_LOAD_FAILED", { message: `${id} ${version}: ${message}`, detail: [`module: ${entry}`], plugin: id, ...more });

export function declared(definition: Definition): Declared {
  const ids = (slots: SlotMap | undefined) => Object.fromEntries(Object.entries(slots ?? {}).map(([name, slot]) => [name, slot.id]));
  const provides = definition.provides as { id: string } | undefined;
  const parts = (["ready", "health", "reconfigure"] as const).filter((part) => definition[part]);
  return { ...(provides && { provides: provides.id }), needs: ids(definition.needs), wants: ids(definition.wants), parts: new Set(parts) };
}
