/** The fingerprint of a plugin's code, to tell one package from another. */
import { createHash } from "node:crypto";
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import type { Manifest } from "../kernel/manifest.ts";

/** Of every file of its folder but installed packages and hidden ones, or of its one file. */
export function hashOf({ dir, source }: Pick<Manifest, "dir" | "source">): string {
  const hash = createHash("sha256");
  for (const file of source.entry ? [source.entry] : filesBelow(dir)) {
    hash.update(`${source.entry ? "" : file.slice(dir.length)}\0`).update(readFileSync(file)).update("\0");
  }
  return `sha256-${hash.digest("hex")}`;
}

function filesBelow(dir: string): string[] {
  const entries = readdirSync(dir, { withFileTypes: true }).filter(({ name }) => name !== "node_modules" && !name.startsWith("."));
  return entries.sort((a, b) => (a.name < b.name ? -1 : 1))
    .flatMap((entry) => (entry.isDirectory() ? filesBelow(join(dir, entry.name)) : entry.isFile() ? [join(dir, entry.name)] : []));
}
