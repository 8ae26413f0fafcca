import { expect, it } from "vitest";
import type { AdmissionRequest } from "@k3s-p/plugin-api/points";
import type { Obj } from "../resources/types.ts";
import { nodeRestriction } from "./node-restriction.ts";
import { testPem, testSigningRequest, testView } from "./testing.ts";

const node = (metadata: object = {}, spec: object = {}): Obj => ({ apiVersion: "v1", kind: "Node", metadata: { name: "n1", uid: "node-uid", ...metadata }, spec });
const pod = (nodeName: string, more: object = {}, metadata: object = {}): Obj =>
  ({ apiVersion: "v1", kind: "Pod", metadata: { name: "p", namespace: "ns", uid: "pod-uid", ...metadata }, spec: { nodeName, containers: [], ...more } });
const owner = (more: object = {}) => ({ apiVersion: "v1", kind: "Node", name: "n1", uid: "node-uid", controller: true, ...more });
const mirror = (spec: object = {}, metadata: object = {}): Obj =>
  pod("n1", spec, { annotations: { "kubernetes.io/config.mirror": "hash" }, ownerReferences: [owner()], ...metadata });
const tokenFor = (spec: object): Obj => ({ apiVersion: "authentication.k8s.io/v1", kind: "TokenRequest", metadata: {}, spec });
const claim = (status: object, spec: object = {}): Obj => ({ apiVersion: "v1", kind: "PersistentVolumeClaim", metadata: { name: "c", namespace: "ns" }, spec, status });

const asking = projected();
function projected(): Obj {
  return pod("n1", { volumes: [{ name: "t", projected: { sources: [{ serviceAccountToken: { audience: "vault" } }] } }] });
}
const plugin = nodeRestriction({ view: testView(node(), asking, pod("n2", {}, { name: "other", uid: "other-uid" })) });

function judge(request: Partial<AdmissionRequest>, user = "system:node:n1"): string {
  try {
    void plugin.validate!({
      operation: "CREATE", user: { name: user, groups: ["system:nodes", "system:authenticated"] }, group: "", version: "v1", resource: "pods",
      subresource: "", namespace: "ns", name: "", object: undefined, oldObject: undefined, dryRun: false, ...request,
    });
    return "";
  } catch (error) {
    return (error as Error).message.replace(/^.* is forbidden: /, "");
  }
}

const update = (resource: string, now: Obj, before: Obj, subresource = ""): Partial<AdmissionRequest> =>
  ({ operation: "UPDATE", resource, subresource, name: now.metadata!.name!, object: now, oldObject: before });
const token = (spec: object): Partial<AdmissionRequest> => ({ resource: "serviceaccounts", subresource: "token", name: "sa", object: tokenFor(spec) });
const bound = (uid: string, name = "p") => ({ boundObjectRef: { kind: "Pod", apiVersion: "v1", name, uid } });

const csr = (signer: string, ...names: readonly (string | undefined)[]): Partial<AdmissionRequest> => ({
  group: "certificates.k8s.io", resource: "certificatesigningrequests",
  object: { metadata: { name: "r" }, spec: { signerName: `kubernetes.io/${signer}`, request: names.includes(undefined) ? testPem(Buffer.of(0x30, 9, 1)) : testSigningRequest({ names: names as string[] }) } } as Obj,
});

