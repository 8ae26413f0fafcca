/** A plugin's own folders, which belong to the user that its code runs as. */
import { lchownSync, lstatSync, mkdirSync, readdirSync } from "node:fs";
import { dirname, join } from "node:path";
import type { Manifest } from "../kernel/manifest.ts";
import { uidOf } from "./confine.ts";

/** Those above may be passed by everybody, and not listed. */
export function makeFolders(manifest: Manifest, dirs: { readonly data: string; readonly run: string }): void {
  const uid = ["exec", "rpc"].includes(manifest.isolation) ? uidOf(manifest) : undefined;
  for (const dir of [dirs.data, dirs.run]) {
    mkdirSync(dirname(dir), { recursive: true, mode: 0o711 });
    mkdirSync(dir, { recursive: true, mode: 0o700 });
    if (uid !== undefined && lstatSync(dir).uid !== uid) give(dir, uid);
  }
}

/** What an earlier version made as another user comes along. */
function give(path: string, uid: number): void {
  lchownSync(path, uid, uid);
  if (lstatSync(path).isDirectory()) for (const name of readdirSync(path)) give(join(path, name), uid);
}
