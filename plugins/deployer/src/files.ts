/** The manifest directory: which files count, and notice of their changes. */
import { type FSWatcher, watch } from "node:fs";
import { readdir, realpath, stat } from "node:fs/promises";
import { basename, join, relative, sep } from "node:path";

export interface ManifestFile {
  readonly path: string;
  /** Changes whenever the content may have changed. */
  readonly stamp: string;
}

export interface Scan {
  readonly files: readonly ManifestFile[];
  readonly directories: readonly string[];
}

const extensions = /\.(ya?ml|json)$/i;

/** Base name up to the first dot. */
export const addonNameOf = (path: string): string => basename(path).split(".")[0]!;

/** Whether `--disable` names the file's AddOn or a folder that it lies in. */
export function isDisabled(root: string, path: string, disabled: readonly string[]): boolean {
  return relative(root, path).split(sep).some((part) => disabled.includes(part.split(".")[0]!));
}

/** Walks the tree, through symlinked folders too; `.skip` beside a file or folder hides it, as a leading dot does. */
export async function scan(root: string): Promise<Scan> {
  const files: ManifestFile[] = [];
  const directories: string[] = [];
  const visited = new Set<string>();

  async function walk(directory: string): Promise<void> {
    const real = await realpath(directory).catch(() => undefined);
    if (!real || visited.has(real)) return;
    visited.add(real);
    directories.push(directory);
    const names = (await readdir(directory).catch(() => [])).sort();
    for (const name of names) {
      if (name.startsWith(".") || names.includes(`${name}.skip`)) continue;
      const path = join(directory, name);
      const info = await stat(path, { bigint: true }).catch(() => undefined);
      if (info?.isDirectory()) await walk(path);
      else if (info?.isFile() && extensions.test(name)) files.push({ path, stamp: `${info.mtimeNs}:${info.size}:${info.ino}` });
    }
  }

  await walk(root);
  files.sort((a, b) => (a.path < b.path ? -1 : 1));
  return { files, directories };
}

export interface DirectoryWatcher {
  /** Watches exactly these folders from now on; nothing after `close`. */
  set(directories: readonly string[]): void;
  close(): void;
}

export function watchDirectories(onChange: () => void): DirectoryWatcher {
  const watchers = new Map<string, FSWatcher>();
  let closed = false;
  const drop = (directory: string) => {
    watchers.get(directory)?.close();
    watchers.delete(directory);
  };
  return {
    set(directories) {
      if (closed) return;
      for (const directory of watchers.keys()) if (!directories.includes(directory)) drop(directory);
      for (const directory of directories) {
        if (watchers.has(directory)) continue;
        try {
          const watcher = watch(directory, { persistent: false }, onChange);
          // A folder that went away: the next scan forgets it.
          watcher.on("error", () => (drop(directory), onChange()));
          watchers.set(directory, watcher);
        } catch {
          // Out of inotify watches or gone: the slow scan still finds changes.
        }
      }
    },
    close() {
      closed = true;
      for (const directory of [...watchers.keys()]) drop(directory);
    },
  };
}