it.each<[string, Partial<AdmissionRequest>, string]>([
  ["a mirror pod", { object: mirror() }, ""],
  ["a pod that is no mirror", { object: pod("n1") }, 'pod does not have "kubernetes.io/config.mirror" annotation, node "n1" can only create mirror pods'],
  ["a mirror pod elsewhere", { object: mirror({ nodeName: "n2" }) }, 'node "n1" can only create pods with spec.nodeName set to itself'],
  ["a mirror pod without owner", { object: mirror({}, { ownerReferences: [] }) }, 'node "n1" can only create pods with a single owner reference set to itself'],
  ["a mirror pod of another node", { object: mirror({}, { ownerReferences: [owner({ name: "n2" })] }) }, 'node "n1" can only create pods with an owner reference set to itself'],
  ["a mirror pod that its owner does not control", { object: mirror({}, { ownerReferences: [owner({ controller: false })] }) }, 'node "n1" can only create pods with a controller owner reference set to itself'],
  ["a mirror pod that blocks its owner", { object: mirror({}, { ownerReferences: [owner({ blockOwnerDeletion: true })] }) }, 'node "n1" must not set blockOwnerDeletion on an owner reference'],
  ["a mirror pod of an earlier node", { object: mirror({}, { ownerReferences: [owner({ uid: "old" })] }) }, "node n1 UID mismatch: expected old got node-uid"],
  ["a mirror pod with an account", { object: mirror({ serviceAccountName: "sa" }) }, 'node "n1" can not create pods that reference a service account'],
  ["a mirror pod with a secret", { object: mirror({ volumes: [{ name: "v", secret: { secretName: "s" } }] }) }, 'node "n1" can not create pods that reference secrets'],
  ["a mirror pod with a config map", { object: mirror({ containers: [{ envFrom: [{ configMapRef: { name: "c" } }] }] }) }, 'node "n1" can not create pods that reference configmaps'],
  ["a mirror pod with a claim", { object: mirror({ volumes: [{ name: "v", persistentVolumeClaim: { claimName: "c" } }] }) }, 'node "n1" can not create pods that reference persistentvolumeclaims'],
  ["an update of a pod", update("pods", asking, asking), 'unexpected operation "UPDATE", node "n1" can only create and delete mirror pods'],
  ["the deletion of an own pod", { operation: "DELETE", name: "p", oldObject: asking }, ""],
  ["the deletion of another's pod", { operation: "DELETE", name: "other", oldObject: pod("n2") }, 'node "n1" can only delete pods with spec.nodeName set to itself'],
  ["the status of an own pod", update("pods", { ...asking, status: { phase: "Running" } }, asking, "status"), ""],
  ["the status of another's pod", update("pods", pod("n1"), pod("n2"), "status"), 'node "n1" can only update pod status for pods with spec.nodeName set to itself'],
  ["labels through the status", update("pods", pod("n1", {}, { labels: { a: "b" } }), pod("n1"), "status"), 'node "n1" cannot update labels through pod status'],
  ["the eviction of an own pod", { subresource: "eviction", name: "p" }, ""],
  ["the eviction of another's pod", { subresource: "eviction", name: "other" }, "node n1 can only evict pods with spec.nodeName set to itself"],
  ["another subresource", { subresource: "exec", name: "p" }, "unexpected pod subresource \"exec\", only 'status' and 'eviction' are allowed"],

  ["itself, with labels of its machine", { resource: "nodes", object: node({ labels: { "kubernetes.io/hostname": "n1", "node.kubernetes.io/x": "y", "kubelet.kubernetes.io/z": "y", tier: "edge" } }) }, ""],
  ["itself, with labels that it must not have", { resource: "nodes", object: node({ labels: { "node-restriction.kubernetes.io/a": "1", "node-role.kubernetes.io/control-plane": "", "acme.k8s.io/x": "1" } }) },
    'node "n1" is not allowed to set the following labels: acme.k8s.io/x, node-restriction.kubernetes.io/a, node-role.kubernetes.io/control-plane'],
  ["another node", { resource: "nodes", object: node({ name: "n2" }) }, 'node "n1" is not allowed to modify node "n2"'],
  ["its status", update("nodes", { ...node(), status: { x: 1 } }, node(), "status"), ""],
  ["its taints", update("nodes", node({}, { taints: [{ key: "a", effect: "NoSchedule" }] }), node()), 'node "n1" is not allowed to modify taints'],
  ["its owners", update("nodes", node({ ownerReferences: [owner()] }), node()), 'node "n1" is not allowed to modify ownerReferences'],
  ["a restricted label away", update("nodes", node(), node({ labels: { "node-restriction.kubernetes.io/a": "1" } })), "is not allowed to modify labels: node-restriction.kubernetes.io/a"],
  ["a label of its own", update("nodes", node({ labels: { tier: "edge" } }), node()), ""],
  ["the status of another node", update("nodes", node({ name: "n2" }), node({ name: "n2" }), "status"), 'node "n1" is not allowed to modify node "n2"'],

  ["a token for its pod", token(bound("pod-uid")), ""],
  ["a token for an audience that the pod asks for", token({ ...bound("pod-uid"), audiences: ["vault"] }), ""],
  ["a token for another audience", token({ ...bound("pod-uid"), audiences: ["bank"] }), 'audience "bank" not found in pod spec volume'],
  ["a token for nothing", token({}), "node requested token not bound to a pod"],
  ["a token for a secret", token({ boundObjectRef: { kind: "Secret", apiVersion: "v1", name: "s" } }), "node requested token not bound to a pod"],
  ["a token for a pod without uid", token({ boundObjectRef: { kind: "Pod", apiVersion: "v1", name: "p" } }), "node requested token with a pod binding without a uid"],
  ["a token for a pod elsewhere", token(bound("other-uid", "other")), "node requested token bound to a pod scheduled on a different node"],
  ["a token for a pod that is gone", token(bound("x", "gone")), 'pods "gone" not found'],
  ["a token for an earlier pod", token(bound("old")),
    'Operation cannot be fulfilled on pods "p": the UID in the bound object reference (old) does not match the UID in record. The object might have been deleted and then recreated'],

  ["the capacity of a claim", update("persistentvolumeclaims", claim({ capacity: { storage: "2Gi" } }), claim({ capacity: { storage: "1Gi" } }), "status"), ""],
  ["the phase of a claim", update("persistentvolumeclaims", claim({ phase: "Bound" }), claim({}), "status"), 'node "n1" is not allowed to update fields other than status.quantity and status.conditions'],
  ["the spec of a claim", update("persistentvolumeclaims", claim({}), claim({})), "may only update PVC status"],
  ["its lease", { group: "coordination.k8s.io", resource: "leases", namespace: "kube-node-lease", object: node() }, ""],
  ["another's lease", { group: "coordination.k8s.io", resource: "leases", namespace: "kube-node-lease", object: node({ name: "n2" }) }, "can only access node lease with the same name as the requesting node"],
  ["another lease", { group: "coordination.k8s.io", resource: "leases", namespace: "default", object: node() }, 'can only access leases in the "kube-node-lease" system namespace'],
  ["another's CSINode", { group: "storage.k8s.io", resource: "csinodes", object: node({ name: "n2" }) }, "can only access CSINode with the same name as the requesting node"],
  ["a client certificate for itself", csr("kube-apiserver-client-kubelet", "system:node:n1"), ""],
  ["a serving certificate for itself", csr("kubelet-serving", "system:node:n1"), ""],
  ["a certificate of another signer", csr("kube-apiserver-client", "jane"), ""],
  ["a client certificate for another node", csr("kube-apiserver-client-kubelet", "system:node:n2"), "can only create a node CSR with CN=system:node:n1"],
  ["a serving certificate for another node", csr("kubelet-serving", "system:node:n2"), "can only create a node CSR with CN=system:node:n1"],
  ["a certificate for itself and another node", csr("kubelet-serving", "system:node:n1", "system:node:n2"), "can only create a node CSR with CN=system:node:n1"],
  ["a certificate for nobody", csr("kubelet-serving"), "can only create a node CSR with CN=system:node:n1"],
  ["a request that is none", csr("kubelet-serving", undefined), "unable to parse csr: asn1: structure error: it is no certificate request"],
  ["something else", { resource: "events", object: node({ name: "e" }) }, ""],
])("%s", (_, request, refusal) => {
  expect(judge(request)).toBe(refusal);
});

it("others are not its matter, and a node without a name is nobody", () => {
  expect(judge({ resource: "nodes", object: node({ name: "n2" }) }, "jane")).toBe("");
  expect(judge({ resource: "nodes", object: node({ name: "n2" }) }, "system:node:")).toBe('could not determine node from user "system:node:"');
});
