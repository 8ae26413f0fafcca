/** Network namespaces for suites that change a node's network: the node, someone outside of the cluster, and pods. */
import type { FakeKube } from "../kube/fake.ts";
import { netns, join2, type Netns } from "../testing-netns.ts";
import type { ConformanceContext } from "./suite.ts";
import type { WorldOptions } from "./world.ts";

export interface DataPlane {
  readonly node: Netns;
  /** 192.0.2.20, on the node's network 192.0.2.0/24. */
  readonly outside: Netns;
  /** Another empty namespace, removed with the rest. */
  add(): Netns;
  readonly place: WorldOptions;
}

export interface NodePair {
  readonly first: WorldOptions;
  readonly net: Netns;
  /** Of the second node, in the cluster of the first. */
  second(kube: FakeKube): WorldOptions;
}

/** Two nodes of one cluster on a wire of their own, 198.51.100.0/24. */
export function twoNodes({ node, add }: DataPlane): NodePair {
  const net = add();
  join2(node, "eth1", "198.51.100.10/24", net, "eth0", "198.51.100.11/24");
  return {
    net,
    first: { prefix: node.prefix, node: { ip: "198.51.100.10" } },
    second: (kube) => ({ prefix: net.prefix, node: { name: "node-2", ip: "198.51.100.11" }, podCidr: "10.42.1.0/24", kube }),
  };
}

let sequence = 0;

export function dataPlane(ctx: ConformanceContext): DataPlane {
  const add = (): Netns => {
    const made = netns(`kc${process.pid % 100_000}x${sequence++}`);
    ctx.defer(() => made.remove());
    return made;
  };
  const [node, outside] = [add(), add()];
  join2(node, "eth0", "192.0.2.10/24", outside, "eth0", "192.0.2.20/24");
  outside.run("ip", "route", "add", "default", "via", "192.0.2.10");
  node.run("ip", "route", "add", "default", "via", "192.0.2.20");
  return { node, outside, add, place: { prefix: node.prefix, node: { ip: "192.0.2.10" } } };
}
