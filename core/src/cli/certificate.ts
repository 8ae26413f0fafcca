/** `k3s-p certificate check|rotate|rotate-ca`: offline, on the files of the data directory. */
import { cpSync, existsSync, mkdirSync, rmSync } from "node:fs";
import { basename, join } from "node:path";
import { k3spError } from "@k3s-p/plugin-api";
import type { Paths } from "@k3s-p/plugin-api/slots";
import { stringify } from "yaml";
import { nodePaths } from "../node/identity.ts";
import { describeFile, leafFiles, ofServices, type CertificateState, type LeafFile } from "../pki/inventory.ts";
import { RENEW_DAYS } from "../pki/leaves.ts";
import { readSettings } from "../plan.ts";
import { textTable } from "./table.ts";
import { localOnly, parseWords, verbOf } from "./words.ts";

interface Verb {
  readonly usage: string;
  readonly valued: readonly string[];
  readonly plain?: readonly string[];
  run(flags: ReadonlyMap<string, string>, paths: Paths, now: Date): Promise<string> | string;
}

const verbs: Readonly<Record<string, Verb>> = {
  check: { usage: "certificate check [--service NAMES] [--output text|table|json|yaml]", valued: ["service", "output"], run: check },
  rotate: { usage: "certificate rotate [--service NAMES]", valued: ["service"], run: rotate },
  "rotate-ca": { usage: "certificate rotate-ca --path FOLDER [--force]", valued: ["path", "server"], plain: ["force"], run: rotateCa },
};

export const usages = (): readonly string[] => Object.values(verbs).map((verb) => verb.usage);

export async function run(argv: readonly string[]): Promise<number> {
  const [name, ...rest] = argv;
  const verb = verbOf("certificate", verbs, name);
  const { flags } = parseWords(rest, verb.usage, 0, [...verb.valued, "data-dir"], verb.plain);
  const dataDir = flags.get("data-dir");
  process.stdout.write(await verb.run(flags, nodePaths(readSettings(dataDir ? ["--data-dir", dataDir] : [])), new Date()));
  return 0;
}

function chosen(flags: ReadonlyMap<string, string>, paths: Paths): LeafFile[] {
  const leaves = leafFiles(paths);
  if (leaves.length === 0) throw k3spError("K3SP_CERTIFICATE_INVALID", { message: `no certificates in ${paths.tls} or ${paths.agent}`, fix: "start the server or agent once, or name its folder with --data-dir" });
  return ofServices(leaves, (flags.get("service") ?? "").split(",").filter(Boolean));
}

type Printer = (states: readonly CertificateState[], now: Date) => string;

const printers: Readonly<Record<string, Printer>> = {
  text: (states) => states.map((state) => `${state.filename}: certificate ${state.subject} ${verdict(state)}\n`).join(""),
  table: (states) => textTable([
    ["FILENAME", "SUBJECT", "USAGES", "EXPIRES", "RESIDUAL TIME", "STATUS"], ["--------", "-------", "------", "-------", "-------------", "------"],
    ...states.map((s) => [basename(s.filename), s.subject, s.usages.join(","), dateText(s.expiryTime), s.residualTime, s.status]),
  ]),
  json: (states, now) => `${JSON.stringify({ certificates: states, referenceTime: now }, null, 2)}\n`,
  yaml: (states, now) => stringify(JSON.parse(JSON.stringify({ certificates: states, referenceTime: now }))),
};

function check(flags: ReadonlyMap<string, string>, paths: Paths, now: Date): string {
  const output = flags.get("output") ?? "text";
  const print = Object.hasOwn(printers, output) ? printers[output]! : undefined;
  if (!print) throw k3spError("K3SP_FLAG_INVALID", { message: `--output: "${output}" is not allowed`, fix: `use one of ${Object.keys(printers).join(", ")}` });
  return print(chosen(flags, paths).flatMap(({ path }) => describeFile(path, now)), now);
}

function verdict({ status, expiryTime, notBefore }: CertificateState): string {
  switch (status) {
    case "NOT YET VALID": return `is not valid before ${seconds(notBefore)}`;
    case "EXPIRED": return `expired at ${seconds(expiryTime)}`;
    case "WARNING": return `will expire within ${RENEW_DAYS} days at ${seconds(expiryTime)}`;
    case "OK": return `is ok, expires at ${seconds(expiryTime)}`;
  }
}

const seconds = (date: Date): string => date.toISOString().replace(/\.\d+Z$/, "Z");

/** `May 17, 2026 20:59 UTC` */
const dateText = (date: Date): string =>
  `${date.toLocaleDateString("en-US", { month: "short", day: "2-digit", year: "numeric", timeZone: "UTC" })} ${date.toISOString().slice(11, 16)} UTC`;

/** Removes certificates and keys; whoever uses them makes new ones at the next start. An agent needs its token for that. */
function rotate(flags: ReadonlyMap<string, string>, paths: Paths, now: Date): string {
  const leaves = chosen(flags, paths);
  const backup = backUp(paths, now, leaves);
  for (const { path } of leaves) for (const file of [path, keyOf(path)]) rmSync(file, { force: true });
  const services = [...new Set(leaves.map((leaf) => leaf.service))].sort();
  return [
    ...services.map((service) => `Rotating certificates for ${service}`),
    `Successfully backed up certificates to ${backup}, please restart k3s-p ${isServer(paths) ? "server" : "agent"} to rotate certificates`, "",
  ].join("\n");
}

const keyOf = (path: string): string => path.replace(/\.crt$/, ".key");

const isServer = (paths: Paths): boolean => existsSync(paths.tls);

/** K3s's `server/tls-UNIXTIME`: all of `server/tls`, and the leaves of `agent` below it; where no server is, `agent/tls-UNIXTIME`. */
function backUp(paths: Paths, now: Date, leaves: readonly LeafFile[]): string {
  const backup = join(isServer(paths) ? paths.server : paths.agent, `tls-${Math.floor(now.getTime() / 1000)}`);
  if (isServer(paths)) cpSync(paths.tls, backup, { recursive: true, preserveTimestamps: true });
  else mkdirSync(backup, { mode: 0o700 });
  const agents = leaves.filter(({ path }) => path.startsWith(join(paths.agent, "/"))).flatMap(({ path }) => [path, keyOf(path)]);
  if (agents.length > 0) mkdirSync(join(backup, "agent"), { mode: 0o700 });
  for (const file of agents) if (existsSync(file)) cpSync(file, join(backup, "agent", basename(file)));
  return backup;
}

async function rotateCa(flags: ReadonlyMap<string, string>, paths: Paths, now: Date): Promise<string> {
  const staged = flags.get("path");
  if (!staged) throw k3spError("K3SP_FLAG_INVALID", { message: "--path is required", fix: "name the folder that holds the new CAs" });
  const { applyRotation, checkRotation } = await import("../pki/rotate-ca.ts");
  const rotation = { staged, tls: paths.tls, force: flags.has("force") };
  const names = checkRotation(rotation);
  const backup = backUp(paths, now, []);
  await applyRotation(rotation, names);
  return [
    `${names.join(", ")} put in place; the files before are in ${backup}`,
    "please restart k3s-p server, then k3s-p agent on every node: a server that runs signs with what was there before, and trusts it, until its restart",
    ...(rotation.force ? ["with a new root, every agent needs the token of the server's node-token anew, and pods that talk to the API server a restart"] : []),
    localOnly(flags),
  ].join("\n");
}
