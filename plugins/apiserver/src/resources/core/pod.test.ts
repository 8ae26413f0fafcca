import { describe, expect, it } from "vitest";
import { created, fakeContext, rowOf, updated } from "../testing.ts";
import type { Obj } from "../types.ts";

const pods = rowOf("", "pods");
const container = (extra: Obj = {}): Obj => ({ name: "c", image: "busybox:1.36", ...extra });
const podWith = (spec: Obj): Obj => ({ metadata: { name: "p" }, spec: { containers: [container()], ...spec } });
const withContainer = (extra: Obj): Obj => podWith({ containers: [container(extra)] });

describe("a new Pod", () => {
  it("gets upstream's defaults, field for field", () => {
    const { object, errors } = created(pods, withContainer({
      image: "nginx", ports: [{ containerPort: 80 }], livenessProbe: { httpGet: { port: 80 } },
      env: [{ name: "IP", valueFrom: { fieldRef: { fieldPath: "status.podIP" } } }],
      resources: { limits: { cpu: 0.5, memory: "1024Mi" } },
    }));
    expect(errors).toEqual([]);
    expect(object.spec).toEqual({
      containers: [{
        name: "c", image: "nginx", imagePullPolicy: "Always", terminationMessagePath: "/dev/termination-log",
        terminationMessagePolicy: "File", ports: [{ containerPort: 80, protocol: "TCP" }],
        livenessProbe: { httpGet: { path: "/", port: 80, scheme: "HTTP" }, timeoutSeconds: 1, periodSeconds: 10, successThreshold: 1, failureThreshold: 3 },
        env: [{ name: "IP", valueFrom: { fieldRef: { apiVersion: "v1", fieldPath: "status.podIP" } } }],
        resources: { limits: { cpu: "500m", memory: "1Gi" }, requests: { cpu: "500m", memory: "1Gi" } },
      }],
      dnsPolicy: "ClusterFirst", restartPolicy: "Always", schedulerName: "default-scheduler", securityContext: {},
      terminationGracePeriodSeconds: 30, enableServiceLinks: true,
    });
    expect(object.status).toEqual({ phase: "Pending", qosClass: "Guaranteed" });
  });

  it.each([
    ["nginx", "Always"], ["nginx:latest", "Always"], ["nginx:1", "IfNotPresent"], ["host:5000/nginx", "Always"],
    ["nginx@sha256:0123456789012345678901234567890123456789012345678901234567890123", "IfNotPresent"],
  ])("pulls %s %s", (image, policy) => {
    expect(created(pods, withContainer({ image })).object.spec.containers[0].imagePullPolicy).toBe(policy);
  });

  it.each([
    [{ emptyDir: {} }, { emptyDir: {} }],
    [{}, { emptyDir: {} }],
    [{ configMap: { name: "a" } }, { configMap: { name: "a", defaultMode: 420 } }],
    [{ hostPath: { path: "/a" } }, { hostPath: { path: "/a", type: "" } }],
    [
      { projected: { sources: [{ serviceAccountToken: { path: "token" } }] } },
      { projected: { defaultMode: 420, sources: [{ serviceAccountToken: { path: "token", expirationSeconds: 3600 } }] } },
    ],
  ])("fills the volume %j", (source, want) => {
    expect(created(pods, podWith({ volumes: [{ name: "v", ...source }] })).object.spec.volumes).toEqual([{ name: "v", ...want }]);
  });

  it("gives host ports to a pod on the host's network", () => {
    const { object } = created(pods, podWith({ hostNetwork: true, containers: [container({ ports: [{ containerPort: 80 }] })] }));
    expect(object.spec.containers[0].ports[0].hostPort).toBe(80);
  });

  it.each([
    [{}, "BestEffort"],
    [{ requests: { cpu: "1" } }, "Burstable"],
    [{ limits: { cpu: "1", memory: "1Gi" } }, "Guaranteed"],
    [{ limits: { cpu: "1", memory: "1Gi" }, requests: { cpu: "500m" } }, "Burstable"],
    [{ limits: { "example.com/gpu": "1" } }, "BestEffort"],
  ])("with %j is %s", (resources, qos) => {
    expect(created(pods, withContainer({ resources })).object.status.qosClass).toBe(qos);
  });

  it("waits at its scheduling gates", () => {
    const { status } = created(pods, podWith({ schedulingGates: [{ name: "example.com/g" }] })).object;
    expect(status.conditions[0]).toMatchObject({ type: "PodScheduled", status: "False", reason: "SchedulingGated" });
  });

  it.each<[Obj, string]>([
    [podWith({ containers: [] }), "spec.containers: Required value"],
    [withContainer({ image: undefined }), "spec.containers[0].image: Required value"],
    [withContainer({ name: undefined }), "spec.containers[0].name: Required value"],
    [withContainer({ image: " a" }), 'spec.containers[0].image: Invalid value: " a": must not have leading or trailing whitespace'],
    [podWith({ containers: [container(), container()] }), 'spec.containers[1].name: Duplicate value: "c"'],
    [podWith({ initContainers: [container()] }), 'spec.initContainers[0].name: Duplicate value: "c"'],
    [withContainer({ ports: [{ containerPort: 70000 }] }), "spec.containers[0].ports[0].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive"],
    [withContainer({ ports: [{}] }), "spec.containers[0].ports[0].containerPort: Required value"],
    [withContainer({ ports: [{ containerPort: 1, protocol: "x" }] }), 'spec.containers[0].ports[0].protocol: Unsupported value: "x": supported values: "SCTP", "TCP", "UDP"'],
    [withContainer({ ports: [{ containerPort: 1, name: "a" }, { containerPort: 2, name: "a" }] }), 'spec.containers[0].ports[1].name: Duplicate value: "a"'],
    [withContainer({ env: [{ value: "a" }] }), "spec.containers[0].env[0].name: Required value"],
    [withContainer({ env: [{ name: "A=B" }] }), "spec.containers[0].env[0].name: Invalid value: \"A=B\": a valid environment variable name must consist only of printable ASCII characters other than '='"],
    [withContainer({ env: [{ name: "A", value: "x", valueFrom: { fieldRef: { fieldPath: "metadata.name" } } }] }), 'spec.containers[0].env[0].valueFrom: Invalid value: "": may not be specified when `value` is not empty'],
    [withContainer({ env: [{ name: "A", valueFrom: { fieldRef: { fieldPath: "status.foo" } } }] }), 'spec.containers[0].env[0].valueFrom.fieldRef.fieldPath: Invalid value: "status.foo": error converting fieldPath: field label not supported: status.foo'],
    [withContainer({ env: [{ name: "A", valueFrom: { secretKeyRef: { name: "s" } } }] }), "spec.containers[0].env[0].valueFrom.secretKeyRef.key: Required value"],
    [withContainer({ envFrom: [{}] }), 'spec.containers[0].envFrom[0]: Invalid value: "": must specify one of: `configMapRef` or `secretRef`'],
    [withContainer({ volumeMounts: [{ name: "v", mountPath: "/a" }] }), 'spec.containers[0].volumeMounts[0].name: Not found: "v"'],
    [withContainer({ livenessProbe: {} }), "spec.containers[0].livenessProbe: Required value: must specify a handler type"],
    [withContainer({ livenessProbe: { tcpSocket: { port: 1 }, successThreshold: 2 } }), "spec.containers[0].livenessProbe.successThreshold: Invalid value: 2: must be 1"],
    [withContainer({ readinessProbe: { tcpSocket: { port: 1 }, periodSeconds: -1 } }), "spec.containers[0].readinessProbe.periodSeconds: Invalid value: -1: must be greater than or equal to 0"],
    [withContainer({ resources: { requests: { cpu: "2" }, limits: { cpu: "1" } } }), 'spec.containers[0].resources.requests: Invalid value: "2": must be less than or equal to cpu limit of 1'],
    [withContainer({ resources: { requests: { "example.com/gpu": "1" } } }), "spec.containers[0].resources.limits: Required value: Limit must be set for non overcommitable resources"],
    [withContainer({ resources: { requests: { gpu: "1" } } }), 'spec.containers[0].resources.requests: Invalid value: "gpu": must be a standard resource type or fully qualified'],
    [withContainer({ imagePullPolicy: "x" }), 'spec.containers[0].imagePullPolicy: Unsupported value: "x": supported values: "Always", "IfNotPresent", "Never"'],
    [withContainer({ securityContext: { privileged: true, allowPrivilegeEscalation: false } }), 'spec.containers[0].securityContext: Invalid value: {"privileged":true,"allowPrivilegeEscalation":false}: cannot set `allowPrivilegeEscalation` to false and `privileged` to true'],
    [podWith({ restartPolicy: "x" }), 'spec.restartPolicy: Unsupported value: "x": supported values: "Always", "OnFailure", "Never"'],
    [podWith({ dnsPolicy: "x" }), 'spec.dnsPolicy: Unsupported value: "x": supported values: "ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"'],
    [podWith({ dnsPolicy: "None" }), "spec.dnsConfig: Required value: must provide `dnsConfig` when `dnsPolicy` is None"],
    [podWith({ activeDeadlineSeconds: 0 }), "spec.activeDeadlineSeconds: Invalid value: 0: must be between 1 and 2147483647, inclusive"],
    [podWith({ volumes: [{ name: "v", emptyDir: {}, hostPath: { path: "/" } }] }), "spec.volumes[0].hostPath: Forbidden: may not specify more than 1 volume type"],
    [podWith({ volumes: [{ name: "v" }, { name: "v" }] }), 'spec.volumes[1].name: Duplicate value: "v"'],
    [podWith({ volumes: [{ name: "v", secret: {} }] }), "spec.volumes[0].secret.secretName: Required value"],
    [podWith({ tolerations: [{ value: "a" }] }), 'spec.tolerations[0].operator: Invalid value: "": operator must be Exists when `key` is empty, which means "match all values and all keys"'],
    [podWith({ tolerations: [{ key: "a", effect: "x" }] }), 'spec.tolerations[0].effect: Unsupported value: "x": supported values: "NoSchedule", "PreferNoSchedule", "NoExecute"'],
    [podWith({ affinity: { nodeAffinity: { requiredDuringSchedulingIgnoredDuringExecution: {} } } }), "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms: Required value: must have at least one node selector term"],
    [podWith({ affinity: { podAntiAffinity: { requiredDuringSchedulingIgnoredDuringExecution: [{}] } } }), "spec.affinity.podAntiAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].topologyKey: Required value: can not be empty"],
    [podWith({ initContainers: [container({ name: "i", readinessProbe: { exec: { command: ["a"] } } })] }), "spec.initContainers[0].readinessProbe: Forbidden: may not be set for init containers without restartPolicy=Always"],
    [podWith({ ephemeralContainers: [container({ name: "e" })] }), "spec.ephemeralContainers: Forbidden: cannot be set on create"],
    [podWith({ nodeName: "n", schedulingGates: [{ name: "a/b" }] }), "spec.nodeName: Forbidden: cannot be set until all schedulingGates have been cleared"],
    [podWith({ hostNetwork: true, containers: [container({ ports: [{ containerPort: 80, hostPort: 81 }] })] }), "spec.containers[0].ports[0].containerPort: Invalid value: 80: must match `hostPort` when `hostNetwork` is true"],
  ])("is refused: %#", (body, error) => {
    expect(created(pods, body).errors).toEqual([error]);
  });
});

