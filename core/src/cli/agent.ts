/** `k3s-p agent`: joins a server as a node, starts what a node needs, and stays until a signal. */
import { joinCluster } from "../agent/join.ts";
import { checkSlots, withCluster } from "../agent/shared-settings.ts";
import { planFrom, readSettings } from "../plan.ts";
import { runNode } from "./run-node.ts";

export const usages = (): readonly string[] => ["agent --server https://HOST:6443 --token TOKEN [flags]"];

export async function run(argv: readonly string[]): Promise<number> {
  const given = readSettings(argv, process.env, "agent");
  return runNode(given, async (log, signal) => {
    const { settings, pki, server } = await joinCluster(given, { log, signal });
    const plan = await planFrom(settings, { role: "agent" });
    checkSlots(plan.plan, server, server.url);
    return { plan, pki, readAgain: () => withCluster(readSettings(argv, process.env, "agent"), server, server.url) };
  });
}
