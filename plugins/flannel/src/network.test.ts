import { expect, it } from "vitest";
import { chooseLink } from "./host.ts";
import { confList, masqueradeRules, subnetEnv, tableName, type PodNetwork } from "./network.ts";

const network: PodNetwork = { clusterCidr: "10.42.0.0/16", podCidr: "10.42.3.0/24", mtu: 1450, bridge: "cni0", ipamDir: "/run/k3s/cni" };

it("writes subnet.env as flannel does, with the gateway's address", () => {
  expect(subnetEnv(network)).toBe("FLANNEL_NETWORK=10.42.0.0/16\nFLANNEL_SUBNET=10.42.3.1/24\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n");
});

it("names the network cbr0 and chains bridge, portmap and bandwidth", () => {
  const list = confList(network);
  expect([list.name, list.plugins.map((each) => each.type)]).toEqual(["cbr0", ["bridge", "portmap", "bandwidth"]]);
});

it("gives each bridge a table of its own", () => {
  expect(tableName("cni0")).toBe("k3sp-flannel");
  expect(masqueradeRules({ ...network, bridge: "cni1" })).toContain("table ip k3sp-flannel-cni1 {");
});

it("takes the interface with the node's address, or the one that was named", () => {
  const all = [{ name: "lo", mtu: 65536, addresses: ["127.0.0.1"] }, { name: "eth0", mtu: 1500, addresses: ["192.0.2.2"] }];
  expect(chooseLink(all, "192.0.2.2", undefined).name).toBe("eth0");
  expect(chooseLink(all, "192.0.2.2", "lo").name).toBe("lo");
  expect(() => chooseLink(all, "192.0.2.2", "eth7")).toThrow('there is no interface "eth7"');
});
