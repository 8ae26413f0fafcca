/** A second machine joins with `k3s-p agent`: what one node does, two do, across the wire, and each lives through the other's absence. */
import { type ChildProcess, spawn } from "node:child_process";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createAgent, createCluster, dataDir, eventually, httpGet, joinToken, type Cluster, type ClusterNode } from "../kit/cluster.ts";
import { busyboxImage } from "../kit/images.ts";
import { sandboxUnavailable, type Sandbox } from "../kit/sandbox.ts";
import { tool } from "../kit/tools.ts";
import { image } from "./use-cluster.ts";

const reason = sandboxUnavailable();
if (reason) console.log(`skipped: a second node ${reason}`);
const root = join(import.meta.dirname, "../..");
const k3sp = [join(root, "node_modules/node/bin/node"), join(root, "core/src/cli/main.ts")];

/** On each node a pod that answers with its node's name, and one container that gives back what it is told. */
const each = `
apiVersion: apps/v1
kind: DaemonSet
metadata: { name: each }
spec:
  selector: { matchLabels: { app: each } }
  template:
    metadata: { labels: { app: each } }
    spec:
      terminationGracePeriodSeconds: 0
      containers:
      - name: web
        image: ${image}
        env: [{ name: NODE, valueFrom: { fieldRef: { fieldPath: spec.nodeName } } }]
        command: [sh, -c, "mkdir -p /tmp/w; echo $NODE | tee /tmp/w/index.html; head -c 1000000 /dev/zero > /tmp/w/large; exec httpd -f -p 8080 -h /tmp/w"]
        ports: [{ containerPort: 8080, name: http }]
        readinessProbe: { httpGet: { path: /, port: http }, periodSeconds: 1 }
      - { name: echo, image: "${image}", command: [cat], stdin: true }
`;

const pinned = (name: string, node: string, command: string, more = "") => `
apiVersion: v1
kind: Pod
metadata: { name: ${name}, labels: { app: ${name} } }
spec:
  nodeSelector: { kubernetes.io/hostname: ${node} }
  restartPolicy: Never
  terminationGracePeriodSeconds: 0
  containers: [{ name: c, image: "${image}", command: [sh, -c, "${command}"]${more && ", volumeMounts: [{ name: data, mountPath: /data }]"} }]
${more}
---`;

/** A pod on node 2 alone, with a service that all addresses of the cluster answer for. */
const far = `${pinned("far", "node2", "mkdir -p /tmp/w; echo far > /tmp/w/index.html; exec httpd -f -p 8080 -h /tmp/w")}
apiVersion: v1
kind: Service
metadata: { name: far }
spec: { type: LoadBalancer, selector: { app: far }, ports: [{ port: 8000, targetPort: 8080, nodePort: 30080 }] }
`;

const served = { status: 200, body: "far\n" };

