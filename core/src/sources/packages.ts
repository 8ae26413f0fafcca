/** Plugins from npm packages: installed once below the data directory, without scripts, and found there afterwards. */
import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { chmodSync, existsSync, mkdtempSync, readFileSync, realpathSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { findPackageJSON } from "node:module";
import { basename, dirname, join } from "node:path";
import { k3spError, makeFolder, type K3spError } from "@k3s-p/plugin-api";
import type { Place } from "./locate.ts";

/** `my-cni@1.2.0`. A tag or range is looked up when it is first seen; the version that came then stays. */
export const packageByName = (name: string, packages: string): Promise<Place> =>
  installed(name, name, join(packages, name.replace("/", "+").replaceAll(/[^\w.@+~^-]/g, "_")));

/** Known by its content: a file that changes is another package. */
export async function packageByFile(file: string, packages: string): Promise<Place> {
  const hash = createHash("sha256").update(readFileSync(file)).digest("hex").slice(0, 16);
  return installed(basename(file), `file:${file}`, join(packages, `${basename(file).replace(/\.(tgz|tar\.gz)$/, "")}-${hash}`));
}

/** The folder of the package itself; what it depends on is in `node_modules` beside it. */
async function installed(name: string, spec: string, folder: string): Promise<Place> {
  const path = join(folder, "plugin");
  if (!existsSync(path)) await install(name, spec, folder);
  return { path };
}

/** Made aside and renamed, so that what is there is whole. */
async function install(name: string, spec: string, folder: string): Promise<void> {
  await makeFolder(dirname(folder)).catch((cause: Error) => {
    throw k3spError("K3SP_PERMISSION_DENIED", { message: `${dirname(folder)} cannot be made: ${cause.message}`, fix: "name a folder that this user may write with --data-dir", cause });
  });
  const temporary = mkdtempSync(`${folder}.`);
  // Programs that are no root read it too.
  chmodSync(temporary, 0o755);
  try {
    // The host has the one plugin-api that fits it.
    const api = dirname(realpathSync(findPackageJSON("@k3s-p/plugin-api", import.meta.url)!));
    writeFileSync(join(temporary, "package.json"), JSON.stringify({ private: true, overrides: { "@k3s-p/plugin-api": `file:${api}` } }));
    await npm(name, spec, temporary, join(dirname(folder), ".npm"));
    const [id = ""] = Object.keys((JSON.parse(readFileSync(join(temporary, "package.json"), "utf8")) as { dependencies: object }).dependencies);
    // Node runs TypeScript only outside of node_modules.
    renameSync(join(temporary, "node_modules", id), join(temporary, "plugin"));
    rmSync(folder, { recursive: true, force: true });
    renameSync(temporary, folder);
  } finally {
    rmSync(temporary, { recursive: true, force: true });
  }
}

const npmFlags = [
  "--ignore-scripts", "--omit=dev", "--no-audit", "--no-fund", "--no-update-notifier", "--loglevel=error", "--install-links=false",
  "--fetch-retries=2", "--fetch-retry-mintimeout=500", "--fetch-retry-maxtimeout=2000", "--fetch-timeout=30000",
];

/** The npm that came with the machine's Node. */
function npm(name: string, spec: string, cwd: string, cache: string): Promise<void> {
  return new Promise((resolve, reject) => {
    execFile("npm", ["install", spec, "--prefix", cwd, "--cache", cache, ...npmFlags], { cwd, timeout: 300_000 }, (error, _, stderr) => {
      if (!error) return resolve();
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return reject(k3spError("K3SP_PROGRAM_MISSING", { message: `${name}: npm is not on the PATH`, fix: "install Node with npm, or give the plugin's folder" }));
      reject(installError(name, stderr || error.message));
    });
  });
}

const advice: readonly (readonly [RegExp, string])[] = [
  [/E404|ETARGET/, "check the name and version, or give a folder or file"],
  [/ENOTFOUND|ECONN|ETIMEDOUT|EAI_AGAIN|ENOTCACHED|ENETUNREACH/, "check the network; without one run npm pack elsewhere and give the .tgz"],
  [/EINTEGRITY|TAR_|zlib|tar/i, "make the archive anew with npm pack"],
];

function installError(name: string, output: string): K3spError {
  const lines = output.split("\n").map((line) => line.replace(/^npm (error|ERR!) ?/, "").trim()).filter((line) => line && !/complete log|npm help|^A complete|debug-0/.test(line));
  const fix = advice.find(([pattern]) => pattern.test(output))?.[1];
  return k3spError("K3SP_PLUGIN_INSTALL_FAILED", { message: `npm could not install ${name}`, detail: lines.slice(0, 4), ...(fix && { fix }) });
}
