import { expect, it } from "vitest";
import type { Pod } from "@k3s-p/plugin-api/kube";
import type { ClusterSettings } from "@k3s-p/plugin-api/slots";
import { etcHosts, parseResolvConf, podDns, podHostname, sandboxHostname } from "./dns.ts";

const cluster = { clusterDns: ["10.43.0.10"], clusterDomain: "cluster.local" } as unknown as ClusterSettings;
const host = parseResolvConf("search corp.example.\nnameserver 1.1.1.1\nnameserver 8.8.8.8\noptions rotate ndots:1\n");
const pod = (spec: object): Pod => ({ metadata: { name: "web", namespace: "ns" }, spec }) as unknown as Pod;

it("searches the namespace, the services, the cluster and then what the host searches", () => {
  expect(podDns(pod({ dnsPolicy: "ClusterFirst" }), cluster, host)).toEqual({
    servers: ["10.43.0.10"], searches: ["ns.svc.cluster.local", "svc.cluster.local", "cluster.local", "corp.example"], options: ["ndots:5"],
  });
});

it("gives a pod on the host's network the host's resolver, unless it asks for the cluster's", () => {
  expect(podDns(pod({ dnsPolicy: "ClusterFirst", hostNetwork: true }), cluster, host)).toEqual(host);
  expect(podDns(pod({ dnsPolicy: "ClusterFirstWithHostNet", hostNetwork: true }), cluster, host).servers).toEqual(["10.43.0.10"]);
  expect(podDns(pod({ dnsPolicy: "Default" }), cluster, host).servers).toEqual(["1.1.1.1", "8.8.8.8"]);
});

it("adds dnsConfig, whose options win", () => {
  const dnsConfig = { nameservers: ["9.9.9.9"], searches: ["x.y"], options: [{ name: "ndots", value: "2" }, { name: "edns0" }] };
  expect(podDns(pod({ dnsPolicy: "None", dnsConfig }), cluster, host)).toEqual({ servers: ["9.9.9.9"], searches: ["x.y"], options: ["ndots:2", "edns0"] });
  expect(podDns(pod({ dnsConfig }), cluster, host).options).toEqual(["ndots:2", "edns0"]);
});

it("names the pod by hostname and subdomain", () => {
  const named = pod({ hostname: "db-0", subdomain: "db", setHostnameAsFQDN: true });
  expect(podHostname(named, "cluster.local")).toEqual({ hostname: "db-0", domain: "db.ns.svc.cluster.local" });
  expect(sandboxHostname(named, "cluster.local")).toBe("db-0.db.ns.svc.cluster.local");
  expect(etcHosts(named, ["10.42.0.5"], "cluster.local", "")).toContain("10.42.0.5\tdb-0.db.ns.svc.cluster.local\tdb-0\n");
});

it("keeps the host's file for a pod on its network", () => {
  expect(etcHosts(pod({ hostNetwork: true }), [], "cluster.local", "127.0.0.1 localhost\n"))
    .toBe("# Kubernetes-managed hosts file (host network).\n127.0.0.1 localhost\n");
});
