/** Finds the program that listens on a TCP port, for the message to a user who wants that port. */
import { readdirSync, readFileSync, readlinkSync } from "node:fs";

export interface PortHolder {
  readonly pid: number;
  readonly command: string;
}

/** Undefined where the kernel does not say: for programs of other users, and in other network namespaces. */
export function portHolder(port: number): PortHolder | undefined {
  const sockets = new Set(["tcp", "tcp6"].flatMap((table) => listeningSockets(readOr(`/proc/net/${table}`), port)));
  if (sockets.size === 0) return undefined;
  const pid = entries("/proc").filter((name) => /^\d+$/.test(name)).find((process) => holdsOneOf(`/proc/${process}/fd`, sockets));
  return pid === undefined ? undefined : { pid: Number(pid), command: readOr(`/proc/${pid}/comm`).trim() };
}

const LISTENING = "0A";

/** Inodes, as `socket:[123]`. Columns: number, local address, remote address, state, ..., inode as the tenth. */
function listeningSockets(table: string, port: number): string[] {
  const suffix = `:${port.toString(16).toUpperCase().padStart(4, "0")}`;
  const rows = table.split("\n").map((line) => line.trim().split(/\s+/));
  return rows.filter((row) => row[1]?.endsWith(suffix) && row[3] === LISTENING).map((row) => `socket:[${row[9]}]`);
}

const holdsOneOf = (folder: string, sockets: ReadonlySet<string>): boolean =>
  entries(folder).some((name) => sockets.has(linkOr(`${folder}/${name}`)));

// Processes end while they are looked at.
function entries(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}

function readOr(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}

function linkOr(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    return "";
  }
}
