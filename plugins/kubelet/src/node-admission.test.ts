import { expect, it } from "vitest";
import type { Node, Pod } from "@k3s-p/plugin-api/kube";
import { admitPod } from "./node-admission.ts";
import { testPod } from "./testing/harness.ts";

const node = {
  metadata: { name: "n1", labels: { disk: "ssd", "kubernetes.io/os": "linux" } },
  spec: { taints: [{ key: "gone", effect: "NoExecute" }, { key: "cordon", effect: "NoSchedule" }] },
  status: { allocatable: { cpu: "2", memory: "1Gi" } },
} as unknown as Node;
const tolerations = [{ key: "gone", operator: "Exists" }];
const pod = (spec: object, name = "p"): Pod => testPod(name, { tolerations, ...spec });
const withPort = (port: object): object => ({ containers: [{ name: "c", ports: [port] }] });
const admit = (p: Pod, active: Pod[] = []): string | undefined =>
  admitPod({ pod: p, node, active, maxPods: 3, appArmor: false, allowedSysctls: ["net.core.*"], pressure: undefined })?.reason;

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
