/** From a manifest's permissions to what Node and the runner enforce. */
import { existsSync, realpathSync } from "node:fs";
import { findPackageJSON } from "node:module";
import { basename, dirname, join, resolve } from "node:path";
import { k3spError, type PluginIdentity } from "@k3s-p/plugin-api";
import type { ApiGrant } from "@k3s-p/plugin-api/points";
import { pluginAccount, type Runner } from "@k3s-p/plugin-api/slots";
import type { Manifest } from "../kernel/manifest.ts";
import { programFolders } from "./program.ts";

type Paths = Readonly<Record<string, string>>;

export const memoryOf = ({ permissions }: Pick<Manifest, "permissions">): number => permissions.memory ?? 256;

/** A process may always read its code and write its own folders. */
export function permissionFlags(manifest: Manifest, paths: Paths, dirs: { readonly data: string; readonly run: string }): string[] {
  const { fs = {}, net = false } = manifest.permissions;
  const own = [dirs.data, dirs.run].map((dir) => join(dir, manifest.id));
  const write = [...own, ...(fs.write ?? []).map((path) => expand(path, paths))];
  const read = [...codeFolders(manifest.source.entry ?? manifest.dir), ...write, ...(fs.read ?? []).map((path) => expand(path, paths))];
  const reachesServer = "kube" in manifest.needs || "kube" in manifest.wants;
  return [
    ...seatBelt, ...both(read).map((path) => `--allow-fs-read=${path}`), ...both(write).map((path) => `--allow-fs-write=${path}`),
    ...(net || reachesServer ? ["--allow-net"] : []),
  ];
}

/** For a process that reads the code at `path` and does nothing else. */
export const codeFlags = (path: string): string[] => [...seatBelt, ...both(codeFolders(path)).map((each) => `--allow-fs-read=${each}`)];

const seatBelt = ["--permission", "--disable-warning=SecurityWarning", "--disable-warning=ExperimentalWarning"];

/** A folder that does not exist yet is covered only with what will be in it. */
const both = (paths: readonly string[]): string[] => paths.flatMap((path) => [path, `${path}/*`]);

const expand = (path: string, paths: Paths): string => path.replace(/^\{(\w+)\}/, (whole, name: string) => paths[name] ?? whole);

/** The plugin's folder or file, this package, plugin-api, and every node_modules above them. */
function codeFolders(plugin: string): string[] {
  const api = dirname(realpathSync(findPackageJSON("@k3s-p/plugin-api", import.meta.url)!));
  const core = resolve(import.meta.dirname, "../..");
  const folders = [plugin, api, core].map((dir) => realpathSync(dir));
  return [...new Set(folders.flatMap((dir) => [dir, ...modulesAbove(dir)]))];
}

function modulesAbove(dir: string): string[] {
  const found: string[] = [];
  for (let at = dir; ; at = dirname(at)) {
    for (const name of ["node_modules", "package.json"]) if (existsSync(join(at, name))) found.push(join(at, name));
    if (at === dirname(at)) return found;
  }
}

export const identityOf = ({ id, permissions }: Manifest): PluginIdentity => ({ id, admin: permissions.kube === "admin", ...(permissions.kube === "node" && { asNode: true }) });

const everything: ApiGrant["rules"] = [{ verbs: ["*"], apiGroups: ["*"], resources: ["*"] }, { verbs: ["*"], nonResourceURLs: ["*"] }];

/** What the plugin's ServiceAccount may do: there and gone with the plugin, so that no binding outlives it. */
export function grantOf({ id, permissions: { kube = [] } }: Manifest): ApiGrant | undefined {
  if (kube === "node") return undefined;
  const rules = kube === "admin" ? everything : kube.map(({ groups, resources, verbs }) => ({ apiGroups: groups, resources, verbs }));
  return rules.length ? { user: pluginAccount(id).user, rules } : undefined;
}

/** Points may lead deep into the server, so a plugin adds to those alone that its manifest names. */
export function checkContribution({ id, contributes }: Manifest, point: string): void {
  if (contributes.includes(point)) return;
  throw k3spError("K3SP_PERMISSION_DENIED", {
    message: `${id} may not contribute to "${point}"`, plugin: id, fix: `declare it: "contributes": ["${point}"] in the plugin's package.json`,
  });
}

/** By its name, or by the path at which the machine has it. */
function isDeclared(command: string, exec: readonly string[]): boolean {
  if (exec.includes("*") || exec.includes(command)) return true;
  return exec.includes(basename(command)) && programFolders().includes(dirname(command));
}

/** Only the module of an `exec` plugin has a program. */
export async function noProgram(id: string): Promise<never> {
  throw k3spError("K3SP_PERMISSION_DENIED", {
    message: `${id} has no program to run`, plugin: id,
    fix: 'declare "isolation": "exec" and "exec": { "program": "NAME" } in the plugin\'s package.json',
  });
}

/** The runner as a plugin gets it: only the programs that its manifest names. */
export function restrictRunner(runner: Runner, { id, permissions: { exec = [] } }: Manifest): Runner {
  const check = (command: string): void => {
    if (isDeclared(command, exec)) return;
    throw k3spError("K3SP_PERMISSION_DENIED", {
      message: `${id} may not run "${command}"`, plugin: id, fix: `declare it: "permissions": { "exec": ["${basename(command)}"] } in the plugin's package.json`,
    });
  };
  return {
    run: async (command, args, options) => (check(command), runner.run(command, args, options)),
    spawn: async (command, args, options) => (check(command), runner.spawn(command, args, options)),
  };
}
