/** Plugins are replaced and disabled from the command line. */
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { afterEach, describe, expect, test } from "vitest";
import { createCluster, eventually, httpGet, type Cluster } from "../kit/cluster.ts";
import { busyboxImage } from "../kit/images.ts";
import { sandboxUnavailable } from "../kit/sandbox.ts";
import { tool } from "../kit/tools.ts";

const reason = sandboxUnavailable();
if (reason) console.log(`skipped: plugins ${reason}`);
const python = spawnSync("/usr/bin/python3", ["-c", "import grpc, google.protobuf"]).status === 0;
if (!python) console.log("skipped: a plugin in Python needs python3-grpcio and python3-protobuf");
const myCni = join(import.meta.dirname, "../../plugin-api/examples/my-cni");

const pods = ["a", "b"].map((name) => `
apiVersion: v1
kind: Pod
metadata: { name: ${name} }
spec:
  terminationGracePeriodSeconds: 0
  containers: [{ name: c, image: "docker.io/library/busybox:e2e", ${name === "b" ? "ports: [{ containerPort: 80, hostPort: 8088 }], " : ""}command: [sh, -c, "mkdir -p /tmp/w; echo I am ${name} > /tmp/w/index.html; exec httpd -f -p 80 -h /tmp/w"] }]
`).join("---");

describe.skipIf(reason)("plugins", () => {
  let cluster: Cluster | undefined;
  afterEach(() => cluster?.dispose());

  test("--plugin ./my-cni takes flannel's place: the log says so, and pods talk over its addresses", async () => {
    cluster = await createCluster({ args: ["--plugin", myCni], images: [busyboxImage({ name: "docker.io/library/busybox", tag: "e2e" })] });
    await cluster.start();
    expect(cluster.output()).toContain("cni: my-cni 0.3.0 (replaces flannel)");
    await cluster.apply(pods);
    await cluster.kubectl("wait", "--for=condition=Ready", "pod/a", "pod/b", "--timeout=60s");
    const ip = await cluster.kubectl("get", "pod", "b", "-o", "jsonpath={.status.podIP}");
    expect(ip).toMatch(/^10\.77\.0\.\d+$/);
    const fromA = (command: readonly string[]) => cluster!.tryKubectl(["exec", "a", "--", ...command]);
    expect(await eventually(async () => { const r = await httpGet(fromA, ip, 80); return r.status > 0 && r; }, "pod b")).toEqual({ status: 200, body: "I am b\n" });
    expect((await cluster.sandbox.run(["ls", "/var/lib/rancher/k3s/agent/etc/cni/net.d"])).stdout).not.toContain("flannel");
    const node = await cluster.kubectl("get", "pod", "b", "-o", "jsonpath={.status.hostIP}");
    for (const from of [fromA, cluster.sandbox.run]) expect(await httpGet(from, node, 8088)).toEqual({ status: 200, body: "I am b\n" });
    await cluster.kubectl("delete", "pod", "b", "--now");
    expect((await cluster.sandbox.run(["nft", "list", "chain", "ip", "k3sp-my-cni", "hostports"])).stdout).not.toContain("8088");
  });

  test.skipIf(!python)("a program in Python is the pod network: confined to its rights, with an account of its own", async () => {
    const folder = join(import.meta.dirname, "../../plugin-api/examples/rpc-python");
    cluster = await createCluster({ args: ["--plugin", folder], images: [busyboxImage({ name: "docker.io/library/busybox", tag: "e2e" })] });
    await cluster.start();
    await cluster.apply(pods);
    await cluster.kubectl("wait", "--for=condition=Ready", "pod/a", "--timeout=60s");
    expect(await cluster.kubectl("get", "pod", "a", "-o", "jsonpath={.status.podIP}")).toMatch(/^10\.78\.0\.\d+$/);
    const published = JSON.parse(await cluster.kubectl("get", "configmap", "rpc-python", "-n", "kube-system", "--show-managed-fields", "-o", "json")) as { data: object; metadata: { managedFields: { manager: string }[] } };
    expect([published.data, published.metadata.managedFields[0]!.manager]).toEqual([{ subnet: "10.78.0.0/24" }, "rpc-python"]);
    const whoami = (await cluster.sandbox.run([tool("kubectl"), "--kubeconfig", "/run/k3s/plugins/rpc-python/kubeconfig", "auth", "whoami", "-o", "jsonpath={.status.userInfo.username}"])).stdout;
    expect(whoami).toBe("system:serviceaccount:kube-system:k3s-p-rpc-python");
  });

  test("a third-party plugin follows the API from a process of its own, with the rights of its manifest and no others", async () => {
    cluster = await createCluster({ args: ["--profile", "api", "--plugin", join(import.meta.dirname, "../fixtures/plugins/config-watcher")] });
    await cluster.start();
    const logged = (text: string) => eventually(async () => cluster!.output().includes(`"plugin":"config-watcher","msg":${JSON.stringify(text)}`), text, 10_000);
    await logged('secrets is forbidden: User "system:serviceaccount:kube-system:k3s-p-config-watcher" cannot list resource "secrets" in API group "" in the namespace "default"');
    const pid = await cluster.kubectl("get", "configmap", "from-afar", "-o", "jsonpath={.data.pid}");
    expect(Number(pid)).not.toBe(cluster.pid());
    await cluster.kubectl("create", "configmap", "x");
    await logged("added x");
    await cluster.kubectl("patch", "configmap", "x", "-p", '{"data":{"key":"value"}}');
    await logged("updated x value");
    await cluster.kubectl("delete", "configmap", "x");
    await logged("deleted x");
  });

  test("--disable coredns: not loaded, its objects gone, and the summary says so", async () => {
    cluster = await createCluster();
    await cluster.start();
    await eventually(async () => (await cluster!.tryKubectl(["get", "service", "kube-dns", "-n", "kube-system"])).code === 0, "kube-dns", 20_000);
    expect(await cluster.stop()).toBe(0);
    await cluster.start({ args: ["--disable", "coredns"] });
    const output = cluster.output();
    expect(output).toContain("coredns: not loaded (--disable coredns)");
    await eventually(async () => cluster!.output().includes('"msg":"disabled: coredns"'), "the summary names what is disabled", 5_000);
    const left = async () => (await cluster!.kubectl("get", "service/kube-dns", "cm/coredns", "sa/coredns", "addon/coredns", "-n", "kube-system", "--ignore-not-found", "-o", "name")) + (await cluster!.kubectl("get", "clusterrole/system:coredns", "--ignore-not-found", "-o", "name"));
    await eventually(async () => (await left()) === "", "the objects of coredns are gone", 20_000);
    expect((await cluster.sandbox.run(["ls", "/var/lib/rancher/k3s/server/manifests"])).stdout).not.toContain("coredns");
    const accounts = await cluster.kubectl("get", "serviceaccounts", "-n", "kube-system", "-l", "k3sp.io/plugin", "-o", "name");
    // The kubelet acts as the node.
    expect(["deployer", "coredns", "kubelet"].map((id) => accounts.includes(`k3s-p-${id}\n`))).toEqual([true, false, false]);
    const mayDelete = async (account: string) => (await cluster!.tryKubectl(["auth", "can-i", "delete", "nodes", `--as=system:serviceaccount:kube-system:${account}`])).stdout.trim();
    expect([await mayDelete("k3s-p-deployer"), await mayDelete("k3s-p-flannel")]).toEqual(["yes", "no"]);
  });
});
