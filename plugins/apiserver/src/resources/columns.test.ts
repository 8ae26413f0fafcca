import { describe, expect, it } from "vitest";
import { humanDuration } from "./human.ts";
import { builtinResources } from "./index.ts";
import { rowOf } from "./testing.ts";
import type { Obj } from "./types.ts";

const NOW = Date.parse("2026-01-02T03:04:05Z");
const minutesAgo = (n: number): string => new Date(NOW - n * 60_000).toISOString();

/** Cells by column name; without the name and age, which are the same everywhere. */
function cells(group: string, plural: string, object: Obj, version?: string): Record<string, unknown> {
  const body: Obj = { ...object, metadata: { name: "x", creationTimestamp: minutesAgo(5), ...object.metadata } };
  return Object.fromEntries(rowOf(group, plural, version).columns!.map((c) => [c.name, c.value(body, NOW)]));
}

describe("durations", () => {
  it.each([
    [-5, "<invalid>"], [-1, "0s"], [0, "0s"], [119, "119s"], [120, "2m"], [192, "3m12s"], [600, "10m"], [10_799, "179m"], [10_800, "3h"],
    [11_100, "3h5m"], [28_800, "8h"], [172_799, "47h"], [172_800, "2d"], [187_200, "2d4h"], [691_200, "8d"], [63_071_999, "729d"],
    [63_072_000, "2y"], [96_000_000, "3y16d"], [252_288_000, "8y"],
  ])("of %d seconds read %s", (seconds, text) => expect(humanDuration(seconds * 1000)).toBe(text));
});

it("declares numbers as upstream does", () => {
  const typeOf = (plural: string, name: string): string | undefined => rowOf("", plural).columns!.find((c) => c.name === name)?.type;
  expect([typeOf("secrets", "Data"), typeOf("configmaps", "Data"), typeOf("serviceaccounts", "Secrets"), typeOf("replicationcontrollers", "Ready")])
    .toEqual(["string", "string", "string", "integer"]);
  expect(cells("", "secrets", { data: { a: "" } }).Data).toBe(1);
});

it("shows a claim whose volume is named and not measured yet", () => {
  expect(cells("", "persistentvolumeclaims", { spec: { volumeName: "v" } }).Capacity).toBe("0");
});

describe("every kind that is listed", () => {
  it.each(builtinResources.filter((r) => r.verbs.includes("list")).map((r) => [`${r.plural}.${r.group}/${r.version}`, r] as const))(
    "%s has columns that cope with a bare object", (_, row) => {
      expect(row.columns?.length).toBeGreaterThan(0);
      const bare: Obj = { apiVersion: "v1", metadata: { name: "x" } };
      for (const column of row.columns!) expect(["string", "number", "boolean"]).toContain(typeof column.value(bare, NOW));
    });
});

