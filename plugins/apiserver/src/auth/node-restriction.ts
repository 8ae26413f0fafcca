/** NodeRestriction: what a kubelet may write, beyond which kinds; upstream's rules and words. */
import { conflict, notFound } from "@k3s-p/plugin-api/kube";
import type { AdmissionPlugin, AdmissionRequest } from "@k3s-p/plugin-api/points";
import { subjectOf } from "../admission/certificates.ts";
import { type AdmissionDeps, refuse } from "../admission/common.ts";
import type { CacheView, Obj } from "../resources/types.ts";
import { NODES_GROUP, nodeNameOf, references } from "./node.ts";

interface Write {
  readonly view: CacheView;
  readonly node: string;
  readonly request: AdmissionRequest;
  readonly object: Obj | undefined;
  readonly old: Obj | undefined;
}

/** Why it is refused; empty when it is not. */
type Rule = (write: Write) => string;

export function nodeRestriction({ view }: Pick<AdmissionDeps, "view">): AdmissionPlugin {
  return {
    name: "NodeRestriction",
    validate(request) {
      const { user, group, resource } = request;
      if (!user.groups.includes(NODES_GROUP)) return;
      const node = nodeNameOf(user);
      if (node === undefined) return;
      if (node === "") throw refuse(request, `could not determine node from user ${quote(user.name)}`);
      const rule = rules[group ? `${group}/${resource}` : resource];
      const why = rule?.({ view, node, request, object: request.object as Obj | undefined, old: request.oldObject as Obj | undefined });
      if (why) throw refuse(request, why);
    },
  };
}

const quote = (text: string): string => JSON.stringify(text);

const MIRROR = "kubernetes.io/config.mirror";

const podRules: Readonly<Record<string, Rule>> = {
  "": (write) => {
    const { request: { operation }, node, old } = write;
    if (operation === "CREATE") return mirrorPod(write);
    if (operation !== "DELETE") return `unexpected operation ${quote(operation)}, node ${quote(node)} can only create and delete mirror pods`;
    return old?.spec.nodeName === node ? "" : `node ${quote(node)} can only delete pods with spec.nodeName set to itself`;
  },
  status: ({ request: { operation }, node, object, old }) => {
    if (operation !== "UPDATE") return `unexpected operation ${quote(operation)}`;
    if (old?.spec.nodeName !== node) return `node ${quote(node)} can only update pod status for pods with spec.nodeName set to itself`;
    if (!same(object?.metadata?.labels, old?.metadata?.labels)) return `node ${quote(node)} cannot update labels through pod status`;
    return same(object?.status?.resourceClaimStatuses, old?.status?.resourceClaimStatuses) ? "" : `node ${quote(node)} cannot update resource claim statuses`;
  },
  eviction: ({ view, request: { operation, name, namespace }, node }) => {
    if (operation !== "CREATE") return `unexpected operation ${operation}`;
    const pod = view.get("", "pods", name, namespace);
    if (!pod) throw notFound({ group: "", plural: "pods" }, name);
    return pod.spec.nodeName === node ? "" : `node ${node} can only evict pods with spec.nodeName set to itself`;
  },
};

/** A node says which pods it runs by itself, and by that gains nothing. */
function mirrorPod({ view, node, object }: Write): string {
  const { metadata, spec } = object!;
  const owners: Obj[] = metadata?.ownerReferences ?? [];
  const me = quote(node);
  if (metadata?.annotations?.[MIRROR] === undefined) return `pod does not have ${quote(MIRROR)} annotation, node ${me} can only create mirror pods`;
  if (spec.nodeName !== node) return `node ${me} can only create pods with spec.nodeName set to itself`;
  if (owners.length !== 1) return `node ${me} can only create pods with a single owner reference set to itself`;
  const [owner] = owners as [Obj];
  if (owner.apiVersion !== "v1" || owner.kind !== "Node" || owner.name !== node) return `node ${me} can only create pods with an owner reference set to itself`;
  if (!owner.controller) return `node ${me} can only create pods with a controller owner reference set to itself`;
  if (owner.blockOwnerDeletion) return `node ${me} must not set blockOwnerDeletion on an owner reference`;
  const uid = view.get("", "nodes", node)?.metadata?.uid;
  if (uid !== owner.uid) return `node ${node} UID mismatch: expected ${owner.uid} got ${uid ?? ""}`;
  return referenceOf(object!, me);
}

