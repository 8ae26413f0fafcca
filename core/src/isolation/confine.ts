/** How a plugin's program is started: as a user of its own, with the capabilities of its manifest and no way to more. */
import { statSync, type Stats } from "node:fs";
import { dirname } from "node:path";
import { k3spError, type K3spError } from "@k3s-p/plugin-api";
import type { Manifest } from "../kernel/manifest.ts";
import { findProgram, isModule, programOf } from "./program.ts";

type Confined = Pick<Manifest, "id" | "permissions">;

const isRoot = (): boolean => process.getuid?.() === 0;

/** Numbers that Debian and systemd keep for users that come and go. */
const firstUid = 61_184;
const uids = 4336;

/** Undefined = that of the server, which is not root and cannot give another. */
export function uidOf({ id, permissions: { uid } }: Pick<Manifest, "id" | "permissions">): number | undefined {
  if (!isRoot()) return undefined;
  return uid ?? firstUid + (process.getBuiltinModule("node:crypto").hash("sha256", id, "buffer").readUInt32BE() % uids);
}

/**
 * The whole command line. Throws what would keep the program from starting, in the words of its author.
 * Whatever its rights, it ends with the server, also with one that was killed.
 */
export function confine(manifest: Confined & Pick<Manifest, "dir" | "entry" | "exec">, args: readonly string[]): readonly string[] {
  const program = programOf(manifest);
  const command = [...(isModule(program) ? [process.execPath] : []), program, ...args];
  const uid = uidOf(manifest);
  if (uid === undefined) checkRootless(manifest);
  checkReach(manifest, command[0]!, 0o5, uid);
  checkReach(manifest, program, isModule(program) ? 0o4 : 0o5, uid);
  const setpriv = findProgram("setpriv");
  if (!setpriv) throw k3spError("K3SP_PROGRAM_MISSING", { message: `${manifest.id}: "setpriv" is not installed, which gives a program its rights and ends it with the server`, fix: "apt-get install util-linux" });
  return [setpriv, "--pdeathsig=KILL", ...limits(manifest.permissions, uid), "--", ...command];
}

/** Nothing is taken from root with `ALL`: what it starts in its turn, such as containers, is for it to confine. */
function limits({ capabilities = [] }: Manifest["permissions"], uid: number | undefined): readonly string[] {
  if (capabilities.includes("ALL")) return [];
  if (uid === undefined) return ["--no-new-privs"];
  const caps = ["-all", ...capabilities.map((name) => `+${name.toLowerCase()}`)].join(",");
  return ["--no-new-privs", `--reuid=${uid}`, `--regid=${uid}`, "--clear-groups", `--inh-caps=${caps}`, `--ambient-caps=${caps}`, `--bounding-set=${caps}`];
}

function checkRootless({ id, permissions: { uid, capabilities = [] } }: Confined): void {
  if (!capabilities.length && (uid === undefined || uid === process.getuid?.())) return;
  throw k3spError("K3SP_ROOT_REQUIRED", { message: `${id} asks for ${capabilities.length ? `capabilities (${capabilities.join(", ")})` : `the user ${uid}`}, which only root can give`, plugin: id });
}

/** Every folder on the way must let the user through, and the file must be readable; `need` are bits of a mode. */
function checkReach(manifest: Confined, file: string, need: number, uid: number | undefined): void {
  const stat = statSync(file, { throwIfNoEntry: false });
  if (!stat) throw unusable(manifest, `${file}: no such file`, "correct the plugin's entry");
  if (need & 1 && !(stat.mode & 0o111)) throw unusable(manifest, `${file} is not executable (chmod +x)`, `chmod +x ${file}`);
  if (uid === undefined || uid === 0) return;
  const closed = closedTo(uid, file, need);
  if (!closed) return;
  throw unusable(manifest, `it runs as the user ${uid}, who may not pass ${closed}`, `chmod o+rx ${closed}, move the plugin, or declare "permissions": { "uid": 0 }`);
}

function closedTo(uid: number, file: string, need: number): string | undefined {
  const above = file === "/" ? undefined : closedTo(uid, dirname(file), 0o1);
  if (above) return above;
  return allows(statSync(file), uid, need) ? undefined : file;
}

const allows = ({ mode, uid, gid }: Stats, user: number, need: number): boolean =>
  ((mode >> (uid === user ? 6 : gid === user ? 3 : 0)) & need) === need;

const unusable = ({ id }: Confined, why: string, fix: string): K3spError => k3spError("K3SP_PLUGIN_LOAD_FAILED", { message: `${id}: ${why}`, plugin: id, fix });
