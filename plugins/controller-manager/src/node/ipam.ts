/** The node IPAM controller: a block of the cluster's pod addresses for every node. */
import { nodes, type Node } from "@k3s-p/plugin-api/kube";
import { formatCidr, parseCidr, subnetAt, type Cidr } from "@k3s-p/plugin-api/net";
import { createController, type ControllerDeps } from "../controller.ts";
import { referenceTo } from "../lib/pod-control.ts";

export function start(deps: ControllerDeps): void {
  const { client, log } = deps;
  const pools = deps.cluster.clusterCidr.map((text) =>
    createPool(text, { 4: deps.tuning.nodeCidrMask4, 6: deps.tuning.nodeCidrMask6 }),
  );
  // Blocks are given out by one worker, so that no two nodes can get the same.
  const c = createController(deps, "node-ipam", { workers: 1, component: "cidrAllocator" });
  const informer = c.follow(nodes, (node, { deleted }) => {
    for (const cidr of cidrsOf(node)) for (const pool of pools) pool.mark(cidr, !deleted);
    return !deleted && cidrsOf(node).length === 0 ? node.metadata.name : undefined;
  });
  c.run(reconcile);

  async function reconcile(name: string): Promise<void> {
    const node = informer.get(name);
    if (!node || node.metadata.deletionTimestamp || cidrsOf(node).length) return;
    const podCIDRs = pools.map((pool) => pool.take());
    if (podCIDRs.includes(undefined)) {
      c.events.record(
        referenceTo(nodes, node),
        "Normal",
        "CIDRNotAvailable",
        `Node ${name} status is now: CIDRNotAvailable`,
      );
      log.warn({ node: name }, "no block of the cluster CIDR is free");
      throw new Error("CIDR allocation failed; there are no remaining CIDRs left to allocate in the accepted range");
    }
    try {
      await client.patch(nodes, name, { spec: { podCIDR: podCIDRs[0], podCIDRs } }, { type: "strategic" });
    } catch (error) {
      pools.forEach((pool, i) => pool.mark(podCIDRs[i]!, false));
      throw error;
    }
  }
}

const cidrsOf = (node: Node): readonly string[] => node.spec?.podCIDRs ?? (node.spec?.podCIDR ? [node.spec.podCIDR] : []);

/** Blocks of one cluster CIDR; `take` gives the lowest free one. */
function createPool(text: string, nodeMask: Readonly<Record<4 | 6, number>>) {
  const cidr = parseCidr(text);
  if (!cidr) throw new TypeError(`cluster-cidr "${text}" is not a CIDR`);
  const mask = nodeMask[cidr.family];
  const size = 2 ** Math.min(mask - cidr.prefix, 30);
  const used = new Set<number>();
  const shift = BigInt((cidr.family === 4 ? 32 : 128) - mask);

  const indexesOf = (block: Cidr): number[] => {
    if (block.family !== cidr.family) return [];
    const first = Number((block.base - cidr.base) >> shift);
    const count = block.prefix < mask ? 2 ** Math.min(mask - block.prefix, 16) : 1;
    return Array.from({ length: count }, (_, i) => first + i).filter((index) => index >= 0 && index < size);
  };

  return {
    mark(block: string, taken: boolean): void {
      const parsed = parseCidr(block);
      for (const index of parsed ? indexesOf(parsed) : []) {
        if (taken) used.add(index);
        else used.delete(index);
      }
    },
    take(): string | undefined {
      for (let index = 0; index < size; index++) {
        if (used.has(index)) continue;
        used.add(index);
        return formatCidr(subnetAt(cidr, mask, index));
      }
      return undefined;
    },
  };
}
