/** Network namespaces for suites that change a node's network: the node, someone outside of the cluster, and pods. */
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
