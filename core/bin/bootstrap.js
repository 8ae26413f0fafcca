// Brings a machine to the point where Node 26 can run k3s-p. Plain JavaScript for Node >= 18, no dependencies.
import { spawn, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { accessSync, constants, existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { delimiter, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

export const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
const lockStamp = join(root, "node_modules/.k3s-p-lock");
/** Beside what the builds make and not in node_modules, which may be a copy of another checkout's. */
const buildStamp = join(root, ".k3s-p-build");
const node26 = join(root, "node_modules/node/bin/node");
const compileCache = join(root, "node_modules/.cache/k3s-p");

/** Program -> Debian package. CNI programs are looked for in their own folders. */
const programs = [
  ["containerd", "containerd"],
  ["runc", "runc"],
  ["nft", "nftables"],
  ["ip", "iproute2"],
  ["conntrack", "conntrack"],
];
const cniDirs = ["/usr/lib/cni", "/opt/cni/bin"];

const say = (text) => process.stderr.write(`k3s-p: ${text}\n`);

/** One process at a time: on a fresh checkout `npm start` and the first `npx k3s-p kubectl` meet here. */
export function installDependencies() {
  if (isInstalled() && isBuilt()) return;
  const flock = (...args) => spawnSync("flock", args, { stdio: ["ignore", 2, "inherit"] });
  if (flock("--nonblock", root, "true").status === 1) say("waiting for the installation that another k3s-p has begun");
  // The kernel lifts the lock when its holder ends, however that is.
  const { status, error } = flock("--close", root, process.execPath, join(root, "core/bin/install.js"));
  if (error) installAlone();
  else if (status !== 0) process.exit(1);
}

/** Runs `npm ci` when the lock file has changed since the last time, and the builds when it or one of them has. */
export function installAlone() {
  if (!isInstalled()) {
    say("installing dependencies (npm ci)");
    must("npm", ["ci", "--no-fund", "--no-audit", "--loglevel=error"], "check that the npm registry is reached, then run npm ci by hand to see why");
    writeFileSync(lockStamp, hashOfLock());
    rmSync(buildStamp, { force: true });
  }
  if (isBuilt()) return;
  const env = { ...process.env, PATH: `${dirname(node26)}${delimiter}${process.env.PATH}` };
  must("npm", ["run", "build", "--workspaces", "--if-present", "--silent"], "run npm run build --workspaces --if-present by hand to see why", env);
  must(node26, [join(root, "core/src/warm.ts")], "start the server to see why", { ...env, NODE_COMPILE_CACHE: compileCache });
  writeFileSync(buildStamp, hashOfBuild());
}

const hashOfLock = () => hashOf([join(root, "package-lock.json")]);
const hashOfBuild = () => hashOf([lockStamp, ...buildFiles()]);
const isInstalled = () => existsSync(node26) && isStamped(lockStamp, hashOfLock());
const isBuilt = () => existsSync(lockStamp) && isStamped(buildStamp, hashOfBuild());

/** The programs behind `npm run build`: each plugin keeps its own in `build`. */
function buildFiles() {
  const folders = readdirSync(join(root, "plugins")).map((name) => join(root, "plugins", name, "build")).filter((folder) => existsSync(folder));
  return folders.flatMap((folder) => readdirSync(folder).sort().map((file) => join(folder, file)));
}

function hashOf(files) {
  const hash = createHash("sha256");
  for (const file of files) hash.update(readFileSync(file));
  return hash.digest("hex");
}

const isStamped = (file, hash) => existsSync(file) && readFileSync(file, "utf8") === hash;

function must(command, args, fix, env = process.env) {
  const { status, error } = spawnSync(command, args, { cwd: root, env, stdio: ["ignore", 2, "inherit"] });
  if (status === 0) return;
  say(`${command} ${args.slice(0, 2).join(" ")} failed${error ? `: ${error.message}` : ` with exit code ${status}`}`);
  say(`fix: ${fix}`);
  process.exit(1);
}

const searchPath = [...(process.env.PATH ?? "").split(delimiter), "/usr/sbin", "/sbin"];

function isExecutable(file) {
  try {
    accessSync(file, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

export function missingPackages() {
  const missing = programs.filter(([name]) => !searchPath.some((dir) => dir && isExecutable(join(dir, name)))).map(([, pkg]) => pkg);
  if (!cniDirs.some((dir) => isExecutable(join(dir, "bridge")))) missing.push("containernetworking-plugins");
  return missing;
}

/** As root with apt-get: installs what is missing. Otherwise says what it is; the plugins that need it say so again. */
export function installPrograms() {
  const missing = missingPackages();
  if (!missing.length) return;
  const isRoot = process.getuid?.() === 0;
  if (!isRoot || !searchPath.some((dir) => dir && isExecutable(join(dir, "apt-get")))) {
    say(`missing on this machine: ${missing.join(" ")}`);
    say(`fix: ${isRoot ? "install these programs with your package manager" : `sudo apt-get install ${missing.join(" ")}`}`);
    return;
  }
  say(`installing ${missing.join(" ")} (apt-get)`);
  const env = { ...process.env, DEBIAN_FRONTEND: "noninteractive" };
  const apt = (...args) => spawnSync("apt-get", args, { env, stdio: ["ignore", "ignore", "inherit"] }).status === 0;
  if (apt("install", "-y", "-qq", "--no-install-recommends", ...missing)) return;
  if (apt("update", "-qq") && apt("install", "-y", "-qq", "--no-install-recommends", ...missing)) return;
  say(`apt-get could not install ${missing.join(" ")}`);
  say(`fix: apt-get update && apt-get install ${missing.join(" ")}`);
}

/** Goes on as Node 26: in place of this process where that is possible, else as its child with signals passed on. */
export function runNode26(args) {
  const env = { NODE_COMPILE_CACHE: compileCache, ...process.env };
  if (typeof process.execve === "function") process.execve(node26, [node26, ...args], env);
  const child = spawn(node26, args, { stdio: "inherit", env });
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(signal, () => child.kill(signal));
  child.on("error", (error) => {
    say(`cannot run ${node26}: ${error.message}`);
    say("fix: remove node_modules and start again");
    process.exit(1);
  });
  child.on("exit", (code, signal) => {
    if (!signal) process.exit(code ?? 1);
    process.removeAllListeners(signal);
    process.kill(process.pid, signal);
  });
}
