/** One good object of every built-in kind, by group, version and resource. */
import type { Body } from "./api.ts";

const container = { name: "c", image: "example.com/c" };
const template = { metadata: { labels: { a: "b" } }, spec: { containers: [container] } };
const once = { ...template, spec: { ...template.spec, restartPolicy: "Never" } };
const workload = { spec: { selector: { matchLabels: { a: "b" } }, template } };
const rule = { apiGroups: [""], resources: ["pods"], verbs: ["get"] };
const subject = { kind: "User", name: "u", apiGroup: "rbac.authorization.k8s.io" };
const hook = {
  webhooks: [{
    name: "hook.example.com", clientConfig: { url: "https://127.0.0.1:1/hook" }, sideEffects: "None", admissionReviewVersions: ["v1"],
    failurePolicy: "Ignore", rules: [{ operations: ["CREATE"], apiGroups: ["none.example.com"], apiVersions: ["v1"], resources: ["nones"] }],
  }],
};
const match = { resourceRules: [{ operations: ["CREATE"], apiGroups: ["none.example.com"], apiVersions: ["v1"], resources: ["nones"] }] };
const devices = { requests: [{ name: "r", exactly: { deviceClassName: "c" } }] };
const volume = { capacity: { storage: "1Gi" }, accessModes: ["ReadWriteOnce"], hostPath: { path: "/data" } };

type Make = (name: string, certificateRequest: () => string) => Body;
const is = (object: object): Make => () => object;

