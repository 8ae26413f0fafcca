import { describe, expect, it } from "vitest";
import { testSigningRequest } from "../auth/testing.ts";
import { hpaFromV2, hpaToV2 } from "./autoscaling/conversion.ts";
import { eventFromCore, eventToCore } from "./core/event-conversion.ts";
import { created, fakeContext, rowOf, updated } from "./testing.ts";
import type { Obj } from "./types.ts";

const named = (object: Obj, name = "x"): Obj => ({ ...object, metadata: { name, ...object.metadata } });
const pvc = (spec: Obj = {}): Obj => ({ spec: { accessModes: ["ReadWriteOnce"], resources: { requests: { storage: "1Gi" } }, ...spec } });
const pv = (spec: Obj = {}): Obj => ({ spec: { accessModes: ["ReadWriteOnce"], capacity: { storage: "1Gi" }, hostPath: { path: "/a" }, ...spec } });
const path = (extra: Obj = {}): Obj => ({ path: "/", pathType: "Prefix", backend: { service: { name: "s", port: { number: 80 } } }, ...extra });
const ingress = (extra: Obj = {}, host = "a.example.com"): Obj => ({ spec: { rules: [{ host, http: { paths: [path(extra)] } }] } });
const hpa = (spec: Obj = {}): Obj => ({ spec: { scaleTargetRef: { apiVersion: "apps/v1", kind: "Deployment", name: "d" }, maxReplicas: 3, ...spec } });
const csr = (spec: Obj = {}): Obj => ({
  spec: { request: testSigningRequest({ names: ["x"] }), usages: ["client auth"], signerName: "example.com/s", ...spec },
});
const slice = (extra: Obj = {}): Obj => ({ addressType: "IPv4", endpoints: [{ addresses: ["10.0.0.1"] }], ports: [{ port: 80 }], ...extra });
const binding = (extra: Obj = {}): Obj => ({ roleRef: { kind: "Role", name: "r" }, subjects: [{ kind: "User", name: "u" }], ...extra });
const webhook = (extra: Obj = {}): Obj => ({
  webhooks: [{
    name: "a.example.com", sideEffects: "None", admissionReviewVersions: ["v1"], clientConfig: { service: { namespace: "n", name: "s" } },
    rules: [{ operations: ["CREATE"], apiGroups: [""], apiVersions: ["v1"], resources: ["pods"] }], ...extra,
  }],
});
const crd = (spec: Obj = {}): Obj => ({
  spec: {
    group: "example.com", scope: "Namespaced", names: { plural: "foos", kind: "Foo" },
    versions: [{ name: "v1", served: true, storage: true, schema: { openAPIV3Schema: { type: "object" } } }], ...spec,
  },
});

