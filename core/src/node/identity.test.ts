import { expect, test } from "vitest";
import { flags } from "../config/flags.ts";
import { loadSettings } from "../config/load.ts";
import { defaultAddress, hasDefaultRoute, nodeInfo } from "./identity.ts";

const infoOf = (...argv: string[]) => nodeInfo(loadSettings({ argv: ["--node-name", "node1", ...argv], env: {}, flags }), []);

test.each([
  ["bind-address", "localhost", "an IP address is expected"],
  ["advertise-address", "10.0.0", "an IP address is expected"],
  ["node-ip", "x", "an IP address is expected"],
  ["node-external-ip", "x", "an IP address is expected"],
  ["cluster-dns", "kube-dns", "an IP address is expected"],
  ["cluster-cidr", "10.42.0.0", "a network such as 10.42.0.0/16 is expected"],
  ["service-cidr", "10.43.0.0/33", "a network such as 10.42.0.0/16 is expected"],
  ["cluster-domain", "Cluster_Local", "a domain such as cluster.local is expected"],
  ["tls-san", "not a name", "a DNS name or an IP address is expected"],
  ["node-label", "a b=c", "a label KEY=VALUE is expected"],
  ["node-label", "alone", "a label KEY=VALUE is expected"],
  ["node-taint", "dedicated", "a taint KEY=VALUE:EFFECT is expected, its effect NoSchedule, PreferNoSchedule or NoExecute"],
  ["node-taint", "dedicated=x:Never", "a taint KEY=VALUE:EFFECT is expected, its effect NoSchedule, PreferNoSchedule or NoExecute"],
  ["https-listen-port", "65536", "1 to 65535 is expected"],
  ["service-node-port-range", "40000-30000", "two ports such as 30000-32767 are expected"],
  ["write-kubeconfig-group", "nobody-has-it", "a group of this machine is expected"],
  ["write-kubeconfig-mode", "999", "an octal mode such as 0644 is expected"],
])("--%s %s is refused with what is expected", (flag, value, expected) => {
  expect(() => infoOf(`--${flag}`, value)).toThrow(expect.objectContaining({
    code: "K3SP_FLAG_INVALID", message: `${flag}: ${JSON.stringify(value)} is not allowed`, detail: [`from --${flag}   ${expected}`],
  }));
});

test.each(["daemon", "1"])("the group %s of the kubeconfig is looked up", (group) => {
  expect(infoOf("--write-kubeconfig-group", group).cluster.kubeconfig.gid).toBe(1);
});

test("what upstream takes is taken", () => {
  const { labels, taints, cluster } = infoOf(
    "--node-label", "example.com/role=edge", "--node-label", "empty=", "--node-taint", "dedicated=edge:NoSchedule", "--node-taint", "node.example.com/drain:NoExecute",
    "--tls-san", "api.example.com,*.example.com,fd00::1,10.0.0.1", "--bind-address", "::", "--cluster-domain", "k8s.example.com",
  );
  expect(labels).toEqual({ "example.com/role": "edge", empty: "" });
  expect(taints).toEqual(["dedicated=edge:NoSchedule", "node.example.com/drain:NoExecute"]);
  expect(cluster).toMatchObject({ tlsSan: ["api.example.com", "*.example.com", "fd00::1", "10.0.0.1"], bindAddress: "::", clusterDomain: "k8s.example.com" });
});

test.each(["My_Host", "a..b", "a.-b", "-x", "host.", "a b", ""])("the node name %j is refused", (name) => {
  expect(() => infoOf(`--node-name=${name}`)).toThrow(expect.objectContaining({
    code: "K3SP_FLAG_INVALID", message: `node-name: ${JSON.stringify(name.toLowerCase())} is not a valid node name`, fix: "give a name with --node-name",
  }));
});

test("a name in capitals is taken in small letters, as K3s does; parts may stand between points", () => {
  expect(infoOf("--node-name=Node-1.Example.COM").name).toBe("node-1.example.com");
});

const interfaces = Object.fromEntries(Object.entries({ cni0: "10.42.0.1", eth1: "192.0.2.7", "flannel.1": "10.42.0.0", lo: "127.0.0.1" })
  .map(([name, address]) => [name, [{ address, family: "IPv4", internal: name === "lo", netmask: "", mac: "", cidr: null } as const]]));
const routesBy = (device: string): string => `Iface\tDestination\tGateway\n${device}\t00000000\t010200C0\n`;

test.each([
  ["of the default route", routesBy("eth1"), interfaces, "192.0.2.7"],
  ["of the first interface that is not the pods', where there is no default route", "Iface\tDestination\n", interfaces, "192.0.2.7"],
  ["of the machine itself, where the pods' network has come up and its own has not yet", "", { cni0: interfaces["cni0"], lo: interfaces["lo"] }, "127.0.0.1"],
])("the node's address is that %s", (_, routes, found, address) => {
  expect(defaultAddress(["10.42.0.0/16", "fd00::/48"], { routes, interfaces: found })).toBe(address);
});

test("a default route is one to everywhere", () => {
  expect([hasDefaultRoute(routesBy("eth0")), hasDefaultRoute("Iface\tDestination\neth0\t000200C0\n")]).toEqual([true, false]);
});
