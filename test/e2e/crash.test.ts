/** kill -9 under load loses nothing that was acknowledged, and restarts no container. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createCluster, eventually, type Cluster } from "../kit/cluster.ts";
import { busyboxImage } from "../kit/images.ts";
import { sandboxUnavailable } from "../kit/sandbox.ts";

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
  let cluster: Cluster;
  beforeAll(async () => {
    cluster = await createCluster({ images: [busyboxImage({ name: "docker.io/library/busybox", tag: "e2e" })] });
    await cluster.start();
    await cluster.apply(app);
    await cluster.kubectl("rollout", "status", "deployment/app", "--timeout=60s");
  });
  afterAll(() => cluster?.dispose());

  const containers = () => cluster.kubectl("get", "pods", "-l", "app=app", "-o", "jsonpath={range .items[*]}{.metadata.name} {.status.containerStatuses[0].containerID} {.status.containerStatuses[0].restartCount}{'\\n'}{end}");
  /** Process ids of the containers, as their shims keep them. */
  const processes = async () => (await cluster.sandbox.run(["sh", "-c", "cd /run/k3s/containerd/io.containerd.runtime.v2.task/k8s.io && grep -H . */init.pid"])).stdout;

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
    const writers = [0, 1, 2, 3].map(writeUntilDead);
    await new Promise((resolve) => setTimeout(resolve, 3000));
    await cluster.stop("SIGKILL");
    const acknowledged = (await Promise.all(writers)).flat();
    expect(acknowledged.length).toBeGreaterThan(4);
    await cluster.start();
    const stored = new Set((await cluster.kubectl("get", "configmaps", "-o", "jsonpath={.items[*].metadata.name}")).split(" "));
    expect(acknowledged.filter((name) => !stored.has(name))).toEqual([]);
    expect(await processes()).toBe(running);
    await eventually(async () => (await containers()) === before, "the same containers", 20_000);
    const pod = before.split(" ")[0]!;
    expect(await cluster.kubectl("exec", pod, "--", "echo", "again")).toBe("again\n");
  });

  test("SIGTERM: a clean stop within 10 s, and the pods stay", async () => {
    const before = await containers();
    const running = await processes();
    const start = Date.now();
    expect(await cluster.stop("SIGTERM")).toBe(0);
    expect(Date.now() - start).toBeLessThan(10_000);
    expect(await processes()).toBe(running);
    await cluster.start();
    await eventually(async () => (await containers()) === before, "the same containers", 20_000);
  });
});
