/**
 * What kubelets may do (upstream's node authorizer): the rules of `system:node`, and of what holds secrets or belongs to
 * one node only that which the own node, or a pod bound to it, has to do with.
 */
import type { UserInfo } from "@k3s-p/plugin-api/slots";
import type { CacheView, Obj } from "../resources/types.ts";
import { bootstrapRbacObjects } from "./bootstrap-roles.ts";
import { type AccessAttributes, type Decision, type PolicyRule, ruleAllows } from "./rules.ts";

export const NODES_GROUP = "system:nodes";
const NODE_PREFIX = "system:node:";

export interface NodeAuthorizer {
  /** Undefined = no opinion. */
  authorize(user: UserInfo, attributes: AccessAttributes): Decision | undefined;
}

/** Name of the node that the user is, if it is one. */
export function nodeNameOf(user: UserInfo): string | undefined {
  if (!user.groups.includes(NODES_GROUP) || !user.name.startsWith(NODE_PREFIX)) return undefined;
  return user.name.slice(NODE_PREFIX.length);
}

/** The rules are upstream's own: what is stored as `system:node` may be bound to others, and changes nothing here. */
export function createNodeAuthorizer(view: CacheView): NodeAuthorizer {
  let rules: readonly PolicyRule[] | undefined;
  const nodeRules = (): readonly PolicyRule[] => (rules ??= bootstrapRbacObjects().find((object) => object.metadata!.name === "system:node")!.rules as PolicyRule[]);
  return {
    authorize(user, attributes) {
      const node = nodeNameOf(user);
      if (node === undefined) return undefined;
      const { group, resource, isResource } = attributes;
      const limit = isResource ? limits[group ? `${group}/${resource}` : resource] : undefined;
      const reason = limit?.({ view, node, asked: attributes }) ?? "";
      if (reason !== "") return { allowed: false, reason };
      return nodeRules().some((rule) => ruleAllows(rule, attributes)) ? { allowed: true, reason: "" } : undefined;
    },
  };
}

interface Question {
  readonly view: CacheView;
  readonly node: string;
  readonly asked: AccessAttributes;
}

/** Why it is refused, in upstream's words; empty when it is not. */
type Limit = (question: Question) => string;

const unrelated = ({ node }: Question): string => `no relationship found between node '${node}' and this object`;

type Mentions = (pod: Obj, name: string, view: CacheView) => boolean;

/** Mirror pods give no right: the node itself has written them. */
const usedBy = (mentions: Mentions): Limit => (question) => {
  const { view, node, asked: { namespace, name } } = question;
  if (!name) return "No Object name found,";
  const used = view.list("", "pods", namespace || undefined)
    .some((pod) => pod.spec.nodeName === node && !pod.metadata?.annotations?.["kubernetes.io/config.mirror"] && mentions(pod, name, view));
  return used ? "" : unrelated(question);
};

const readable = (mentions: Mentions): Limit => (question) => {
  const { verb, subresource, namespace } = question.asked;
  if (!["get", "list", "watch"].includes(verb)) return "can only read resources of this type";
  if (subresource) return "cannot read subresource";
  if (!namespace) return "can only read namespaced object of this type";
  return usedBy(mentions)(question);
};

const gettable = (mentions: Mentions): Limit => (question) => {
  if (question.asked.verb !== "get") return "can only get individual resources of this type";
  return question.asked.subresource ? "cannot get subresource" : usedBy(mentions)(question);
};

const usesClaim: Mentions = (pod, name) => claimsOf(pod).includes(name);
const usesVolume: Mentions = (pod, name, view) => claimsOf(pod)
  .some((claim) => view.get("", "persistentvolumeclaims", claim, pod.metadata!.namespace)?.spec.volumeName === name);
const usesResourceClaim: Mentions = (pod, name) =>
  (pod.spec.resourceClaims ?? []).some((claim: Obj) => claim.resourceClaimName === name) ||
  (pod.status?.resourceClaimStatuses ?? []).some((status: Obj) => status.resourceClaimName === name);

const claims: Limit = (question) => {
  const { verb, subresource } = question.asked;
  if (subresource === "") return gettable(usesClaim)(question);
  if (subresource !== "status") return "can only update status";
  return ["get", "update", "patch"].includes(verb) ? usedBy(usesClaim)(question) : "can only get/update/patch this type";
};

const tokens: Limit = (question) => {
  const { verb, subresource, name } = question.asked;
  if (verb !== "create" || subresource !== "token") return "can only create tokens for individual service accounts";
  return name ? usedBy((pod, account) => pod.spec.serviceAccountName === account)(question) : "can only create tokens for individual service accounts";
};

const nodes: Limit = ({ node, asked: { verb, name } }) => {
  if (!["get", "list", "watch"].includes(verb)) return "";
  if (name === "") return `node '${node}' cannot read all nodes, only its own Node object`;
  return name === node ? "" : `node '${node}' cannot read '${name}', only its own Node object`;
};

