/** `k3s-p datastore check|compact|dump|restore`: asks the running server, or opens the data directory itself when there is none. */
import { createReadStream, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { pipeline } from "node:stream/promises";
import { isK3spError } from "@k3s-p/plugin-api";
import { ask } from "../admin/client.ts";
import { adminSocket } from "../admin/path.ts";
import type { ChangeResult } from "../admin/protocol.ts";
import { maintenance, type Request } from "../datastore/maintain.ts";
import { nodePaths } from "../node/identity.ts";
import { planServer, readSettings } from "../plan.ts";
import { parseWords, verbOf, type Words } from "./words.ts";

type Verb = keyof typeof maintenance;

const verbs: Readonly<Record<Verb, { readonly usage: string; readonly words: number; readonly plain: readonly string[] }>> = {
  check: { usage: "datastore check", words: 0, plain: [] },
  compact: { usage: "datastore compact", words: 0, plain: [] },
  dump: { usage: "datastore dump FILE|-", words: 1, plain: [] },
  restore: { usage: "datastore restore FILE [--force]", words: 1, plain: ["force"] },
};

export const usages = (): readonly string[] => Object.values(verbs).map((verb) => verb.usage);

export async function run(argv: readonly string[]): Promise<number> {
  const [name, ...rest] = argv;
  const { usage, words, plain } = verbOf("datastore", verbs, name);
  const verb = name as Verb;
  const given = parseWords(rest, usage, words, ["data-dir", "config", "slot", "plugin"], plain);
  if (verb === "dump" && given.words[0] === "-") await dumpToOutput(given);
  else process.stdout.write(await perform(verb, given, { file: resolve(given.words[0] ?? ""), force: given.flags.has("force") }));
  return 0;
}

async function perform(verb: Verb, { flags }: Words, request: Request): Promise<string> {
  const argv = [...flags].filter(([flag]) => flag !== "force").flatMap(([flag, value]) => [`--${flag}`, value]);
  const running = await askServer(verb, adminSocket(nodePaths(readSettings(argv))), request);
  const lines = running ?? (await atRest(verb, argv, request));
  return lines.map((line) => `${line}\n`).join("");
}

/** Undefined when no server runs. */
async function askServer(verb: Verb, socket: string, request: Request): Promise<readonly string[] | undefined> {
  try {
    return (await ask<ChangeResult>(socket, { op: `datastore-${verb}`, ...request }, progress as (event: never) => void)).lines;
  } catch (error) {
    if (isK3spError(error) && error.code === "K3SP_SERVER_NOT_RUNNING") return undefined;
    throw error;
  }
}

async function atRest(verb: Verb, argv: readonly string[], request: Request): Promise<readonly string[]> {
  const { withDatastore } = await import("../datastore/open.ts");
  return withDatastore(await planServer(argv), verb === "restore", (store) => maintenance[verb](store, request, (rows) => progress({ rows })));
}

const STEP = 10_000;
function progress({ rows }: { readonly rows: number }): void {
  if (rows % STEP === 0) process.stderr.write(`${rows} keys\n`);
}

/** By way of a file, which is complete or not there: what cannot be dumped prints nothing. */
async function dumpToOutput(given: Words): Promise<void> {
  const dir = mkdtempSync(join(tmpdir(), "k3s-p-dump-"));
  try {
    const file = join(dir, "dump");
    process.stderr.write(await perform("dump", given, { file }));
    await pipeline(createReadStream(file), process.stdout, { end: false });
  } finally {
    rmSync(dir, { recursive: true });
  }
}
