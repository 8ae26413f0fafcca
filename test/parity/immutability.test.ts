/** What of an object cannot be changed once it is there, kind by kind. */
import { beforeAll, describe, expect, test } from "vitest";
import { type Body, usable, useCluster } from "./api.ts";
import { objects } from "./objects.ts";

const api = useCluster({ controllers: ["serviceaccount"] });
beforeAll(() => usable(api, "default"));

const IMMUTABLE = "field is immutable";
const clusterScoped = /^(rbac\S+\/cluster|storage\S+\/(?!csistoragecapacities)|node\.|scheduling\.|networking\S+\/(ingressclasses|servicecidrs|ipaddresses)|resource\S+\/(resourceslices|deviceclasses)|v1\/(nodes|persistentvolumes)$)/;
const pathOf = (id: string): string => {
  const [group, ...rest] = id.split("/");
  const root = rest.length === 1 ? `/api/${group}` : `/apis/${group}/${rest[0]}`;
  return clusterScoped.test(id) ? `${root}/${rest.at(-1)}` : `${root}/namespaces/default/${rest.at(-1)}`;
};

interface Change {
  readonly id: string;
  readonly what: string;
  readonly change: (object: Body) => void;
  readonly error: string;
  /** Instead of the good object of the kind. */
  readonly base?: object;
}

const container = { name: "c", image: "example.com/c" };
const POD = "spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

const changes: readonly Change[] = [
  { id: "v1/pods", what: "a container's command", change: (o) => (o.spec.containers[0].command = ["x"]), error: POD },
  { id: "v1/pods", what: "the number of containers", change: (o) => o.spec.containers.push({ name: "d", image: "i" }), error: "spec.containers: Forbidden: pod updates may not add or remove containers" },
  { id: "v1/pods", what: "the node", base: { spec: { nodeName: "n", containers: [container] } }, change: (o) => (o.spec.nodeName = "m"), error: POD },
  { id: "v1/configmaps", what: "data that is immutable", base: { immutable: true, data: { a: "1" } }, change: (o) => (o.data.a = "2"), error: "data: Forbidden: field is immutable when `immutable` is set" },
  { id: "v1/configmaps", what: "immutability itself", base: { immutable: true }, change: (o) => delete o.immutable, error: "immutable: Forbidden: field is immutable when `immutable` is set" },
  { id: "v1/secrets", what: "the type", change: (o) => (o.type = "example.com/t"), error: `type: Invalid value: "example.com/t": ${IMMUTABLE}` },
  { id: "v1/services", what: "the address", change: (o) => { o.spec.clusterIP = "10.43.9.9"; o.spec.clusterIPs = ["10.43.9.9"]; }, error: 'spec.clusterIPs[0]: Invalid value: ["10.43.9.9"]: may not change once set' },
  { id: "v1/persistentvolumeclaims", what: "the access modes", change: (o) => (o.spec.accessModes = ["ReadOnlyMany"]), error: "spec: Forbidden: spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims" },
  { id: "v1/persistentvolumes", what: "the source", change: (o) => (o.spec.hostPath.path = "/other"), error: "spec.persistentvolumesource: Forbidden: spec.persistentvolumesource is immutable after creation" },
  { id: "v1/persistentvolumes", what: "the volume mode", change: (o) => (o.spec.volumeMode = "Block"), error: `volumeMode: Invalid value: "Block": ${IMMUTABLE}` },
  { id: "v1/resourcequotas", what: "the scopes", base: { spec: { hard: { pods: "1" } } }, change: (o) => (o.spec.scopes = ["Terminating"]), error: `spec.scopes: Invalid value: ["Terminating"]: ${IMMUTABLE}` },
  { id: "v1/nodes", what: "the provider's id", base: { spec: { providerID: "a" } }, change: (o) => (o.spec.providerID = "b"), error: 'spec.providerID: Forbidden: node updates may not change providerID except from "" to valid' },
  ...["deployments", "replicasets", "daemonsets"].map((plural): Change => ({
    id: `apps/v1/${plural}`, what: "the selector", error: `spec.selector: Invalid value: {"matchLabels":{"a":"c"}}: ${IMMUTABLE}`,
    change: (o) => { o.spec.selector.matchLabels.a = "c"; o.spec.template.metadata.labels.a = "c"; },
  })),
  { id: "apps/v1/statefulsets", what: "the service", change: (o) => (o.spec.serviceName = "other"), error: "spec: Forbidden: updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden" },
  { id: "apps/v1/controllerrevisions", what: "the data", change: (o) => (o.data.a = 2), error: IMMUTABLE },
  { id: "batch/v1/jobs", what: "the template", change: (o) => (o.spec.template.spec.containers[0].image = "other"), error: IMMUTABLE },
  { id: "batch/v1/jobs", what: "the completions", change: (o) => (o.spec.completions = 5), error: `spec.completions: Invalid value: 5: ${IMMUTABLE}` },
  { id: "batch/v1/jobs", what: "the success policy", base: { spec: { completionMode: "Indexed", completions: 2, template: { spec: { restartPolicy: "Never", containers: [container] } } } }, change: (o) => (o.spec.successPolicy = { rules: [{ succeededCount: 1 }] }), error: IMMUTABLE },
  { id: "discovery.k8s.io/v1/endpointslices", what: "the address type", change: (o) => { o.addressType = "IPv6"; o.endpoints = []; }, error: `addressType: Invalid value: "IPv6": ${IMMUTABLE}` },
  { id: "networking.k8s.io/v1/ingressclasses", what: "the controller", change: (o) => (o.spec.controller = "example.com/d"), error: `spec.controller: Invalid value: "example.com/d": ${IMMUTABLE}` },
  { id: "networking.k8s.io/v1/ipaddresses", what: "the parent", change: (o) => (o.spec.parentRef.name = "t"), error: IMMUTABLE },
  { id: "node.k8s.io/v1/runtimeclasses", what: "the handler", change: (o) => (o.handler = "g"), error: `handler: Invalid value: "g": ${IMMUTABLE}` },
  { id: "rbac.authorization.k8s.io/v1/rolebindings", what: "the role", change: (o) => (o.roleRef.name = "edit"), error: "roleRef: Invalid value: {\"" },
  { id: "rbac.authorization.k8s.io/v1/clusterrolebindings", what: "the role", change: (o) => (o.roleRef.name = "edit"), error: "cannot change roleRef" },
  { id: "resource.k8s.io/v1/resourceclaims", what: "the spec", change: (o) => (o.spec.devices.requests[0].exactly.count = 2), error: IMMUTABLE },
  { id: "resource.k8s.io/v1/resourceclaimtemplates", what: "the spec", change: (o) => (o.spec.spec.devices.requests[0].exactly.count = 2), error: IMMUTABLE },
  { id: "resource.k8s.io/v1/resourceslices", what: "the driver", change: (o) => (o.spec.driver = "other.example.com"), error: `spec.driver: Invalid value: "other.example.com": ${IMMUTABLE}` },
  { id: "scheduling.k8s.io/v1/priorityclasses", what: "the value", change: (o) => (o.value = 2), error: "value: Forbidden: may not be changed in an update." },
  { id: "scheduling.k8s.io/v1/priorityclasses", what: "the preemption policy", change: (o) => (o.preemptionPolicy = "Never"), error: IMMUTABLE },
  { id: "storage.k8s.io/v1/csidrivers", what: "whether it attaches", change: (o) => (o.spec.attachRequired = true), error: `spec.attachedRequired: Invalid value: true: ${IMMUTABLE}` },
  { id: "storage.k8s.io/v1/storageclasses", what: "the provisioner", change: (o) => (o.provisioner = "example.com/q"), error: "provisioner: Forbidden: updates to provisioner are forbidden." },
  { id: "storage.k8s.io/v1/storageclasses", what: "the parameters", change: (o) => (o.parameters = { a: "b" }), error: "parameters: Forbidden: updates to parameters are forbidden." },
  { id: "storage.k8s.io/v1/storageclasses", what: "the reclaim policy", change: (o) => (o.reclaimPolicy = "Retain"), error: "reclaimPolicy: Forbidden: updates to reclaimPolicy are forbidden." },
  { id: "storage.k8s.io/v1/volumeattachments", what: "the spec", change: (o) => (o.spec.nodeName = "m"), error: IMMUTABLE },
  { id: "storage.k8s.io/v1/volumeattributesclasses", what: "the parameters", change: (o) => (o.parameters.a = "c"), error: "parameters: Forbidden: updates to parameters are forbidden." },
];