export const objects: Readonly<Record<string, Make>> = {
  "v1/configmaps": is({ data: { a: "b" }, binaryData: { c: "ZA==" } }),
  "v1/endpoints": is({ subsets: [{ addresses: [{ ip: "192.0.2.1" }], ports: [{ port: 80, protocol: "TCP" }] }] }),
  "v1/events": is({ involvedObject: { kind: "Pod", namespace: "default", name: "p" }, reason: "R", message: "m", type: "Normal" }),
  "v1/limitranges": is({ spec: { limits: [{ type: "Container", max: { cpu: "100" } }] } }),
  "v1/namespaces": is({}),
  "v1/nodes": is({}),
  "v1/persistentvolumeclaims": is({ spec: { accessModes: ["ReadWriteOnce"], resources: { requests: { storage: "1Gi" } }, storageClassName: "" } }),
  "v1/persistentvolumes": is({ spec: volume }),
  "v1/pods": is({ spec: { containers: [container] } }),
  "v1/podtemplates": is({ template }),
  "v1/replicationcontrollers": is({ spec: { replicas: 0, selector: { a: "b" }, template } }),
  "v1/resourcequotas": is({ spec: { hard: { "count/widgets.example.com": "1" } } }),
  "v1/secrets": is({ data: { a: "Yg==" } }),
  "v1/serviceaccounts": is({}),
  "v1/services": is({ spec: { ports: [{ port: 80 }] } }),
  "admissionregistration.k8s.io/v1/mutatingadmissionpolicies": is({ spec: { matchConstraints: match, reinvocationPolicy: "Never", mutations: [{ patchType: "JSONPatch", jsonPatch: { expression: "[]" } }] } }),
  "admissionregistration.k8s.io/v1/mutatingadmissionpolicybindings": is({ spec: { policyName: "p" } }),
  "admissionregistration.k8s.io/v1/mutatingwebhookconfigurations": is(hook),
  "admissionregistration.k8s.io/v1/validatingadmissionpolicies": is({ spec: { matchConstraints: match, validations: [{ expression: "true" }] } }),
  "admissionregistration.k8s.io/v1/validatingadmissionpolicybindings": is({ spec: { policyName: "p", validationActions: ["Deny"] } }),
  "admissionregistration.k8s.io/v1/validatingwebhookconfigurations": is(hook),
  "apiextensions.k8s.io/v1/customresourcedefinitions": is({
    metadata: { name: "everies.example.com" },
    spec: {
      group: "example.com", scope: "Namespaced", names: { plural: "everies", kind: "Every" },
      versions: [{ name: "v1", served: true, storage: true, schema: { openAPIV3Schema: { type: "object" } } }],
    },
  }),
  "apiregistration.k8s.io/v1/apiservices": is({ metadata: { name: "v9.none.example.com" }, spec: { group: "none.example.com", version: "v9", groupPriorityMinimum: 1, versionPriority: 1, service: { namespace: "default", name: "none" }, insecureSkipTLSVerify: true } }),
  "apps/v1/controllerrevisions": is({ revision: 1, data: { a: 1 } }),
  "apps/v1/daemonsets": is(workload),
  "apps/v1/deployments": is(workload),
  "apps/v1/replicasets": is(workload),
  "apps/v1/statefulsets": is(workload),
  "autoscaling/v1/horizontalpodautoscalers": is({ spec: { scaleTargetRef: { apiVersion: "apps/v1", kind: "Deployment", name: "d" }, maxReplicas: 2 } }),
  "autoscaling/v2/horizontalpodautoscalers": is({ spec: { scaleTargetRef: { apiVersion: "apps/v1", kind: "Deployment", name: "d" }, maxReplicas: 2 } }),
  "batch/v1/cronjobs": is({ spec: { schedule: "0 0 1 1 *", jobTemplate: { spec: { template: once } } } }),
  "batch/v1/jobs": is({ spec: { template: once } }),
  "certificates.k8s.io/v1/certificatesigningrequests": (_name, certificateRequest) => ({ spec: { request: certificateRequest(), signerName: "example.com/s", usages: ["client auth"] } }),
  "coordination.k8s.io/v1/leases": is({ spec: { holderIdentity: "me" } }),
  "discovery.k8s.io/v1/endpointslices": is({ addressType: "IPv4", endpoints: [{ addresses: ["192.0.2.1"] }], ports: [{ port: 80 }] }),
  "events.k8s.io/v1/events": is({ eventTime: "2026-01-01T00:00:00.000000Z", reportingController: "c", reportingInstance: "i", action: "A", reason: "R", type: "Normal", regarding: { kind: "Pod", namespace: "default", name: "p" } }),
  "flowcontrol.apiserver.k8s.io/v1/flowschemas": is({ spec: { priorityLevelConfiguration: { name: "global-default" } } }),
  "flowcontrol.apiserver.k8s.io/v1/prioritylevelconfigurations": is({ spec: { type: "Limited", limited: { nominalConcurrencyShares: 1, limitResponse: { type: "Reject" } } } }),
  "networking.k8s.io/v1/ingressclasses": is({ spec: { controller: "example.com/c" } }),
  "networking.k8s.io/v1/ingresses": is({ spec: { defaultBackend: { service: { name: "s", port: { number: 80 } } } } }),
  "networking.k8s.io/v1/ipaddresses": is({ metadata: { name: "192.0.2.9" }, spec: { parentRef: { resource: "services", name: "s", namespace: "default" } } }),
  "networking.k8s.io/v1/networkpolicies": is({ spec: { podSelector: {}, ingress: [{ from: [{ podSelector: {} }] }] } }),
  "networking.k8s.io/v1/servicecidrs": is({ spec: { cidrs: ["192.0.2.0/24"] } }),
  "node.k8s.io/v1/runtimeclasses": is({ handler: "h" }),
  "policy/v1/poddisruptionbudgets": is({ spec: { minAvailable: 1, selector: { matchLabels: { a: "b" } } } }),
  "rbac.authorization.k8s.io/v1/clusterrolebindings": is({ roleRef: { apiGroup: "rbac.authorization.k8s.io", kind: "ClusterRole", name: "view" }, subjects: [subject] }),
  "rbac.authorization.k8s.io/v1/clusterroles": is({ rules: [rule] }),
  "rbac.authorization.k8s.io/v1/rolebindings": is({ roleRef: { apiGroup: "rbac.authorization.k8s.io", kind: "ClusterRole", name: "view" }, subjects: [subject] }),
  "rbac.authorization.k8s.io/v1/roles": is({ rules: [rule] }),
  "resource.k8s.io/v1/deviceclasses": is({ spec: { selectors: [{ cel: { expression: "true" } }] } }),
  "resource.k8s.io/v1/resourceclaims": is({ spec: { devices } }),
  "resource.k8s.io/v1/resourceclaimtemplates": is({ spec: { spec: { devices } } }),
  "resource.k8s.io/v1/resourceslices": is({ spec: { driver: "example.com", nodeName: "n", pool: { name: "p", generation: 1, resourceSliceCount: 1 } } }),
  "scheduling.k8s.io/v1/priorityclasses": is({ value: 1 }),
  "storage.k8s.io/v1/csidrivers": is({ spec: { attachRequired: false } }),
  "storage.k8s.io/v1/csinodes": is({ spec: { drivers: [{ name: "d.example.com", nodeID: "n" }] } }),
  "storage.k8s.io/v1/csistoragecapacities": is({ storageClassName: "s", capacity: "1Gi" }),
  "storage.k8s.io/v1/storageclasses": is({ provisioner: "example.com/p" }),
  "storage.k8s.io/v1/volumeattachments": is({ spec: { attacher: "d.example.com", nodeName: "n", source: { persistentVolumeName: "v" } } }),
  "storage.k8s.io/v1/volumeattributesclasses": is({ driverName: "d.example.com", parameters: { a: "b" } }),
};
