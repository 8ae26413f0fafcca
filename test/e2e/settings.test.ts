/** K3s's flags and config files move the cluster's networks, names, ports and folders; other names are forwarded. */
import { spawn, type ChildProcess } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createCluster, eventually, type Cluster } from "../kit/cluster.ts";
import { busyboxImage } from "../kit/images.ts";
import { sandboxUnavailable } from "../kit/sandbox.ts";
import { tool } from "../kit/tools.ts";

const reason = sandboxUnavailable();
if (reason) console.log(`skipped: settings ${reason}`);

const config = `
data-dir: /var/lib/rancher/elsewhere
cluster-cidr: 10.52.0.0/16
service-cidr: 10.53.0.0/16
cluster-dns: 10.53.0.53
cluster-domain: k8s.test
https-listen-port: 7443
write-kubeconfig: /etc/rancher/k3s/mine.yaml
write-kubeconfig-mode: "0640"
write-kubeconfig-group: daemon
node-label: [tier=edge]
with-node-id: true
disable: [traefik, metrics-server]
`;

describe.skipIf(reason)("settings", () => {
  let cluster: Cluster;
  let names: ChildProcess | undefined;
  beforeAll(async () => {
    cluster = await createCluster({ config });
    const { sandbox } = cluster;
    const own = (path: string) => join(sandbox.dir, "private", path);
    mkdirSync(own("/etc/rancher/k3s/config.yaml.d"), { recursive: true });
    writeFileSync(own("/etc/rancher/k3s/config.yaml.d/10.yaml"), "node-label+: [zone=a]\ndisable+: [servicelb]\n");
    writeFileSync(join(sandbox.dir, "resolv.conf"), `nameserver ${sandbox.peerIp}\n`);
    await sandbox.run(["mount", "--bind", join(sandbox.dir, "resolv.conf"), "/etc/resolv.conf"]);
    const images = own("/var/lib/rancher/elsewhere/agent/images");
    mkdirSync(images, { recursive: true });
    await sandbox.run(["cp", busyboxImage({ name: "docker.io/library/busybox", tag: "e2e" }), "/var/lib/rancher/elsewhere/agent/images/"]);
    const [command = "", ...args] = [...sandbox.enterPeer, process.execPath, join(import.meta.dirname, "../kit/dns-server.ts"), sandbox.peerIp];
    names = spawn(command, args, { stdio: ["ignore", "pipe", "inherit"] });
    await new Promise((resolve) => names!.stdout!.once("data", resolve));
    await cluster.start();
  });
  afterAll(async () => {
    names?.kill("SIGKILL");
    await cluster?.dispose();
  });

  async function kubectl(...args: readonly string[]): Promise<string> {
    const { code, stdout, stderr } = await cluster.sandbox.run([tool("kubectl"), "--kubeconfig", "/etc/rancher/k3s/mine.yaml", ...args]);
    if (code !== 0) throw new Error(`kubectl ${args.join(" ")}: ${stderr}`);
    return stdout;
  }

  test("the kubeconfig is where and as it was asked for, and leads to the port", async () => {
    const { stdout } = await cluster.sandbox.run(["sh", "-c", "stat -c %a:%G /etc/rancher/k3s/mine.yaml; grep server: /etc/rancher/k3s/mine.yaml; ls -d /var/lib/rancher/*/server"]);
    expect(stdout.replaceAll(" ", "").split("\n")).toEqual(["640:daemon", "server:https://127.0.0.1:7443", "/var/lib/rancher/elsewhere/server", ""]);
  });

  test("pods, services and DNS use the networks and the domain; labels of both files are on the node", async () => {
    await kubectl("wait", "--for=condition=Ready", "node", "--all", "--timeout=30s");
    const name = `node1-${(await cluster.sandbox.run(["cat", "/etc/rancher/node/id"])).stdout.trim()}`;
    expect(name).toMatch(/^node1-[0-9a-f]{8}$/);
    expect(await kubectl("get", "node", name, "-o", "jsonpath={.spec.podCIDR} {.metadata.labels.tier} {.metadata.labels.zone}")).toBe("10.52.0.0/24 edge a");
    expect(await kubectl("get", "service", "kubernetes", "-o", "jsonpath={.spec.clusterIP}")).toBe("10.53.0.1");
    await eventually(async () => cluster.output().includes("imported /var/lib/rancher/elsewhere"), "the image", 20_000);
    await kubectl("run", "client", "--image=docker.io/library/busybox:e2e", "--restart=Never", "--command", "--", "sleep", "1000");
    await kubectl("wait", "--for=condition=Ready", "pod/client", "--timeout=30s");
    expect(await kubectl("get", "pod", "client", "-o", "jsonpath={.status.podIP}")).toMatch(/^10\.52\.0\./);
    expect(await kubectl("exec", "client", "--", "cat", "/etc/resolv.conf")).toBe("search default.svc.k8s.test svc.k8s.test k8s.test\nnameserver 10.53.0.53\noptions ndots:5\n");
    expect(await kubectl("exec", "client", "--", "nslookup", "kubernetes.default.svc.k8s.test")).toContain("Address: 10.53.0.1");
  });

  test("names outside the cluster are forwarded to the node's name server", async () => {
    expect(await kubectl("exec", "client", "--", "nslookup", "-type=a", "example.org.")).toContain("Address: 192.0.2.99");
  });

  test("what is disabled is neither loaded nor deployed", async () => {
    expect(cluster.output()).toMatch(/"msg":"disabled: metrics-server, servicelb, traefik"/);
    expect(await kubectl("get", "services", "-n", "kube-system", "-o", "name")).toBe("service/kube-dns\n");
  });
});