describe("a pod's row", () => {
  const pod = (status: Obj, spec: Obj = {}, metadata: NonNullable<Obj["metadata"]> = {}): Obj => ({ metadata, spec: { containers: [{ name: "a" }, { name: "b" }], ...spec }, status });
  const running = (extra: Obj = {}): Obj => ({ name: "a", ready: true, restartCount: 0, state: { running: {} }, ...extra });
  const waiting = (reason: string): Obj => ({ name: "a", restartCount: 0, state: { waiting: { reason } } });
  const done = (extra: Obj): Obj => ({ name: "a", restartCount: 0, state: { terminated: extra } });
  const init = { initContainers: [{ name: "i" }, { name: "j" }] };
  const sidecar = { initContainers: [{ name: "i", restartPolicy: "Always" }] };

  it.each<[string, Obj, Record<string, unknown>]>([
    ["pending", pod({ phase: "Pending" }), { Ready: "0/2", Status: "Pending", Restarts: "0" }],
    ["running", pod({ phase: "Running", containerStatuses: [running(), running({ name: "b" })] }), { Ready: "2/2", Status: "Running" }],
    ["evicted", pod({ phase: "Failed", reason: "Evicted" }), { Status: "Evicted" }],
    ["crashing", pod({ phase: "Running", containerStatuses: [{ ...waiting("CrashLoopBackOff"), restartCount: 3, lastState: { terminated: { finishedAt: minutesAgo(5) } } }] }), { Status: "CrashLoopBackOff", Restarts: "3 (5m ago)" }],
    ["completed", pod({ phase: "Succeeded", containerStatuses: [done({ reason: "Completed", exitCode: 0 })] }), { Status: "Completed", Ready: "0/2" }],
    ["one completed, one ready", pod({ phase: "Running", conditions: [{ type: "Ready", status: "True" }], containerStatuses: [done({ reason: "Completed" }), running({ name: "b" })] }), { Status: "Running", Ready: "1/2" }],
    ["one completed, not ready", pod({ phase: "Running", containerStatuses: [done({ reason: "Completed" }), running({ name: "b" })] }), { Status: "NotReady" }],
    ["killed by a signal", pod({ phase: "Failed", containerStatuses: [done({ signal: 9, exitCode: 137 })] }), { Status: "Signal:9" }],
    ["failed without a reason", pod({ phase: "Failed", containerStatuses: [done({ exitCode: 2 })] }), { Status: "ExitCode:2" }],
    ["initializing", pod({ phase: "Pending", initContainerStatuses: [done({ exitCode: 0 }), { name: "j", restartCount: 0, state: { running: {} } }] }, init), { Status: "Init:1/2", Ready: "0/2" }],
    ["failing to initialize", pod({ phase: "Pending", initContainerStatuses: [{ ...waiting("CrashLoopBackOff"), restartCount: 2 }] }, init), { Status: "Init:CrashLoopBackOff", Restarts: "2" }],
    ["initialization failed", pod({ phase: "Pending", initContainerStatuses: [done({ exitCode: 1 })] }, init), { Status: "Init:ExitCode:1" }],
    ["with a sidecar", pod({ phase: "Running", initContainerStatuses: [running({ name: "i", started: true })], containerStatuses: [running(), running({ name: "b" })] }, sidecar), { Ready: "3/3", Status: "Running" }],
    ["terminating", pod({ phase: "Running" }, {}, { deletionTimestamp: minutesAgo(0) }), { Status: "Terminating" }],
    ["terminated and deleted", pod({ phase: "Succeeded", containerStatuses: [done({ reason: "Completed" })] }, {}, { deletionTimestamp: minutesAgo(0) }), { Status: "Completed" }],
    ["lost with its node", pod({ phase: "Running", reason: "NodeLost" }, {}, { deletionTimestamp: minutesAgo(0) }), { Status: "Unknown" }],
    ["gated", pod({ phase: "Pending", conditions: [{ type: "PodScheduled", reason: "SchedulingGated" }] }), { Status: "SchedulingGated" }],
    ["placed", pod({ phase: "Running", podIPs: [{ ip: "10.42.0.7" }] }, { nodeName: "n", readinessGates: [{ conditionType: "a" }] }), { IP: "10.42.0.7", Node: "n", "Nominated Node": "<none>", "Readiness Gates": "0/1" }],
  ])("%s", (_, object, want) => expect(cells("", "pods", object)).toMatchObject(want));
});

