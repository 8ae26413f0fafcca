/** Reads and checks a plugin's static manifest (package.json `k3sp`) without running any of its code. */
import { readFileSync, realpathSync, statSync } from "node:fs";
import { dirname, join, resolve, sep } from "node:path";
import { closest, distance } from "fastest-levenshtein";
import { permissionChecks, permissionProblem, type Permissions } from "../isolation/declaration.ts";
import { programProblems, type ExecDeclaration } from "../isolation/program.ts";
import { semver } from "../semver.ts";
import { type Role } from "@k3s-p/plugin-api";
import { pointCatalogue } from "@k3s-p/plugin-api/points";
import { slotCatalogue } from "@k3s-p/plugin-api/slots";

/** Where a plugin was named: `default`, `--plugin ./my-cni`, `/etc/rancher/k3s/config.yaml:14`. */
export interface PluginSource {
  readonly kind: "default" | "user";
  readonly label: string;
  /** Folder of its code, with a package.json unless the two below say otherwise. */
  readonly path: string;
  /** The one file that is the whole plugin: a module, or a program. */
  readonly entry?: string;
  /** Another file than package.json, or what a module itself declares. */
  readonly manifest?: string | Readonly<Record<string, unknown>>;
}

export interface Manifest {
  readonly id: string;
  readonly name: string;
  readonly version: string;
  readonly description: string;
  readonly dir: string;
  readonly entry: string;
  readonly roles: readonly Role[];
  readonly provides: Readonly<Record<string, string>>;
  readonly needs: Readonly<Record<string, string>>;
  readonly wants: Readonly<Record<string, string>>;
  readonly contributes: readonly string[];
  readonly criticality: "required" | "optional";
  /** What becomes of it when another provider, or the same one after a restart, takes over a slot that it uses. */
  readonly onDependencyRestart: "keep" | "restart";
  /** Default plugins run inline, others in a process of their own, unless the manifest says otherwise. */
  readonly isolation: "inline" | "process" | "exec" | "rpc";
  readonly permissions: Permissions;
  readonly exec: ExecDeclaration;
  /** JSON Schema of the plugin's section. */
  readonly schema: Readonly<Record<string, unknown>>;
  readonly example: Readonly<Record<string, unknown>>;
  /** K3s flag -> option of the plugin's config. */
  readonly flags: Readonly<Record<string, string>>;
  readonly source: PluginSource;
}

/** One finding: file, path inside it, what is wrong. */
export interface Problem {
  readonly file: string;
  readonly path: string;
  readonly message: string;
}

/** Of the plugin API that this host has. */
export const API_VERSION = "0.1.0";
const fields = [
  "api", "roles", "provides", "needs", "wants", "contributes", "config", "isolation", "criticality", "onDependencyRestart",
  "permissions", "exec", "example", "proposals", "flags",
] as const;
const emptySchema = { type: "object", properties: {}, additionalProperties: false };
const slotIds = slotCatalogue.map((slot) => slot.id);
const pointIds = pointCatalogue.map((point) => point.id);

/** `@k3s-p/plugin-flannel` -> `flannel`; `@acme/my-cni` -> `my-cni`. */
export const pluginId = (name: string): string => name.replace(/^@k3s-p\/plugin-/, "").replace(/^@[^/]+\//, "");

/** Collects every problem into `problems`; returns undefined when the manifest cannot be used. */
export function readManifest(source: PluginSource, problems: Problem[]): Manifest | undefined {
  const file = typeof source.manifest === "string" ? source.manifest : (source.entry ?? join(source.path, "package.json"));
  const before = problems.length;
  const report = (path: string, message: string) => void problems.push({ file, path, message });
  const pkg = typeof source.manifest === "object" ? source.manifest : readJson(file, report);
  if (!pkg) return undefined;
  const k3sp = pkg.k3sp;
  if (typeof pkg.name !== "string" || !pkg.name) report("name", "missing");
  if (typeof pkg.version !== "string" || !semver.valid(pkg.version)) report("version", `${JSON.stringify(pkg.version)} is not a semantic version such as "0.1.0"`);
  if (!isRecord(k3sp)) {
    report("k3sp", 'missing: a plugin declares itself with a "k3sp" object');
    return undefined;
  }
  checkFields(k3sp, report);
  const dir = dirname(file);
  const entryPath = source.entry ?? entryOf(pkg, dir, report);
  const isolation = (k3sp.isolation as Manifest["isolation"] | undefined) ?? (source.kind === "user" ? "process" : "inline");
  for (const { path, message } of programProblems({ exec: k3sp.exec, isolation, dir, entry: entryPath })) report(path, message);
  const schema = schemaOf(k3sp.config, dir, report);
  if (problems.length > before || !entryPath) return undefined;
  return {
    id: pluginId(pkg.name as string), name: pkg.name as string, version: pkg.version as string,
    description: String(pkg.description ?? ""), dir, entry: entryPath,
    roles: (k3sp.roles as Role[] | undefined) ?? ["server", "agent"],
    provides: record(k3sp.provides), needs: record(k3sp.needs), wants: record(k3sp.wants),
    contributes: (k3sp.contributes as string[] | undefined) ?? [],
    criticality: (k3sp.criticality as Manifest["criticality"] | undefined) ?? "required",
    onDependencyRestart: (k3sp.onDependencyRestart as Manifest["onDependencyRestart"] | undefined) ?? "keep",
    isolation, permissions: (k3sp.permissions as Permissions | undefined) ?? {}, exec: (k3sp.exec as ExecDeclaration | undefined) ?? {}, schema, example: (k3sp.example as Manifest["example"] | undefined) ?? {}, flags: record(k3sp.flags), source,
  };
}

type Report = (path: string, message: string) => void;

function readJson(file: string, report: Report): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(readFileSync(file, "utf8"));
    if (isRecord(value)) return value;
    report("", "must be a JSON object");
  } catch (error) {
    const missing = (error as NodeJS.ErrnoException).code === "ENOENT";
    report("", missing ? "not found: a plugin's folder has a package.json" : `not valid JSON: ${(error as Error).message}`);
  }
  return undefined;
}

