/** The manifests of all plugins that are named, with every problem of every one of them in one report. */
import { realpathSync } from "node:fs";
import { findPackageJSON } from "node:module";
import { dirname, join } from "node:path";
import { k3spError, type Role } from "@k3s-p/plugin-api";
import type { Settings } from "../config/load.ts";
import { agentPlugins, defaultPlugins } from "../defaults.ts";
import { readManifest, type Manifest, type PluginSource, type Problem } from "../kernel/manifest.ts";
import { nodePaths } from "../node/identity.ts";
import { locate } from "./locate.ts";

/** What a user gave to name a plugin, and where. */
export interface NamedPlugin {
  readonly spec: string;
  readonly label: string;
}

/** What npm installs for plugins; programs that are no root must be able to read it. */
export const packagesFolder = (settings: Settings): string => join(nodePaths(settings).dataDir, "plugin-packages");

/** On an agent those alone that have its role: what runs on the server is not missed here. */
export function defaultManifests(role: Role): Manifest[] {
  const ids = role === "server" ? defaultPlugins : [...defaultPlugins, ...agentPlugins];
  const manifests = readAll(ids.map((id) => {
    const file = findPackageJSON(`@k3s-p/plugin-${id}`, import.meta.url);
    return { kind: "default", label: "the default plugins", path: file ? dirname(realpathSync(file)) : id };
  }), []);
  return role === "server" ? manifests : manifests.filter((m) => m.roles.includes(role));
}

export function namedPlugins({ values }: Settings): NamedPlugin[] {
  const setting = values.get("plugin");
  return ((setting?.value ?? []) as readonly string[]).map((spec, i) => {
    const from = setting!.sources?.[i] ?? setting!.source;
    return { spec, label: from.startsWith("-") ? `${from} ${spec}` : from };
  });
}

export async function namedManifests(named: readonly NamedPlugin[], packages: string): Promise<Manifest[]> {
  const places = await Promise.allSettled(named.map(({ spec }) => locate(spec, packages)));
  const lost = places.filter((place) => place.status === "rejected").map(({ reason }) => reason as Error);
  const found = places.flatMap((place, i): PluginSource[] => (place.status === "fulfilled" ? [{ kind: "user", label: named[i]!.label, ...place.value }] : []));
  return readAll(found, lost);
}

function readAll(sources: readonly PluginSource[], lost: readonly Error[]): Manifest[] {
  const problems: Problem[] = [];
  const manifests = sources.map((source) => readManifest(source, problems)).filter((m): m is Manifest => m !== undefined);
  if (!problems.length && !lost.length) return manifests;
  if (!problems.length && lost.length === 1) throw lost[0];
  const detail = [...lost.map((error) => error.message), ...problems.map((p) => `${p.file}: ${p.path ? `${p.path}: ` : ""}${p.message}`)];
  throw k3spError("K3SP_MANIFEST_INVALID", { message: detail.length === 1 ? "a plugin manifest is not valid" : `${detail.length} problems in plugin manifests`, detail });
}
