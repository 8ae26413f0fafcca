/** Chooses the host of a plugin by its isolation mode; a mode's code is loaded when the first plugin asks for it. */
import type { Logger } from "@k3s-p/plugin-api";
import { slotById } from "../board.ts";
import type { Manifest } from "../manifest.ts";
import { lazyHost, type PluginHost } from "./host.ts";
import { inlineHost } from "./inline.ts";
import { identityOf } from "../../isolation/permissions.ts";

export interface HostsOptions {
  readonly paths: Readonly<Record<string, string>>;
  readonly dirs: { readonly data: string; readonly run: string };
  readonly refs: Readonly<Record<string, object>>;
  /** A live handle of a slot. */
  readonly provider: (slot: string) => object;
  /** Asked before any code of a plugin that did not come with the server runs; rejects when it may not. */
  readonly admit?: (manifest: Manifest, log: Logger) => Promise<void>;
  /** Milliseconds between signs of life of a process, and for an answer. */
  readonly heartbeat?: number;
  /** Milliseconds that a program may take to answer a call of its slot. */
  readonly callTimeout?: number;
  /** Plugins whose process waits for a debugger. */
  readonly attach?: readonly string[];
}

export interface HostOptions extends Pick<HostsOptions, "paths" | "dirs" | "heartbeat" | "callTimeout"> {
  readonly manifest: Manifest;
  readonly log: Logger;
  readonly attach?: boolean;
  /** What a derived slot such as `kube` needs to be reached from another process. */
  readonly connect: (slot: string) => Promise<unknown>;
}

const modes: Readonly<Record<Manifest["isolation"], (options: HostOptions) => Promise<PluginHost>>> = {
  inline: async ({ manifest }) => inlineHost(manifest),
  process: async (options) => (await import("../../isolation/process.ts")).processHost(options),
  exec: async (options) => (await import("../../isolation/exec.ts")).execHost(options),
  rpc: async (options) => (await import("../../isolation/rpc.ts")).rpcHost(options),
};

export function createHosts({ refs, provider, admit, attach = [], ...rest }: HostsOptions): (manifest: Manifest, log: Logger) => PluginHost {
  return (manifest, log) => {
    const { isolation, source } = manifest;
    if (isolation === "inline" && source.kind === "default") return inlineHost(manifest);
    const connect = async (slot: string): Promise<unknown> => {
      const { from, link } = slotById.get(slot)!.derive!;
      return link!(provider(from), identityOf(manifest), refs);
    };
    return lazyHost(async () => {
      if (source.kind === "user") await admit?.(manifest, log);
      return modes[isolation]({ ...rest, manifest, log, connect, attach: attach.includes(manifest.id) });
    });
  };
}
