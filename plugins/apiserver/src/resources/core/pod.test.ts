import { describe, expect, it } from "vitest";
import { created, fakeContext, rowOf, updated } from "../testing.ts";
import type { Obj } from "../types.ts";

const pods = rowOf("", "pods");
const container = (extra: Obj = {}): Obj => ({ name: "c", image: "busybox:1.36", ...extra });
const podWith = (spec: Obj): Obj => ({ metadata: { name: "p" }, spec: { containers: [container()], ...spec } });
const withVolume = (source: Obj, mount: Obj): Obj => podWith({ volumes: [{ name: "v", ...source }], containers: [container({ volumeMounts: [{ name: "v", mountPath: "/a", ...mount }] })] });
const withContainer = (extra: Obj): Obj => podWith({ containers: [container(extra)] });

const fromFile = (volumeName: string, path: string): Obj => ({ name: "A", valueFrom: { fileKeyRef: { volumeName, path, key: "K" } } });

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

  it("selects by its own labels what matchLabelKeys and mismatchLabelKeys name", () => {
    const term = { topologyKey: "zone", labelSelector: {}, matchLabelKeys: ["hash", "absent"], mismatchLabelKeys: ["tenant"] };
    const { object, errors } = created(pods, {
      ...podWith({
        affinity: { podAffinity: { preferredDuringSchedulingIgnoredDuringExecution: [{ weight: 1, podAffinityTerm: term }] } },
        topologySpreadConstraints: [{ maxSkew: 1, topologyKey: "zone", whenUnsatisfiable: "DoNotSchedule", labelSelector: { matchLabels: { app: "a" } }, matchLabelKeys: ["hash"] }],
      }),
      metadata: { name: "p", labels: { hash: "1", tenant: "t" } },
    });
    const hash = { key: "hash", operator: "In", values: ["1"] };
    expect(errors).toEqual([]);
    expect(object.spec.affinity.podAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].podAffinityTerm.labelSelector)
      .toEqual({ matchExpressions: [hash, { key: "tenant", operator: "NotIn", values: ["t"] }] });
    expect(object.spec.topologySpreadConstraints[0].labelSelector).toEqual({ matchLabels: { app: "a" }, matchExpressions: [hash] });
  });

  it("waits at its scheduling gates", () => {
    const { status } = created(pods, podWith({ schedulingGates: [{ name: "example.com/g" }] })).object;
    expect(status.conditions[0]).toMatchObject({ type: "PodScheduled", status: "False", reason: "SchedulingGated" });
  });

  it.each<[Obj, ...string[]]>([
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
    [withContainer({ env: [fromFile("v", "/e")] }), 'spec.containers[0].env[0].valueFrom.fileKeyRef.path: Invalid value: "/e": must be a relative path', 'spec.containers[0].env[0].valueFrom.fileKeyRef.volumeName: Not found: "v"'],
    [podWith({ containers: [container({ env: [fromFile("v", "e")] })], volumes: [{ name: "v", hostPath: { path: "/" } }] }), 'spec.containers[0].env[0].valueFrom.fileKeyRef.volumeName: Invalid value: "v": referenced volume must be of type emptyDir'],
    [withContainer({ envFrom: [{}] }), 'spec.containers[0].envFrom[0]: Invalid value: "": must specify one of: `configMapRef` or `secretRef`'],
    [withContainer({ volumeMounts: [{ name: "v", mountPath: "/a" }] }), 'spec.containers[0].volumeMounts[0].name: Not found: "v"'],
    [withContainer({ livenessProbe: {} }), "spec.containers[0].livenessProbe: Required value: must specify a handler type"],
    [withContainer({ livenessProbe: { tcpSocket: { port: 1 }, successThreshold: 2 } }), "spec.containers[0].livenessProbe.successThreshold: Invalid value: 2: must be 1"],
    [withContainer({ readinessProbe: { tcpSocket: { port: 1 }, periodSeconds: -1 } }), "spec.containers[0].readinessProbe.periodSeconds: Invalid value: -1: must be greater than or equal to 0"],
    [withContainer({ resources: { requests: { cpu: "2" }, limits: { cpu: "1" } } }), 'spec.containers[0].resources.requests: Invalid value: "2": must be less than or equal to cpu limit of 1'],
    [withContainer({ resources: { requests: { "example.com/gpu": "1" } } }), "spec.containers[0].resources.limits: Required value: Limit must be set for non overcommitable resources"],
    [withContainer({ resources: { requests: { pods: "1" } } }), 'spec.containers[0].resources.requests[pods]: Invalid value: "pods": must be a standard resource for containers'],
    [withContainer({ resources: { limits: { cpu: "1", "hugepages-2Mi": "3Mi" } } }), 'spec.containers[0].resources.limits[hugepages-2Mi]: Invalid value: "3Mi": 3Mi is not positive integer multiple of hugepages-2Mi', 'spec.containers[0].resources.requests[hugepages-2Mi]: Invalid value: "3Mi": 3Mi is not positive integer multiple of hugepages-2Mi'],
    [withContainer({ resources: { limits: { "hugepages-2Mi": "4Mi" } } }), "spec.containers[0].resources: Forbidden: HugePages require cpu or memory"],
    [withContainer({ resources: { claims: [{ name: "a" }] } }), 'spec.containers[0].resources.claims[0]: Not found: "a": must be one of the names in pod.spec.resourceClaims which is empty'],
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
    [podWith({ affinity: { podAntiAffinity: { requiredDuringSchedulingIgnoredDuringExecution: [{}] } } }), "spec.affinity.podAntiAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].topologyKey: Required value: can not be empty", ...["name part must be non-empty", "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"].map((why) => `spec.affinity.podAntiAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].topologyKey: Invalid value: "": ${why}`)],
    [podWith({ initContainers: [container({ name: "i", readinessProbe: { exec: { command: ["a"] } } })] }), "spec.initContainers[0].readinessProbe: Forbidden: may not be set for init containers without restartPolicy=Always"],
    [podWith({ ephemeralContainers: [container({ name: "e" })] }), "spec.ephemeralContainers: Forbidden: cannot be set on create"],
    [podWith({ nodeName: "n", schedulingGates: [{ name: "a/b" }] }), "spec.nodeName: Forbidden: cannot be set until all schedulingGates have been cleared"],
    [podWith({ hostNetwork: true, containers: [container({ ports: [{ containerPort: 80, hostPort: 81 }] })] }), "spec.containers[0].ports[0].hostPort: Invalid value: 81: must match `containerPort` when `hostNetwork` is true"],
    [withContainer({ terminationMessagePolicy: "x" }), 'spec.containers[0].terminationMessagePolicy: Unsupported value: "x": supported values: "File", "FallbackToLogsOnError"'],
    [withContainer({ resizePolicy: [{ resourceName: "disk", restartPolicy: "NotRequired" }] }), 'spec.containers[0].resizePolicy: Unsupported value: "disk": supported values: "cpu", "memory"'],
    [withContainer({ resizePolicy: [{ resourceName: "cpu", restartPolicy: "x" }] }), 'spec.containers[0].resizePolicy: Unsupported value: "x": supported values: "NotRequired", "RestartContainer"'],
    [podWith({ restartPolicy: "Never", containers: [container({ resizePolicy: [{ resourceName: "cpu", restartPolicy: "RestartContainer" }] })] }), "spec.containers[0].resizePolicy: Invalid value: \"RestartContainer\": must be 'NotRequired' when `restartPolicy` is 'Never'"],
    [withContainer({ restartPolicyRules: [{ action: "Restart", exitCodes: { operator: "In", values: [1] } }] }), "spec.containers[0].restartPolicy: Required value: must specify restartPolicy when restart rules are used"],
    [withContainer({ restartPolicy: "Never", restartPolicyRules: [{ action: "Restart" }] }), "spec.containers[0].restartPolicyRules[0].exitCodes: Required value: must be specified"],
    [withContainer({ lifecycle: { preStop: { sleep: { seconds: 31 } } } }), "spec.containers[0].lifecycle.preStop.sleep: Invalid value: 31: must be non-negative and less than terminationGracePeriodSeconds (30)"],
    [withContainer({ lifecycle: { stopSignal: "SIGUSR1" } }), "spec.containers[0].lifecycle.stopSignal: Forbidden: may not be set for containers with empty `spec.os.name`"],
    [podWith({ os: { name: "windows" }, containers: [container({ lifecycle: { stopSignal: "SIGUSR1" } })] }), 'spec.containers[0].lifecycle.stopSignal: Unsupported value: "SIGUSR1": supported values: "SIGKILL", "SIGTERM"'],
    [withVolume({ emptyDir: {} }, { subPath: "../a" }), "spec.containers[0].volumeMounts.subPath: Invalid value: \"../a\": must not contain '..'"],
    [withVolume({ emptyDir: {} }, { recursiveReadOnly: "Enabled" }), "spec.containers[0].volumeMounts.recursiveReadOnly: Forbidden: may only be specified when readOnly is true"],
    [withVolume({ emptyDir: {} }, { recursiveReadOnly: "x", readOnly: true }), 'spec.containers[0].volumeMounts.recursiveReadOnly: Unsupported value: "x": supported values: "Disabled", "Enabled", "IfPossible"'],
    [podWith({ volumes: [{ name: "v", persistentVolumeClaim: { claimName: "c" } }], containers: [container({ volumeDevices: [{ name: "v", devicePath: "/dev/../x" }] })] }), "spec.containers[0].volumeDevices[0].devicePath: Invalid value: \"/dev/../x\": can not contain backsteps ('..')"],
    [podWith({ initContainers: [container({ name: "i", ports: [{ containerPort: 1, hostPort: 1 }, { containerPort: 2, hostPort: 1 }] })] }), 'spec.initContainers[0].ports[1].hostPort: Duplicate value: "TCP//1"'],
    [podWith({ hostUsers: false, hostPID: true }), "spec.HostPID: Forbidden: when `pod.Spec.HostUsers` is false"],
    [podWith({ shareProcessNamespace: true, hostPID: true }), "spec.securityContext.shareProcessNamespace: Invalid value: true: ShareProcessNamespace and HostPID cannot both be enabled"],
    [withContainer({ securityContext: { procMount: "Unmasked" } }), 'spec.containers[0].securityContext.procMount: Invalid value: "Unmasked": `hostUsers` must be false to use `Unmasked`'],
    [withContainer({ securityContext: { seccompProfile: { type: "Localhost", localhostProfile: "/a" } } }), 'spec.containers[0].securityContext.seccompProfile.localhostProfile: Invalid value: "/a": must be a relative path'],
    [podWith({ securityContext: { seccompProfile: { type: "Unconfined", localhostProfile: "a" } } }), 'spec.securityContext.seccompProfile.localhostProfile: Invalid value: {"type":"Unconfined","localhostProfile":"a"}: can only be set when seccomp type is Localhost'],
    [podWith({ securityContext: { appArmorProfile: { type: "Localhost" } } }), "spec.securityContext.appArmorProfile.localhostProfile: Required value: must be set when AppArmor type is Localhost"],
    [podWith({ securityContext: { appArmorProfile: { type: "x" } } }), 'spec.securityContext.appArmorProfile.type: Unsupported value: "x": supported values: "Localhost", "RuntimeDefault", "Unconfined"'],
    [podWith({ securityContext: { seLinuxChangePolicy: "x" } }), 'spec.securityContext.seLinuxChangePolicy: Unsupported value: "x": supported values: "MountOption", "Recursive"'],
    [podWith({ securityContext: { windowsOptions: { runAsUserName: "a\\b\\c" } } }), 'spec.securityContext.windowsOptions.runAsUserName: Invalid value: "a\\\\b\\\\c": runAsUserName cannot contain more than one backslash'],
    [podWith({ securityContext: { windowsOptions: { hostProcess: true } } }), "spec.hostNetwork: Invalid value: false: hostNetwork must be true if pod contains any hostProcess containers"],
    [podWith({ os: { name: "linux" }, securityContext: { windowsOptions: {} } }), "spec.securityContext.windowsOptions: Forbidden: windows options cannot be set for a linux pod"],
    [podWith({ os: { name: "windows" }, containers: [container({ securityContext: { privileged: true } })] }), "spec.containers[0].securityContext.privileged: Forbidden: cannot be set for a windows pod"],
    [podWith({ os: { name: "mac" } }), 'spec.os: Unsupported value: "mac": supported values: "linux", "windows"'],
    [podWith({ dnsConfig: { searches: ["_tcp.a", "a b"] } }), "spec.dnsConfig.searches[1]: Invalid value: \"a b\": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?(\\._?[a-z0-9]([-_a-z0-9]*[a-z0-9])?)*')"],
    [podWith({ resources: { requests: { cpu: "1" } }, containers: [container({ resources: { requests: { cpu: "2" } } })] }), 'spec.resources.requests[cpu]: Invalid value: "1": must be greater than or equal to aggregate container requests of 2'],
    [podWith({ resources: { limits: { cpu: "1" } }, containers: [container({ resources: { limits: { cpu: "2" }, requests: { cpu: "1" } } })] }), 'spec.resources.containers[0][cpu].limits: Invalid value: "2": must be less than or equal to pod limits of 1'],
    [podWith({ resources: { requests: { "example.com/x": "1" } } }), 'spec.resources.requests[example.com/x]: Unsupported value: "example.com/x": supported values: "cpu", "hugepages-", "memory"', "spec.resources.limits: Required value: Limit must be set for non overcommitable resources"],
    [{ ...podWith({ topologySpreadConstraints: [{ maxSkew: 1, topologyKey: "a", whenUnsatisfiable: "DoNotSchedule", labelSelector: { matchLabels: { a: "b" } }, matchLabelKeys: ["a"] }] }), metadata: { name: "p", labels: { a: "b" } } }, 'spec.topologySpreadConstraints[0].matchLabelKeys[0]: Invalid value: "a": exists in both matchLabelKeys and labelSelector'],
    [podWith({ topologySpreadConstraints: [1, 2].map(() => ({ maxSkew: 1, topologyKey: "a", whenUnsatisfiable: "DoNotSchedule" })) }), 'spec.topologySpreadConstraints[0].{topologyKey, whenUnsatisfiable}: Duplicate value: "{a, DoNotSchedule}"'],
    [podWith({ affinity: { podAffinity: { requiredDuringSchedulingIgnoredDuringExecution: [{ topologyKey: "a", matchLabelKeys: ["b"] }] } } }), "spec.affinity.podAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].matchLabelKeys: Forbidden: must not be specified when labelSelector is not set"],
  ])("is refused: %#", (body, ...errors) => {
    expect(created(pods, body).errors).toEqual(errors);
  });

  it("is told of all that is wrong, in upstream's order", () => {
    const { errors } = created(pods, podWith({
      restartPolicy: "x", os: { name: "mac" }, hostname: "A", activeDeadlineSeconds: 0, initContainers: [container({ name: "i", image: "" })],
      containers: [container({ image: " a", resources: { limits: { gpu: "1", cpu: "1" }, requests: { cpu: "2" } } })],
    }));
    expect(errors.map((error) => error.replace(/: .*/, ""))).toEqual([
      "spec.containers[0].resources.limits[gpu]", "spec.containers[0].resources.limits[gpu]",
      "spec.containers[0].resources.requests", "spec.containers[0].resources.requests[gpu]", "spec.containers[0].resources.requests[gpu]",
      "spec.initContainers[0].image", "spec.restartPolicy", "spec.activeDeadlineSeconds", "spec.hostname", "spec.os", "spec.containers[0].image",
    ]);
  });

  it("requests for all its containers what they need at one time, where limits of the pod are all that is said", () => {
    const requesting = (name: string, cpu: string, extra: Obj = {}) => container({ name, resources: { requests: { cpu } }, ...extra });
    const { object, errors } = created(pods, podWith({
      resources: { limits: { cpu: "4", memory: "1Gi" } }, containers: [requesting("a", "1")],
      initContainers: [requesting("side", "500m", { restartPolicy: "Always" }), requesting("first", "2")],
    }));
    expect([errors, object.spec.resources.requests]).toEqual([[], { cpu: "2500m", memory: "1Gi" }]);
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
    ["another command, and shows it", (o) => (o.spec.containers[0].command = ["a"]), ' (allow it to be set to 1 if it was previously negative)\n@@ -2,6 +2,9 @@\n  "ActiveDeadlineSeconds": 60,\n  "Containers": [\n   {\n+   "Command": [\n+    "a"\n+   ],\n'],
    ["another container", (o) => o.spec.containers.push(container({ name: "d" })), "spec.containers: Forbidden: pod updates may not add or remove containers"],
    ["a longer deadline", (o) => (o.spec.activeDeadlineSeconds = 90), "spec.activeDeadlineSeconds: Invalid value: 90: must be less than or equal to previous value"],
    ["no deadline", (o) => delete o.spec.activeDeadlineSeconds, "spec.activeDeadlineSeconds: Invalid value: null: must not update from a positive integer to nil value"],
    ["fewer tolerations", (o) => (o.spec.tolerations = []), "spec.tolerations: Forbidden: existing toleration can not be modified except its tolerationSeconds"],
    ["another gate", (o) => o.spec.schedulingGates.push({ name: "c/d" }), "spec.schedulingGates[1].name: Forbidden: only deletion is allowed, but found new scheduling gate 'c/d'"],
    ["an image with spaces", (o) => (o.spec.containers[0].image = " a"), 'spec.containers[0].image: Invalid value: " a": must not have leading or trailing whitespace'],
    ["an empty image", (o) => (o.spec.containers[0].image = ""), "spec.containers[0].image: Required value"],
  ])("refuses %s", (_, change, error) => expect(update(change).join()).toContain(error));

  describe("that is gated", () => {
    const term = { matchExpressions: [{ key: "a", operator: "Exists" }] };
    const affine = (terms: readonly Obj[]): Obj => ({ nodeAffinity: { requiredDuringSchedulingIgnoredDuringExecution: { nodeSelectorTerms: terms } } });
    const gated = created(pods, podWith({ schedulingGates: [{ name: "a/b" }], nodeSelector: { a: "b" }, affinity: affine([term]) })).object;
    const more = { key: "b", operator: "Exists" };
    const terms = "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms";

    it.each<[string, (o: Obj) => void, string[]]>([
      ["takes more of its node", (o) => (o.spec.affinity = affine([{ matchExpressions: [...term.matchExpressions, more] }])), []],
      ["takes preferences for nodes", (o) => (o.spec.affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution = [{ weight: 1, preference: term }]), []],
      ["keeps what it selects", (o) => (o.spec.nodeSelector = { c: "d" }), ['spec.nodeSelector: Invalid value: {"c":"d"}: only additions are allowed (no mutations or deletions)']],
      ["keeps what it wants of its node", (o) => (o.spec.affinity = affine([{ matchExpressions: [more] }])), [`${terms}[0]: Invalid value: {"matchExpressions":[${JSON.stringify(more)}]}: only additions are allowed (no mutations or deletions)`]],
      ["takes no alternative", (o) => (o.spec.affinity = affine([term, { matchExpressions: [more] }])), [`${terms}: Invalid value: ${JSON.stringify([term, { matchExpressions: [more] }])}: no additions/deletions to non-empty NodeSelectorTerms list are allowed`]],
    ])("%s", (_, change, errors) => expect(updated(pods, gated, change).errors).toEqual(errors));

    it("takes a node affinity where it had none", () => expect(updated(pods, old, (o) => (o.spec.affinity = affine([term]))).errors).toEqual([]));
  });

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
