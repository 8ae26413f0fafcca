/** The ConfigMaps `coredns` and `coredns-custom`: the Corefile in force, its files, and NodeHosts kept up to date. */
import { type ConfigMap, configMaps, type KubeClient, type Node, nodes, workQueue } from "@k3s-p/plugin-api/kube";
import { withHost } from "./hosts.ts";

export const NAMESPACE = "kube-system";
const MAIN = "coredns";
const CUSTOM = "coredns-custom";
const CUSTOM_DIR = "/etc/coredns/custom/";

export interface ConfigSource {
  readonly synced: Promise<void>;
  corefile(): string | undefined;
  /** Text of a file as a CoreDNS pod would see it below `/etc/coredns`. */
  file(path: string): string | undefined;
  imports(pattern: string): readonly string[];
  /** The object that a complaint about its content belongs to. */
  object(): ConfigMap | undefined;
  onChange(fn: () => void): void;
  stop(): Promise<void>;
}

export function configSource(client: KubeClient): ConfigSource {
  const informer = client.informer(configMaps, { namespace: NAMESPACE });
  const own = (name: string) => informer.get(name, NAMESPACE);
  const listeners: (() => void)[] = [];
  const changed = (map: ConfigMap) => {
    if (map.metadata.name === MAIN || map.metadata.name === CUSTOM) for (const listener of listeners) listener();
  };
  informer.on({ added: changed, updated: changed, deleted: changed });
  const hosts = nodeHosts(client, () => own(MAIN));

  return {
    synced: informer.synced,
    corefile: () => own(MAIN)?.data?.["Corefile"],
    file: (path) => (path.startsWith(CUSTOM_DIR) ? own(CUSTOM)?.data?.[path.slice(CUSTOM_DIR.length)] : own(MAIN)?.data?.[path.replace(/^\/etc\/coredns\//, "")]),
    imports(pattern) {
      const glob = pattern.startsWith(CUSTOM_DIR) ? pattern.slice(CUSTOM_DIR.length) : pattern.startsWith("custom/") ? pattern.slice("custom/".length) : undefined;
      if (glob === undefined) return [];
      const regex = new RegExp(`^${glob.split("*").map((part) => part.replace(/[.+?^${}()|[\]\\]/g, "\\$&")).join("[^/]*")}$`);
      return Object.entries(own(CUSTOM)?.data ?? {}).filter(([key]) => regex.test(key)).sort(([a], [b]) => (a < b ? -1 : 1)).map(([, text]) => text);
    },
    object: () => own(MAIN),
    onChange: (fn) => void listeners.push(fn),
    async stop() {
      informer.stop();
      await hosts.stop();
    },
  };
}

/** One line for each node in the key NodeHosts; lines that users added stay. */
function nodeHosts(client: KubeClient, current: () => ConfigMap | undefined) {
  const informer = client.informer(nodes);
  const queue = workQueue({
    name: "node-hosts", workers: 1, backoff: [100, 60_000],
    async reconcile(name) {
      const map = current();
      if (!map) throw new Error("the ConfigMap coredns does not exist yet");
      const before = map.data?.["NodeHosts"] ?? "";
      const after = withHost(before, name, addressesOf(informer.get(name)));
      if (after === before) return;
      await client.patch(configMaps, MAIN, { data: { NodeHosts: after } }, { namespace: NAMESPACE, type: "merge" });
    },
  });
  informer.on({
    added: (node) => queue.add(node.metadata.name!),
    updated: (node, previous) => {
      if (addressesOf(node).join() !== addressesOf(previous).join()) queue.add(node.metadata.name!);
    },
    deleted: (node) => queue.add(node.metadata.name!),
  });
  return {
    async stop() {
      informer.stop();
      await queue.stop();
    },
  };
}

const addressesOf = (node: Node | undefined): readonly string[] =>
  (node?.status?.addresses ?? []).filter((address) => address.type === "InternalIP").map((address) => address.address);