describe("defaults", () => {
  it.each<[string, string, Obj, Obj]>([
    ["", "secrets", { stringData: { a: "b" }, data: { c: "ZA==" } }, { type: "Opaque", data: { a: "Yg==", c: "ZA==" } }],
    ["", "namespaces", {}, { metadata: { labels: { "kubernetes.io/metadata.name": "x" } }, spec: { finalizers: ["kubernetes"] }, status: { phase: "Active" } }],
    ["", "persistentvolumeclaims", pvc(), { spec: { volumeMode: "Filesystem" }, status: { phase: "Pending" } }],
    ["", "persistentvolumes", pv(), { spec: { volumeMode: "Filesystem", persistentVolumeReclaimPolicy: "Retain", hostPath: { type: "" } }, status: { phase: "Pending" } }],
    ["", "endpoints", { subsets: [{ addresses: [{ ip: "10.0.0.1" }], ports: [{ port: 1 }] }] }, { subsets: [{ ports: [{ protocol: "TCP" }] }] }],
    ["", "limitranges", { spec: { limits: [{ type: "Container", max: { cpu: "2" }, min: { cpu: "1" } }] } }, { spec: { limits: [{ default: { cpu: "2" }, defaultRequest: { cpu: "2" } }] } }],
    ["", "nodes", {}, { status: { daemonEndpoints: { kubeletEndpoint: { Port: 0 } }, nodeInfo: { kubeletVersion: "", osImage: "" } } }],
    ["storage.k8s.io", "storageclasses", { provisioner: "a/b" }, { reclaimPolicy: "Delete", volumeBindingMode: "Immediate" }],
    ["networking.k8s.io", "networkpolicies", { spec: { podSelector: {}, egress: [{}] } }, { spec: { policyTypes: ["Ingress", "Egress"] } }],
    ["networking.k8s.io", "ingresses", ingress(), { status: { loadBalancer: {} } }],
    ["discovery.k8s.io", "endpointslices", slice(), { ports: [{ name: "", protocol: "TCP" }] }],
    ["rbac.authorization.k8s.io", "rolebindings", binding(), { roleRef: { apiGroup: "rbac.authorization.k8s.io" }, subjects: [{ apiGroup: "rbac.authorization.k8s.io" }] }],
    ["scheduling.k8s.io", "priorityclasses", { value: 5 }, { preemptionPolicy: "PreemptLowerPriority" }],
    ["autoscaling", "horizontalpodautoscalers", hpa(), { spec: { minReplicas: 1, metrics: [{ resource: { name: "cpu", target: { averageUtilization: 80 } } }] } }],
    ["admissionregistration.k8s.io", "mutatingwebhookconfigurations", webhook(), { webhooks: [{ failurePolicy: "Fail", matchPolicy: "Equivalent", timeoutSeconds: 10, reinvocationPolicy: "Never", clientConfig: { service: { port: 443 } }, rules: [{ scope: "*" }] }] }],
    ["flowcontrol.apiserver.k8s.io", "flowschemas", { spec: { priorityLevelConfiguration: { name: "p" } } }, { spec: { matchingPrecedence: 1000 } }],
    ["certificates.k8s.io", "certificatesigningrequests", csr({ username: "mallory" }), { spec: { username: "alice", groups: ["dev"] } }],
    ["apiextensions.k8s.io", "customresourcedefinitions", { ...crd(), metadata: { name: "foos.example.com" } }, { spec: { names: { singular: "foo", listKind: "FooList" }, conversion: { strategy: "None" } } }],
  ])("of %s %s", (group, plural, body, want) => {
    const { object, errors } = created(rowOf(group, plural), named(body));
    expect(errors).toEqual([]);
    expect(object).toMatchObject(want);
    expect(object).not.toHaveProperty("stringData");
  });
});