describe.each(changes.map((change, i) => ({ ...change, i })))("$id", ({ id, what, base, change, error, i }) => {
  test(`${what} cannot change`, async () => {
    const name = id.endsWith("ipaddresses") ? `192.0.2.${i}` : `frozen-${i}`;
    const made = await api.post(pathOf(id), { ...(base ?? objects[id]!(name, () => "")), metadata: { name } });
    const wanted = structuredClone(made);
    change(wanted);
    const { status, body } = await api.call("PUT", `${pathOf(id)}/${name}`, wanted);
    expect([status, body.message]).toEqual([422, expect.stringContaining(error)]);
    expect((await api.get(`${pathOf(id)}/${name}`)).metadata.resourceVersion).toBe(made.metadata.resourceVersion);
  });
});

describe("metadata", () => {
  const path = "/api/v1/namespaces/default/configmaps";
  test.each<[string, unknown, number, string]>([
    ["uid", "other", 409, "Precondition failed: UID in precondition: other, UID in object meta: "],
    ["name", "other", 400, "the name of the object (other) does not match the name on the URL (meta)"],
    ["namespace", "kube-system", 400, "the namespace of the object (kube-system) does not match the namespace on the request (default)"],
  ])("%s cannot change", async (field, value, status, message) => {
    await api.call("POST", path, { metadata: { name: "meta" } });
    const object = await api.get(`${path}/meta`);
    const answer = await api.call("PUT", `${path}/meta`, { ...object, metadata: { ...object.metadata, [field]: value } });
    expect([answer.status, answer.body.message]).toEqual([status, expect.stringContaining(message)]);
  });

  test("what the server sets is kept, whatever the client sends", async () => {
    await api.call("POST", path, { metadata: { name: "kept" } });
    const object = await api.get(`${path}/kept`);
    const sent = { ...object.metadata, creationTimestamp: "2001-01-01T00:00:00Z", generation: 9, deletionTimestamp: "2001-01-01T00:00:00Z", selfLink: "/x" };
    const { metadata } = await api.put(`${path}/kept`, { ...object, metadata: { ...sent, labels: { a: "b" } } });
    expect(metadata).toMatchObject({ uid: object.metadata.uid, creationTimestamp: object.metadata.creationTimestamp, labels: { a: "b" } });
    for (const field of ["generation", "deletionTimestamp", "selfLink"]) expect(metadata[field]).toBeUndefined();
  });
});
