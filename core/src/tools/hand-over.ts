/** Runs a program in place of this process: its output, signals and exit code are its own. */
import { delimiter, join } from "node:path";
import { k3spError } from "@k3s-p/plugin-api";
import { isExecutable } from "./bundled.ts";

export function handOver(program: string, argv: readonly string[], env: NodeJS.ProcessEnv): number {
  process.execve!(program, [program, ...argv], env);
  return 1;
}

/** On the PATH, or in the folders that those of users often lack. */
export function findProgram(name: string, debianPackage: string, path = process.env.PATH ?? ""): string {
  const folders = [...path.split(delimiter), "/usr/local/bin", "/usr/sbin", "/usr/bin"].filter(Boolean);
  const found = folders.map((folder) => join(folder, name)).find(isExecutable);
  if (found) return found;
  throw k3spError("K3SP_PROGRAM_MISSING", { message: `${name} is not installed`, detail: [`searched: ${folders.join(":")}`], fix: `apt-get install ${debianPackage}` });
}
