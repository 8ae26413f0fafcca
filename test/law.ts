/** The import law: who may import whom. Prints every breach as `file:line: what`. */
import { globSync, readFileSync } from "node:fs";
import { dirname, resolve, sep } from "node:path";

const specifier = /(?:\bfrom\s*|\bimport\s*\(\s*|\bimport\s+)["']([^"']+)["']/g;

interface Room {
  readonly files: string;
  /** Why this import is not allowed here, or undefined. */
  readonly refuse: (name: string, room: string) => string | undefined;
}

const isHouse = (name: string): boolean => name.startsWith("@k3s-p/");
const isPluginApi = (name: string): boolean => name === "@k3s-p/plugin-api" || name.startsWith("@k3s-p/plugin-api/");

const rooms: readonly Room[] = [
  {
    files: "plugins/*/{src,build}/**/*.ts",
    refuse: (name) => (isHouse(name) && !isPluginApi(name) ? "plugins import only plugin-api, npm packages and their own files" : undefined),
  },
  { files: "core/**/*.ts", refuse: (name) => (isHouse(name) && !isPluginApi(name) ? "core imports no plugin" : undefined) },
  { files: "plugin-api/src/**/*.ts", refuse: (name) => (isHouse(name) ? "plugin-api imports neither core nor plugins" : undefined) },
];

/** `import type` of the models is free; their runtime costs start time and memory. */
function refuseRuntimeModels(line: string, name: string): string | undefined {
  if (name !== "@kubernetes/client-node" || /^\s*(import|export)\s+type\b/.test(line)) return undefined;
  return "only types may be imported from @kubernetes/client-node";
}

/** See plugin-api/src/http.ts. */
function refuseHttp(line: string, name: string, file: string): string | undefined {
  if (name !== "node:http" || /^\s*(import|export)\s+type\b/.test(line) || /conformance|\.test\.ts$|plugin-api\/src\/http\.ts/.test(file)) return undefined;
  return "only types may be imported from node:http; the functions are in @k3s-p/plugin-api/http";
}

export function breaches(root: string): string[] {
  const found: string[] = [];
  for (const { files, refuse } of rooms) {
    for (const file of globSync(files, { cwd: root }).filter((f) => !f.includes("node_modules")).sort()) {
      const room = file.split(sep).slice(0, file.startsWith("plugins") ? 2 : 1).join(sep);
      readFileSync(resolve(root, file), "utf8").split("\n").forEach((line, i) => {
        for (const [, name = ""] of line.matchAll(specifier)) {
          const why = name.startsWith(".") ? leavesRoom(root, file, name, room) : (refuse(name, room) ?? refuseRuntimeModels(line, name) ?? refuseHttp(line, name, file));
          if (why) found.push(`${file}:${i + 1}: ${name}: ${why}`);
        }
      });
    }
  }
  return found;
}

function leavesRoom(root: string, file: string, name: string, room: string): string | undefined {
  const target = resolve(root, dirname(file), name);
  return target.startsWith(resolve(root, room) + sep) ? undefined : "relative imports stay inside the room";
}
