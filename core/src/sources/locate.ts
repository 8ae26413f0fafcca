/** What `--plugin` may name: each form ends as a folder or file with a manifest. */
import { existsSync, statSync } from "node:fs";
import { basename, dirname, extname, join, resolve } from "node:path";
import { k3spError, type K3spError } from "@k3s-p/plugin-api";
import { isModule } from "../isolation/program.ts";
import type { PluginSource } from "../kernel/manifest.ts";
import { isExecutable } from "../tools/bundled.ts";

export type Place = Pick<PluginSource, "path" | "entry" | "manifest">;

/**
 * `spec` is a folder, a module, a `.tgz`, a program with a `plugin.json` beside it, or the name of an npm package.
 * `packages` is the folder that what npm installs is kept in.
 */
export async function locate(spec: string, packages: string): Promise<Place> {
  if (!spec.trim()) throw k3spError("K3SP_PLUGIN_NOT_FOUND", { message: "no plugin is named" });
  const path = resolve(spec);
  const stat = statSync(path, { throwIfNoEntry: false });
  if (stat?.isDirectory()) return { path };
  const archive = /\.(tgz|tar\.gz)$/.test(path);
  const name = stat || archive || isModule(path) ? undefined : packageName(spec);
  if (!stat && !name) throw k3spError("K3SP_PLUGIN_NOT_FOUND", { message: `${spec}: no such file or folder` });
  if (name) return (await import("./packages.ts")).packageByName(name, packages);
  if (archive) return (await import("./packages.ts")).packageByFile(path, packages);
  return isModule(path) ? moduleAt(path) : programAt(path);
}

/** `npm:` says it where a bare word means something else. */
const npmName = /^(?:npm:)?((?:@[a-z0-9][\w.-]*\/)?[a-z0-9][\w.-]*)(?:@([\w.^~<>=*| -]+))?$/;

/** The name and version that npm understands, `my-cni@latest`; undefined when the word is none. */
export function packageName(spec: string): string | undefined {
  const [, name, version = "latest"] = npmName.exec(spec) ?? [];
  return name && `${name}@${version}`;
}

const isPackage = (word: string): boolean => /^(npm:|@)|^[^./][^/]*[^/]@/.test(word);

/** Where a plugin's name could stand as well: the word leads to a file, or says that it is a package. */
export const isSource = (word: string): boolean => isPackage(word) || /[/\\]|\.[a-z]+$/.test(word);

/** For a server with another working directory. */
export const absoluteSource = (word: string): string => (isSource(word) && !isPackage(word) ? resolve(word) : word);

async function moduleAt(entry: string): Promise<Place> {
  const sidecar = `${entry.slice(0, -extname(entry).length)}.json`;
  const manifest = existsSync(sidecar) ? sidecar : await (await import("./declared.ts")).declaredBy(entry);
  return { path: dirname(entry), entry, manifest };
}

function programAt(entry: string): Place {
  const manifest = join(dirname(entry), "plugin.json");
  if (!isExecutable(entry)) throw notAPlugin(entry, "it is neither a module nor a program");
  if (!existsSync(manifest)) throw notAPlugin(entry, `a program needs its manifest beside it, in ${manifest}`, `write { "name": "${basename(entry, extname(entry))}", "version": "0.1.0", "k3sp": { "api": "^0.1.0", "isolation": "rpc" } } into plugin.json`);
  return { path: dirname(entry), entry, manifest };
}

const notAPlugin = (path: string, why: string, fix?: string): K3spError =>
  k3spError("K3SP_PLUGIN_SOURCE_INVALID", { message: `${path} is not a plugin: ${why}`, ...(fix && { fix }) });
