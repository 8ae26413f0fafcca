import { describe, expect, it } from "vitest";
import type { Pod } from "@k3s-p/plugin-api/kube";
import { cgroups, sharesToWeight } from "./cgroups.ts";
import { containerResources, oomScore, podLimits, podTotal, qosClass } from "./resources.ts";

const podWith = (containers: object[], more: object = {}): Pod =>
  ({ metadata: { name: "p", uid: "u1" }, spec: { containers: containers.map((resources, i) => ({ name: `c${i}`, resources })), ...more } }) as unknown as Pod;
const full = { requests: { cpu: "1", memory: "1Gi" }, limits: { cpu: "1", memory: "1Gi" } };

describe("QoS", () => {
  it.each([
    ["BestEffort", [{}]], ["Guaranteed", [full]], ["Guaranteed", [{ limits: full.limits }]],
    ["Burstable", [full, {}]], ["Burstable", [{ requests: { cpu: "1m" } }]], ["Burstable", [{ limits: { cpu: "1" } }]],
  ] as const)("%s", (wanted, containers) => expect(qosClass(podWith([...containers]))).toBe(wanted));

  it("decides the pod's cgroup", () => {
    expect(cgroups("/sys/fs/cgroup").pathOf(podWith([full]))).toBe("kubepods/podu1");
    expect(cgroups("/sys/fs/cgroup", "/lab").pathOf(podWith([{}]))).toBe("lab/kubepods/besteffort/podu1");
  });
});

it("counts the largest init container, sidecars on top, and overhead", () => {
  const init = (cpu: string, restartPolicy?: string): object => ({ name: cpu, restartPolicy, resources: { requests: { cpu } } });
  const pod = podWith([{ requests: { cpu: "100m" } }], { initContainers: [init("50m", "Always"), init("500m")], overhead: { cpu: "10m" } });
  expect(podTotal(pod, "requests", "cpu")).toBe(560);
});

it("limits the pod only when every container has a limit", () => {
  expect(podLimits(podWith([full, full]))).toEqual({ shares: 2048, quota: 200_000, memory: 2 * 2 ** 30 });
  expect(podLimits(podWith([full, {}]))).toMatchObject({ quota: 0, memory: 0 });
});

it("gives a container shares, quota, memory and an OOM score", () => {
  const pod = podWith([{ requests: { cpu: "250m", memory: "1Gi" }, limits: { cpu: "500m", memory: "2Gi" } }]);
  expect(containerResources(pod, pod.spec!.containers[0]!, 4 * 2 ** 30)).toEqual({
    cpuPeriod: 100_000, cpuQuota: 50_000, cpuShares: 256, memoryLimitInBytes: 2 * 2 ** 30, oomScoreAdj: 750,
  });
  expect(oomScore(podWith([{}]), { name: "c" } as never, 1)).toBe(1000);
  expect(oomScore(podWith([full]), { name: "c" } as never, 1)).toBe(-997);
});

it("converts shares to the weights of cgroup v2", () => {
  expect([2, 1024, 262_144].map(sharesToWeight)).toEqual([1, 39, 10_000]);
});
