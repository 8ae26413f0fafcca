/** What the server refuses, kind by kind, and its words: one wrong field at a time in an object that is otherwise right. */
import { beforeAll, describe, expect, test } from "vitest";
import { type Body, usable, useCluster } from "./api.ts";

const api = useCluster({ controllers: ["serviceaccount"] });
beforeAll(() => usable(api, "default"));

type Refusal = readonly [path: string, value: unknown, ...errors: readonly string[]];

interface Kind {
  readonly path: string;
  /** An object that is accepted. */
  readonly base: Body;
  readonly refused: readonly Refusal[];
}

const container = { name: "c", image: "example.com/c" };
const template = { metadata: { labels: { a: "b" } }, spec: { containers: [container] } };
const once = { ...template, spec: { ...template.spec, restartPolicy: "Never" } };
const named = (base: object): Body => ({ metadata: { name: "x" }, ...base });
const service = { name: "s", port: { number: 80 } };
const hpaMetric = (metric: object) => [metric];
const range = (name: string, low: number, high: number) => `must be between ${low} and ${high}, inclusive${name}`;

const kinds: Readonly<Record<string, Kind>> = {
  Pod: {
    path: "/api/v1/namespaces/default/pods", base: named({ spec: { containers: [container] } }),
    refused: [
      ["metadata.name", "A", 'metadata.name: Invalid value: "A": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters'],
      ["metadata.labels", { "a b": "c" }, 'metadata.labels: Invalid value: "a b": name part must consist of alphanumeric characters'],
      ["metadata.finalizers", ["x"], 'metadata.finalizers[0]: Invalid value: "x": name is neither a standard finalizer name nor is it fully qualified'],
      ["metadata.ownerReferences", [{ apiVersion: "v1", kind: "Pod", name: "o", uid: "" }], "metadata.ownerReferences.uid: Invalid value: \"\": must not be empty"],
      ["spec.containers", [], "spec.containers: Required value"],
      ["spec.containers.0.name", "", "spec.containers[0].name: Required value"],
      ["spec.containers.1", container, 'spec.containers[1].name: Duplicate value: "c"'],
      ["spec.containers.0.image", "", "spec.containers[0].image: Required value"],
      ["spec.containers.0.image", " x", 'spec.containers[0].image: Invalid value: " x": must not have leading or trailing whitespace'],
      ["spec.containers.0.imagePullPolicy", "x", 'spec.containers[0].imagePullPolicy: Unsupported value: "x": supported values: "Always", "IfNotPresent", "Never"'],
      ["spec.containers.0.ports", [{ containerPort: 70000 }], "spec.containers[0].ports[0].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive"],
      ["spec.containers.0.ports", [{ containerPort: 1, protocol: "x" }], 'spec.containers[0].ports[0].protocol: Unsupported value: "x": supported values: "SCTP", "TCP", "UDP"'],
      ["spec.containers.0.ports", [{ containerPort: 1, name: "a" }, { containerPort: 2, name: "a" }], 'spec.containers[0].ports[1].name: Duplicate value: "a"'],
      ["spec.containers.0.env", [{ name: "" }], "spec.containers[0].env[0].name: Required value"],
      ["spec.containers.0.env", [{ name: "A", value: "1", valueFrom: { fieldRef: { fieldPath: "metadata.name" } } }], 'spec.containers[0].env[0].valueFrom: Invalid value: "": may not be specified when `value` is not empty'],
      ["spec.containers.0.env", [{ name: "A", valueFrom: { fieldRef: { fieldPath: "spec.nope" } } }], 'spec.containers[0].env[0].valueFrom.fieldRef.fieldPath: Invalid value: "spec.nope": error converting fieldPath: field label not supported: spec.nope'],
      ["spec.containers.0.volumeMounts", [{ name: "v", mountPath: "/a" }], 'spec.containers[0].volumeMounts[0].name: Not found: "v"'],
      ["spec.containers.0.livenessProbe", {}, "spec.containers[0].livenessProbe: Required value: must specify a handler type"],
      ["spec.containers.0.livenessProbe", { tcpSocket: { port: 1 }, successThreshold: 2 }, "spec.containers[0].livenessProbe.successThreshold: Invalid value: 2: must be 1"],
      ["spec.containers.0.resources", { limits: { cpu: "1" }, requests: { cpu: "2" } }, 'spec.containers[0].resources.requests: Invalid value: "2": must be less than or equal to cpu limit of 1'],
      ["spec.containers.0.resources", { limits: { cpu: "-1" } }, 'spec.containers[0].resources.limits[cpu]: Invalid value: "-1": must be greater than or equal to 0'],
      ["spec.containers.0.securityContext", { runAsUser: -1 }, `spec.containers[0].securityContext.runAsUser: Invalid value: -1: ${range("", 0, 2147483647)}`],
      ["spec.initContainers", [{ ...container, name: "i", lifecycle: { preStop: { exec: { command: ["x"] } } } }], "spec.initContainers[0].lifecycle: Forbidden: may not be set for init containers without restartPolicy=Always"],
      ["spec.ephemeralContainers", [{ ...container, name: "e" }], "spec.ephemeralContainers: Forbidden: cannot be set on create"],
      ["spec.volumes", [{ name: "v", emptyDir: {}, hostPath: { path: "/" } }], "spec.volumes[0].hostPath: Forbidden: may not specify more than 1 volume type"],
      ["spec.restartPolicy", "x", 'spec.restartPolicy: Unsupported value: "x": supported values: "Always", "OnFailure", "Never"'],
      ["spec.dnsPolicy", "None", "spec.dnsConfig: Required value: must provide `dnsConfig` when `dnsPolicy` is None"],
      ["spec.activeDeadlineSeconds", 0, `spec.activeDeadlineSeconds: Invalid value: 0: ${range("", 1, 2147483647)}`],
      ["spec.tolerations", [{ operator: "Equal" }], 'spec.tolerations[0].operator: Invalid value: "Equal": operator must be Exists when `key` is empty, which means "match all values and all keys"'],
      ["spec.topologySpreadConstraints", [{ maxSkew: 0, topologyKey: "z", whenUnsatisfiable: "DoNotSchedule" }], "spec.topologySpreadConstraints[0].maxSkew: Invalid value: 0: must be greater than zero"],
      ["spec.hostname", "A", 'spec.hostname: Invalid value: "A": a lowercase RFC 1123 label must consist of lower case alphanumeric characters'],
    ],
  },
  Service: {
    path: "/api/v1/namespaces/default/services", base: named({ spec: { ports: [{ port: 80 }] } }),
    refused: [
      ["metadata.name", "a.b", 'metadata.name: Invalid value: "a.b": a lowercase RFC 1123 label must consist of lower case alphanumeric characters'],
      ["spec.ports", [], "spec.ports: Required value"],
      ["spec.ports.0.port", 0, `spec.ports[0].port: Invalid value: 0: ${range("", 1, 65535)}`],
      ["spec.ports.0.targetPort", 70000, `spec.ports[0].targetPort: Invalid value: 70000: ${range("", 1, 65535)}`],
      ["spec.ports.1", { port: 81 }, "spec.ports[0].name: Required value"],
      ["spec.type", "x", 'spec.type: Unsupported value: "x": supported values: "ClusterIP", "ExternalName", "LoadBalancer", "NodePort"'],
      ["spec.sessionAffinity", "x", 'spec.sessionAffinity: Unsupported value: "x": supported values: "ClientIP", "None"'],
      ["spec.clusterIP", "1.2.3.4", 'spec.clusterIPs: Invalid value: ["1.2.3.4"]: failed to allocate IP 1.2.3.4: '],
      ["spec.externalIPs", ["127.0.0.1"], 'spec.externalIPs[0]: Invalid value: "127.0.0.1": may not be in the loopback range (127.0.0.0/8, ::1/128)'],
    ],
  },
  Deployment: {
    path: "/apis/apps/v1/namespaces/default/deployments", base: named({ spec: { selector: { matchLabels: { a: "b" } }, template } }),
    refused: [
      ["spec.selector", { matchLabels: { a: "c" } }, 'spec.template.metadata.labels: Invalid value: {"a":"b"}: `selector` does not match template `labels`'],
      ["spec.selector", { matchExpressions: [{ key: "a", operator: "x" }] }, 'spec.selector.matchExpressions[0].operator: Invalid value: "x": not a valid selector operator'],
      ["spec.template.spec.containers.0.image", "", "spec.template.spec.containers[0].image: Required value"],
    ],
  },
  Job: {
    path: "/apis/batch/v1/namespaces/default/jobs", base: named({ spec: { completionMode: "Indexed", completions: 3, parallelism: 1, template: once } }),
    refused: [
      ["spec.template.spec.restartPolicy", "Always", 'spec.template.spec.restartPolicy: Required value: valid values: "OnFailure", "Never"'],
      ["spec.completionMode", "x", 'spec.completionMode: Unsupported value: "x": supported values: "NonIndexed", "Indexed"'],
      ["spec.managedBy", "x", 'spec.managedBy: Invalid value: "x": must be a domain-prefixed path (such as "acme.io/foo")'],
      ["spec.maxFailedIndexes", 1, "spec.backoffLimitPerIndex: Required value: when maxFailedIndexes is specified"],
      ["spec", { backoffLimitPerIndex: 1, template: once }, "spec.backoffLimitPerIndex: Invalid value: 1: requires indexed completion mode"],
      ["spec", { completionMode: "Indexed", completions: 3, parallelism: 1, backoffLimitPerIndex: 1, maxFailedIndexes: 4, template: once }, "spec.maxFailedIndexes: Invalid value: 4: must be less than or equal to completions"],
      ["spec.podFailurePolicy", { rules: [{ action: "FailIndex", onExitCodes: { operator: "In", values: [1] } }] }, 'spec.podFailurePolicy.rules[0].action: Invalid value: "FailIndex": requires the backoffLimitPerIndex to be set'],
      ["spec.podFailurePolicy", { rules: [{ action: "x", onExitCodes: { operator: "In", values: [1] } }] }, 'spec.podFailurePolicy.rules[0].action: Unsupported value: "x": supported values: "Count", "FailIndex", "FailJob", "Ignore"'],
      ["spec.podFailurePolicy", { rules: [{ action: "Ignore" }] }, "spec.podFailurePolicy.rules[0]: Invalid value: specifying one of OnExitCodes and OnPodConditions is required"],
      ["spec.podFailurePolicy", { rules: [{ action: "Ignore", onExitCodes: { operator: "In", values: [0] } }] }, "spec.podFailurePolicy.rules[0].onExitCodes.values[0]: Invalid value: 0: must not be 0 for the In operator"],
      ["spec.podFailurePolicy", { rules: [{ action: "Ignore", onExitCodes: { operator: "NotIn", values: [2, 1] } }] }, "spec.podFailurePolicy.rules[0].onExitCodes.values: Invalid value: [2,1]: must be ordered"],
      ["spec.podFailurePolicy", { rules: [{ action: "Ignore", onExitCodes: { containerName: "z", operator: "In", values: [1] } }] }, 'spec.podFailurePolicy.rules[0].onExitCodes.containerName: Invalid value: "z": must be one of the container or initContainer names in the pod template'],
      ["spec.successPolicy", { rules: [] }, "spec.successPolicy.rules: Required value: at least one rules must be specified when the successPolicy is specified"],
      ["spec.successPolicy", { rules: [{}] }, "spec.successPolicy.rules[0]: Required value: at least one of succeededCount or succeededIndexes must be specified"],
      ["spec.successPolicy", { rules: [{ succeededCount: 4 }] }, "spec.successPolicy.rules[0].succeededCount: Invalid value: 4: must be less than or equal to 3 (the number of specified completions)"],
      ["spec.successPolicy", { rules: [{ succeededIndexes: "0-1", succeededCount: 3 }] }, "spec.successPolicy.rules[0].succeededCount: Invalid value: 3: must be less than or equal to 2 (the number of indexes in the specified succeededIndexes field)"],
      ["spec.successPolicy", { rules: [{ succeededIndexes: "2,1" }] }, 'spec.successPolicy.rules[0].succeededIndexes: Invalid value: "2,1": error parsing succeededIndexes: non-increasing order, previous: 2, current: 1'],
      ["spec.successPolicy", { rules: [{ succeededIndexes: "0-3" }] }, 'spec.successPolicy.rules[0].succeededIndexes: Invalid value: "0-3": error parsing succeededIndexes: too large index: "3"'],
    ],
  },
  CronJob: {
    path: "/apis/batch/v1/namespaces/default/cronjobs", base: named({ spec: { schedule: "* * * * *", jobTemplate: { spec: { template: once } } } }),
    refused: [
      ["spec.schedule", "* *", 'spec.schedule: Invalid value: "* *": expected exactly 5 fields, found 2: [* *]'],
      ["spec.concurrencyPolicy", "x", 'spec.concurrencyPolicy: Unsupported value: "x": supported values: "Allow", "Forbid", "Replace"'],
      ["spec.timeZone", "Mars/North", 'spec.timeZone: Invalid value: "Mars/North": unknown time zone Mars/North'],
      ["metadata.name", "x".repeat(53), `metadata.name: Invalid value: "${"x".repeat(53)}": must be no more than 52 characters`],
    ],
  },
  HorizontalPodAutoscaler: {
    path: "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers",
    base: named({ spec: { scaleTargetRef: { apiVersion: "apps/v1", kind: "Deployment", name: "d" }, maxReplicas: 3 } }),
    refused: [
      ["spec.maxReplicas", 0, "spec.maxReplicas: Required value: must be set and greater than 0"],
      ["spec.scaleTargetRef.name", "", "spec.scaleTargetRef.name: Required value"],
      ["spec.metrics", hpaMetric({ type: "Resource" }), "spec.metrics[0].resource: Required value: must populate information for the given metric source"],
      ["spec.metrics", hpaMetric({ type: "Resource", resource: { name: "cpu", target: { type: "Utilization" } } }), "spec.metrics[0].resource.target.averageUtilization: Required value: must set either a target raw value or a target utilization"],
      ["spec.metrics", hpaMetric({ type: "Resource", resource: { name: "cpu", target: { type: "Utilization", averageUtilization: 1, averageValue: "1" } } }), "spec.metrics[0].resource.target.averageValue: Forbidden: may not set both a target raw value and a target utilization"],
      ["spec.metrics", hpaMetric({ type: "ContainerResource", containerResource: { name: "cpu", target: { type: "Utilization", averageUtilization: 1 } } }), "spec.metrics[0].containerResource.container: Required value: must specify a container"],
      ["spec.metrics", hpaMetric({ type: "Pods", pods: { metric: { name: "m" }, target: { type: "AverageValue" } } }), "spec.metrics[0].pods.target.averageValue: Required value: must specify a positive target averageValue"],
      ["spec.metrics", hpaMetric({ type: "Object", object: { metric: { name: "m" }, describedObject: { kind: "K", name: "" }, target: { type: "Value", value: "1" } } }), "spec.metrics[0].object.describedObject.name: Required value"],
      ["spec.metrics", hpaMetric({ type: "External", external: { metric: { name: "m" }, target: { type: "Value", value: "1", averageValue: "1" } } }), "spec.metrics[0].external.target.value: Forbidden: may not set both a target value for metric and a per-pod target"],
      ["spec.behavior", { scaleUp: { policies: [{ type: "Pods", value: 0, periodSeconds: 1 }] } }, "spec.behavior.scaleUp.policies[0].value: Invalid value: 0: must be greater than zero"],
    ],
  },
  ResourceQuota: {
    path: "/api/v1/namespaces/default/resourcequotas", base: named({ spec: { hard: { pods: "5" } } }),
    refused: [
      ["spec.hard", { pods: "1.5" }, 'spec.hard[pods]: Invalid value: "1500m": must be an integer'],
      ["spec.scopes", ["x"], 'spec.scopes: Invalid value: ["x"]: unsupported scope'],
      ["spec", { hard: { services: "1" }, scopes: ["BestEffort"] }, 'spec.scopes: Invalid value: ["BestEffort"]: unsupported scope applied to resource'],
      ["spec.scopes", ["BestEffort", "NotBestEffort"], 'spec.scopes: Invalid value: ["BestEffort","NotBestEffort"]: conflicting scopes'],
      ["spec.scopeSelector", { matchExpressions: [{ scopeName: "PriorityClass", operator: "In" }] }, "spec.scopeSelector.matchExpressions.values: Required value: must be at least one value when `operator` is 'In' or 'NotIn' for scope selector"],
      ["spec.scopeSelector", { matchExpressions: [{ scopeName: "Terminating", operator: "In", values: ["a"] }] }, "spec.scopeSelector.matchExpressions.operator: Invalid value: \"In\": must be 'Exists' when scope is any of ResourceQuotaScopeTerminating"],
    ],
  },
  LimitRange: {
    path: "/api/v1/namespaces/default/limitranges", base: named({ spec: { limits: [{ type: "Container", max: { cpu: "2" }, min: { cpu: "1" } }] } }),
    refused: [
      ["spec.limits.0.type", "", 'spec.limits[0].type: Invalid value: "": name part must be non-empty'],
      ["spec.limits.0.min", { cpu: "3" }, 'spec.limits[0].min[cpu]: Invalid value: "3": min value 3 is greater than max value 2'],
      ["spec.limits.0.maxLimitRequestRatio", { cpu: "500m" }, 'spec.limits[0].maxLimitRequestRatio[cpu]: Invalid value: "500m": ratio 500m is less than 1'],
      ["spec.limits.0.maxLimitRequestRatio", { cpu: "3" }, 'spec.limits[0].maxLimitRequestRatio[cpu]: Invalid value: "3": ratio 3 is greater than max/min = 2.000000'],
      ["spec.limits", [{ type: "PersistentVolumeClaim" }], "spec.limits[0].limits: Required value: either minimum or maximum storage value is required, but neither was provided"],
    ],
  },
  Ingress: {
    path: "/apis/networking.k8s.io/v1/namespaces/default/ingresses", base: named({ spec: { defaultBackend: { service } } }),
    refused: [
      ["spec.defaultBackend.service.port", { number: 80, name: "x" }, 'spec.defaultBackend: Invalid value: "": cannot set both port name & port number'],
      ["spec.rules", [{ host: "*.foo.*", http: { paths: [{ path: "/", pathType: "Prefix", backend: { service } }] } }], 'spec.rules[0].host: Invalid value: "*.foo.*": a wildcard DNS-1123 subdomain must start with'],
      ["spec.rules", [{ http: { paths: [{ path: "/", pathType: "x", backend: { service } }] } }], 'spec.rules[0].http.paths[0].pathType: Unsupported value: "x": supported values: "Exact", "ImplementationSpecific", "Prefix"'],
    ],
  },
  PriorityLevelConfiguration: {
    path: "/apis/flowcontrol.apiserver.k8s.io/v1/prioritylevelconfigurations",
    base: named({ spec: { type: "Limited", limited: { nominalConcurrencyShares: 1, limitResponse: { type: "Reject" } } } }),
    refused: [
      ["spec.limited.limitResponse", { type: "Queue" }, "spec.limited.limitResponse.queuing: Required value: must not be empty if limited.limitResponse.type is Limited"],
      ["spec.limited.limitResponse", { type: "Queue", queuing: { queues: 2, handSize: 3, queueLengthLimit: 1 } }, "spec.limited.limitResponse.queuing.handSize: Invalid value: 3: should not be greater than queues (2)"],
      ["spec.limited.lendablePercent", 101, `spec.limited.lendablePercent: Invalid value: 101: ${range("", 0, 100)}`],
    ],
  },
  FlowSchema: {
    path: "/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas",
    base: named({ spec: { priorityLevelConfiguration: { name: "p" }, rules: [{ subjects: [{ kind: "User", user: { name: "u" } }], nonResourceRules: [{ verbs: ["*"], nonResourceURLs: ["*"] }] }] } }),
    refused: [
      ["spec.rules.0.subjects", [{ kind: "x" }], 'spec.rules[0].subjects[0].kind: Unsupported value: "x": supported values: "Group", "ServiceAccount", "User"'],
      ["spec.rules.0.subjects", [{ kind: "User" }], "spec.rules[0].subjects[0].user: Required value: user is required when subject kind is 'User'"],
    ],
  },
  ResourceClaim: {
    path: "/apis/resource.k8s.io/v1/namespaces/default/resourceclaims",
    base: named({ spec: { devices: { requests: [{ name: "r", exactly: { deviceClassName: "c" } }] } } }),
    refused: [
      ["spec.devices.requests.0", { name: "r" }, "spec.devices.requests[0]: Required value: exactly one of `exactly` or `firstAvailable` is required"],
      ["spec.devices.requests.0.exactly.deviceClassName", "", "spec.devices.requests[0].exactly.deviceClassName: Required value"],
      ["spec.devices.requests.0.exactly.count", -1, "spec.devices.requests[0].exactly.count: Invalid value: -1: must be greater than zero"],
      ["spec.devices.requests.0.exactly.allocationMode", "x", 'spec.devices.requests[0].exactly.allocationMode: Unsupported value: "x": supported values: "All", "ExactCount"'],
      ["spec.devices.requests.1", { name: "r", exactly: { deviceClassName: "c" } }, 'spec.devices.requests[1]: Duplicate value: "r"'],
      ["spec.devices.constraints", [{ requests: ["z"], matchAttribute: "a/b" }], "spec.devices.constraints[0].requests[0]: Invalid value: \"z\": must be the name of a request in the claim"],
      ["spec.devices.config", [{}], "spec.devices.config[0].opaque: Required value"],
    ],
  },
  ResourceSlice: {
    path: "/apis/resource.k8s.io/v1/resourceslices",
    base: named({ spec: { driver: "example.com", nodeName: "n", pool: { name: "p", generation: 1, resourceSliceCount: 1 }, devices: [{ name: "d" }] } }),
    refused: [
      ["spec.driver", "", "spec.driver: Required value"],
      ["spec.nodeName", "", "spec: Required value: exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required"],
      ["spec.allNodes", true, 'spec: Invalid value: "{`nodeName`, `allNodes`}": exactly one of'],
      ["spec.pool.resourceSliceCount", 0, "spec.pool.resourceSliceCount: Invalid value: 0: must be greater than zero"],
      ["spec.devices.1", { name: "d" }, 'spec.devices[1]: Duplicate value: "d"'],
    ],
  },
};

