import { expect, it } from "vitest";
import type { Node, Pod } from "@k3s-p/plugin-api/kube";
import { admitPod } from "./node-admission.ts";
import { testPod } from "./testing/harness.ts";
import type { PressureCondition } from "./thresholds.ts";

const node = {
  metadata: { name: "n1", labels: { disk: "ssd", "kubernetes.io/os": "linux" } },
  spec: { taints: [{ key: "gone", effect: "NoExecute" }, { key: "cordon", effect: "NoSchedule" }] },
  status: { allocatable: { cpu: "2", memory: "1Gi" } },
} as unknown as Node;
const tolerations = [{ key: "gone", operator: "Exists" }];
const pod = (spec: object, name = "p"): Pod => testPod(name, { tolerations, ...spec });
const withPort = (port: object): object => ({ containers: [{ name: "c", ports: [port] }] });
const verdict = (p: Pod, active: Pod[] = [], pressure: readonly PressureCondition[] = []) =>
  admitPod({ pod: p, node, active, maxPods: 3, appArmor: false, allowedSysctls: ["net.core.*"], pressure });
const admit = (p: Pod, active: Pod[] = []): string | undefined => verdict(p, active)?.reason;

it.each([
  ["a plain pod", {}, undefined],
  ["too much CPU", { containers: [{ name: "c", resources: { requests: { cpu: "3" } } }] }, "OutOfcpu"],
  ["too much memory", { containers: [{ name: "c", resources: { requests: { memory: "2Gi" } } }] }, "OutOfmemory"],
  ["another node's selector", { nodeSelector: { disk: "hdd" } }, "NodeAffinity"],
  ["this node's selector", { nodeSelector: { disk: "ssd" } }, undefined],
  ["a NoExecute taint", { tolerations: [] }, "TaintToleration"],
  ["another operating system", { os: { name: "windows" } }, "PodOSNotSupported"],
  ["an AppArmor profile without AppArmor", { securityContext: { appArmorProfile: { type: "RuntimeDefault" } } }, "AppArmor"],
  ["no AppArmor profile", { containers: [{ name: "c", securityContext: { appArmorProfile: { type: "Unconfined" } } }] }, undefined],
  ["strict supplemental groups", { securityContext: { supplementalGroupsPolicy: "Strict" } }, "SupplementalGroupsPolicyNotSupported"],
  ["merged supplemental groups", { securityContext: { supplementalGroupsPolicy: "Merge" } }, undefined],
  ["an unsafe sysctl", { securityContext: { sysctls: [{ name: "kernel.msgmax", value: "1" }] } }, "SysctlForbidden"],
  ["an allowed sysctl", { securityContext: { sysctls: [{ name: "net.core.somaxconn", value: "1" }] } }, undefined],
])("%s", (_, spec, wanted) => expect(admit(pod(spec))).toBe(wanted));

it("refuses a host port that is taken, unless address or protocol differ", () => {
  const taken = pod(withPort({ containerPort: 1, hostPort: 80, hostIP: "1.1.1.1" }), "taken");
  expect(admit(pod(withPort({ containerPort: 1, hostPort: 80 })), [taken])).toBe("NodePorts");
  expect(admit(pod(withPort({ containerPort: 1, hostPort: 80, hostIP: "2.2.2.2" })), [taken])).toBeUndefined();
  expect(admit(pod(withPort({ containerPort: 1, hostPort: 80, hostIP: "1.1.1.1", protocol: "UDP" })), [taken])).toBeUndefined();
});

it("takes no more pods than it may", () => {
  expect(admit(pod({}), [pod({}, "a"), pod({}, "b"), pod({}, "d")])).toBe("OutOfpods");
});

const asking = { containers: [{ name: "c", resources: { requests: { memory: "1Mi" } } }] };
const bearing = { tolerations: [...tolerations, { key: "node.kubernetes.io/memory-pressure", operator: "Exists", effect: "NoSchedule" }] };

it.each<[string, object, readonly PressureCondition[], string | undefined]>([
  ["a pod that states nothing", {}, ["MemoryPressure"], "Pod was rejected: The node had condition: [MemoryPressure]. "],
  ["a pod that states its memory", asking, ["MemoryPressure"], undefined],
  ["a pod that bears it", bearing, ["MemoryPressure"], undefined],
  ["a pod that states its memory", asking, ["DiskPressure", "MemoryPressure"], "Pod was rejected: The node had condition: [DiskPressure MemoryPressure]. "],
  ["a critical pod", { priority: 2_000_000_000 }, ["DiskPressure", "PIDPressure"], undefined],
])("takes %s (%j) under %j: %s", (_, spec, pressure, message) => expect(verdict(pod(spec), [], pressure)?.message).toBe(message));
