import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { pods, type Pod } from "@k3s-p/plugin-api/kube";
import { harness, testPod, type Harness } from "./testing/harness.ts";

let h: Harness;
beforeEach(() => {
  h = harness(mkdtempSync(join(tmpdir(), "kubelet-")));
});
afterEach(() => h.stop());

const size = (cpu: string, memory = "100Mi"): object => ({ requests: { cpu, memory }, limits: { cpu, memory } });
const sized = (name: string, resources: object, more: object = {}): Pod =>
  testPod(name, { containers: [{ name: "c", image: "busybox", imagePullPolicy: "IfNotPresent", resources, ...more }] });
const run = async (pod: Pod): Promise<void> => {
  h.run({ ...pod, metadata: { ...pod.metadata, generation: 1 } } as Pod);
  await h.until(() => h.api(pod.metadata.name!)?.status?.phase === "Running");
};
let generation = 1;
const resize = (name: string, resources: object): void => {
  const pod = h.api(name)!;
  const containers = pod.spec!.containers.map((c) => ({ ...c, resources }));
  h.kube.put(pods, { ...pod, metadata: { ...pod.metadata, generation: ++generation }, spec: { ...pod.spec!, containers } } as Pod);
};
const container = (name: string) => h.api(name)!.status!.containerStatuses![0]!;
const condition = (name: string, type: string) => h.api(name)!.status!.conditions!.find((c) => c.type === type);
const observed = (name: string) => h.api(name)!.status!.observedGeneration === generation;

describe("a resize in place", () => {
  it("changes the running container, and the status once it is in force", async () => {
    await run(sized("web", size("100m")));
    resize("web", size("200m"));
    await h.until(() => container("web").resources?.limits?.["cpu"] === "200m");
    expect(h.runtime.calls).toContain("updateContainerResources c");
    expect(container("web")).toMatchObject({ restartCount: 0, resources: size("200m"), allocatedResources: { cpu: "200m", memory: "100Mi" } });
    await h.until(() => condition("web", "PodResizeInProgress") === undefined);
    expect(h.events().filter((e) => e.startsWith("Resize")).map((e) => e.split(":")[0])).toEqual(["ResizeStarted Pod resize started", "ResizeCompleted Pod resize completed"]);
  });

  it("of the pod as a whole is granted like that of a container", async () => {
    h.run({ ...testPod("web", { resources: size("1") }), metadata: { ...testPod("web").metadata, generation: 1 } } as Pod);
    await h.until(() => h.api("web")?.status?.phase === "Running");
    const whole = (resources: object): void => {
      const pod = h.api("web")!;
      h.kube.put(pods, { ...pod, metadata: { ...pod.metadata, generation: ++generation }, spec: { ...pod.spec!, resources } } as Pod);
    };
    expect(h.api("web")!.status).toMatchObject({ resources: size("1"), allocatedResources: { cpu: "1" } });
    whole(size("2"));
    await h.until(() => h.api("web")!.status!.resources?.limits?.["cpu"] === "2" && condition("web", "PodResizeInProgress") === undefined);
    whole(size("5"));
    await h.until(() => condition("web", "PodResizePending")?.reason === "Infeasible");
    expect(h.api("web")!.status).toMatchObject({ resources: size("2"), allocatedResources: { cpu: "2" } });
  });

  it("restarts the container when its policy wants that, at once", async () => {
    const resizePolicy = [{ resourceName: "memory", restartPolicy: "RestartContainer" }, { resourceName: "cpu", restartPolicy: "NotRequired" }];
    await run(sized("web", size("100m"), { resizePolicy }));
    for (const [restarts, memory] of [[1, "200Mi"], [2, "300Mi"]] as const) {
      resize("web", size("100m", memory));
      await h.until(() => container("web").restartCount === restarts && container("web").resources?.limits?.["memory"] === memory);
    }
    expect(h.events()).toContain("Killing Container c resize requires restart");
    expect(h.runtime.calls).not.toContain("updateContainerResources c");
  });

  it("that the node can never have room for is refused, and the old size stays", async () => {
    await run(sized("web", size("100m")));
    resize("web", size("5"));
    await h.until(() => condition("web", "PodResizePending") !== undefined);
    expect(condition("web", "PodResizePending")).toMatchObject({
      status: "True", reason: "Infeasible", message: "Node didn't have enough capacity: cpu, requested: 5000, capacity: 4000", observedGeneration: generation,
    });
    expect(container("web")).toMatchObject({ resources: size("100m"), allocatedResources: { cpu: "100m" } });
    resize("web", size("100m"));
    await h.until(() => condition("web", "PodResizePending") === undefined && observed("web"));
    expect(h.runtime.calls).not.toContain("updateContainerResources c");
  });

  it("that the node has no room for now waits until another pod ends", async () => {
    await run(sized("big", size("3")));
    await run(sized("web", size("500m")));
    resize("web", size("2"));
    await h.until(() => condition("web", "PodResizePending")?.reason === "Deferred");
    expect(condition("web", "PodResizePending")!.message).toBe("Node didn't have enough resource: cpu, requested: 2000, used: 3000, capacity: 4000");
    h.markDeleted("big", 0);
    await h.until(() => container("web").resources?.limits?.["cpu"] === "2");
    expect(condition("web", "PodResizePending")).toBeUndefined();
  });

  it("below the memory in use is not forced: it stays in progress, with the reason", async () => {
    await run(sized("web", size("100m", "100Mi")));
    resize("web", size("100m", "10Mi"));
    await h.until(() => condition("web", "PodResizeInProgress")?.reason === "Error");
    expect(condition("web", "PodResizeInProgress")!.message).toBe('attempting to set container "c" memory limit (10485760) below current usage (67108864)');
    expect(container("web")).toMatchObject({ resources: size("100m", "100Mi"), allocatedResources: { memory: "10Mi" } });
    resize("web", size("100m", "100Mi"));
    await h.until(() => condition("web", "PodResizeInProgress") === undefined);
  });

  it("leaves the pod's limits as large as what its containers still run with, after a restart of the server too", async () => {
    await run(sized("web", size("100m", "100Mi")));
    resize("web", size("100m", "10Mi"));
    await h.until(() => condition("web", "PodResizeInProgress")?.reason === "Error");
    h = await h.restart();
    const from: unknown[] = [];
    Object.assign(h.services.cgroups, { ensurePod: async (pod: Pod, before = pod) => void from.push(before.spec!.containers[0]!.resources) });
    resize("web", size("100m", "20Mi"));
    await h.until(() => condition("web", "PodResizeInProgress")?.message?.includes("limit (20971520)") === true);
    expect(from.at(-1)).toEqual(size("100m", "100Mi"));
  });

  it("that waits still waits after a restart of the server, with the old size", async () => {
    await run(sized("web", size("100m")));
    resize("web", size("5"));
    await h.until(() => condition("web", "PodResizePending") !== undefined && observed("web"));
    const writes = h.kube.writes.length;
    h = await h.restart();
    await h.until(() => h.worker("web") !== undefined);
    await h.settle();
    expect(condition("web", "PodResizePending")?.reason).toBe("Infeasible");
    expect(container("web").resources).toEqual(size("100m"));
    expect(h.worker("web")!.pod.spec!.containers[0]!.resources).toEqual(size("100m"));
    expect(h.kube.writes.length).toBe(writes);
  });
});
