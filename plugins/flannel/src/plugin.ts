/** Fills the `cni` slot: a bridge for the node's pods, addresses from the node's pod range, masquerading to the outside. */
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { definePlugin, k3spError, messageOf, parseCidr, replaceFile, Skip, type PluginContext } from "@k3s-p/plugin-api";
import { installCni } from "@k3s-p/plugin-api/cni";
import { nodes, workQueue, type Node } from "@k3s-p/plugin-api/kube";
import { cni, kube, node, runner, runtime } from "@k3s-p/plugin-api/slots";
import { acceptForwarding, chooseLink, links, loadRules, prepareKernel } from "./host.ts";
import { annotationsOf, ensureVxlan, peersOf, syncPeers, type Backend } from "./peers.ts";
import { confList, masqueradeRules, subnetEnv, type PodNetwork } from "./network.ts";

interface Config {
  readonly backend?: "vxlan" | "host-gw" | "none";
  readonly interface?: string;
  readonly bridge?: string;
  readonly vni?: number;
}

const needs = { kube, node, runner, runtime };
type Context = PluginContext<typeof needs, {}, Config>;

export default definePlugin<typeof cni, typeof needs, {}, Config>({
  provides: cni,
  needs,
  async start(ctx) {
    const { paths } = ctx.needs.node;
    // As in K3s: the user brings a network. The runtime takes it up as soon as its list is there.
    if (ctx.config.backend === "none") throw new Skip(`backend "none": pods wait until a CNI list is put into ${paths.cniConf}`);
    checkFamily(ctx.needs.node.cluster.clusterCidr[0]!);
    const [{ network, backend }, bridgeFilter] = await Promise.all([describeNetwork(ctx), prepareKernel(ctx.needs.runner)]);
    if (!bridgeFilter) {
      ctx.log.warn("the kernel module br_netfilter is missing: pods of one node do not reach each other by Service address");
    }
    const list = confList(network);
    await Promise.all([
      loadRules(ctx.needs.runner, masqueradeRules(network)),
      acceptForwarding(ctx.needs.runner, network.clusterCidr),
      writeSubnetEnv(paths.flannelRun, subnetEnv(network)),
      followPeers(ctx, backend),
    ]);
    await installCni(ctx, { confList: list, fileName: "10-flannel.conflist" });
    ctx.log.info({ subnet: network.podCidr, bridge: network.bridge, mtu: network.mtu }, "pod network is ready");
    return { confList: list, status: async () => ({ ready: true }) };
  },
});

/** Upstream's flannel carries IPv6, too. */
function checkFamily(clusterCidr: string): void {
  if (parseCidr(clusterCidr)?.family === 4) return;
  throw k3spError("K3SP_CONFIG_INVALID", {
    message: `cluster-cidr: ${clusterCidr} is not of IPv4, and flannel carries nothing else here`, plugin: "flannel",
    fix: "give --cluster-cidr and --service-cidr an IPv4 network first, or bring another network with --plugin or --flannel-backend none",
  });
}

interface Described {
  readonly network: PodNetwork;
  readonly backend: Backend;
}

async function describeNetwork(ctx: Context): Promise<Described> {
  const { backend: type = "vxlan", interface: wanted, bridge = "cni0", vni = 1 } = ctx.config;
  const { cluster, ip, name, paths } = ctx.needs.node;
  const [podCidr, all] = await Promise.all([waitForPodCidr(ctx), links(ctx.needs.runner)]);
  const link = chooseLink(all, ip, wanted || undefined);
  const common = { clusterCidr: cluster.clusterCidr[0]!, podCidr, mtu: link.mtu - (type === "vxlan" ? vxlanOverhead : 0) };
  return {
    network: { ...common, bridge, ipamDir: join(paths.run, "cni") },
    backend: { ...common, vni, type: type === "host-gw" ? type : "vxlan", nodeName: name, nodeIp: ip, link },
  };
}