function checkFields(k3sp: Record<string, unknown>, report: Report): void {
  for (const key of Object.keys(k3sp)) {
    if (!(fields as readonly string[]).includes(key)) report(`k3sp.${key}`, `unknown field${didYouMean(key, fields)}`);
  }
  checkRange("k3sp.api", k3sp.api ?? "", `^${API_VERSION}`, report);
  if (typeof k3sp.api === "string" && semver.validRange(k3sp.api) && !semver.satisfies(API_VERSION, k3sp.api, { includePrerelease: true })) {
    report("k3sp.api", `${k3sp.api} does not include this host's plugin API ${API_VERSION}`);
  }
  for (const key of ["provides", "needs", "wants"] as const) checkSlots(key, k3sp[key], report);
  checkList("k3sp.roles", k3sp.roles, ["server", "agent"], report);
  checkList("k3sp.contributes", k3sp.contributes, pointIds, report);
  checkPermissions(k3sp, report);
  checkOneOf("k3sp.isolation", k3sp.isolation, ["inline", "process", "exec", "rpc"], report);
  checkOneOf("k3sp.criticality", k3sp.criticality, ["required", "optional"], report);
  checkOneOf("k3sp.onDependencyRestart", k3sp.onDependencyRestart, ["keep", "restart"], report);
}

function checkPermissions({ permissions, isolation }: Record<string, unknown>, report: Report): void {
  if (permissions === undefined) return;
  if (!isRecord(permissions)) return report("k3sp.permissions", "must be an object");
  const known = Object.keys(permissionChecks);
  for (const key of Object.keys(permissions)) {
    const problem = known.includes(key) ? permissionProblem(key, permissions, isolation) : `unknown permission${didYouMean(key, known)}`;
    if (problem) report(`k3sp.permissions.${key}`, problem);
  }
}

function checkSlots(key: "provides" | "needs" | "wants", value: unknown, report: Report): void {
  if (value === undefined) return;
  if (!isRecord(value)) return report(`k3sp.${key}`, 'must be an object such as { "cni": "1.0" }');
  for (const [slot, version] of Object.entries(value)) {
    const path = `k3sp.${key}.${slot}`;
    if (!slotIds.includes(slot)) {
      report(path, `unknown slot${didYouMean(slot, slotIds)}`);
    } else if (key === "provides") {
      if (typeof version !== "string" || !/^\d+\.\d+$/.test(version)) report(path, `${JSON.stringify(version)} is not a contract version such as "1.0"`);
    } else checkRange(path, version, "^1", report);
  }
}

/** A range must pin at least the major, as the common form `^1.2` does; `*` and `>=1` would accept contracts that do not exist yet. */
function checkRange(path: string, value: unknown, good: string, report: Report): void {
  if (typeof value !== "string" || !semver.validRange(value)) {
    return report(path, `${JSON.stringify(value)} is not a version range; use for example "${good}"`);
  }
  if (semver.satisfies(`${semver.lowestMajor(value) + 1}.0.0`, value)) {
    report(path, `"${value}" does not pin a major version; use "${good}"`);
  }
}

function checkList(path: string, value: unknown, allowed: readonly string[], report: Report): void {
  if (value === undefined) return;
  if (!Array.isArray(value)) return report(path, "must be a list");
  for (const item of value) checkOneOf(path, item, allowed, report);
}

function checkOneOf(path: string, value: unknown, allowed: readonly string[], report: Report): void {
  if (value === undefined || allowed.includes(value as string)) return;
  report(path, `${JSON.stringify(value)} is not allowed; allowed: ${allowed.join(", ")}${didYouMean(String(value), allowed)}`);
}

function entryOf(pkg: Record<string, unknown>, dir: string, report: Report): string | undefined {
  const exported = isRecord(pkg.exports) ? pkg.exports["."] : pkg.exports;
  const relative = (exported ?? pkg.main ?? "./src/plugin.ts") as unknown;
  if (typeof relative !== "string") return void report("exports", "must name one file");
  const path = resolve(dir, relative);
  if (!statSync(path, { throwIfNoEntry: false })) return void report("exports", `${relative}: no such file`);
  if (!realpathSync(path).startsWith(realpathSync(dir) + sep)) return void report("exports", `${relative} lies outside the plugin's folder`);
  return path;
}

function schemaOf(config: unknown, dir: string, report: Report): Manifest["schema"] {
  if (config === undefined) return emptySchema;
  if (isRecord(config)) return config;
  const path = resolve(dir, String(config));
  const schema = readJson(path, (_, message) => report("k3sp.config", `${String(config)}: ${message}`));
  return schema ?? emptySchema;
}

export function didYouMean(word: string, candidates: readonly string[]): string {
  const best = candidates.length ? closest(word, candidates) : "";
  return best && distance(word, best) <= Math.max(2, word.length / 3) ? `; did you mean "${best}"?` : "";
}

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);
const record = (value: unknown): Readonly<Record<string, string>> => (value ?? {}) as Record<string, string>;
