/** What all nodes of a cluster have in common: how a server says it, and how an agent takes it over. */
import { k3spError } from "@k3s-p/plugin-api";
import type { ClusterSettings } from "@k3s-p/plugin-api/slots";
import { hasAccount } from "../accounts/accounts.ts";
import type { Setting, Settings, Value } from "../config/load.ts";
import { sharedOptions } from "../config/plugins.ts";
import type { Manifest } from "../kernel/manifest.ts";
import type { Plan } from "../kernel/resolve.ts";

export type ForAgents = Pick<ClusterSettings, "shared" | "nodeSlots" | "agentPlugins">;

/** Two kinds of pod networks do not meet, and a volume is wanted from whoever is in charge of volumes; a runtime is each node's own affair. */
const commonSlots: readonly string[] = ["cni", "network-policy", "proxy", "storage"];

const isForAgents = ({ roles }: Manifest): boolean => roles.includes("agent");

/** Of the plan of a server that runs pods itself. */
export function forAgents(plan: Plan, configs: ReadonlyMap<string, object>, cluster: ClusterSettings): ForAgents {
  const onNodes = plan.plugins.filter(isForAgents);
  const common = plan.choices.filter(({ slot, plugin }) => commonSlots.includes(slot) && onNodes.some(({ id }) => id === plugin));
  // What went only with something else, as the network of pods with the server's own runtime, is asked for nowhere.
  const dependants = new Set(plan.leftOut.filter(({ why }) => why.startsWith("needs the slot ")).map((l) => l.plugin));
  const off = plan.spare.filter((m) => m.source.kind === "default" && isForAgents(m) && !dependants.has(m.id) && commonSlots.some((slot) => slot in m.provides));
  return {
    shared: { ...sharedFlags(cluster), ...Object.fromEntries(onNodes.flatMap((m) => optionsOf(m, configs))), disable: off.map(({ id }) => id).sort() },
    nodeSlots: Object.fromEntries(common.map(({ slot, plugin }) => [slot, plugin])),
    // An administrator's account is nothing to hand to another machine.
    agentPlugins: onNodes.filter((m) => hasAccount(m) && m.permissions.kube !== "admin").map(({ id }) => id).sort(),
  };
}

const sharedFlags = (cluster: ClusterSettings): ForAgents["shared"] => ({
  "cluster-cidr": cluster.clusterCidr, "service-cidr": cluster.serviceCidr, "cluster-dns": cluster.clusterDns,
  "cluster-domain": cluster.clusterDomain, "service-node-port-range": cluster.serviceNodePortRange.join("-"),
  "advertise-address": cluster.advertiseAddress, "https-listen-port": cluster.httpsListenPort,
});

/** `plugins.flannel.config.backend`, as one would say where it stands in the config file. */
const optionKey = (id: string, option: string): string => `plugins.${id}.config.${option}`;
const optionPattern = /^plugins\.([^.]+)\.config\.(.+)$/;

/** In force, whether a flag has said so, a section, or nobody. */
const optionsOf = (m: Manifest, configs: ReadonlyMap<string, object>): (readonly [string, Value])[] =>
  sharedOptions(m).map((option) => [optionKey(m.id, option), (configs.get(m.id) as Record<string, Value>)[option]] as const)
    .filter((entry): entry is readonly [string, Value] => entry[1] !== undefined);

/** As if a config file of the agent's had said so; `url` is where each value came from. */
export function withCluster(settings: Settings, { shared }: ForAgents, url: string): Settings {
  const values = new Map(settings.values);
  const common = new Map<string, Record<string, Setting>>();
  for (const [name, value] of Object.entries(shared)) {
    const [, id, option] = optionPattern.exec(name) ?? [];
    if (id === undefined || option === undefined) values.set(name, { value, source: url });
    else common.set(id, { ...common.get(id), [option]: { value, source: url } });
  }
  return { ...settings, values, common };
}

/** What would make this node one that the others do not reach. */
export function checkSlots(plan: Plan, { nodeSlots }: ForAgents, url: string): void {
  for (const [slot, plugin] of Object.entries(nodeSlots)) {
    const mine = plan.choices.find((choice) => choice.slot === slot)?.plugin;
    if (mine === plugin) continue;
    const isHere = plan.spare.some(({ id }) => id === plugin);
    throw k3spError("K3SP_SLOT_MISSING", {
      message: `the slot "${slot}" is ${plugin}'s in this cluster, and ${mine ? `${mine}'s` : "nobody's"} here`, detail: [`from ${url}`],
      fix: isHere ? `leave out here what puts ${mine ? "it" : "nobody"} in the place of ${plugin}: --plugin, --slot or a section of the config file` : `give --plugin with ${plugin} here too`,
    });
  }
}