/** Says how this node is reached, and keeps the ways to the others. They stay on a stop, as running pods need them. */
async function followPeers(ctx: Context, backend: Backend): Promise<void> {
  const { kube: client, runner: run } = ctx.needs;
  const { nodeName, podCidr } = backend;
  const mac = backend.type === "vxlan" ? await vxlanOrWarn(ctx, backend) : undefined;
  if (backend.type === "vxlan" && !mac) return;
  const annotations = annotationsOf(backend, mac);
  const informer = client.informer(nodes);
  ctx.defer(() => informer.stop());
  await informer.synced;
  const steps: Readonly<Record<string, () => Promise<unknown>>> = {
    peers: () => syncPeers(run, backend, peersOf(backend, informer.list())),
    self: async () => lacks(informer.get(nodeName), annotations) && client.patch(nodes, nodeName, { metadata: { annotations } }),
  };
  await steps["peers"]!();
  const onError = (what: string, error: unknown) => ctx.log.warn({ error: messageOf(error) }, what === "self" ? "the other nodes do not know yet how this one is reached" : "the ways to the other nodes are not up to date");
  const queue = workQueue({ name: "peers", reconcile: async (what) => void (await steps[what]!()), onError, backoff: [1000, 30_000] });
  ctx.defer(() => queue.stop());
  let known = JSON.stringify(peersOf(backend, informer.list()));
  const changed = ({ metadata, spec }: Node) => {
    // A Node that was deleted and registered again has no annotations, and perhaps another range.
    if (metadata.name === nodeName && spec?.podCIDR && spec.podCIDR !== podCidr) return ctx.restart(`spec.podCIDR of node ${nodeName} is ${spec.podCIDR} now, no longer ${podCidr}`);
    if (metadata.name === nodeName) return queue.add("self");
    const next = JSON.stringify(peersOf(backend, informer.list()));
    if (next !== known) queue.add("peers");
    known = next;
  };
  informer.on({ added: changed, updated: changed, deleted: changed });
}

/** The Node is there, and without one of the annotations. */
const lacks = (node: Node | undefined, annotations: Readonly<Record<string, string>>): boolean =>
  node !== undefined && Object.entries(annotations).some(([key, value]) => node.metadata.annotations?.[key] !== value);

/** Outer Ethernet, IP, UDP and VXLAN headers. */
const vxlanOverhead = 50;

/** The controller manager gives each node its range once the kubelet has registered it. */
function waitForPodCidr(ctx: Context): Promise<string> {
  const { name } = ctx.needs.node;
  const informer = ctx.needs.kube.informer(nodes, { fieldSelector: `metadata.name=${name}` });
  const notice = setTimeout(() => ctx.log.info(`waiting for spec.podCIDR of node ${name}`), 10_000);
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  const see = (object: Node) => object.metadata.name === name && object.spec?.podCIDR && resolve(object.spec.podCIDR);
  const giveUp = () => reject(new Error(`node ${name} has no spec.podCIDR`));
  informer.on({ added: see, updated: see });
  ctx.signal.addEventListener("abort", giveUp, { once: true });
  return promise.finally(() => {
    clearTimeout(notice);
    ctx.signal.removeEventListener("abort", giveUp);
    informer.stop();
  });
}

/** A cluster of one node works without. */
async function vxlanOrWarn(ctx: Context, backend: Backend): Promise<string | undefined> {
  try {
    return await ensureVxlan(ctx.needs.runner, backend);
  } catch (error) {
    ctx.log.warn({ error: messageOf(error) }, "the kernel makes no VXLAN device: pods of other nodes are not reached; with all nodes on one wire, use --flannel-backend host-gw");
    return undefined;
  }
}

async function writeSubnetEnv(folder: string, text: string): Promise<void> {
  await mkdir(folder, { recursive: true });
  await replaceFile(join(folder, "subnet.env"), text, 0o644);
}
