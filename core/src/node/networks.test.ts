import { expect, test } from "vitest";
import { flags } from "../config/flags.ts";
import { loadSettings } from "../config/load.ts";
import { planServer } from "../plan.ts";
import { nodeInfo } from "./identity.ts";

const networks = (...argv: string[]) => nodeInfo(loadSettings({ argv: ["--node-name", "node1", ...argv], env: {}, flags }), []).cluster;

test.each([
  ["--cluster-cidr=10.43.0.0/16", "service-cidr: 10.43.0.0/16 overlaps with cluster-cidr 10.43.0.0/16", "the default"],
  ["--service-cidr=10.42.128.0/20", "service-cidr: 10.42.128.0/20 overlaps with cluster-cidr 10.42.0.0/16", "--service-cidr"],
  ["--cluster-cidr=10.0.0.0/8", "service-cidr: 10.43.0.0/16 overlaps with cluster-cidr 10.0.0.0/8", "the default"],
  ["--service-cidr=10.43.0.0/29", "service-cidr: 10.43.0.0/29 has no tenth address for the DNS service", "--service-cidr"],
  ["--service-cidr=fd00:43::/112", "service-cidr: fd00:43::/112 has other IP families than cluster-cidr 10.42.0.0/16", "--service-cidr"],
])("%s is refused, with both sides, the place and the fix", (flag, message, source) => {
  expect(() => networks(flag)).toThrow(expect.objectContaining({ message, detail: [`from ${source}`], fix: expect.stringMatching(/^give /) }));
});

test.each([
  ["service-cidr", "10.43.0.0/11", "a network from /12 to /29 is expected"],
  ["service-cidr", "10.43.0.0/30", "a network from /12 to /29 is expected"],
  ["cluster-cidr", "10.42.0.0/16,10.52.0.0/16", "one network is expected, or one of IPv4 and one of IPv6"],
])("--%s %s is refused with what is expected", (flag, value, expected) => {
  expect(() => networks(`--${flag}`, value)).toThrow(expect.objectContaining({ message: `${flag}: "${value}" is not allowed`, detail: [`from --${flag}   ${expected}`] }));
});

test("networks side by side are taken, the smallest too, and those of both families", () => {
  expect(networks("--service-cidr", "10.43.0.0/28").clusterDns).toEqual(["10.43.0.10"]);
  expect(networks("--service-cidr", "10.43.0.0/29", "--cluster-dns", "10.43.0.2").clusterDns).toEqual(["10.43.0.2"]);
  expect(networks("--cluster-cidr", "10.42.0.0/16,fd00:42::/56", "--service-cidr", "10.43.0.0/16,fd00:43::/112").clusterDns).toEqual(["10.43.0.10", "fd00:43::a"]);
});

test("an address of the DNS service outside the network of services is refused, unless there is no DNS service", async () => {
  const argv = ["--node-name", "node1", "--cluster-dns", "169.254.20.10"];
  await expect(planServer(argv, {})).rejects.toThrow(expect.objectContaining({
    code: "K3SP_FLAG_INVALID", message: "cluster-dns: 169.254.20.10 is not in service-cidr 10.43.0.0/16", detail: ["from --cluster-dns"], fix: expect.stringContaining("give --cluster-dns an address of --service-cidr"),
  }));
  expect((await planServer([...argv, "--disable", "coredns"], {})).node.cluster.clusterDns).toEqual(["169.254.20.10"]);
});