function referenceOf(pod: Obj, me: string): string {
  if (pod.spec.serviceAccountName) return `node ${me} can not create pods that reference a service account`;
  const kind = Object.entries(references).find(([, find]) => find(pod).length > 0)?.[0];
  return kind ? `node ${me} can not create pods that reference ${kind}` : "";
}

const nodeRule: Rule = ({ node, request: { operation, name }, object, old }) => {
  const me = quote(node);
  const target = name || object?.metadata?.name || "";
  if (operation === "CREATE") {
    if (object?.spec?.configSource) return `node ${me} is not allowed to create pods with a non-nil configSource`;
    const labels = forbidden(Object.keys(object?.metadata?.labels ?? {}));
    if (labels.length > 0) return `node ${me} is not allowed to set the following labels: ${labels.join(", ")}`;
    if (object?.metadata?.ownerReferences?.length) return `node ${me} is not allowed to set ownerReferences`;
  }
  if (target !== node) return `node ${me} is not allowed to modify node ${quote(target)}`;
  if (operation !== "UPDATE") return "";
  if (object?.spec?.configSource && !same(object.spec.configSource, old?.spec?.configSource)) return `node ${me} is not allowed to update configSource to a new non-nil configSource`;
  if (!same(object?.spec?.taints, old?.spec?.taints)) return `node ${me} is not allowed to modify taints`;
  if (!same(object?.metadata?.ownerReferences, old?.metadata?.ownerReferences)) return `node ${me} is not allowed to modify ownerReferences`;
  const labels = forbidden(changedKeys(object?.metadata?.labels, old?.metadata?.labels));
  return labels.length > 0 ? `is not allowed to modify labels: ${labels.join(", ")}` : "";
};

const RESTRICTED = "node-restriction.kubernetes.io";
const kubernetesDomains = ["kubernetes.io", "k8s.io"];
const kubeletDomains = ["kubelet.kubernetes.io", "node.kubernetes.io"];
const kubeletLabels = new Set([
  "kubernetes.io/hostname", "kubernetes.io/os", "kubernetes.io/arch", "beta.kubernetes.io/os", "beta.kubernetes.io/arch",
  "beta.kubernetes.io/instance-type", "topology.kubernetes.io/zone", "topology.kubernetes.io/region",
  "failure-domain.beta.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/region",
]);

const isIn = (label: string, domains: readonly string[]): boolean => {
  const domain = label.includes("/") ? label.slice(0, label.indexOf("/")) : "";
  return domains.some((one) => domain === one || domain.endsWith(`.${one}`));
};

/** Kubernetes' own labels tell where pods may run, so a node sets only those that describe the machine. */
const forbidden = (labels: readonly string[]): string[] => labels
  .filter((label) => isIn(label, [RESTRICTED]) || (isIn(label, kubernetesDomains) && !kubeletLabels.has(label) && !isIn(label, kubeletDomains)))
  .sort();

type Labels = Readonly<Record<string, string>>;

const changedKeys = (now: Labels = {}, before: Labels = {}): string[] =>
  [...new Set([...Object.keys(now), ...Object.keys(before)])].filter((key) => now[key] !== before[key]);

const claimRule: Rule = ({ node, request: { operation, subresource }, object, old }) => {
  if (subresource !== "status") return "may only update PVC status";
  if (operation !== "UPDATE") return `unexpected operation ${quote(operation)}`;
  return same(exceptResize(object), exceptResize(old)) ? "" : `node ${quote(node)} is not allowed to update fields other than status.quantity and status.conditions`;
};

/** What is left of a claim without that which a kubelet writes after it has grown a file system. */
function exceptResize(claim: Obj | undefined): object {
  const { managedFields: _, resourceVersion: __, ...metadata } = claim?.metadata ?? {};
  const { capacity: _c, conditions: _d, allocatedResources: _a, allocatedResourceStatuses: _s, currentVolumeAttributesClassName: _n, modifyVolumeStatus: _m, ...status } = claim?.status ?? {};
  return { metadata, spec: claim?.spec, status };
}