describe.skipIf(reason)("a second node", () => {
  let cluster: Cluster;
  let agent: ClusterNode;

  beforeAll(async () => {
    const images = [busyboxImage({ name: "docker.io/library/busybox", tag: "e2e" })];
    cluster = await createCluster({ images, args: ["--disable", "traefik", "--kube-controller-manager-arg", "node-monitor-grace-period=15s"] });
    await cluster.start();
    agent = createAgent(cluster, { images });
    await agent.start({ env: await joinToken(cluster) });
    await cluster.apply(`${each}---${far}`);
    await cluster.kubectl("wait", "--for=condition=Ready", "node/node1", "node/node2", "--timeout=30s");
    await cluster.kubectl("rollout", "status", "daemonset/each", "--timeout=60s");
    await cluster.kubectl("wait", "--for=condition=Ready", "pod/far", "--timeout=30s");
  });
  afterAll(async () => {
    await agent?.dispose();
    await cluster?.dispose();
  });

  const field = (path: string, ...what: readonly string[]) => cluster.kubectl("get", ...what, "-o", `jsonpath=${path}`);
  const podOn = (node: string) => field("{.items[0].metadata.name}", "pods", "-l", "app=each", "--field-selector", `spec.nodeName=${node}`);
  const addressOn = (node: string) => field("{.items[0].status.podIP}", "pods", "-l", "app=each", "--field-selector", `spec.nodeName=${node}`);
  /** Runs commands in the node's pod. */
  const from = (node: string) => async (command: readonly string[]) => cluster.tryKubectl(["exec", await podOn(node), "-c", "web", "--", ...command]);
  const fromOutside = (command: readonly string[]) => cluster.sandbox.runPeer(command);
  const answer = (get: () => ReturnType<typeof httpGet>, what: string) => eventually(async () => { const r = await get(); return r.status > 0 && r; }, what, 20_000);
  const processes = async (machine: Sandbox) => (await machine.run(["sh", "-c", "cd /run/k3s/containerd/io.containerd.runtime.v2.task/k8s.io && grep -H . */init.pid"])).stdout;
  const bothWays = (check: (here: string, there: string) => Promise<void>) => Promise.all([check("node1", "node2"), check("node2", "node1")]);
  const reachesBothWays = () => bothWays(async (here, there) => {
    const address = await addressOn(there);
    expect(await answer(() => httpGet(from(here), address, 8080), `${here} -> ${there}`)).toEqual({ status: 200, body: `${there}\n` });
  });

  test("is Ready with an address, a pod network and no role of its own; its kubelet is reached through the API server", async () => {
    const rows = (await cluster.kubectl("get", "nodes", "-o", "wide", "--no-headers")).trim().split("\n").map((row) => row.split(/\s+/).slice(0, 6));
    const version = expect.stringMatching(/^v1\.36\.\d+\+k3sp\d+$/) as string;
    expect(rows).toEqual([
      ["node1", "Ready", "control-plane", expect.any(String), version, cluster.sandbox.ip],
      ["node2", "Ready", "<none>", expect.any(String), version, agent.sandbox.ip],
    ]);
    expect((await field("{.items[*].spec.podCIDR}", "nodes")).split(" ").sort()).toEqual(["10.42.0.0/24", "10.42.1.0/24"]);
    for (const node of ["node1", "node2"]) expect(await cluster.kubectl("get", "--raw", `/api/v1/nodes/${node}/proxy/healthz`)).toBe("ok");
    expect(agent.output()).toContain(`"msg":"joined https://${cluster.sandbox.ip}:6443 (k3s-p 0.1.0, Kubernetes v1.36.`);
    expect([cluster, agent].flatMap((node) => node.output().split("\n").filter((line) => line && !line.startsWith('{"level":30,')))).toEqual([]);
  });

  test("has K3s's files of an agent, and none of a server", async () => {
    const { stdout } = await agent.sandbox.run(["sh", "-c", `cd ${dataDir} && ls && stat -c '%a %n' /etc/rancher/node/password agent/client-kubelet.key agent/serving-kubelet.key agent/client-ca.crt agent/server-ca.crt`]);
    expect(stdout.trim().split("\n")).toEqual([
      "agent", "data", "plugins", "600 /etc/rancher/node/password", "600 agent/client-kubelet.key", "600 agent/serving-kubelet.key", "644 agent/client-ca.crt", "644 agent/server-ca.crt",
    ]);
  });

  test("pods reach each other over the tunnel by address, in full frames", async () => {
    await reachesBothWays();
    await bothWays(async (here, there) => expect((await httpGet(from(here), await addressOn(there), 8080, "/large")).body.length).toBe(1_000_000));
  });

  test("a service, DNS and the API server answer from both nodes, and a node port on both", async () => {
    await bothWays(async (node) => {
      expect(await answer(() => httpGet(from(node), "far.default.svc.cluster.local", 8000), `the service from ${node}`)).toEqual(served);
      expect((await from(node)(["sh", "-c", "nc -w 2 kubernetes.default 443 < /dev/null"])).code).toBe(0);
    });
    await Promise.all([cluster, agent].map(async ({ sandbox }) => expect(await answer(() => httpGet(fromOutside, sandbox.ip, 30080), `the node port at ${sandbox.ip}`)).toEqual(served)));
  });

  test("a load balancer has the addresses of both and answers at each; with the policy Local, where the pod is", async () => {
    const shown = () => field("{.status.loadBalancer.ingress[*].ip}", "service", "far");
    const [near, away] = [cluster.sandbox.ip, agent.sandbox.ip];
    await eventually(async () => (await shown()) === `${near} ${away}`, "both addresses", 10_000);
    await Promise.all([near, away].map(async (ip) => expect(await answer(() => httpGet(fromOutside, ip, 8000), `the load balancer at ${ip}`)).toEqual(served)));
    await cluster.kubectl("patch", "service", "far", "-p", '{"spec":{"externalTrafficPolicy":"Local"}}');
    await eventually(async () => (await shown()) === away, "the address of the pod's node", 10_000);
    await eventually(async () => (await httpGet(fromOutside, near, 30080)).status === 0, "no answer where the pod is not", 10_000);
    expect(await httpGet(fromOutside, away, 30080)).toEqual(served);
  });

  test("logs, exec, attach and port-forward reach its pods", async () => {
    const pod = await podOn("node2");
    expect(await cluster.kubectl("logs", pod, "-c", "web")).toBe("node2\n");
    expect((await cluster.tryKubectl(["exec", "-i", pod, "-c", "web", "--", "cat"], { stdin: "through\n" })).stdout).toBe("through\n");
    const attach = kubectlThatStays(cluster, "attach", "-i", pod, "-c", "echo");
    attach.child.stdin!.write("to the container\n");
    await eventually(async () => attach.seen().includes("to the container\n"), "an echo", 15_000);
    attach.child.kill();
    const forward = kubectlThatStays(cluster, "port-forward", `pod/${pod}`, "18081:8080");
    await eventually(async () => forward.seen().includes("Forwarding from"), "port-forward", 15_000);
    expect(await httpGet((command) => cluster.sandbox.run(command), "127.0.0.1", 18081)).toEqual({ status: 200, body: "node2\n" });
    forward.child.kill();
  });

  test("a NetworkPolicy keeps the other node's pods out, and lets in those that it names", async () => {
    const address = await addressOn("node2");
    const status = async () => (await httpGet(from("node1"), address, 8080)).status;
    await cluster.apply("apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: { name: each }\nspec: { podSelector: { matchLabels: { app: each } }, ingress: [{ from: [{ podSelector: { matchLabels: { friend: node1 } } }] }] }\n");
    await eventually(async () => (await status()) === 0, "the pod is kept out", 10_000);
    await cluster.kubectl("label", "pod", await podOn("node1"), "friend=node1");
    await eventually(async () => (await status()) === 200, "the pod is let in", 10_000);
    await cluster.kubectl("delete", "networkpolicy", "each");
  });

  test("a claim of the class local-path lives on its disk", async () => {
    const withClaim = "  volumes: [{ name: data, persistentVolumeClaim: { claimName: data } }]";
    const folders = async (machine: Sandbox) => (await machine.run(["sh", "-c", `ls ${dataDir}/storage 2>/dev/null`])).stdout;
    const run = async (name: string, command: string) => {
      await cluster.apply(pinned(name, "node2", command, withClaim));
      await cluster.kubectl("wait", "--for=jsonpath={.status.phase}=Succeeded", `pod/${name}`, "--timeout=60s");
    };
    await cluster.apply("apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: { name: data }\nspec: { accessModes: [ReadWriteOnce], resources: { requests: { storage: 64Mi } } }\n");
    await run("writer", "echo kept > /data/file");
    await cluster.kubectl("delete", "pod", "writer");
    await run("reader", "cat /data/file");
    expect(await cluster.kubectl("logs", "reader")).toBe("kept\n");
    expect([await folders(cluster.sandbox), await folders(agent.sandbox)]).toEqual(["", expect.stringMatching(/^pvc-\S+_default_data\n$/)]);
    await cluster.kubectl("delete", "pod/reader", "pvc/data");
    await eventually(async () => (await folders(agent.sandbox)) === "", "the folder is removed", 30_000);
  });

  test("top shows both nodes", async () => {
    const rows = await eventually(async () => { const { code, stdout } = await cluster.tryKubectl(["top", "node", "--no-headers"]); return code === 0 && stdout.includes("node2") && stdout; }, "kubectl top node", 40_000);
    expect(rows).toMatch(/^node1\s+\d+m\s+\d+%\s+\d+Mi\s+\d+%\s*\nnode2\s+\d+m\s+\d+%\s+\d+Mi\s+\d+%\s*\n$/);
  });

  test("kill -9 of the agent restarts no container, and the next start needs no token", async () => {
    const running = await processes(agent.sandbox);
    expect(running).not.toBe("");
    await agent.stop("SIGKILL");
    await agent.start();
    expect(await processes(agent.sandbox)).toBe(running);
    await eventually(async () => (await cluster.tryKubectl(["exec", await podOn("node2"), "-c", "web", "--", "true"])).code === 0, "exec on node 2", 20_000);
    expect(await field("{.items[*].status.containerStatuses[*].restartCount}", "pods", "-l", "app=each")).toBe("0 0 0 0");
  });

  test("a restart of the server is not felt between pods, and node 2 takes new ones at once", async () => {
    const address = await addressOn("node2");
    const pod = await podOn("node1");
    const once = `printf "GET / HTTP/1.0\\r\\n\\r\\n" | nc -w 2 ${address} 8080 | tail -n 1 | grep node2 || echo dropped`;
    await cluster.kubectl("exec", pod, "-c", "web", "--", "sh", "-c", `(while test ! -e /tmp/enough; do ${once}; sleep 0.1; done) > /tmp/loop < /dev/null 2>&1 &`);
    await cluster.stop();
    await cluster.start();
    await cluster.apply(pinned("after", "node2", "sleep 100000"));
    await cluster.kubectl("wait", "--for=condition=Ready", "pod/after", "--timeout=10s");
    const lines = (await cluster.kubectl("exec", pod, "-c", "web", "--", "sh", "-c", "touch /tmp/enough; cat /tmp/loop")).trim().split("\n");
    expect(lines.length).toBeGreaterThan(5);
    expect(new Set(lines)).toEqual(new Set(["node2"]));
  });

  test("drain, a lost password that is refused, NotReady, delete and a new start", async () => {
    expect(await cluster.kubectl("drain", "node2", "--force", "--ignore-daemonsets", "--timeout=30s")).toContain("node/node2 drained\n");
    await cluster.kubectl("uncordon", "node2");
    expect(await agent.stop()).toBe(0);
    await agent.sandbox.run(["sh", "-c", `rm /etc/rancher/node/password ${dataDir}/agent/*.crt ${dataDir}/agent/*.key`]);
    const env = await joinToken(cluster);
    await expect(agent.start({ env })).rejects.toThrow(/the agent ended with 1\n[^]*K3SP_JOIN_REFUSED/);
    await eventually(async () => (await field("{.spec.taints[*].key}", "node", "node2")).includes("node.kubernetes.io/unreachable"), "the taint of a node that is gone", 40_000);
    expect(await cluster.kubectl("get", "node", "node2", "--no-headers")).toMatch(/^node2\s+NotReady/);
    await cluster.kubectl("delete", "node", "node2");
    await agent.start({ env });
    await cluster.kubectl("wait", "--for=condition=Ready", "node/node2", "--timeout=30s");
    await eventually(async () => (await field("{.status.numberReady}", "daemonset", "each")) === "2", "a pod on each node again", 30_000);
    await reachesBothWays();
  });

  test("killall ends all of its machine, and nothing of the other", async () => {
    const other = await processes(cluster.sandbox);
    const { code, stdout } = await agent.sandbox.run([...k3sp, "killall"]);
    expect([code, stdout]).toEqual([0, expect.stringMatching(/^stopped [1-9]\d* processes, removed [1-9]\d* mounts, 2 links, [1-9]\d* nftables tables\n$/)]);
    await eventually(async () => (await agent.sandbox.run(["sh", "-c", "ls /sys/class/net; ls /run/netns; grep -c /run/k3s/ /proc/self/mounts"])).stdout === "eth0\nlo\n0\n", "nothing is left", 5000);
    expect(await processes(cluster.sandbox)).toBe(other);
    expect((await httpGet((command) => cluster.sandbox.run(command), await addressOn("node1"), 8080)).body).toBe("node1\n");
  });

  test("is told by its server which network there is: with host-gw, routes take the tunnel's place", async () => {
    await cluster.stop();
    await cluster.sandbox.run([...k3sp, "killall"]);
    await cluster.start({ args: ["--flannel-backend", "host-gw"] });
    await agent.start();
    for (const node of ["node1", "node2"]) await eventually(async () => (await from(node)(["true"])).code === 0, `the pod of ${node}`, 30_000);
    await reachesBothWays();
    for (const [here, there, subnet] of [[cluster, agent, "10.42.1.0/24"], [agent, cluster, "10.42.0.0/24"]] as const) {
      expect((await here.sandbox.run(["ip", "route", "show", subnet])).stdout).toMatch(new RegExp(`^${subnet} via ${there.sandbox.ip} dev eth0 `));
      expect((await here.sandbox.run(["ls", "/sys/class/net"])).stdout).not.toContain("flannel");
    }
  });
});

/** A kubectl that runs until it is killed, and what it has printed. */
function kubectlThatStays(cluster: Cluster, ...args: readonly string[]): { readonly child: ChildProcess; readonly seen: () => string } {
  const child = spawn(cluster.sandbox.enter[0]!, [...cluster.sandbox.enter.slice(1), tool("kubectl"), "--kubeconfig", "/etc/rancher/k3s/k3s.yaml", ...args]);
  let text = "";
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding("utf8").on("data", (chunk: string) => (text += chunk));
  return { child, seen: () => text };
}
