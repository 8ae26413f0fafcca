import { describe, expect, it } from "vitest";
import type { Pod } from "@k3s-p/plugin-api/kube";
import { eviction } from "./eviction.ts";
import { testPod } from "./testing/harness.ts";
import { evictionOptions, type EvictionFlags, type Observations, type Signal } from "./thresholds.ts";
import { evictionMessage, victims, type PodUse } from "./victims.ts";

const MIB = 2 ** 20;

/** `free` changes while the node runs; each eviction gives `gain` back. */
function node(flags: EvictionFlags, signal: Signal, first: number, pods: readonly Pod[] = [testPod("a", { terminationGracePeriodSeconds: 30 })]) {
  let [time, free] = [0, first];
  const evicted: [string, number, Signal][] = [];
  const reclaims: string[] = [];
  let reclaim = (): void => {};
  const observe = async (): Promise<Observations> => ({ [signal]: { available: free, capacity: 1000 } });
  const keeper = eviction({
    options: evictionOptions(flags, 5), now: () => time, observe, pods: () => pods, uses: async () => [],
    reclaimDisk: async () => reclaim(), evict: (pod, _message, grace, why) => evicted.push([pod.metadata.name!, grace, why]), reclaiming: (resource) => reclaims.push(resource),
  });
  return { keeper, evicted, reclaims, set: (value: number) => (free = value), pass: (seconds: number) => (time += seconds * 1000), onReclaim: (fn: () => void) => (reclaim = fn) };
}

describe("a node that is short", () => {
  it("evicts at once under a hard threshold, one pod a round", async () => {
    const { keeper, evicted, set } = node({ hard: "memory.available<100" }, "memory.available", 100);
    await keeper.check();
    expect([evicted, keeper.conditions()]).toEqual([[], []]);
    set(99);
    await keeper.check();
    expect([evicted, keeper.conditions()]).toEqual([[["a", 1, "memory.available"]], ["MemoryPressure"]]);
  });

  it("waits under a soft threshold for its grace period, with the condition set, and lets the pod end", async () => {
    const { keeper, evicted, pass, set } = node({ hard: "", soft: "memory.available<100", softGrace: "memory.available=1m30s", maxPodGrace: "20" }, "memory.available", 50);
    await keeper.check();
    pass(89);
    await keeper.check();
    expect([evicted, keeper.conditions()]).toEqual([[], ["MemoryPressure"]]);
    set(200);
    await keeper.check();
    set(50);
    await keeper.check();
    pass(89);
    await keeper.check();
    expect(evicted).toEqual([]);
    pass(1);
    await keeper.check();
    expect(evicted).toEqual([["a", 20, "memory.available"]]);
  });

  it("goes on until the minimum is reclaimed too, and keeps the condition for a while", async () => {
    const { keeper, evicted, set, pass } = node({ hard: "pid.available<100", minReclaim: "pid.available=10%", transition: "1m" }, "pid.available", 99);
    await keeper.check();
    set(199);
    await keeper.check();
    expect(evicted).toHaveLength(2);
    set(200);
    await keeper.check();
    pass(59);
    expect([evicted.length, keeper.conditions()]).toEqual([2, ["PIDPressure"]]);
    pass(1);
    expect(keeper.conditions()).toEqual([]);
  });

  it("gives disk space back before it evicts", async () => {
    const { keeper, evicted, reclaims, set, onReclaim } = node({}, "nodefs.available", 49);
    onReclaim(() => set(150));
    await keeper.check();
    expect([evicted, reclaims, keeper.conditions()]).toEqual([[], ["ephemeral-storage"], ["DiskPressure"]]);
    set(49);
    onReclaim(() => set(149));
    await keeper.check();
    expect(evicted).toEqual([["a", 1, "nodefs.available"]]);
  });
});

