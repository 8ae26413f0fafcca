import { describe, expect, it } from "vitest";
import type { Node } from "@k3s-p/plugin-api/kube";
import { annotationsOf, commands, peersOf, type Backend } from "./peers.ts";

const backend: Backend = {
  type: "vxlan", nodeName: "a", nodeIp: "192.0.2.1", clusterCidr: "10.42.0.0/16", podCidr: "10.42.0.0/24", mtu: 1450, vni: 1,
  link: { name: "eth0", mtu: 1500, addresses: ["192.0.2.1"] },
};
const mac = "aa:bb:cc:dd:ee:01";
const node = (name: string, podCIDR: string | undefined, ip: string, annotations: Readonly<Record<string, string>> = {}): Node =>
  ({ metadata: { name, annotations }, spec: { podCIDR }, status: { addresses: [{ type: "InternalIP", address: ip }] } }) as unknown as Node;
const other = node("b", "10.42.1.0/24", "192.0.2.2", annotationsOf({ ...backend, nodeName: "b", nodeIp: "192.0.2.2" }, mac));
const peer = { podCidr: "10.42.1.0/24", publicIp: "192.0.2.2", mac };

describe("the other nodes", () => {
  it("are known by flannel's annotations", () => {
    expect(other.metadata.annotations).toEqual({
      "flannel.alpha.coreos.com/backend-type": "vxlan", "flannel.alpha.coreos.com/backend-data": `{"VNI":1,"VtepMAC":"${mac}"}`,
      "flannel.alpha.coreos.com/kube-subnet-manager": "true", "flannel.alpha.coreos.com/public-ip": "192.0.2.2",
    });
    expect(peersOf(backend, [node("a", "10.42.0.0/24", "192.0.2.1"), other])).toEqual([peer]);
  });

  it("wait for their range and their device; host-gw needs no device", () => {
    const fresh = [node("c", undefined, "192.0.2.3"), node("d", "10.42.3.0/24", "192.0.2.4")];
    expect(peersOf(backend, fresh)).toEqual([]);
    expect(peersOf({ ...backend, type: "host-gw" }, fresh)).toEqual([{ podCidr: "10.42.3.0/24", publicIp: "192.0.2.4" }]);
  });
});

describe("vxlan", () => {
  const route = { dst: "10.42.1.0/24", gateway: "10.42.1.0", dev: "flannel.1" };
  const entry = { mac, dst: "192.0.2.2" };

  it("needs a neighbour, a route and a forwarding entry for each node", () => {
    expect(commands(backend, [peer], [{ dst: "default", gateway: "192.0.2.254", dev: "eth0" }, { dst: "10.42.0.0/24", dev: "cni0" }], [])).toEqual({
      ip: ["neighbour replace 10.42.1.0 lladdr aa:bb:cc:dd:ee:01 dev flannel.1 nud permanent", "route replace 10.42.1.0/24 via 10.42.1.0 dev flannel.1 onlink"],
      bridge: ["fdb append aa:bb:cc:dd:ee:01 dev flannel.1 dst 192.0.2.2"],
    });
  });

  it("leaves what is right, and removes what is of nodes that are gone or moved", () => {
    expect(commands(backend, [peer], [route], [entry])).toEqual({ ip: [expect.stringMatching(/^neighbour replace/)], bridge: [] });
    expect(commands(backend, [], [route], [entry])).toEqual({
      ip: ["route delete 10.42.1.0/24 via 10.42.1.0 dev flannel.1"], bridge: ["fdb delete aa:bb:cc:dd:ee:01 dev flannel.1 dst 192.0.2.2"],
    });
    const moved = commands(backend, [{ ...peer, publicIp: "192.0.2.9" }], [route], [entry]);
    expect(moved.bridge).toEqual(["fdb delete aa:bb:cc:dd:ee:01 dev flannel.1 dst 192.0.2.2", "fdb append aa:bb:cc:dd:ee:01 dev flannel.1 dst 192.0.2.9"]);
  });
});

describe("host-gw", () => {
  const direct = { ...backend, type: "host-gw" as const };

  it("is a route by the node itself, in place of those that VXLAN left", () => {
    const left = { dst: "10.42.1.0/24", gateway: "10.42.1.0", dev: "flannel.1" };
    expect(commands(direct, [peer], [left], [])).toEqual({
      ip: ["route delete 10.42.1.0/24 via 10.42.1.0 dev flannel.1", "route replace 10.42.1.0/24 via 192.0.2.2 dev eth0"], bridge: [],
    });
  });

  it("touches no route outside of the cluster's range, and none of the node's own pods", () => {
    const others = [{ dst: "10.0.0.0/8", gateway: "192.0.2.254", dev: "eth0" }, { dst: "10.42.0.0/24", dev: "cni0" }, { dst: "10.42.0.0/16", gateway: "192.0.2.254", dev: "eth0" }];
    expect(commands(direct, [], others, [])).toEqual({ ip: [], bridge: [] });
  });
});
