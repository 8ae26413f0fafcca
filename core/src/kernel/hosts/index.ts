/** Chooses the host of a plugin by its isolation mode; a mode's code is loaded when the first plugin asks for it. */
import type { Logger } from "@k3s-p/plugin-api";
import { slotById } from "../board.ts";
import type { Manifest } from "../manifest.ts";
import { lazyHost, type PluginHost } from "./host.ts";
import { inlineHost } from "./inline.ts";
import { identityOf } from "./permissions.ts";

export interface HostsOptions {
  readonly paths: Readonly<Record<string, string>>;
  readonly dirs: { readonly data: string; readonly run: string };
  readonly refs: Readonly<Record<string, object>>;
  /** A live handle of a slot. */
  readonly provider: (slot: string) => object;
}

export function createHosts({ paths, dirs, refs, provider }: HostsOptions): (manifest: Manifest, log: Logger) => PluginHost {
  return (manifest, log) => {
    if (manifest.isolation === "inline") return inlineHost(manifest);
    const connect = async (slot: string): Promise<unknown> => {
      const { from, link } = slotById.get(slot)!.derive!;
      return link!(provider(from), identityOf(manifest), refs);
    };
    return lazyHost(async () => (await import("./process.ts")).processHost({ manifest, log, paths, dirs, connect }));
  };
}
