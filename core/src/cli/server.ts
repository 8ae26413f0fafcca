/** `k3s-p server`: plans, starts, and stays until a signal. */
import { planServer, readSettings } from "../plan.ts";
import { runNode } from "./run-node.ts";

export const usages = (): readonly string[] => ["server [flags]"];

export async function run(argv: readonly string[]): Promise<number> {
  const plan = await planServer(argv);
  return runNode(plan.settings, async () => ({ plan, readAgain: () => readSettings(argv) }));
}
