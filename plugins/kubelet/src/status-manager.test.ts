import { describe, expect, it, vi } from "vitest";
import { apiError, invalid, pods, type PodStatus } from "@k3s-p/plugin-api/kube";
import { fakeKube } from "@k3s-p/plugin-api/kube/fake";
import { silentLogger } from "@k3s-p/plugin-api/testing";
import { statusManager, statusPatch } from "./status-manager.ts";
import { systemClock } from "./clock.ts";
import { testPod } from "./testing/harness.ts";

const status = (phase: string, more: object = {}): PodStatus => ({ phase, ...more }) as PodStatus;
const condition = (type: string, value: string, more: object = {}): object => ({ type, status: value, ...more });

describe("the patch of a status", () => {
  it("is undefined when nothing differs, null and absent being the same", () => {
    expect(statusPatch(status("Running", { message: null }), status("Running"))).toBeUndefined();
  });

  it("holds changed fields and conditions only, and leaves the conditions of others alone", () => {
    const before = status("Pending", { conditions: [condition("Ready", "False"), condition("Foreign", "True"), condition("PodScheduled", "True")] });
    const next = status("Running", { conditions: [condition("Ready", "True"), condition("PodScheduled", "True")] });
    expect(statusPatch(before, next)).toEqual({ phase: "Running", conditions: [condition("Ready", "True")] });
  });

  it("takes a condition's old message away, which would stay in a merge", () => {
    const before = status("Running", { conditions: [condition("Ready", "False", { message: "old" })] });
    const next = status("Running", { conditions: [condition("Ready", "False", { reason: "PodFailed" })] });
    expect(statusPatch(before, next)!["conditions"]).toEqual([{ type: "Ready", status: "False", reason: "PodFailed", message: null }]);
  });

  it("deletes an address that the pod has no more", () => {
    const before = status("Running", { podIP: "a", podIPs: [{ ip: "a" }] });
    expect(statusPatch(before, status("Running", { podIP: "b", podIPs: [{ ip: "b" }] }))).toEqual({
      podIP: "b", podIPs: [{ ip: "b" }, { $patch: "delete", ip: "a" }],
    });
  });
});

describe("the writer of statuses", () => {
  it("sends the last of many changes, one patch at a time", async () => {
    const kube = fakeKube();
    const pod = kube.put(pods, testPod("web"));
    const manager = statusManager({ kube, clock: systemClock(), log: silentLogger });
    for (let i = 0; i < 10; i++) manager.publish(pod, status("Pending", { message: String(i) }));
    manager.publish(pod, status("Running"));
    await manager.flush(pod.metadata.uid!);
    expect(kube.writes.length).toBeLessThanOrEqual(2);
    expect((await kube.get(pods, "web", "default")).status!.phase).toBe("Running");
  });

  it("writes again what somebody else overwrote", async () => {
    const kube = fakeKube();
    const pod = kube.put(pods, testPod("web"));
    const manager = statusManager({ kube, clock: systemClock(), log: silentLogger });
    manager.publish(pod, status("Running"));
    await manager.flush(pod.metadata.uid!);
    const other = kube.put(pods, { ...(await kube.get(pods, "web", "default")), status: status("Pending") });
    manager.publish(other, status("Running"));
    await manager.flush(pod.metadata.uid!);
    expect((await kube.get(pods, "web", "default")).status!.phase).toBe("Running");
  });

  it("gives up on a pod of another uid, but not on one whose name looks like that", async () => {
    const kube = fakeKube();
    let failures = 1;
    kube.onWrite = () => {
      if (failures-- > 0) throw apiError(500, "InternalError", 'pods "squid" could not be written');
    };
    const pod = kube.put(pods, testPod("squid"));
    const manager = statusManager({ kube, clock: systemClock(), log: silentLogger });
    manager.publish(pod, status("Running"));
    await expect(manager.flush("uid-squid")).rejects.toThrow("could not be written");
    expect(manager.last("uid-squid")).toMatchObject({ phase: "Running" });
    kube.put(pods, { ...testPod("squid"), metadata: { ...testPod("squid").metadata, uid: "another" } });
    await vi.waitFor(() => expect(manager.last("uid-squid")).toBeUndefined());
    expect(kube.read(pods, "squid")!.status!.phase).toBe("Pending");
  });

  it("does not wait for what the API server will never take", async () => {
    const kube = fakeKube();
    kube.onWrite = () => {
      throw invalid("", "Pod", "web", []);
    };
    const pod = kube.put(pods, testPod("web"));
    const manager = statusManager({ kube, clock: systemClock(), log: silentLogger });
    manager.publish(pod, status("Running"));
    await manager.flush("uid-web");
    expect(kube.writes).toHaveLength(1);
  });

  it("gives up on a pod that is gone", async () => {
    const kube = fakeKube();
    const manager = statusManager({ kube, clock: systemClock(), log: silentLogger });
    manager.publish(testPod("web"), status("Running"));
    await manager.flush("uid-web");
    expect(manager.last("uid-web")).toBeUndefined();
  });
});