describe("a refused creation", () => {
  it.each<[string, string, Obj, string]>([
    ["", "configmaps", { data: { "a b": "" } }, "data[a b]: Invalid value: \"a b\": a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')"],
    ["", "configmaps", { data: { a: "x".repeat(1024 * 1024 + 1) } }, ": Too long: may not be more than 1048576 bytes"],
    ["", "secrets", { type: "kubernetes.io/tls", data: { "tls.crt": "" } }, "data[tls.key]: Required value"],
    ["", "secrets", { type: "kubernetes.io/service-account-token" }, "metadata.annotations[kubernetes.io/service-account.name]: Required value"],
    ["", "nodes", { spec: { taints: [{ key: "a", effect: "x" }] } }, 'metadata.taints[0].effect: Unsupported value: "x": supported values: "NoSchedule", "PreferNoSchedule", "NoExecute"'],
    ["", "persistentvolumeclaims", pvc({ accessModes: [] }), "spec.accessModes: Required value: at least 1 access mode is required"],
    ["", "persistentvolumeclaims", pvc({ resources: {} }), "spec.resources[storage]: Required value"],
    ["", "persistentvolumes", pv({ hostPath: undefined }), "spec: Required value: must specify a volume type"],
    ["", "persistentvolumes", pv({ hostPath: undefined, local: { path: "/a" } }), "spec.nodeAffinity: Required value: Local volume requires node affinity"],
    ["", "persistentvolumes", pv({ nfs: {} }), "spec.nfs: Forbidden: may not specify more than 1 volume type"],
    ["", "resourcequotas", { spec: { hard: { foo: "1" } } }, 'spec.hard[foo]: Invalid value: "foo": must be a standard resource type or fully qualified|spec.hard[foo]: Invalid value: "foo": must be a standard resource for quota'],
    ["", "resourcequotas", { spec: { hard: { "requests.foo": "1" } } }, 'spec.hard[requests.foo]: Invalid value: "requests.foo": must be a standard resource type or fully qualified|spec.hard[requests.foo]: Invalid value: "requests.foo": must be a standard resource for quota'],
    ["storage.k8s.io", "storageclasses", { provisioner: "a/b", allowedTopologies: [{ matchLabelExpressions: [{ key: "zone" }] }] }, "allowedTopologies[0].matchLabelExpressions[0].values: Required value"],
    ["storage.k8s.io", "storageclasses", { provisioner: "a/b", allowedTopologies: [1, 2].map(() => ({ matchLabelExpressions: [{ key: "zone", values: ["a"] }] })) }, 'allowedTopologies[1].matchLabelExpressions: Duplicate value: ""'],
    ["", "limitranges", { spec: { limits: [{ type: "Pod", min: { cpu: "2" }, max: { cpu: "1" } }] } }, 'spec.limits[0].min[cpu]: Invalid value: "2": min value 2 is greater than max value 1'],
    ["", "events", { involvedObject: { namespace: "other" } }, 'involvedObject.namespace: Invalid value: "other": does not match event.namespace'],
    ["events.k8s.io", "events", { apiVersion: "events.k8s.io/v1", type: "Normal", regarding: { namespace: "default" } }, "eventTime: Required value"],
    ["storage.k8s.io", "storageclasses", {}, "provisioner: Required value"],
    ["networking.k8s.io", "ingresses", { spec: {} }, "spec: Invalid value: null: either `defaultBackend` or `rules` must be specified"],
    ["networking.k8s.io", "ingresses", ingress({ pathType: undefined }), "spec.rules[0].http.paths[0].pathType: Required value: pathType must be specified"],
    ["networking.k8s.io", "ingresses", ingress({ path: "a" }), 'spec.rules[0].http.paths[0].path: Invalid value: "a": must be an absolute path'],
    ["networking.k8s.io", "ingresses", ingress({}, "1.2.3.4"), 'spec.rules[0].host: Invalid value: "1.2.3.4": must be a DNS name, not an IP address'],
    ["networking.k8s.io", "networkpolicies", { spec: { ingress: [{ from: [{ ipBlock: { cidr: "10.0.0.0/16", except: ["10.1.0.0/24"] } }] }] } }, 'spec.ingress[0].from[0].ipBlock.except[0]: Invalid value: "10.1.0.0/24": must be a strict subset of `cidr`'],
    ["networking.k8s.io", "networkpolicies", { spec: { ingress: [{ from: [{}] }] } }, "spec.ingress[0].from[0]: Required value: must specify a peer"],
    ["networking.k8s.io", "ingressclasses", { spec: { controller: "x" } }, 'spec.controller: Invalid value: "x": must be a domain-prefixed path (such as "acme.io/foo")'],
    ["discovery.k8s.io", "endpointslices", slice({ addressType: "x", endpoints: [] }), 'addressType: Unsupported value: "x": supported values: "FQDN", "IPv4", "IPv6"'],
    ["discovery.k8s.io", "endpointslices", slice({ endpoints: [{ addresses: ["127.0.0.1"] }] }), 'endpoints[0].addresses[0]: Invalid value: "127.0.0.1": may not be in the loopback range (127.0.0.0/8, ::1/128)'],
    ["rbac.authorization.k8s.io", "roles", { rules: [{ resources: ["pods"], apiGroups: [""] }] }, "rules[0].verbs: Required value: verbs must contain at least one value"],
    ["rbac.authorization.k8s.io", "roles", { rules: [{ verbs: ["get"], nonResourceURLs: ["/"] }] }, 'rules[0].nonResourceURLs: Invalid value: ["/"]: namespaced rules cannot apply to non-resource URLs'],
    ["rbac.authorization.k8s.io", "rolebindings", binding({ roleRef: { kind: "x", name: "r" } }), 'roleRef.kind: Unsupported value: "x": supported values: "Role", "ClusterRole"'],
    ["rbac.authorization.k8s.io", "clusterrolebindings", binding({ roleRef: { kind: "ClusterRole", name: "r" }, subjects: [{ kind: "ServiceAccount", name: "s" }] }), "subjects[0].namespace: Required value"],
    ["certificates.k8s.io", "certificatesigningrequests", csr({ signerName: "x" }), 'spec.signerName: Invalid value: "x": must be a fully qualified domain and path of the form \'example.com/signer-name\''],
    ["scheduling.k8s.io", "priorityclasses", { value: 2_000_000_000 }, "value: Forbidden: maximum allowed value of a user defined priority is 1000000000"],
    ["autoscaling", "horizontalpodautoscalers", hpa({ maxReplicas: 0, minReplicas: undefined }), "spec.maxReplicas: Required value: must be set and greater than 0|spec.maxReplicas: Invalid value: 0: must be greater than or equal to `minReplicas`"],
    ["policy", "poddisruptionbudgets", { spec: { minAvailable: 1, maxUnavailable: 1 } }, 'spec: Invalid value: {"minAvailable":1,"maxUnavailable":1}: minAvailable and maxUnavailable cannot be both set'],
    ["coordination.k8s.io", "leases", { spec: { leaseDurationSeconds: 0 } }, "spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0"],
    ["node.k8s.io", "runtimeclasses", {}, "handler: Required value"],
    ["admissionregistration.k8s.io", "validatingwebhookconfigurations", webhook({ name: "a.b" }), 'webhooks[0].name: Invalid value: "a.b": should be a domain with at least three segments separated by dots'],
    ["apiextensions.k8s.io", "customresourcedefinitions", crd(), 'metadata.name: Invalid value: "x": must be spec.names.plural+"."+spec.group'],
    ["apiregistration.k8s.io", "apiservices", { spec: { version: "v1", group: "g", groupPriorityMinimum: 1, versionPriority: 1 } }, 'metadata.name: Invalid value: "x": must be `spec.version+"."+spec.group`: "v1.g"'],
    ["networking.k8s.io", "ipaddresses", { spec: { parentRef: { resource: "services", name: "s" } } }, 'metadata.name: Invalid value: "x": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)'],
  ])("of %s %s %#", (group, plural, body, want) => expect(created(rowOf(group, plural), named(body)).errors.join("|")).toBe(want));
});

