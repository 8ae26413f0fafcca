/** Follows files that an administrator, or a program that renews them, may replace while the server runs. */
import { realpathSync, watch } from "node:fs";
import { basename, dirname } from "node:path";

export interface FollowOptions {
  readonly onChange: () => void;
  /** The files cannot be followed, and count as they are now. */
  readonly onError: (error: unknown) => void;
}

/** Milliseconds in which the steps of one replacement count as one change. */
const SETTLE = 200;

/** Follows the folders, as most programs put a new file in the place of the old one. Returns the stop function. */
export function followFiles(paths: readonly string[], { onChange, onError }: FollowOptions): () => void {
  let timer: NodeJS.Timeout | undefined;
  const changed = (): void => {
    timer ??= setTimeout(() => {
      timer = undefined;
      onChange();
    }, SETTLE).unref();
  };
  const folders = Map.groupBy(new Set(paths.flatMap((path) => [path, targetOf(path)])), (path) => dirname(path));
  const watchers = [...folders].flatMap(([folder, files]) => {
    const names = files.map((path) => basename(path));
    try {
      // A mounted ConfigMap changes by its link `..data`.
      const watcher = watch(folder, { persistent: false }, (_event, name) => {
        if (name === null || names.includes(name) || name.startsWith("..")) changed();
      });
      watcher.on("error", onError);
      return [watcher];
    } catch (error) {
      onError(error);
      return [];
    }
  });
  return () => {
    clearTimeout(timer);
    for (const watcher of watchers) watcher.close();
  };
}

function targetOf(path: string): string {
  try {
    return realpathSync(path);
  } catch {
    return path;
  }
}