describe("an existing Pod", () => {
  const old = created(pods, podWith({ activeDeadlineSeconds: 60, tolerations: [{ key: "a", operator: "Exists" }], schedulingGates: [{ name: "a/b" }] })).object;
  const update = (change: (o: Obj) => void) => updated(pods, old, change).errors;
  const frozen = "spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`";

  it.each<[string, (o: Obj) => void]>([
    ["its image", (o) => (o.spec.containers[0].image = "busybox:2")],
    ["a shorter deadline", (o) => (o.spec.activeDeadlineSeconds = 30)],
    ["one toleration more", (o) => o.spec.tolerations.push({ key: "b", operator: "Exists" })],
    ["fewer gates", (o) => (o.spec.schedulingGates = [])],
    ["a longer node selector while gated", (o) => (o.spec.nodeSelector = { a: "b" })],
    ["labels", (o) => (o.metadata!.labels = { a: "b" })],
  ])("takes %s", (_, change) => expect(update(change)).toEqual([]));

  it.each<[string, (o: Obj) => void, string]>([
    ["another command", (o) => (o.spec.containers[0].command = ["a"]), frozen],
    ["another node", (o) => (o.spec.nodeName = "n"), frozen],
    ["another container", (o) => o.spec.containers.push(container({ name: "d" })), "spec.containers: Forbidden: pod updates may not add or remove containers"],
    ["a longer deadline", (o) => (o.spec.activeDeadlineSeconds = 90), "spec.activeDeadlineSeconds: Invalid value: 90: must be less than or equal to previous value"],
    ["no deadline", (o) => delete o.spec.activeDeadlineSeconds, "spec.activeDeadlineSeconds: Invalid value: null: must not update from a positive integer to nil value"],
    ["fewer tolerations", (o) => (o.spec.tolerations = []), "spec.tolerations: Forbidden: existing toleration can not be modified except its tolerationSeconds"],
    ["another gate", (o) => o.spec.schedulingGates.push({ name: "c/d" }), "spec.schedulingGates: Forbidden: only deletion is allowed, but found new scheduling gate 'c/d'"],
    ["an empty image", (o) => (o.spec.containers[0].image = ""), "spec.containers[0].image: Required value"],
  ])("refuses %s", (_, change, error) => expect(update(change).join()).toContain(error));

  it("takes debug containers through their subresource, and keeps them", () => {
    const ctx = { ...fakeContext(), subresource: "ephemeralcontainers" };
    const add = (o: Obj) => (o.spec.ephemeralContainers = [container({ name: "debug", targetContainerName: "c" })]);
    const { object, errors } = updated(pods, old, add, ctx);
    expect(errors).toEqual([]);
    expect(updated(pods, old, add).errors.join()).toContain(frozen);
    expect(updated(pods, object, (o) => (o.spec.ephemeralContainers = []), ctx).errors).toEqual([
      'spec.ephemeralContainers: Forbidden: existing ephemeral containers "debug" may not be removed\n',
    ]);
  });
});