describe("a refused update", () => {
  it.each<[string, string, Obj, (o: Obj) => void, string]>([
    ["", "configmaps", { data: { a: "1" }, immutable: true }, (o) => (o.data.a = "2"), "data: Forbidden: field is immutable when `immutable` is set"],
    ["", "secrets", {}, (o) => (o.type = "a/b"), 'type: Invalid value: "a/b": field is immutable'],
    ["", "nodes", { spec: { providerID: "a" } }, (o) => (o.spec.providerID = "b"), 'spec.providerID: Forbidden: node updates may not change providerID except from "" to valid'],
    ["storage.k8s.io", "storageclasses", { provisioner: "a/b" }, (o) => (o.provisioner = "c/d"), "provisioner: Forbidden: updates to provisioner are forbidden."],
    ["rbac.authorization.k8s.io", "rolebindings", binding(), (o) => (o.roleRef.name = "s"), 'roleRef: Invalid value: {"kind":"Role","name":"s","apiGroup":"rbac.authorization.k8s.io"}: cannot change roleRef'],
    ["scheduling.k8s.io", "priorityclasses", { value: 1 }, (o) => (o.value = 2), "value: Forbidden: may not be changed in an update."],
    ["discovery.k8s.io", "endpointslices", slice({ endpoints: [] }), (o) => (o.addressType = "IPv6"), 'addressType: Invalid value: "IPv6": field is immutable'],
    ["node.k8s.io", "runtimeclasses", { handler: "a" }, (o) => (o.handler = "b"), 'handler: Invalid value: "b": field is immutable'],
  ])("of %s %s", (group, plural, body, change, want) => {
    const row = rowOf(group, plural);
    expect(updated(row, created(row, named(body)).object, change).errors).toEqual([want]);
  });

  it("leaves a bound claim its growth", () => {
    const row = rowOf("", "persistentvolumeclaims");
    const old = { ...created(row, named(pvc())).object, status: { phase: "Bound", capacity: { storage: "1Gi" } } };
    expect(updated(row, old, (o) => (o.spec.resources.requests.storage = "2Gi")).errors).toEqual([]);
  });

  it("keeps the status of what has one", () => {
    const row = rowOf("networking.k8s.io", "ingresses");
    const old = { ...created(row, named(ingress())).object, status: { loadBalancer: { ingress: [{ ip: "1.1.1.1" }] } } };
    expect(updated(row, old, (o) => delete o.status, fakeContext()).object.status).toEqual(old.status);
  });
});

