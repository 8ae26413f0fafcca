/** The program of a plugin: how its manifest names it, what is wrong with that, and where it lies on this machine. */
import { accessSync, constants, realpathSync, statSync } from "node:fs";
import { basename, delimiter, join, resolve, sep } from "node:path";
import { k3spError } from "@k3s-p/plugin-api";
import type { Manifest } from "../kernel/manifest.ts";

/**
 * The manifest's `exec`. With `program`, a path in the package or a name in the system's folders, the entry is the
 * module that runs it; without, the entry is the program, and the rest says what a module would.
 */
export interface ExecDeclaration {
  readonly program?: string;
  readonly args?: readonly string[];
  /** The text in its output that says it is ready. */
  readonly ready?: string;
  /** The data that fills its slot. */
  readonly provides?: object;
}

/** What runs under Node; everything else is a program. */
export const isModule = (path: string): boolean => /\.[cm]?[jt]s$/.test(path);

/** Whether a plugin's code runs in the server's own process: all of it, or the module of its program. */
export const runsInServer = ({ isolation, exec }: Pick<Manifest, "isolation" | "exec">): boolean => isolation === "inline" || exec.program !== undefined;

/** Where the machine's own programs are: the path is often shorter than that. */
const systemFolders = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];
export const programFolders = (): readonly string[] => [...new Set([...(process.env.PATH ?? "").split(delimiter), ...systemFolders])].filter(Boolean);

const isRecord = (value: unknown): value is Record<string, unknown> => typeof value === "object" && value !== null && !Array.isArray(value);
const isText = (value: unknown): boolean => typeof value === "string" && value !== "";

const checks: Readonly<Record<keyof ExecDeclaration, { readonly isGood: (value: unknown) => boolean; readonly good: string; readonly inModule?: string }>> = {
  program: { isGood: isText, good: 'the name of a program such as "containerd", or a path in the package' },
  args: { isGood: (v) => Array.isArray(v) && v.every((item) => typeof item === "string"), good: "a list of strings", inModule: "ctx.program({ args })" },
  ready: { isGood: isText, good: "a text of its output", inModule: "ctx.program({ ready })" },
  provides: { isGood: isRecord, good: "an object", inModule: "the result of start()" },
};

interface Finding {
  readonly path: string;
  readonly message: string;
}

export interface Declared {
  readonly exec: unknown;
  readonly isolation: string;
  readonly dir: string;
  readonly entry: string | undefined;
}

/** Everything that is wrong with a manifest's `exec`, and with an entry that is a program where none is run. */
export function programProblems({ exec = {}, isolation, dir, entry }: Declared): readonly Finding[] {
  if (!isRecord(exec)) return [{ path: "k3sp.exec", message: 'must be an object such as { "program": "containerd" }' }];
  const { program } = exec;
  const found = Object.keys(exec).flatMap((key) => {
    const message = execProblem(key, exec, dir);
    return message ? [{ path: `k3sp.exec.${key}`, message }] : [];
  });
  if (isolation !== "exec" && Object.keys(exec).length) found.push({ path: "k3sp.exec", message: 'is for "isolation": "exec" alone' });
  if (!entry || isModule(entry)) return found;
  const name = basename(entry);
  if (program !== undefined) found.push({ path: "exports", message: `${name} must be a module: with exec.program it is what runs the program` });
  else if (isolation !== "exec" && isolation !== "rpc") found.push({ path: "k3sp.isolation", message: `${name} is a program: "isolation" must be "exec" or "rpc"` });
  return found;
}

function execProblem(key: string, exec: Readonly<Record<string, unknown>>, dir: string): string | undefined {
  const check = checks[key as keyof ExecDeclaration];
  if (!check) return `unknown field; known are ${Object.keys(checks).join(", ")}`;
  if (!check.isGood(exec[key])) return `must be ${check.good}`;
  if (check.inModule && exec.program !== undefined) return `is for a program without a module; a module says it by ${check.inModule}`;
  return key === "program" ? pathProblem(String(exec.program), dir) : undefined;
}

function pathProblem(program: string, dir: string): string | undefined {
  if (!program.includes("/")) return undefined;
  const path = resolve(dir, program);
  if (!statSync(path, { throwIfNoEntry: false })) return `${program}: no such file`;
  return realpathSync(path).startsWith(realpathSync(dir) + sep) ? undefined : `${program} lies outside the plugin's folder; name a program of the system without its folder`;
}

/** The file that is run. */
export function programOf({ id, dir, entry, exec: { program } }: Pick<Manifest, "id" | "dir" | "entry" | "exec">): string {
  if (program === undefined) return entry;
  if (program.includes("/")) return resolve(dir, program);
  const found = findProgram(program);
  if (found) return found;
  throw k3spError("K3SP_PROGRAM_MISSING", {
    message: `${id}: "${program}" is not installed`, detail: [`searched: ${programFolders().join(":")}`], plugin: id,
    fix: `install it, or start without the plugin: --disable ${id}`,
  });
}

export const findProgram = (name: string): string | undefined => programFolders().map((folder) => join(folder, name)).find(isExecutable);

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
