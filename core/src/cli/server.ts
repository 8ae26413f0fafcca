/** `k3s-p server`: plans, starts, and stays until a signal. */
import { nodeFolder, withNodeId } from "../agent/node-password.ts";
import { planFrom, readSettings } from "../plan.ts";
import { runNode } from "./run-node.ts";

export const usages = (): readonly string[] => ["server [flags]"];

export async function run(argv: readonly string[]): Promise<number> {
  const plan = await planFrom(await withNodeId(readSettings(argv), nodeFolder));
  return runNode(plan.settings, async () => ({ plan, readAgain: () => readSettings(argv) }));
}
