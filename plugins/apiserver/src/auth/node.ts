/**
 * What kubelets may do (upstream's node authorizer): the rules of `system:node`, and of secrets, config maps, volumes
 * and service accounts only those that the pods of the own node use.
 */
import type { UserInfo } from "@k3s-p/plugin-api/slots";
import type { CacheView, Obj } from "../resources/types.ts";
import { type AccessAttributes, type Decision, type PolicyRule, ruleAllows } from "./rules.ts";

const NODES_GROUP = "system:nodes";
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

export function createNodeAuthorizer(view: CacheView): NodeAuthorizer {
  return {
    authorize(user, attributes) {
      const node = nodeNameOf(user);
      if (node === undefined) return undefined;
      const rules = view.get("rbac.authorization.k8s.io", "clusterroles", "system:node")?.rules as PolicyRule[] | undefined;
      const { resource, group } = attributes;
      const restricted = attributes.isResource && group === "" && related[resource];
      const covered = rules?.some((rule) => ruleAllows(rule, attributes));
      if (!covered) return undefined;
      if (!restricted || restricted(view, node, attributes)) return { allowed: true, reason: "" };
      return { allowed: false, reason: `no relationship found between node '${node}' and this object` };
    },
  };
}

type Relation = (view: CacheView, node: string, attributes: AccessAttributes) => boolean;

const usedBy = (mentions: (pod: Obj, name: string, view: CacheView) => boolean): Relation => (view, node, a) => {
  if (!a.name) return false;
  return view.list("", "pods", a.namespace || undefined)
    .some((pod) => pod.spec.nodeName === node && mentions(pod, a.name, view));
};

const related: Readonly<Record<string, Relation>> = {
  secrets: usedBy((pod, name) => secretsOf(pod).has(name)),
  configmaps: usedBy((pod, name) => configMapsOf(pod).has(name)),
  persistentvolumeclaims: usedBy((pod, name) => claimsOf(pod).includes(name)),
  persistentvolumes: usedBy((pod, name, view) => claimsOf(pod)
    .some((claim) => view.get("", "persistentvolumeclaims", claim, pod.metadata!.namespace)?.spec.volumeName === name)),
  serviceaccounts: usedBy((pod, name) => pod.spec.serviceAccountName === name),
  nodes: (_, node, a) => a.verb === "list" || a.verb === "watch" || !a.name || a.name === node,
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
