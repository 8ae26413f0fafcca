/** What all nodes of a cluster have in common: how a server says it, and how an agent takes it over. */
import { k3spError } from "@k3s-p/plugin-api";
import type { ClusterSettings } from "@k3s-p/plugin-api/slots";
import { hasAccount } from "../accounts/accounts.ts";
import { flags } from "../config/flags.ts";
import type { Settings, Value } from "../config/load.ts";
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
    shared: { ...sharedFlags(onNodes, configs, cluster), disable: off.map(({ id }) => id).sort() },
    nodeSlots: Object.fromEntries(common.map(({ slot, plugin }) => [slot, plugin])),
    // An administrator's account is nothing to hand to another machine.
    agentPlugins: onNodes.filter((m) => hasAccount(m) && m.permissions.kube !== "admin").map(({ id }) => id).sort(),
  };
}

/** The value in force is that of the plugin's option where a plugin reads the flag: its section may have set it. */
function sharedFlags(plugins: readonly Manifest[], configs: ReadonlyMap<string, object>, cluster: ClusterSettings): Record<string, Value> {
  const own: Readonly<Record<string, Value>> = {
    "cluster-cidr": cluster.clusterCidr, "service-cidr": cluster.serviceCidr, "cluster-dns": cluster.clusterDns,
    "cluster-domain": cluster.clusterDomain, "service-node-port-range": cluster.serviceNodePortRange.join("-"),
    "advertise-address": cluster.advertiseAddress, "https-listen-port": cluster.httpsListenPort,
  };
  const optionOf = (flag: string): Value | undefined => {
    const reader = plugins.find((m) => flag in m.flags);
    return reader && (configs.get(reader.id) as Record<string, Value>)[reader.flags[flag]!];
  };
  const found = flags.filter(({ shared }) => shared).map(({ name }) => [name, optionOf(name) ?? own[name]] as const);
  return Object.fromEntries(found.filter((entry): entry is readonly [string, Value] => entry[1] !== undefined));
}

/** As if a config file of the agent's had said so; `url` is where each value came from. */
export function withCluster(settings: Settings, { shared }: ForAgents, url: string): Settings {
  const layer = Object.entries(shared).map(([name, value]) => [name, { value, source: url }] as const);
  return { ...settings, values: new Map([...settings.values, ...layer]) };
}

/** What would make this node one that the others do not reach. */
export function checkCommon(plan: Plan, settings: Settings, { shared, nodeSlots }: ForAgents, url: string): void {
  for (const [slot, plugin] of Object.entries(nodeSlots)) {
    const mine = plan.choices.find((choice) => choice.slot === slot)?.plugin;
    if (mine === plugin) continue;
    throw k3spError("K3SP_SLOT_MISSING", {
      message: `the slot "${slot}" is ${plugin}'s in this cluster, and ${mine ? `${mine}'s` : "nobody's"} here`, detail: [`from ${url}`],
      fix: `give --plugin with ${plugin} here too`,
    });
  }
  for (const { id, flags: read } of plan.plugins) {
    for (const [flag, option] of Object.entries(read)) {
      const section = settings.plugins.get(id);
      const own = section?.config[option];
      if (!(flag in shared) || own === undefined || String(own) === String(shared[flag])) continue;
      throw k3spError("K3SP_CONFIG_INVALID", {
        message: `plugins.${id}.config.${option}: ${JSON.stringify(own)} is not what the cluster has, ${JSON.stringify(shared[flag])}`,
        detail: [section?.positions.get(option) ?? "", `from ${url}`], fix: "leave it out: agents take it over from their server",
      });
    }
  }
}
