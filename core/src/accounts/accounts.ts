/** The ServiceAccounts of plugins: each that reaches the API server has one, and it goes with the plugin. */
import { messageOf, type Logger } from "@k3s-p/plugin-api";
import { serviceAccounts, type KubeClient } from "@k3s-p/plugin-api/kube";
import { ensurePluginAccount, pluginAccount, pluginLabel, type NodeInfo } from "@k3s-p/plugin-api/slots";
import type { Manifest } from "../kernel/manifest.ts";
import type { Plan } from "../kernel/resolve.ts";

/** What acts as the node needs no account beside it. */
export const hasAccount = ({ needs, wants, permissions: { kube } }: Manifest): boolean => kube !== "node" && ("kube" in needs || "kube" in wants || kube !== undefined);

/**
 * Only where the API server runs: what an agent does not know may be a plugin of its server. Nothing is written when all
 * is as it should be, and what fails is logged: no plugin waits for this.
 */
export async function keepAccounts(client: KubeClient, { plugins, spare }: Pick<Plan, "plugins" | "spare">, { role, cluster }: Pick<NodeInfo, "role" | "cluster">, log: Logger): Promise<void> {
  if (role !== "server") return;
  const holders = [...plugins.filter(hasAccount), ...spare.filter(({ id }) => cluster.agentPlugins.includes(id))];
  try {
    const { namespace } = pluginAccount("");
    const { items } = await client.list(serviceAccounts, { namespace, labelSelector: pluginLabel });
    const found = new Set(items.map(({ metadata }) => metadata!.name!));
    const wanted = new Map(holders.map(({ id }) => [pluginAccount(id).name, id]));
    await Promise.all([
      ...[...wanted].filter(([name]) => !found.has(name)).map(([, id]) => ensurePluginAccount(client, id)),
      ...[...found].filter((name) => !wanted.has(name)).map((name) => client.delete(serviceAccounts, name, { namespace })),
    ]);
  } catch (error) {
    log.warn(`the ServiceAccounts of plugins are not as they should be: ${messageOf(error)}`);
  }
}
