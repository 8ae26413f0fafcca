/** `k3s-p plugin approve NAME`: lets a plugin do more than it did before, on a running server or for the next start. */
import { createInterface } from "node:readline/promises";
import { isK3spError, k3spError } from "@k3s-p/plugin-api";
import { ask } from "../admin/client.ts";
import { adminSocket } from "../admin/path.ts";
import type { ChangeResult, PendingResult } from "../admin/protocol.ts";
import { lockFile, openApprovals } from "../approval/approvals.ts";
import { describeRights } from "../approval/rights.ts";
import { nodePaths } from "../node/identity.ts";
import { readSettings } from "../plan.ts";
import { parseWords } from "./words.ts";

export const usage = "plugin approve NAME [--yes]";

export async function run(argv: readonly string[]): Promise<number> {
  const { words: [name = ""], flags } = parseWords(argv, usage, 1, ["data-dir"], ["yes"]);
  const dataDir = flags.get("data-dir");
  const paths = nodePaths(readSettings(dataDir ? ["--data-dir", dataDir] : []));
  const approvals = openApprovals(lockFile(paths));
  const pending = await running<PendingResult>("pending") ?? approvals.pending(name);
  if (!pending?.version) {
    process.stdout.write(`${name} asks for nothing that is not approved\n`);
    return 0;
  }
  process.stdout.write(`${name} ${pending.version} asks for more than was approved:\n${describeRights(pending.added).map((line) => `  + ${line}\n`).join("")}`);
  if (!flags.has("yes") && !(await confirmed())) return 1;
  const result = await running<ChangeResult>("approve");
  if (!result) await approvals.approve(name);
  const lines = result?.lines ?? [`${name} is approved, and starts with the server`];
  process.stdout.write(lines.map((line) => `${line}\n`).join(""));
  return 0;

  /** Undefined when no server runs. */
  async function running<T>(op: string): Promise<T | undefined> {
    try {
      return await ask<T>(adminSocket(paths), { op, name });
    } catch (error) {
      if (isK3spError(error) && error.code === "K3SP_SERVER_NOT_RUNNING") return undefined;
      throw error;
    }
  }
}

async function confirmed(): Promise<boolean> {
  if (!process.stdin.isTTY) throw k3spError("K3SP_FLAG_INVALID", { message: "nobody can be asked here whether this is right", fix: "add --yes" });
  const terminal = createInterface({ input: process.stdin, output: process.stdout });
  try {
    return /^y(es)?$/i.test((await terminal.question("approve? [y/N] ")).trim());
  } finally {
    terminal.close();
  }
}
