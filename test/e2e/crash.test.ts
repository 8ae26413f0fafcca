/** kill -9 of the server or of containerd loses nothing that was acknowledged, and restarts no container. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { eventually } from "../kit/cluster.ts";
import { sandboxUnavailable } from "../kit/sandbox.ts";
import { useCluster } from "./use-cluster.ts";

const root = join(import.meta.dirname, "../..");
const k3sp = [join(root, "node_modules/node/bin/node"), join(root, "core/src/cli/main.ts")];
const reason = sandboxUnavailable();
if (reason) console.log(`skipped: crash ${reason}`);

const app = `
apiVersion: apps/v1
kind: Deployment
metadata: { name: app }
spec:
  replicas: 2
  selector: { matchLabels: { app: app } }
  template:
    metadata: { labels: { app: app } }
    spec:
      terminationGracePeriodSeconds: 0
      containers: [{ name: c, image: "docker.io/library/busybox:e2e", command: [sleep, "100000"] }]
`;

describe.skipIf(reason)("a server that dies", () => {
  const cluster = useCluster({ manifest: app, until: ["rollout", "status", "deployment/app"] });

  const containers = () => cluster.kubectl("get", "pods", "-l", "app=app", "-o", "jsonpath={range .items[*]}{.metadata.name} {.status.containerStatuses[0].containerID} {.status.containerStatuses[0].restartCount}{'\\n'}{end}");
  /** Process ids of the containers, as their shims keep them. */
  const processes = async () => (await cluster.sandbox.run(["sh", "-c", "cd /run/k3s/containerd/io.containerd.runtime.v2.task/k8s.io && grep -H . */init.pid"])).stdout;

  const containerd = async () => Number((await cluster.sandbox.run(["cat", "/run/k3s/containerd/containerd.pid"])).stdout);

  /** Creates config maps one after another until the server is gone; returns those that were acknowledged. */
  async function writeUntilDead(writer: number): Promise<string[]> {
    const done: string[] = [];
    for (let i = 0; i < 500; i++) {
      const name = `w${writer}-${i}`;
      const { code } = await cluster.tryKubectl(["create", "configmap", name, "--request-timeout=5s"]);
      if (code !== 0) break;
      done.push(name);
    }
    return done;
  }

  test("every acknowledged object is there, the containers were not restarted, exec works again", async () => {
    const before = await containers();
    const running = await processes();
    const daemon = await containerd();
    const writers = [0, 1, 2, 3].map(writeUntilDead);
    await new Promise((resolve) => setTimeout(resolve, 3000));
    await cluster.stop("SIGKILL");
    const acknowledged = (await Promise.all(writers)).flat();
    expect(acknowledged.length).toBeGreaterThan(4);
    await eventually(async () => !existsSync(`/proc/${daemon}`), "the end of containerd with its server", 5000);
    await cluster.start();
    const stored = new Set((await cluster.kubectl("get", "configmaps", "-o", "jsonpath={.items[*].metadata.name}")).split(" "));
    expect(acknowledged.filter((name) => !stored.has(name))).toEqual([]);
    expect(await processes()).toBe(running);
    await eventually(async () => (await containers()) === before, "the same containers", 20_000);
    const pod = before.split(" ")[0]!;
    expect(await cluster.kubectl("exec", pod, "--", "echo", "again")).toBe("again\n");
  });

  test("containerd alone is started again, the containers run on, and what ended meanwhile and afterwards is noticed", async () => {
    const before = await containers();
    const running = await processes();
    const [first, second] = [...before.matchAll(/^(\S+) containerd:\/\/(\S+)/gm)].map(([, pod = "", id = ""]) => ({ pod, init: Number(new RegExp(`${id}/init.pid:(\\d+)`).exec(running)![1]) }));
    const restarts = async (pod: string) => cluster.kubectl("get", "pod", pod, "-o", "jsonpath={.status.containerStatuses[0].restartCount}");
    const pid = await containerd();
    process.kill(pid, "SIGKILL");
    expect(await processes()).toBe(running);
    process.kill(second!.init, "SIGKILL");
    await eventually(async () => (await restarts(second!.pod)) === "1", "the restart of what ended without containerd", 30_000);
    expect(await containerd()).not.toBe(pid);
    expect([existsSync(`/proc/${first!.init}`), await restarts(first!.pod)]).toEqual([true, "0"]);
    process.kill(first!.init, "SIGKILL");
    await eventually(async () => (await restarts(first!.pod)) === "1", "the restart of what ended afterwards", 30_000);
    expect((await cluster.sandbox.run([...k3sp, "plugin", "list"])).stdout).toMatch(/^containerd +\S+ +runtime +exec +ready +\S+ +1$/m);
  });

  test("SIGTERM: a clean stop within 10 s, and the pods stay", async () => {
    const before = await containers();
    const readySince = () => cluster.kubectl("get", "nodes", "-o", `jsonpath={.items[*].status.conditions[?(@.type=="Ready")]['status','lastTransitionTime']}`);
    const since = await readySince();
    const running = await processes();
    const start = Date.now();
    // A terminal sends the signal to the whole group, and what started the server passes it on once more.
    process.kill(cluster.pid(), "SIGTERM");
    expect(await cluster.stop("SIGTERM")).toBe(0);
    expect(cluster.output()).toContain('"msg":"stopped"');
    expect(Date.now() - start).toBeLessThan(10_000);
    expect(await processes()).toBe(running);
    await cluster.start();
    await eventually(async () => (await containers()) === before, "the same containers", 20_000);
    expect(await readySince()).toBe(since);
    expect(await cluster.kubectl("get", "events", "--field-selector", "reason=NodeNotReady", "-o", "name")).toBe("");
  });
});
