/** Runs a plugin's code in the server's own process: no cost, and no protection but attribution. */
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
      definition = pluginOf(manifest, await loaded(manifest, load)).definition;
      return declared(definition);
    },
    call<K extends keyof Calls>(part: K, ...args: Parameters<Calls[K]>) {
      // Called on the definition, and a synchronous throw becomes a rejection.
      return new Promise((resolve) => resolve(definition[part]!(...(args as [never, never])))) as ReturnType<Calls[K]>;
    },
    stop: async () => {},
  };
}

export const importPlugin = async (manifest: Pick<Manifest, "entry">): Promise<unknown> =>
  ((await import(pathToFileURL(manifest.entry).href)) as { default?: unknown }).default;

async function loaded(manifest: Manifest, load: (manifest: Manifest) => Promise<unknown>): Promise<unknown> {
  try {
    return await load(manifest);
  } catch (cause) {
    throw loadError(manifest, String((cause as Error)?.message ?? cause), cause);
  }
}

function pluginOf(manifest: Manifest, value: unknown): Plugin {
  if (isPlugin(value)) return value;
  throw k3spError("K3SP_PLUGIN_LOAD_FAILED", {
    message: `${manifest.id} ${manifest.version}: the default export is not a plugin`,
    detail: [`module: ${manifest.entry}`], plugin: manifest.id, fix: "export default definePlugin({ ... }) from @k3s-p/plugin-api",
  });
}

export const loadError = (manifest: Pick<Manifest, "id" | "version" | "entry">, message: string, cause?: unknown) =>
  k3spError("K3SP_PLUGIN_LOAD_FAILED", {
    message: `${manifest.id} ${manifest.version}: ${message}`, detail: [`module: ${manifest.entry}`], plugin: manifest.id, ...(cause !== undefined && { cause }),
  });

export function declared(definition: Definition): Declared {
  const ids = (slots: SlotMap | undefined) => Object.fromEntries(Object.entries(slots ?? {}).map(([name, slot]) => [name, slot.id]));
  const provides = definition.provides as { id: string } | undefined;
  const parts = (["ready", "health", "reconfigure"] as const).filter((part) => definition[part]);
  return { ...(provides && { provides: provides.id }), needs: ids(definition.needs), wants: ids(definition.wants), parts: new Set(parts) };
}