describe("strategy", () => {
  it("makes an APIService without a service available at once", () => {
    const spec = { version: "v1", group: "g", groupPriorityMinimum: 1, versionPriority: 1 };
    const row = rowOf("apiregistration.k8s.io", "apiservices");
    const { object } = created(row, named({ spec }, "v1.g"));
    expect(object.status.conditions).toEqual([
      { type: "Available", status: "True", reason: "Local", message: "Local APIServices are always available", lastTransitionTime: "2026-01-02T03:04:05Z" },
    ]);
    expect(created(row, named({ spec: { ...spec, service: { namespace: "n", name: "s" } } }, "v1.g")).object.status).toEqual({});
  });

  it("keeps the status that autoscaling/v1 shows in annotations", () => {
    const row = rowOf("autoscaling", "horizontalpodautoscalers", "v1");
    const conditions = "autoscaling.alpha.kubernetes.io/conditions";
    const old = { ...created(row, named(hpa())).object, metadata: { name: "x", annotations: { [conditions]: "[]" } } };
    const { object } = updated(row, old, (o) => (o.metadata = { name: "x", annotations: { mine: "1" } }));
    expect(object.metadata!.annotations).toEqual({ mine: "1", [conditions]: "[]" });
  });

  it("approves with the time of the approval", () => {
    const row = rowOf("certificates.k8s.io", "certificatesigningrequests");
    const old = created(row, named(csr())).object;
    const object: Obj = { ...structuredClone(old), status: { conditions: [{ type: "Approved", status: "True" }] } };
    const ctx = fakeContext();
    row.prepareStatusUpdate!(object, old, ctx);
    expect(object.status.conditions).toEqual([{ type: "Approved", status: "True", lastUpdateTime: ctx.now, lastTransitionTime: ctx.now }]);
  });

  it("says the same in dataSource and dataSourceRef of a claim", () => {
    const dataSource = { kind: "PersistentVolumeClaim", name: "c" };
    expect(created(rowOf("", "persistentvolumeclaims"), named(pvc({ dataSource }))).object.spec.dataSourceRef).toEqual(dataSource);
  });
});

describe("conversion", () => {
  it("of events loses nothing", () => {
    const event: Obj = {
      apiVersion: "events.k8s.io/v1", kind: "Event", metadata: { name: "e" }, note: "m", regarding: { kind: "Pod" }, related: { kind: "Node" },
      reportingController: "c", reportingInstance: "i", action: "a", reason: "r", type: "Normal", deprecatedCount: 2, eventTime: "t",
    };
    const core = eventToCore(event);
    expect(core).toMatchObject({ apiVersion: "v1", message: "m", involvedObject: { kind: "Pod" }, reportingComponent: "c", count: 2 });
    expect(eventFromCore(core)).toEqual(event);
  });

  it("of autoscalers carries what v1 lacks in annotations", () => {
    const v2: Obj = {
      apiVersion: "autoscaling/v2", kind: "HorizontalPodAutoscaler", metadata: { name: "h" },
      spec: {
        maxReplicas: 3, minReplicas: 1, scaleTargetRef: { kind: "Deployment", name: "d" }, behavior: { scaleUp: { selectPolicy: "Max" } },
        metrics: [
          { type: "Resource", resource: { name: "cpu", target: { type: "Utilization", averageUtilization: 70 } } },
          { type: "Resource", resource: { name: "memory", target: { type: "AverageValue", averageValue: "1Gi" } } },
          { type: "Pods", pods: { metric: { name: "rps" }, target: { type: "AverageValue", averageValue: "10" } } },
        ],
      },
      status: { currentReplicas: 1, desiredReplicas: 2, conditions: [{ type: "AbleToScale", status: "True" }], currentMetrics: [{ type: "Resource", resource: { name: "cpu", current: { averageUtilization: 5, averageValue: "5m" } } }] },
    };
    const v1 = hpaFromV2(v2);
    expect(v1).toMatchObject({ apiVersion: "autoscaling/v1", spec: { targetCPUUtilizationPercentage: 70 }, status: { currentCPUUtilizationPercentage: 5 } });
    expect(JSON.parse(v1.metadata!.annotations!["autoscaling.alpha.kubernetes.io/metrics"]!)).toEqual([
      { type: "Resource", resource: { name: "memory", targetAverageValue: "1Gi" } },
      { type: "Pods", pods: { metricName: "rps", targetAverageValue: "10" } },
    ]);
    expect(hpaToV2(v1)).toEqual(v2);
  });
});