/** A token for a pod that runs here, and for nobody whom the pod does not itself ask a token for. */
const tokenRule: Rule = ({ view, node, request: { operation, subresource, namespace }, object }) => {
  if (operation !== "CREATE" || subresource !== "token") return "";
  const ref = object?.spec?.boundObjectRef as { kind?: string; apiVersion?: string; name?: string; uid?: string } | undefined;
  if (ref?.kind !== "Pod" || ref.apiVersion !== "v1") return "node requested token not bound to a pod";
  if (!ref.uid) return "node requested token with a pod binding without a uid";
  const name = ref.name ?? "";
  const pod = view.get("", "pods", name, namespace);
  if (!pod) throw notFound({ group: "", plural: "pods" }, name);
  if (pod.metadata!.uid !== ref.uid) {
    throw conflict({ group: "", plural: "pods" }, name, `the UID in the bound object reference (${ref.uid}) does not match the UID in record. The object might have been deleted and then recreated`);
  }
  if (pod.spec.nodeName !== node) return "node requested token bound to a pod scheduled on a different node";
  const asked: string[] = object?.spec?.audiences ?? [];
  const unknown = asked.find((audience) => !audiencesOf(pod).includes(audience));
  return unknown === undefined || unknown === "" ? "" : `audience ${quote(unknown)} not found in pod spec volume`;
};

const audiencesOf = (pod: Obj): string[] => (pod.spec.volumes ?? [])
  .flatMap((volume: Obj) => volume.projected?.sources ?? []).map((source: Obj) => source.serviceAccountToken?.audience ?? "");

const kubeletSigners = new Set(["kubernetes.io/kube-apiserver-client-kubelet", "kubernetes.io/kubelet-serving"]);

/** A certificate in the name of the node that asks for it, and of no other. */
const certificateRule: Rule = ({ node, request, object }) => {
  if (request.operation !== "CREATE" || request.subresource !== "" || !kubeletSigners.has(object?.spec?.signerName)) return "";
  const own = `system:node:${node}`;
  const { commonNames } = subjectOf(object!, request);
  return commonNames.length > 0 && commonNames.every((name) => name === own) ? "" : `can only create a node CSR with CN=${own}`;
};

const rules: Readonly<Record<string, Rule>> = {
  pods: (write) => {
    const { subresource } = write.request;
    const rule = podRules[subresource];
    return rule ? rule(write) : `unexpected pod subresource ${quote(subresource)}, only 'status' and 'eviction' are allowed`;
  },
  nodes: nodeRule,
  persistentvolumeclaims: claimRule,
  serviceaccounts: tokenRule,
  "coordination.k8s.io/leases": ({ node, request: { namespace, name }, object }) => {
    if (namespace !== "kube-node-lease") return 'can only access leases in the "kube-node-lease" system namespace';
    return (name || object?.metadata?.name) === node ? "" : "can only access node lease with the same name as the requesting node";
  },
  "certificates.k8s.io/certificatesigningrequests": certificateRule,
  "storage.k8s.io/csinodes": ({ node, request: { name }, object }) =>
    (name || object?.metadata?.name) === node ? "" : "can only access CSINode with the same name as the requesting node",
  "resource.k8s.io/resourceslices": ({ node, object, old }) =>
    [object, old].every((slice) => !slice || slice.spec?.nodeName === node) ? "" : "can only access ResourceSlice with the same NodeName as the requesting node",
};

function same(a: unknown, b: unknown): boolean {
  return canonical(a) === canonical(b);
}

/** Absent and empty are the same. */
function canonical(value: unknown): string {
  if (Array.isArray(value)) return value.length === 0 ? "" : `[${value.map(canonical).join(",")}]`;
  if (typeof value !== "object" || value === null) return value === undefined || value === null ? "" : JSON.stringify(value);
  const entries = Object.entries(value).map(([key, part]) => [key, canonical(part)] as const).filter(([, text]) => text !== "").sort(([a], [b]) => (a < b ? -1 : 1));
  return entries.length === 0 ? "" : `{${entries.map(([key, text]) => `${key}:${text}`).join(",")}}`;
}
