import { describe, expect, it } from "vitest";
import type { Pod } from "@k3s-p/plugin-api/kube";
import type { ContainerState, ContainerStatus, PodSandboxStatus } from "@k3s-p/plugin-api/slots";
import { podStatus, type StatusInput } from "./status.ts";
import { testPod } from "./testing/harness.ts";

const sandbox = { id: "s", state: "READY", ips: ["10.42.0.2"], metadata: { attempt: 0 }, createdAt: 1n } as unknown as PodSandboxStatus;
let sequence = 0n;
const instance = (name: string, state: ContainerState, exitCode = 0, restartCount = 0): ContainerStatus => ({
  id: `${name}-${sequence}`, podSandboxId: "s", metadata: { name, attempt: restartCount }, state, exitCode, reason: "", message: "", logPath: "",
  image: "i", imageRef: "sha256:i", createdAt: ++sequence, startedAt: 1n, finishedAt: 2n,
  labels: { "io.kubernetes.container.name": name }, annotations: { "io.kubernetes.container.restartCount": String(restartCount) },
});

const two = (more: object = {}): Pod => testPod("p", { containers: [{ name: "a", image: "i" }, { name: "b", image: "i" }], ...more });
const make = (pod: Pod, containers: ContainerStatus[], more: Partial<StatusInput> = {}): ReturnType<typeof podStatus> => podStatus({
  pod, state: { sandboxes: [sandbox], containers: [...containers].reverse() }, waiting: new Map(), messages: new Map(), hostIp: "h", ended: false, now: "now",
  probes: { started: () => true, ready: () => true, failed: () => undefined }, ...more,
});

describe("the phase", () => {
  it.each([
    ["Pending", "Always", [], false],
    ["Pending", "Always", [["a", "RUNNING", 0]], false],
    ["Running", "Always", [["a", "RUNNING", 0], ["b", "RUNNING", 0]], false],
    ["Running", "Always", [["a", "EXITED", 1], ["b", "EXITED", 1]], false],
    ["Running", "OnFailure", [["a", "EXITED", 1], ["b", "EXITED", 0]], false],
    ["Running", "Never", [["a", "EXITED", 1], ["b", "RUNNING", 0]], false],
    ["Succeeded", "OnFailure", [["a", "EXITED", 0], ["b", "EXITED", 0]], false],
    ["Succeeded", "Never", [["a", "EXITED", 0], ["b", "EXITED", 0]], false],
    ["Failed", "Never", [["a", "EXITED", 0], ["b", "EXITED", 1]], false],
    ["Failed", "Always", [["a", "EXITED", 143], ["b", "EXITED", 0]], true],
    ["Succeeded", "Always", [["a", "EXITED", 0], ["b", "EXITED", 0]], true],
  ] as const)("is %s with restartPolicy %s and %j (ended: %s)", (phase, restartPolicy, list, ended) => {
    const containers = list.map(([name, state, code]) => instance(name, state, code));
    expect(make(two({ restartPolicy }), containers, { ended }).phase).toBe(phase);
  });
});

it.each([
  ["Failed", { restartPolicy: "Never" }, 3],
  ["Succeeded", { restartPolicy: "Never" }, 0],
  ["Running", { restartPolicy: "Never", restartPolicyRules: [{ action: "Restart", exitCodes: { operator: "In", values: [3] } }] }, 3],
  ["Running", { restartPolicy: "OnFailure" }, 3],
])("is %s when the pod restarts always and its only container, exited, has %j", (phase, own, code) => {
  const pod = testPod("p", { restartPolicy: "Always", containers: [{ name: "c", image: "i", ...own }] });
  expect(make(pod, [instance("c", "EXITED", code)]).phase).toBe(phase);
});

it("tells the end of a pod only when none of its containers runs any more", () => {
  const verdict = { phase: "Failed", reason: "DeadlineExceeded", message: "m" } as const;
  const pod = { ...testPod("p"), status: { phase: "Running" } } as Pod;
  expect(make(pod, [instance("c", "RUNNING")], { verdict })).toMatchObject({ phase: "Running" });
  expect(make(pod, [instance("c", "EXITED", 137)], { verdict })).toMatchObject({ phase: "Failed", reason: "DeadlineExceeded", message: "m" });
});

it("tells a pod that the node could not keep from one that broke its own limit", () => {
  const verdict = { phase: "Failed", reason: "Evicted", message: "The node was low on resource" } as const;
  const disrupted = (isDisruption: boolean) => make(testPod("p"), [instance("c", "EXITED", 137)], { verdict: { ...verdict, isDisruption } })
    .conditions!.find((c) => c.type === "DisruptionTarget");
  expect(disrupted(true)).toMatchObject({ status: "True", reason: "TerminationByKubelet", message: "The node was low on resource" });
  expect(disrupted(false)).toBeUndefined();
});

it("shows the last exit beside a running restart", () => {
  const status = make(testPod("p"), [instance("c", "EXITED", 7, 0), instance("c", "RUNNING", 0, 1)]).containerStatuses![0]!;
  expect(status).toMatchObject({ restartCount: 1, state: { running: {} }, lastState: { terminated: { exitCode: 7, reason: "Error" } } });
});

it("turns an exited container that waits for its restart into waiting, with the exit as lastState", () => {
  const waiting = new Map([["c", { reason: "CrashLoopBackOff", message: "back-off" }]]);
  const status = make(testPod("p"), [instance("c", "EXITED", 1)], { waiting }).containerStatuses![0]!;
  expect(status).toMatchObject({ state: { waiting: { reason: "CrashLoopBackOff" } }, lastState: { terminated: { exitCode: 1 } } });
});

it("names what keeps the pod from being ready", () => {
  const probes = { started: () => true, ready: (id: string) => !id.startsWith("b"), failed: () => undefined };
  const conditions = make(two(), [instance("a", "RUNNING"), instance("b", "RUNNING")], { probes }).conditions!;
  expect(conditions.find((c) => c.type === "Ready")).toMatchObject({ status: "False", reason: "ContainersNotReady", message: "containers with unready status: [b]" });
});

it("waits for readiness gates", () => {
  const pod = testPod("p", { readinessGates: [{ conditionType: "example.com/x" }] });
  const ready = (p: Pod): object => make(p, [instance("c", "RUNNING")]).conditions!.find((c) => c.type === "Ready")!;
  expect(ready(pod)).toMatchObject({ status: "False", reason: "ReadinessGatesNotReady", message: 'corresponding condition of pod readiness gate "example.com/x" does not exist.' });
  const open = { ...pod, status: { conditions: [{ type: "example.com/x", status: "True" }] } } as Pod;
  expect(ready(open)).toMatchObject({ status: "True" });
});

it("keeps what the API knew of a container that the runtime has forgotten", () => {
  const terminated = { exitCode: 0, reason: "Completed" };
  const pod = { ...testPod("p", { restartPolicy: "Never" }), status: { phase: "Succeeded", containerStatuses: [{ name: "c", state: { terminated }, restartCount: 2 }] } } as unknown as Pod;
  const status = make(pod, [], { state: { sandboxes: [], containers: [] } });
  expect(status).toMatchObject({ phase: "Succeeded", containerStatuses: [{ state: { terminated }, restartCount: 2 }] });
});

it("tells the stop signal as far as the runtime does", () => {
  const statuses = make(two(), [{ ...instance("a", "RUNNING"), stopSignal: "SIGUSR1" }, instance("b", "RUNNING")]).containerStatuses!;
  expect(statuses.map((status) => status.stopSignal)).toEqual(["SIGUSR1", undefined]);
});