describe("who goes first", () => {
  const limits = (memory: string): object => ({ containers: [{ name: "c", resources: { requests: { memory } } }] });
  const use = (pod: Pod, memory: number, processes = 0): PodUse => ({ pod, memory: memory * MIB, disk: 0, inodes: 0, processes, containers: [{ name: "c", memory: memory * MIB, disk: 0 }] });
  const order = (signal: Signal, ...uses: PodUse[]): string[] => victims(signal, uses.map(({ pod }) => pod), uses).map((pod) => pod.metadata.name!);

  it("is who uses more than it asked for, then the least important, then who exceeds most", () => {
    const within = use(testPod("within", limits("100Mi")), 90);
    const important = use(testPod("important", { ...limits("1Mi"), priority: 10 }), 500);
    const little = use(testPod("little", limits("1Mi")), 2);
    const much = use(testPod("much", limits("50Mi")), 60);
    expect(order("memory.available", within, important, little, much)).toEqual(["much", "little", "important", "within"]);
  });

  it("is for processes a matter of importance and number", () => {
    expect(order("pid.available", use(testPod("few"), 0, 5), use(testPod("many"), 0, 50), use(testPod("important", { priority: 1 }), 0, 500))).toEqual(["many", "few", "important"]);
  });

  it("is never a critical pod, nor one of a file", () => {
    const fixed = { ...testPod("static"), metadata: { ...testPod("static").metadata, annotations: { "kubernetes.io/config.source": "file" } } };
    expect(order("memory.available", use(testPod("critical", { priority: 2_000_000_000 }), 9), use(fixed, 9))).toEqual([]);
  });

  it("is told what the node lacked, and which of its containers took more than they asked for", () => {
    const [hard] = evictionOptions({ hard: "memory.available<100Mi" }, 5).thresholds;
    const pod = testPod("p", { containers: [{ name: "a", resources: { requests: { memory: "10Mi" } } }, { name: "b" }, { name: "c", resources: { requests: { memory: "1Gi" } } }] });
    const containers = [["a", 20], ["b", 3], ["c", 500]].map(([name, mib]) => ({ name: String(name), memory: Number(mib) * MIB, disk: 0 }));
    expect(evictionMessage(hard!, { available: 50 * MIB, capacity: 1000 * MIB }, { pod, memory: 0, disk: 0, inodes: 0, processes: 0, containers })).toBe(
      "The node was low on resource: memory. Threshold quantity: 100Mi, available: 50Mi. Container a was using 20Mi, request is 10Mi, has larger consumption of memory. "
      + "Container b was using 3Mi, request is 0, has larger consumption of memory. ");
  });
});

describe("eviction flags", () => {
  it("are K3s's when none is given", () => {
    expect(evictionOptions({}, 5)).toEqual({
      thresholds: ["imagefs.available", "nodefs.available"].map((signal) => ({ signal, value: { percent: 5 }, grace: 0, minReclaim: { percent: 10 } })), transition: 300_000, maxPodGrace: 0,
    });
  });

  it("take quantities, shares, grace periods and minimums", () => {
    expect(evictionOptions({ hard: "memory.available<1Gi,nodefs.inodesFree<2.5%", soft: "pid.available<1k", softGrace: "pid.available=1h2m3s", minReclaim: "memory.available=500Mi" }, 5).thresholds).toEqual([
      { signal: "memory.available", value: { quantity: 2 ** 30 }, grace: 0, minReclaim: { quantity: 500 * MIB } }, { signal: "nodefs.inodesFree", value: { percent: 2.5 }, grace: 0 },
      { signal: "pid.available", value: { quantity: 1000 }, grace: 3_723_000 },
    ]);
    expect(evictionOptions({ hard: "" }, 5).thresholds).toEqual([]);
  });

  it.each<[EvictionFlags, string]>([
    [{ hard: "cpu.available<1" }, '--kubelet-arg eviction-hard: "cpu.available" is no signal of this node'],
    [{ hard: "memory.available<lots" }, '--kubelet-arg eviction-hard: "lots" is neither a quantity nor a percentage'],
    [{ hard: "memory.available<120%" }, '--kubelet-arg eviction-hard: "120%" is neither a quantity nor a percentage'],
    [{ hard: "memory.available" }, '--kubelet-arg eviction-hard: "memory.available" has no value'],
    [{ soft: "memory.available<1Gi" }, "--kubelet-arg eviction-soft-grace-period: a grace period is missing for memory.available"],
    [{ soft: "memory.available<1Gi", softGrace: "memory.available=soon" }, '--kubelet-arg eviction-soft-grace-period: "soon" is not a duration'],
    [{ minReclaim: "nodefs.available=x" }, '--kubelet-arg eviction-minimum-reclaim: "x" is neither a quantity nor a percentage'],
  ])("refuse %j", (flags, message) => expect(() => evictionOptions(flags, 5)).toThrow(message));
});
