/** How a node comes to a cluster and leaves it: before its server is there, to one that runs no pods itself, and with certificates made anew. */
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createAgent, createCluster, dataDir, eventually, type Cluster, type ClusterNode } from "../kit/cluster.ts";
import { busyboxImage } from "../kit/images.ts";
import { sandboxUnavailable } from "../kit/sandbox.ts";
import { image } from "./use-cluster.ts";

const reason = sandboxUnavailable();
if (reason) console.log(`skipped: how a node joins ${reason}`);
const root = join(import.meta.dirname, "../..");
const k3sp = [join(root, "node_modules/node/bin/node"), join(root, "core/src/cli/main.ts")];

const web = `
apiVersion: v1
kind: Pod
metadata: { name: web }
spec:
  terminationGracePeriodSeconds: 0
  containers: [{ name: c, image: "${image}", command: [sh, -c, "echo $HOSTNAME; exec sleep 100000"] }]
`;

describe.skipIf(reason)("a node that joins", () => {
  let cluster: Cluster;
  let agent: ClusterNode;

  beforeAll(async () => {
    const images = [busyboxImage({ name: "docker.io/library/busybox", tag: "e2e" })];
    cluster = await createCluster({ args: ["--disable-agent", "--disable", "traefik,metrics-server", "--token", "opensesame", "--cluster-cidr", "10.9.0.0/16"], config: "plugins: { flannel: { config: { vni: 7 } } }\n" });
    agent = createAgent(cluster, { images, config: "node-label: [disk=ssd]\nflannel-backend: host-gw\n" });
  });
  afterAll(async () => {
    await agent?.dispose();
    await cluster?.dispose();
  });
  const url = () => `https://${cluster.sandbox.ip}:6443`;
  const onAgent = (...command: readonly string[]) => agent.sandbox.run([...k3sp, ...command]);

  test("waits for its server, says why once, and ends with 0 when it is told to", async () => {
    const starting = agent.start({ env: { K3S_TOKEN: "opensesame" } });
    const ended = expect(starting).rejects.toThrow("the agent ended with 0");
    const line = `"msg":"waiting for ${url()}: connect ECONNREFUSED ${cluster.sandbox.ip}:6443"`;
    await eventually(async () => agent.output().includes(line), "the agent waits", 10_000);
    await new Promise((resolve) => setTimeout(resolve, 1500));
    expect(agent.output().split(line)).toHaveLength(2);
    expect(await agent.stop()).toBe(0);
    await ended;
  });

  test("ends at once also while it looks for the server's name and no name server answers", async () => {
    const { sandbox } = agent;
    const silent = sandbox.spawn([...k3sp.slice(0, 1), "-e", "require('node:dgram').createSocket('udp4').bind(53, '127.0.0.9', () => console.log('listening'))"]);
    await new Promise((resolve) => silent.stdout!.once("data", resolve));
    await sandbox.run(["sh", "-c", "echo nameserver 127.0.0.9 > /run/resolv.conf && mount --bind /run/resolv.conf /etc/resolv.conf"]);
    const waiting = sandbox.spawn([...k3sp, "agent", "--server", "https://server.example:6443", "--node-name", "node2"], { K3S_TOKEN: "opensesame" });
    const ended = new Promise<readonly [number | null, number]>((resolve) => waiting.on("close", (code) => resolve([code, performance.now()])));
    let output = "";
    waiting.stderr!.setEncoding("utf8").on("data", (chunk: string) => (output += chunk));
    // The token without a hash is warned of right before the name is looked up.
    await eventually(async () => output.includes("the token names no CA"), "the agent looks for its server", 20_000);
    await new Promise((resolve) => setTimeout(resolve, 500));
    const told = performance.now();
    waiting.kill("SIGTERM");
    const [code, at] = await ended;
    silent.kill("SIGKILL");
    await sandbox.run(["umount", "/etc/resolv.conf"]);
    expect(code, output).toBe(0);
    expect(output).toContain('"msg":"stopped"');
    expect(at - told).toBeLessThan(3000);
  });

  test("comes by itself once the server is there, and takes over what the server says", async () => {
    const starting = agent.start({ env: { K3S_TOKEN: "opensesame" } });
    await cluster.start();
    await starting;
    expect(agent.output()).toContain(`unknown key \\"flannel-backend\\" is ignored`);
    await cluster.kubectl("wait", "--for=condition=Ready", "node/node2", "--timeout=30s");
    expect(await cluster.kubectl("get", "nodes", "-o", "jsonpath={.items[*].metadata.name} {.items[*].spec.podCIDR} {.items[*].metadata.labels.disk}")).toBe("node2 10.9.0.0/24 ssd");
    expect((await agent.sandbox.run(["ip", "-br", "link"])).stdout).toContain("flannel.7");
  });

  test("runs the pods of a server that has no node of its own", async () => {
    await cluster.apply(web);
    await cluster.kubectl("wait", "--for=condition=Ready", "pod/web", "--timeout=30s");
    expect(await cluster.kubectl("logs", "web")).toBe("web\n");
    expect(await cluster.kubectl("get", "pod", "web", "-o", "jsonpath={.spec.nodeName} {.status.podIP}")).toMatch(/^node2 10\.9\.0\.\d+$/);
  });

  test("is looked into and changed as a server is", async () => {
    const states = (await onAgent("plugin", "list")).stdout.trim().split("\n").slice(1).map((row) => row.split(/\s+/).filter((_, i) => i === 0 || i === 4).join(" "));
    expect(states).toEqual(["containerd ready", "flannel ready", "kube-proxy ready", "kubelet ready", "local-storage ready", "network-policy ready", "server-link ready"]);
    expect((await onAgent("plugin", "disable", "network-policy")).stdout).toContain("stopped network-policy");
    expect((await onAgent("plugin", "enable", "network-policy")).stdout).toContain("started network-policy");
    expect(await cluster.kubectl("get", "serviceaccount", "-n", "kube-system", "k3s-p-network-policy", "-o", "name")).toBe("serviceaccount/k3s-p-network-policy\n");
  });

  test("with its certificates removed needs a token again, and a bootstrap token will do", async () => {
    const certificates = async () => (await onAgent("certificate", "check")).stdout;
    expect(await certificates()).toContain(`${dataDir}/agent/client-kubelet.crt: certificate CN=system:node:node2,O=system:nodes is ok`);
    const serial = async () => (await agent.sandbox.run(["openssl", "x509", "-noout", "-serial", "-in", `${dataDir}/agent/client-kubelet.crt`])).stdout;
    const before = await serial();
    expect(await agent.stop()).toBe(0);
    expect((await onAgent("certificate", "rotate")).stdout).toContain("please restart k3s-p agent to rotate certificates");
    await expect(agent.start()).rejects.toThrow(/the agent ended with 1\n[^]*K3SP_FLAG_INVALID {2}token: an agent needs the token of its server/);
    const { stdout } = await cluster.sandbox.run([...k3sp, "token", "create", "--ttl", "1m"]);
    await agent.start({ env: { K3S_TOKEN: stdout.trim() } });
    expect(await serial()).not.toBe(before);
    await cluster.kubectl("wait", "--for=condition=Ready", "node/node2", "pod/web", "--timeout=30s");
    expect(await cluster.kubectl("get", "pod", "web", "-o", "jsonpath={.status.containerStatuses[0].restartCount}")).toBe("0");
    expect((await agent.sandbox.run(["ls", dataDir])).stdout).not.toContain("server");
  });

  test.each([
    ["the token", "another", "node3", "K3SP_JOIN_REFUSED  the server does not accept the token\n"],
    ["the server's own name", "opensesame", "node1", /K3SP_JOIN_REFUSED {2}node name "node1" .*\n/],
  ])("is refused for %s", async (_, K3S_TOKEN, name, message) => {
    const { code, stdout, stderr } = await agent.sandbox.run([...k3sp, "agent", "--server", url(), "--node-name", name], { env: { K3S_TOKEN } });
    expect([code, stdout]).toEqual([1, ""]);
    expect(stderr).toMatch(message);
    for (const not of ["opensesame", "stopped"]) expect(stderr).not.toContain(not);
  });
});
