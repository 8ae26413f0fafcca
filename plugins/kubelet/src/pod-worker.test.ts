import { mkdtempSync, existsSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { apiError, pods, type Pod } from "@k3s-p/plugin-api/kube";
import { harness, testPod, type Harness } from "./testing/harness.ts";

let h: Harness;
beforeEach(() => {
  h = harness(mkdtempSync(join(tmpdir(), "kubelet-")));
});
afterEach(() => h.stop());

describe("a pod's life", () => {
  it("goes from bound to Running without waiting for a timer", async () => {
    h.run(testPod("web"));
    await h.until(() => h.api("web")?.status?.phase === "Running");
    expect(h.runtime.calls).toEqual(["runPodSandbox web", "createContainer c", "startContainer c"]);
    const status = h.api("web")!.status!;
    expect(status.podIP).toMatch(/^10\.42\./);
    expect(status.containerStatuses?.[0]).toMatchObject({ name: "c", ready: true, started: true, restartCount: 0, state: { running: {} } });
    expect(status.conditions?.map((c) => `${c.type}=${c.status}`).sort()).toEqual([
      "ContainersReady=True", "Initialized=True", "PodReadyToStartContainers=True", "PodScheduled=True", "Ready=True",
    ]);
    expect(h.events()).toEqual([
      'Pulled Container image "busybox" already present on machine and can be accessed by the pod', "Created Created container: c", "Started Started container c",
    ]);
  });

  it("shows ContainerCreating before anything runs", async () => {
    h.network = "container runtime network not ready: NetworkReady=false";
    h.run(testPod("web"));
    await h.until(() => h.api("web")?.status?.containerStatuses !== undefined);
    expect(h.api("web")!.status!.containerStatuses![0]!.state).toEqual({ waiting: { reason: "ContainerCreating" } });
    expect(h.runtime.calls).toEqual([]);
    h.network = undefined;
    h.wake("web");
    await h.until(() => h.api("web")?.status?.phase === "Running");
  });

  it("restarts an exited container at once, and with back-off the second time", async () => {
    h.run(testPod("web"));
    await h.until(() => h.api("web")?.status?.phase === "Running");
    h.runtime.exit("c", 1);
    await h.until(() => h.api("web")?.status?.containerStatuses?.[0]?.restartCount === 1);
    h.runtime.exit("c", 1);
    await h.until(() => h.api("web")?.status?.containerStatuses?.[0]?.state?.waiting?.reason === "CrashLoopBackOff");
    const status = h.api("web")!.status!.containerStatuses![0]!;
    expect(status.state!.waiting!.message).toBe("back-off 10s restarting failed container=c pod=web_default(uid-web)");
    expect(status.lastState!.terminated).toMatchObject({ exitCode: 1, reason: "Error" });
    expect(h.api("web")!.status!.phase).toBe("Running");
    h.advance(10_000);
    await h.until(() => h.api("web")?.status?.containerStatuses?.[0]?.restartCount === 2);
  });

  it("ends as Succeeded when a run-once pod exits with 0, and stops its sandbox", async () => {
    h.run(testPod("job", { restartPolicy: "Never" }));
    await h.until(() => h.api("job")?.status?.phase === "Running");
    h.runtime.exit("c", 0);
    await h.until(() => h.api("job")?.status?.phase === "Succeeded" && h.runtime.calls.includes("stopPodSandbox job"));
    expect(h.api("job")!.status!.containerStatuses![0]!.state!.terminated).toMatchObject({ exitCode: 0, reason: "Completed" });
    expect(h.api("job")!.status!.conditions!.find((c) => c.type === "Ready")).toMatchObject({ status: "False", reason: "PodCompleted" });
  });

  it("ends as Failed when a run-once pod exits with 1", async () => {
    h.run(testPod("job", { restartPolicy: "Never" }));
    await h.until(() => h.api("job")?.status?.phase === "Running");
    h.runtime.exit("c", 1);
    await h.until(() => h.api("job")?.status?.phase === "Failed");
  });

  it("stops, reports and then deletes a pod that the API wants deleted", async () => {
    h.run(testPod("web"));
    await h.until(() => h.api("web")?.status?.phase === "Running");
    h.markDeleted("web", 7);
    await h.until(() => h.api("web") === undefined);
    expect(h.runtime.calls).toContain("stopContainer c 7");
    expect(h.kube.writes.at(-1)).toMatchObject({ verb: "delete", resource: "pods", name: "web" });
    await h.until(() => h.runtime.sandboxes.size === 0 && h.runtime.containers.size === 0);
    await h.until(() => h.worker("web") === undefined);
    expect(existsSync(join(h.paths.kubelet, "pods", "uid-web"))).toBe(false);
    expect(h.events()).toContain("Killing Stopping container c");
  });

  it("deletes no pod whose end the API server has not heard of yet", async () => {
    h.run(testPod("web"));
    await h.until(() => h.api("web")?.status?.phase === "Running");
    h.kube.onWrite = ({ resource }) => {
      if (resource === "pods/status") throw apiError(503, "ServiceUnavailable", "the server is away");
    };
    h.markDeleted("web", 7);
    await h.until(() => h.runtime.calls.includes("stopPodSandbox web"));
    await h.settle();
    expect(h.kube.writes.filter(({ verb }) => verb === "delete")).toEqual([]);
    h.kube.onWrite = undefined;
    h.advance(30_000);
    await h.until(() => h.api("web") === undefined);
    const ends = h.kube.writes.filter(({ resource, body }) => resource === "pods/status" && body.status.containerStatuses?.[0].state.terminated);
    expect(ends.length).toBeGreaterThan(0);
  });

  it("kills what runs when the object was removed by force", async () => {
    h.run(testPod("web"));
    await h.until(() => h.api("web")?.status?.phase === "Running");
    h.kube.drop(pods, "web", "default");
    await h.until(() => h.runtime.containers.size === 0 && h.runtime.sandboxes.size === 0);
  });

  it("runs init containers one after the other before the main ones", async () => {
    const init = ["one", "two"].map((name) => ({ name, image: "busybox", imagePullPolicy: "IfNotPresent" }));
    h.run(testPod("web", { initContainers: init }));
    await h.until(() => h.runtime.calls.includes("startContainer one"));
    expect(h.runtime.calls).not.toContain("startContainer two");
    await h.until(() => h.api("web")?.status?.initContainerStatuses?.[0]?.state?.running !== undefined);
    expect(h.api("web")!.status!.containerStatuses![0]!.state).toEqual({ waiting: { reason: "PodInitializing" } });
    h.runtime.exit("one", 0);
    await h.until(() => h.runtime.calls.includes("startContainer two"));
    h.runtime.exit("two", 0);
    await h.until(() => h.api("web")?.status?.phase === "Running");
    expect(h.api("web")!.status!.initContainerStatuses!.map((s) => s.ready)).toEqual([true, true]);
  });

  it("fails a run-once pod whose init container fails", async () => {
    h.run(testPod("web", { restartPolicy: "Never", initContainers: [{ name: "one", image: "busybox" }] }));
    await h.until(() => h.runtime.calls.includes("startContainer one"));
    h.runtime.exit("one", 1);
    await h.until(() => h.api("web")?.status?.phase === "Failed");
    expect(h.runtime.calls).not.toContain("startContainer c");
  });

  it("goes on to the next container when a sidecar is started, and ends sidecars last", async () => {
    h.run(testPod("web", { initContainers: [{ name: "side", image: "busybox", restartPolicy: "Always" }] }));
    await h.until(() => h.api("web")?.status?.phase === "Running");
    expect(h.runtime.calls.filter((c) => c.startsWith("start"))).toEqual(["startContainer side", "startContainer c"]);
    h.markDeleted("web", 5);
    await h.until(() => h.api("web") === undefined);
    const stops = h.runtime.calls.filter((c) => c.startsWith("stopContainer")).map((c) => c.split(" ")[1]);
    expect(stops).toEqual(["c", "side"]);
  });

  it("begins the preStop hooks of containers and sidecars together, and gives the last ones two seconds", async () => {
    const lifecycle = { preStop: { exec: { command: ["bye"] } } };
    const main = { name: "c", image: "busybox", imagePullPolicy: "IfNotPresent", lifecycle: { preStop: { sleep: { seconds: 60 } } } };
    h.run(testPod("web", { initContainers: [{ name: "side", image: "busybox", restartPolicy: "Always", lifecycle }], containers: [main] }));
    await h.until(() => h.api("web")?.status?.phase === "Running");
    h.markDeleted("web", 5);
    await h.until(() => h.runtime.calls.includes("execSync side bye"));
    expect(h.runtime.calls.filter((c) => c.startsWith("stopContainer"))).toEqual([]);
    h.advance(5000);
    await h.until(() => h.api("web") === undefined);
    expect(h.runtime.calls.filter((c) => c.startsWith("stopContainer")).sort()).toEqual(["stopContainer c 2", "stopContainer side 2"]);
  });

  it("shows why a container cannot be configured, and goes on when the object appears", async () => {
    const env = [{ name: "A", valueFrom: { configMapKeyRef: { name: "late", key: "a" } } }];
    h.run(testPod("web", { containers: [{ name: "c", image: "busybox", imagePullPolicy: "IfNotPresent", env }] }));
    await h.until(() => h.api("web")?.status?.containerStatuses?.[0]?.state?.waiting?.reason === "CreateContainerConfigError");
    expect(h.api("web")!.status!.containerStatuses![0]!.state!.waiting!.message).toBe('configmap "late" not found');
    h.putConfigMap("late", { a: "1" });
    await h.until(() => h.api("web")?.status?.phase === "Running");
    expect(h.runtime.configs.get("c")!.envs).toContainEqual({ key: "A", value: "1" });
  });

  it("says ErrImageNeverPull, and ErrImagePull before ImagePullBackOff", async () => {
    h.run(testPod("never", { containers: [{ name: "c", image: "absent:1", imagePullPolicy: "Never" }] }));
    await h.until(() => h.api("never")?.status?.containerStatuses?.[0]?.state?.waiting?.reason === "ErrImageNeverPull");
    h.runtime.errors.set("pullImage", new Error("no such host"));
    h.run(testPod("pull", { containers: [{ name: "c", image: "absent:2", imagePullPolicy: "Always" }] }));
    await h.until(() => h.api("pull")?.status?.containerStatuses?.[0]?.state?.waiting?.reason === "ErrImagePull");
    h.advance(1000);
    await h.until(() => h.api("pull")?.status?.containerStatuses?.[0]?.state?.waiting?.reason === "ImagePullBackOff");
    h.advance(10_000);
    await h.until(() => h.api("pull")?.status?.phase === "Running");
  });

  it("takes over what runs after a restart of the server, and restarts nothing", async () => {
    h.run(testPod("web"));
    await h.until(() => h.api("web")?.status?.phase === "Running");
    const calls = h.runtime.calls.length;
    const other = await h.restart();
    await other.until(() => other.worker("web") !== undefined);
    await other.settle();
    expect(other.runtime.calls.length).toBe(calls);
    other.runtime.exit("c", 1);
    await other.until(() => other.api("web")?.status?.containerStatuses?.[0]?.restartCount === 1);
    other.stop();
  });

  it("refuses a pod that the node has no room for", async () => {
    const big = { name: "c", image: "busybox", resources: { requests: { cpu: "99" } } };
    h.run(testPod("web", { containers: [big] }));
    await h.until(() => h.api("web")?.status?.phase === "Failed");
    expect(h.api("web")!.status).toMatchObject({ reason: "OutOfcpu" });
    expect(h.runtime.calls).toEqual([]);
  });

  it("fails a pod whose deadline has passed", async () => {
    h.run(testPod("web", { activeDeadlineSeconds: 5 }));
    await h.until(() => h.api("web")?.status?.phase === "Running");
    h.advance(6000);
    await h.until(() => h.api("web")?.status?.phase === "Failed");
    expect(h.api("web")!.status!.reason).toBe("DeadlineExceeded");
  });

  it("restarts a container whose liveness probe fails", async () => {
    const livenessProbe = { exec: { command: ["check"] }, periodSeconds: 1, failureThreshold: 1 };
    h.run(testPod("web", { containers: [{ name: "c", image: "busybox", imagePullPolicy: "IfNotPresent", livenessProbe }] }));
    await h.until(() => h.api("web")?.status?.phase === "Running");
    h.runtime.exec.set("check", { code: 1, stdout: "broken" });
    h.advance(2000);
    await h.until(() => h.api("web")?.status?.containerStatuses?.[0]?.restartCount === 1);
    expect(h.events()).toContain("Unhealthy Liveness probe failed: broken");
    expect(h.events()).toContain("Killing Container c failed liveness probe, will be restarted");
  });

  it("says that it has another image when it runs it, and nothing before", async () => {
    h.run({ ...testPod("web"), metadata: { ...testPod("web").metadata, generation: 1 } } as Pod);
    await h.until(() => h.api("web")?.status?.phase === "Running");
    h.kube.writes.length = 0;
    h.kube.edit(pods, "web", "default", (pod) => {
      pod.metadata.generation = 2;
      pod.spec.containers[0].image = "nginx";
    });
    await h.until(() => h.api("web")?.status?.containerStatuses?.[0]?.restartCount === 1);
    expect(h.api("web")!.status!.observedGeneration).toBe(2);
    expect(h.kube.writes.filter(({ resource }) => resource === "pods/status")).toHaveLength(1);
  });

  it("is ready only when the readiness probe says so", async () => {
    const readinessProbe = { exec: { command: ["check"] }, periodSeconds: 1 };
    h.runtime.exec.set("check", { code: 1 });
    h.run(testPod("web", { containers: [{ name: "c", image: "busybox", imagePullPolicy: "IfNotPresent", readinessProbe }] }));
    await h.until(() => h.api("web")?.status?.phase === "Running");
    expect(h.api("web")!.status!.conditions!.find((c) => c.type === "Ready")).toMatchObject({ status: "False", message: "containers with unready status: [c]" });
    h.runtime.exec.set("check", { code: 0 });
    h.advance(2000);
    await h.until(() => h.api("web")?.status?.containerStatuses?.[0]?.ready === true);
  });

  it("runs preStop before the stop signal", async () => {
    const lifecycle = { preStop: { exec: { command: ["bye"] } } };
    h.run(testPod("web", { containers: [{ name: "c", image: "busybox", imagePullPolicy: "IfNotPresent", lifecycle }] }));
    await h.until(() => h.api("web")?.status?.phase === "Running");
    h.markDeleted("web", 5);
    await h.until(() => h.api("web") === undefined);
    const order = h.runtime.calls.filter((c) => /execSync|stopContainer/.test(c));
    expect(order).toEqual(["execSync c bye", "stopContainer c 5"]);
  });

  it("writes the managed hosts file with the pod's address", async () => {
    h.run(testPod("web", { hostAliases: [{ ip: "1.2.3.4", hostnames: ["foo", "bar"] }] }));
    await h.until(() => h.api("web")?.status?.phase === "Running");
    const text = readFileSync(join(h.paths.kubelet, "pods", "uid-web", "etc-hosts"), "utf8");
    expect(text).toContain(`${h.api("web")!.status!.podIP}\tweb\n`);
    expect(text).toContain("# Entries added by HostAliases.\n1.2.3.4\tfoo\tbar\n");
  });

  it("does not run a pod in the node's user namespace that asked for its own", async () => {
    h.run(testPod("web", { hostUsers: false }));
    await h.until(() => h.events().some((e) => e.startsWith("FailedCreatePodSandBox")));
    expect(h.events()).toContain("FailedCreatePodSandBox Failed to create pod sandbox: can't set `spec.hostUsers: false`, runtime does not support user namespaces");
    expect(h.runtime.calls).toEqual([]);
  });

  it("makes the sandbox again when it died, with the next attempt number", async () => {
    h.run(testPod("web"));
    await h.until(() => h.api("web")?.status?.phase === "Running");
    const [id] = h.runtime.sandboxes.keys();
    await h.runtime.stopPodSandbox(id!);
    await h.until(() => h.runtime.calls.filter((c) => c === "runPodSandbox web").length === 2);
    await h.until(() => h.api("web")?.status?.containerStatuses?.[0]?.restartCount === 1);
    expect([...h.runtime.sandboxes.values()].map((s) => s.metadata.attempt)).toEqual([0, 1]);
  });
});

