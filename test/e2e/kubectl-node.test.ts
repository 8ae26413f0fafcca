/** The verbs of kubectl that need a node and running containers. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { eventually } from "../kit/cluster.ts";
import { sandboxUnavailable } from "../kit/sandbox.ts";
import { tool } from "../kit/tools.ts";
import { image, useCluster } from "./use-cluster.ts";

const reason = sandboxUnavailable();
if (reason) console.log(`skipped: kubectl on a node ${reason}`);

const deployment = `
apiVersion: apps/v1
kind: Deployment
metadata: { name: app }
spec:
  replicas: 1
  selector: { matchLabels: { app: app } }
  template:
    metadata: { labels: { app: app } }
    spec:
      terminationGracePeriodSeconds: 0
      containers: [{ name: main, image: ${image}, command: [sh, -c, "echo started; exec cat"], stdin: true }]
`;

describe.skipIf(reason)("kubectl", () => {
  const cluster = useCluster({ args: ["--disable", "traefik"], manifest: deployment, until: ["rollout", "status", "deployment/app"] });

  const pod = () => cluster.kubectl("get", "pods", "-l", "app=app", "-o", "jsonpath={.items[0].metadata.name}");
  const gone = async (args: readonly string[]) => (await cluster.tryKubectl(["get", ...args])).stderr.includes("NotFound");

  test("cp copies files and folders both ways", async () => {
    const name = await pod();
    writeFileSync(join(cluster.sandbox.dir, "note"), "by copy\n");
    await cluster.kubectl("cp", join(cluster.sandbox.dir, "note"), `${name}:/tmp/note`);
    expect(await cluster.kubectl("exec", name, "--", "cat", "/tmp/note")).toBe("by copy\n");
    await cluster.kubectl("exec", name, "--", "sh", "-c", "mkdir -p /tmp/folder/deep; echo inside > /tmp/folder/deep/file");
    await cluster.kubectl("cp", `${name}:/tmp/folder`, join(cluster.sandbox.dir, "folder"));
    expect((await cluster.sandbox.run(["cat", join(cluster.sandbox.dir, "folder/deep/file")])).stdout).toBe("inside\n");
  });

  test("attach reaches the container's own streams", async () => {
    // The runtime lets go of all streams when the input ends.
    const { stdout } = await cluster.sandbox.run(["sh", "-c", `{ echo echoed; sleep 1; } | ${tool("kubectl")} --kubeconfig /etc/rancher/k3s/k3s.yaml attach -i ${await pod()}`]);
    expect(stdout).toContain("echoed\n");
  });

  test("debug adds a container to a running pod, and copies a pod", async () => {
    await cluster.kubectl("rollout", "status", "deployment/app", "--timeout=60s");
    const name = await pod();
    await cluster.kubectl("debug", name, `--image=${image}`, "--container=helper", "--target=main", "--profile=general", "--", "sleep", "1000");
    await eventually(async () => (await cluster.kubectl("get", "pod", name, "-o", "jsonpath={.status.ephemeralContainerStatuses[0].state.running.startedAt}")) !== "", "the ephemeral container", 20_000);
    expect(await cluster.kubectl("exec", name, "-c", "helper", "--", "ps")).toContain("cat");
    await cluster.kubectl("debug", name, "--copy-to=copy", "--container=main", `--image=${image}`, "--", "sleep", "1000");
    await cluster.kubectl("wait", "--for=condition=Ready", "pod/copy", "--timeout=30s");
    await cluster.kubectl("delete", "pod", "copy", "--now");
  });

  test("run --rm with input gives the output, and takes the pod away", async () => {
    const { stdout } = await cluster.tryKubectl(["run", "once", "--rm", "-i", "--restart=Never", `--image=${image}`, "--", "cat"], { stdin: "piped\n", timeout: 30_000 });
    expect(stdout).toContain("piped\n");
    await eventually(() => gone(["pod", "once"]), "the pod to go", 10_000);
  });

  test("top shows what pods and the node use", async () => {
    const top = (args: readonly string[]) => eventually(async () => { const r = await cluster.tryKubectl(["top", ...args, "--no-headers"]); return r.code === 0 && r.stdout; }, `kubectl top ${args.join(" ")}`, 40_000);
    expect(await top(["node"])).toMatch(/^node1\s+\d+m\s+\d+%\s+\d+Mi\s+\d+%/);
    expect(await top(["pod", "--containers", "-l", "app=app"])).toMatch(/^app-\S+\s+main\s+\d+m\s+\d+Mi/m);
  });

  test("get componentstatuses shows the states of the parts, with a warning", async () => {
    const { stdout, stderr } = await cluster.tryKubectl(["get", "componentstatuses", "--no-headers"]);
    expect(stdout.trim().split("\n").map((line) => line.trim().split(/\s+/))).toEqual(["controller-manager", "etcd-0", "scheduler"].map((name) => [name, "Healthy", "ok"]));
    expect(stderr).toContain("Warning: v1 ComponentStatus is deprecated in v1.19+");
  });

  test("k3s-p ctr shows the containers of the server, and k3s-p kubectl its objects", async () => {
    const k3sp = async (...args: string[]) => (await cluster.sandbox.run([process.execPath, join(import.meta.dirname, "../../core/src/cli/main.ts"), ...args])).stdout;
    expect(await k3sp("ctr", "images", "ls", "-q")).toContain(`${image}\n`);
    expect(await k3sp("kubectl", "get", "deployments", "-o", "name")).toBe("deployment.apps/app\n");
  });

  test("taint, cordon, drain and uncordon", async () => {
    expect(await cluster.kubectl("taint", "node", "node1", "a=b:PreferNoSchedule")).toBe("node/node1 tainted\n");
    expect(await cluster.kubectl("taint", "node", "node1", "a-")).toBe("node/node1 untainted\n");
    await cluster.kubectl("run", "bare", `--image=${image}`, "--restart=Never", "--", "sleep", "1000");
    await cluster.kubectl("wait", "--for=condition=Ready", "pod/bare", "--timeout=30s");
    expect(await cluster.kubectl("cordon", "node1")).toBe("node/node1 cordoned\n");
    expect(await cluster.kubectl("get", "node", "node1", "--no-headers")).toMatch(/Ready,SchedulingDisabled/);
    expect(await cluster.tryKubectl(["drain", "node1", "--timeout=5s"])).toMatchObject({ code: 1, stderr: expect.stringContaining("cannot delete Pods that declare no controller (use --force to override): default/bare") });
    await cluster.kubectl("create", "poddisruptionbudget", "app", "--selector=app=app", "--min-available=1");
    const blocked = await cluster.tryKubectl(["drain", "node1", "--force", "--ignore-daemonsets", "--delete-emptydir-data", "--grace-period=1", "--timeout=6s"]);
    expect([blocked.code, blocked.stderr]).toEqual([1, expect.stringContaining("Cannot evict pod as it would violate the pod's disruption budget.")]);
    await cluster.kubectl("delete", "poddisruptionbudget", "app");
    const name = await pod();
    expect(await cluster.kubectl("drain", "node1", "--force", "--ignore-daemonsets", "--delete-emptydir-data", "--grace-period=1", "--timeout=60s")).toContain("node/node1 drained\n");
    expect(await gone(["pod", name])).toBe(true);
    expect(await cluster.kubectl("uncordon", "node1")).toBe("node/node1 uncordoned\n");
    await cluster.kubectl("rollout", "status", "deployment/app", "--timeout=60s");
  });
});
