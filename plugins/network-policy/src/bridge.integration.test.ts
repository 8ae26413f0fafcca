/** Pods of one bridge, as with the default network: the plugin with the real nft, and Services in between. */
import { mkdtempSync, rmSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { namespaces, networkPolicies, pods } from "@k3s-p/plugin-api/kube";
import { fakeKube } from "@k3s-p/plugin-api/kube/fake";
import type { NetworkPolicy } from "@k3s-p/plugin-api/slots";
import { localRunner, startAlone, testNode, type StartedPlugin } from "@k3s-p/plugin-api/testing";
import { join2, netns, netnsUnavailable, type Netns } from "@k3s-p/plugin-api/testing-netns";
import plugin from "./plugin.ts";

const missing = netnsUnavailable();
if (missing) console.warn(`network-policy data-plane test skipped: needs ${missing}`);

describe.skipIf(missing !== undefined)("pods of one bridge", () => {
  const id = process.pid % 10_000;
  const kube = fakeKube();
  let root: string, node: Netns, a: Netns, b: Netns;
  let started: StartedPlugin<NetworkPolicy>;
  const begin = () => startAlone<NetworkPolicy>(plugin, { needs: { kube, node: testNode(root), runner: localRunner(node.prefix) }, dir: root });
  const synced = (change: () => unknown) => (change(), started.impl.synced());
  const tables = () => node.run("nft", "list", "tables");

  beforeAll(async () => {
    root = mkdtempSync("/tmp/k3sp-np-");
    [node, a, b] = ["n", "a", "b"].map((name) => netns(`knp${id}${name}`)) as [Netns, Netns, Netns];
    node.run("ip", "link", "add", "cni0", "type", "bridge");
    node.run("ip", "address", "add", "10.42.0.1/24", "dev", "cni0");
    node.run("ip", "link", "set", "cni0", "up");
    for (const [pod, name, ip] of [[a, "a", "10.42.0.11"], [b, "b", "10.42.0.12"]] as const) {
      join2(node, `v${name}`, "10.42.255.1/32", pod, "eth0", `${ip}/24`);
      node.run("ip", "address", "flush", "dev", `v${name}`);
      node.run("ip", "link", "set", `v${name}`, "master", "cni0");
      pod.run("ip", "route", "add", "default", "via", "10.42.0.1");
      await pod.serve(80, name);
      await pod.serve(53, name, "udp");
      kube.put(pods, { metadata: { name, namespace: "default", labels: { app: name } }, spec: { nodeName: "node-1" }, status: { phase: "Running", podIP: ip } });
    }
    kube.put(namespaces, { metadata: { name: "default" } });
    node.run("sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward; echo 1 > /proc/sys/net/bridge/bridge-nf-call-iptables");
    started = await begin();
    await started.impl.synced();
  }, 30_000);
  afterAll(async () => {
    await started?.stop();
    for (const each of [node, a, b]) each?.remove();
    rmSync(root, { recursive: true, force: true });
  });

  it("are refused at once over TCP and UDP, until a policy allows them", async () => {
    expect(a.ask("10.42.0.12", 80)).toBe("b 10.42.0.11");
    await synced(() => kube.put(networkPolicies, { metadata: { name: "deny", namespace: "default" }, spec: { podSelector: {}, policyTypes: ["Ingress"] } }));
    const before = Date.now();
    expect(a.ask("10.42.0.12", 80)).toBeUndefined();
    expect(Date.now() - before).toBeLessThan(1000);
    expect(a.ask("10.42.0.12", 53, { protocol: "udp" })).toBeUndefined();
    expect(node.ask("10.42.0.12", 80)).toBe("b 10.42.0.1");
    const ports = [{ port: 80 }, { port: 53, protocol: "UDP" }];
    await synced(() => kube.put(networkPolicies, { metadata: { name: "allow", namespace: "default" }, spec: { podSelector: {}, ingress: [{ from: [{ podSelector: { matchLabels: { app: "a" } } }], ports }] } }));
    expect(a.ask("10.42.0.12", 80)).toBe("b 10.42.0.11");
    expect(a.ask("10.42.0.12", 53, { protocol: "udp" })).toBe("b 10.42.0.11");
    expect(b.ask("10.42.0.11", 80)).toBeUndefined();
  });

  it("stay protected after somebody removed the table: the next change loads all rules", async () => {
    node.run("nft", "delete", "table", "ip", "k3sp-policy");
    await synced(() => kube.edit(pods, "a", "default", (pod) => void (pod.metadata.labels.app = "c")));
    expect(started.logged.join("\n")).toContain("nft refused a change: loading all rules");
    expect(a.ask("10.42.0.12", 80)).toBeUndefined();
  });

  it("are free when the plugin is disabled, which leaves no table", async () => {
    await started.stop("retired");
    expect(tables()).not.toContain("k3sp-policy");
    expect(a.ask("10.42.0.12", 80)).toBe("b 10.42.0.11");
  });
});