describe("rows", () => {
  it.each<[string, string, Obj, Record<string, unknown>]>([
    ["", "services", { spec: { type: "ClusterIP", clusterIPs: ["10.43.0.1"], ports: [{ port: 80, protocol: "TCP" }] } }, { Type: "ClusterIP", "Cluster-IP": "10.43.0.1", "External-IP": "<none>", "Port(s)": "80/TCP", Selector: "<none>", Age: "5m" }],
    ["", "services", { spec: { type: "LoadBalancer", ports: [{ port: 80, nodePort: 30080, protocol: "TCP" }], selector: { b: "2", a: "1" } } }, { "External-IP": "<pending>", "Port(s)": "80:30080/TCP", Selector: "a=1,b=2" }],
    ["", "services", { spec: { type: "LoadBalancer", externalIPs: ["9.9.9.9"] }, status: { loadBalancer: { ingress: [{ ip: "1.2.3.4" }] } } }, { "External-IP": "1.2.3.4,9.9.9.9" }],
    ["", "services", { spec: { type: "ExternalName", externalName: "example.com" } }, { "Cluster-IP": "<none>", "External-IP": "example.com", "Port(s)": "<none>" }],
    ["", "nodes", { metadata: { labels: { "node-role.kubernetes.io/control-plane": "true", "kubernetes.io/role": "agent" } }, spec: { unschedulable: true }, status: { conditions: [{ type: "Ready", status: "True" }], addresses: [{ type: "InternalIP", address: "1.1.1.1" }], nodeInfo: { kubeletVersion: "v1.36.0" } } }, { Status: "Ready,SchedulingDisabled", Roles: "agent,control-plane", Version: "v1.36.0", "Internal-IP": "1.1.1.1", "External-IP": "<none>", "OS-Image": "<unknown>" }],
    ["", "nodes", { status: { conditions: [{ type: "Ready", status: "Unknown" }] } }, { Status: "NotReady", Roles: "<none>" }],
    ["", "persistentvolumeclaims", { spec: { volumeName: "v", storageClassName: "local-path", volumeMode: "Filesystem" }, status: { phase: "Bound", capacity: { storage: "1Gi" }, accessModes: ["ReadWriteOnce"] } }, { Status: "Bound", Volume: "v", Capacity: "1Gi", "Access Modes": "RWO", StorageClass: "local-path", VolumeAttributesClass: "<unset>" }],
    ["", "persistentvolumes", { spec: { capacity: { storage: "1Gi" }, accessModes: ["ReadWriteMany", "ReadWriteOnce"], persistentVolumeReclaimPolicy: "Delete", claimRef: { namespace: "a", name: "b" } }, status: { phase: "Bound" } }, { Capacity: "1Gi", "Access Modes": "RWO,RWX", "Reclaim Policy": "Delete", Claim: "a/b" }],
    ["", "endpoints", { subsets: [{ addresses: [1, 2, 3, 4].map((i) => ({ ip: `10.0.0.${i}` })), ports: [{ port: 80 }] }] }, { Endpoints: "10.0.0.1:80,10.0.0.2:80,10.0.0.3:80 + 1 more..." }],
    ["", "endpoints", {}, { Endpoints: "<none>" }],
    ["", "events", { involvedObject: { kind: "Pod", name: "p" }, lastTimestamp: minutesAgo(3), firstTimestamp: minutesAgo(9), count: 4, type: "Normal", reason: "Pulled", message: "m\n", source: { component: "kubelet", host: "n" } }, { "Last Seen": "3m", Object: "pod/p", Message: "m", Source: "kubelet, n", "First Seen": "9m", Count: "4" }],
    ["", "events", { eventTime: minutesAgo(4), series: { count: 7, lastObservedTime: minutesAgo(1) }, reportingComponent: "scheduler" }, { "Last Seen": "60s", Source: "scheduler", "First Seen": "4m", Count: "7" }],
    ["", "configmaps", { data: { a: "1" }, binaryData: { b: "1" } }, { Data: 2 }],
    ["", "secrets", { type: "Opaque", data: { a: "1" } }, { Type: "Opaque", Data: 1 }],
    ["", "resourcequotas", { status: { hard: { pods: "3", "limits.cpu": "2" }, used: { pods: "1" } } }, { Request: "pods: 1/3", Limit: "limits.cpu: 0/2" }],
    ["apps", "deployments", { spec: { replicas: 3, selector: { matchLabels: { app: "a" } }, template: { spec: { containers: [{ name: "c", image: "i" }] } } }, status: { readyReplicas: 1, updatedReplicas: 2, availableReplicas: 1 } }, { Ready: "1/3", "Up-to-date": 2, Available: 1, Containers: "c", Images: "i", Selector: "app=a" }],
    ["apps", "daemonsets", { spec: { template: { spec: { nodeSelector: { os: "linux" } } } }, status: { desiredNumberScheduled: 2 } }, { Desired: 2, Ready: 0, "Node Selector": "os=linux" }],
    ["apps", "controllerrevisions", { revision: 2, metadata: { ownerReferences: [{ apiVersion: "apps/v1", kind: "DaemonSet", name: "d", uid: "u", controller: true }] } }, { Controller: "daemonset.apps/d", Revision: "2" }],
    ["batch", "jobs", { spec: { completions: 3 }, status: { succeeded: 1, startTime: minutesAgo(3) } }, { Status: "Running", Completions: "1/3", Duration: "3m" }],
    ["batch", "jobs", { spec: { completions: 1 }, status: { succeeded: 1, startTime: minutesAgo(3), completionTime: minutesAgo(2), conditions: [{ type: "Complete", status: "True" }] } }, { Status: "Complete", Completions: "1/1", Duration: "60s" }],
    ["batch", "jobs", { spec: { parallelism: 3 } }, { Completions: "0/1 of 3", Duration: "" }],
    ["batch", "cronjobs", { spec: { schedule: "* * * * *", suspend: false }, status: { lastScheduleTime: minutesAgo(1), active: [{}] } }, { Timezone: "<none>", Suspend: "False", Active: 1, "Last Schedule": "60s" }],
    ["autoscaling", "horizontalpodautoscalers", { spec: { scaleTargetRef: { kind: "Deployment", name: "d" }, minReplicas: 1, maxReplicas: 3, metrics: [{ type: "Resource", resource: { name: "cpu", target: { averageUtilization: 80 } } }] }, status: { currentMetrics: [{ type: "Resource", resource: { name: "cpu", current: { averageUtilization: 12 } } }] } }, { Reference: "Deployment/d", Targets: "cpu: 12%/80%", MinPods: "1", MaxPods: 3 }],
    ["policy", "poddisruptionbudgets", { spec: { minAvailable: "50%" }, status: { disruptionsAllowed: 1 } }, { "Min Available": "50%", "Max Unavailable": "N/A", "Allowed Disruptions": 1 }],
    ["networking.k8s.io", "ingresses", { spec: { ingressClassName: "traefik", rules: [{ host: "a" }, { host: "b" }], tls: [{}] }, status: { loadBalancer: { ingress: [{ ip: "1.1.1.1" }] } } }, { Class: "traefik", Hosts: "a,b", Address: "1.1.1.1", Ports: "80, 443" }],
    ["networking.k8s.io", "ingresses", { spec: { rules: [{ http: {} }] } }, { Class: "<none>", Hosts: "*", Address: "", Ports: "80" }],
    ["networking.k8s.io", "ingressclasses", { spec: { controller: "a/b", parameters: { apiGroup: "g", kind: "K", name: "n" } } }, { Controller: "a/b", Parameters: "K.g/n" }],
    ["networking.k8s.io", "networkpolicies", { spec: { podSelector: {} } }, { "Pod-Selector": "<none>" }],
    ["discovery.k8s.io", "endpointslices", { addressType: "IPv4", ports: [{ port: 80 }], endpoints: [{ addresses: ["10.0.0.1"] }] }, { AddressType: "IPv4", Ports: "80", Endpoints: "10.0.0.1" }],
    ["rbac.authorization.k8s.io", "rolebindings", { roleRef: { kind: "Role", name: "r" }, subjects: [{ kind: "User", name: "u" }, { kind: "ServiceAccount", namespace: "n", name: "s" }] }, { Role: "Role/r", Users: "u", ServiceAccounts: "n/s" }],
    ["certificates.k8s.io", "certificatesigningrequests", { spec: { expirationSeconds: 3600 }, status: { conditions: [{ type: "Approved" }], certificate: "x" } }, { Condition: "Approved,Issued", RequestedDuration: "60m" }],
    ["storage.k8s.io", "storageclasses", { metadata: { annotations: { "storageclass.kubernetes.io/is-default-class": "true" } }, provisioner: "p", volumeBindingMode: "WaitForFirstConsumer" }, { Name: "x (default)", ReclaimPolicy: "Delete", VolumeBindingMode: "WaitForFirstConsumer", AllowVolumeExpansion: "false" }],
    ["scheduling.k8s.io", "priorityclasses", { value: 7 }, { Value: 7, "Global-Default": false }],
    ["coordination.k8s.io", "leases", { spec: { holderIdentity: "me" } }, { Holder: "me" }],
    ["apiregistration.k8s.io", "apiservices", { spec: { service: { namespace: "n", name: "s" } }, status: { conditions: [{ type: "Available", status: "False", reason: "MissingEndpoints" }] } }, { Service: "n/s", Available: "False (MissingEndpoints)" }],
    ["resource.k8s.io", "resourceclaims", { status: { allocation: {}, reservedFor: [{}] } }, { State: "allocated,reserved" }],
  ])("of %s %s %#", (group, plural, object, want) => expect(cells(group, plural, object)).toMatchObject(want));

  it("of both versions of an event say the same", () => {
    const event: Obj = { apiVersion: "events.k8s.io/v1", regarding: { kind: "Pod", name: "p" }, note: "hello", reportingController: "c", eventTime: minutesAgo(2) };
    expect(cells("events.k8s.io", "events", event)).toMatchObject({ Object: "pod/p", Message: "hello", Source: "c", "Last Seen": "2m" });
  });
});

describe("field selectors", () => {
  it.each<[string, string, string, Obj, string]>([
    ["", "pods", "status.phase", { status: { phase: "Running" } }, "Running"],
    ["", "pods", "spec.hostNetwork", { spec: {} }, "false"],
    ["", "nodes", "spec.unschedulable", {}, "false"],
    ["", "secrets", "type", { type: "Opaque" }, "Opaque"],
    ["", "events", "involvedObject.name", { apiVersion: "v1", involvedObject: { name: "p" } }, "p"],
    ["events.k8s.io", "events", "regarding.name", { apiVersion: "events.k8s.io/v1", regarding: { name: "p" } }, "p"],
    ["batch", "jobs", "status.successful", { status: { succeeded: 2 } }, "2"],
    ["certificates.k8s.io", "certificatesigningrequests", "spec.signerName", { spec: { signerName: "a/b" } }, "a/b"],
  ])("%s %s %s", (group, plural, field, object, want) => expect(rowOf(group, plural).selectableFields![field]!(object)).toBe(want));

});