const pods: Limit = (question) => {
  const { view, node, asked: { verb, namespace, name, fieldSelector = "" } } = question;
  if (verb === "get") return view.get("", "pods", name, namespace)?.spec.nodeName === node ? "" : unrelated(question);
  if (verb !== "list" && verb !== "watch") return "";
  return fieldSelector.split(",").some((term) => /^spec\.nodeName==?(.*)$/.exec(term)?.[1] === node) ? "" : "can only list/watch pods with spec.nodeName field selector";
};

const own = ["get", "create", "update", "patch", "delete"];

const leases: Limit = ({ node, asked: { verb, namespace, name } }) => {
  if (!own.includes(verb)) return "can only get, create, update, patch, or delete a node lease";
  if (namespace !== "kube-node-lease") return 'can only access leases in the "kube-node-lease" system namespace';
  return verb === "create" || name === node ? "" : "can only access node lease with the same name as the requesting node";
};

const csiNodes: Limit = ({ node, asked: { verb, subresource, name } }) => {
  if (!own.includes(verb)) return "can only get, create, update, patch, or delete a CSINode";
  if (subresource) return "cannot authorize CSINode subresources";
  return verb === "create" || name === node ? "" : "can only access CSINode with the same name as the requesting node";
};

const slices: Limit = (question) => {
  const { view, node, asked: { verb, subresource, name, fieldSelector = "" } } = question;
  if (subresource) return "cannot authorize ResourceSlice subresources";
  if (verb === "create") return "";
  if (["get", "update", "patch", "delete"].includes(verb)) {
    return view.get("resource.k8s.io", "resourceslices", name)?.spec.nodeName === node ? "" : unrelated(question);
  }
  return fieldSelector.split(",").some((term) => /^spec\.nodeName==?(.*)$/.exec(term)?.[1] === node) ? "" : "can only list/watch/deletecollection resourceslices with nodeName field selector";
};

const limits: Readonly<Record<string, Limit>> = {
  secrets: readable((pod, name) => secretsOf(pod).has(name)),
  configmaps: readable((pod, name) => configMapsOf(pod).has(name)),
  persistentvolumeclaims: claims,
  persistentvolumes: gettable(usesVolume),
  serviceaccounts: tokens,
  nodes, pods,
  "coordination.k8s.io/leases": leases,
  "resource.k8s.io/resourceclaims": gettable(usesResourceClaim),
  "resource.k8s.io/resourceslices": slices,
  "storage.k8s.io/csinodes": csiNodes,
  "storage.k8s.io/volumeattachments": (question) => {
    if (question.asked.verb !== "get") return "can only get individual resources of this type";
    const attachment = question.view.get("storage.k8s.io", "volumeattachments", question.asked.name);
    return attachment?.spec.nodeName === question.node ? "" : unrelated(question);
  },
};

const containersOf = (pod: Obj): Obj[] =>
  [...(pod.spec.containers ?? []), ...(pod.spec.initContainers ?? []), ...(pod.spec.ephemeralContainers ?? [])];
const claimsOf = (pod: Obj): string[] => (pod.spec.volumes ?? []).flatMap((volume: Obj) =>
  volume.persistentVolumeClaim ? [volume.persistentVolumeClaim.claimName]
  : volume.ephemeral ? [`${pod.metadata!.name}-${volume.name}`] : []);

function secretsOf(pod: Obj): Set<string> {
  const names: (string | undefined)[] = (pod.spec.imagePullSecrets ?? []).map((ref: Obj) => ref.name);
  for (const volume of pod.spec.volumes ?? []) {
    names.push(volume.secret?.secretName, ...(volume.projected?.sources ?? []).map((source: Obj) => source.secret?.name));
    for (const source of Object.values(volume) as Obj[]) names.push(source?.secretRef?.name, source?.nodePublishSecretRef?.name);
  }
  for (const container of containersOf(pod)) {
    names.push(...(container.envFrom ?? []).map((from: Obj) => from.secretRef?.name));
    names.push(...(container.env ?? []).map((env: Obj) => env.valueFrom?.secretKeyRef?.name));
  }
  return new Set(names.filter((name) => name !== undefined));
}

function configMapsOf(pod: Obj): Set<string> {
  const names: (string | undefined)[] = [];
  for (const volume of pod.spec.volumes ?? []) {
    names.push(volume.configMap?.name, ...(volume.projected?.sources ?? []).map((source: Obj) => source.configMap?.name));
  }
  for (const container of containersOf(pod)) {
    names.push(...(container.envFrom ?? []).map((from: Obj) => from.configMapRef?.name));
    names.push(...(container.env ?? []).map((env: Obj) => env.valueFrom?.configMapKeyRef?.name));
  }
  return new Set(names.filter((name) => name !== undefined));
}

/** What pods may refer to, by plural. */
export const references: Readonly<Record<string, (pod: Obj) => readonly unknown[]>> = {
  secrets: (pod) => [...secretsOf(pod)],
  configmaps: (pod) => [...configMapsOf(pod)],
  persistentvolumeclaims: claimsOf,
  resourceclaims: (pod) => pod.spec.resourceClaims ?? [],
  clustertrustbundles: (pod) => (pod.spec.volumes ?? [])
    .flatMap((volume: Obj) => volume.projected?.sources ?? []).filter((source: Obj) => source.clusterTrustBundle),
};