function changed(base: Body, path: string, value: unknown): Body {
  const object = structuredClone(base);
  const steps = path.split(".");
  const last = steps.pop()!;
  let at = object;
  for (const step of steps) at = at[step] ??= {};
  at[last] = value;
  return object;
}

/** The causes of a refusal, as `field: message`. */
const causes = (body: Body): string[] => (body.details?.causes ?? []).map(({ field, message }: Body) => `${field}: ${message}`);

describe.each(Object.entries(kinds))("%s", (kind, { path, base, refused }) => {
  test("is accepted when all is right", async () => {
    const { status, body } = await api.call("POST", `${path}?dryRun=All`, base);
    expect([status, body.message]).toEqual([201, undefined]);
  });

  test.each(refused.map(([field, value, ...errors]) => ({ field, value, errors })))("$field = $value is refused", async ({ field, value, errors }) => {
    const { status, body } = await api.call("POST", `${path}?dryRun=All`, changed(base, field, value));
    expect([status, body.reason, body.details?.kind]).toEqual([422, "Invalid", kind]);
    for (const error of errors) expect(causes(body)).toContainEqual(expect.stringContaining(error));
    const group = path.startsWith("/apis/") ? `.${path.split("/")[2]}` : "";
    expect(body.message).toContain(`${kind}${group} ${JSON.stringify(field === "metadata.name" ? value : "x")} is invalid: `);
  });
});
