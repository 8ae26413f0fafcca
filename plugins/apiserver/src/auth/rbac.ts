/** Role-based access control over the object cache: roles are compiled when they change, a check walks short lists. */
import { apiError, groupResource, matchesSelector } from "@k3s-p/plugin-api/kube";
import type { ApiError } from "@k3s-p/plugin-api/kube";
import type { UserInfo } from "@k3s-p/plugin-api/slots";
import type { CacheView, Obj } from "../resources/types.ts";
import { createNodeAuthorizer, nodeNameOf } from "./node.ts";
import { type AccessAttributes, type Decision, type PolicyRule, ruleAllows } from "./rules.ts";

export interface Authorizer {
  /** By the server's own rules alone. */
  authorize(user: UserInfo, attributes: AccessAttributes): Decision;
  /** Also by what is configured and contributed outside of them; a promise only then. */
  decide(user: UserInfo, attributes: AccessAttributes): Decision | Promise<Decision>;
  /** Throws, or rejects with, the 403 that upstream answers with. */
  check(user: UserInfo, attributes: AccessAttributes): void | Promise<void>;
  /** Every rule that the user has in the namespace ("" = cluster-wide only). */
  rulesFor(user: UserInfo, namespace: string): readonly PolicyRule[];
  /** Why `rulesFor` does not tell all that the user may do, in upstream's words; empty when it does. */
  unresolved(user: UserInfo): readonly string[];
  /** Rules of a stored role, aggregation included; undefined when there is no such role. */
  rulesOfRole(ref: { readonly kind: string; readonly name: string }, namespace: string): readonly PolicyRule[] | undefined;
}

const RBAC = "rbac.authorization.k8s.io";
const SUPERUSERS = "system:masters";

interface Grant {
  readonly rules: readonly PolicyRule[];
  /** `ClusterRoleBinding "x"`, `RoleBinding "x/ns"`. */
  readonly binding: string;
  readonly role: string;
  readonly subject: string;
}

/** Grants by subject key (`u:name` or `g:name`). */
type GrantIndex = Map<string, Grant[]>;

interface Compiled {
  readonly cluster: GrantIndex;
  readonly namespaced: Map<string, GrantIndex>;
  readonly roles: Map<string, readonly PolicyRule[]>;
}

/**
 * `revision` tells when roles or bindings may have changed; without it the lists are compared by reference at every
 * check, which is right but slower. `granted` are rules of users that no stored binding gives (those of plugins).
 */
export function createAuthorizer(view: CacheView, revision: () => unknown = listSignature(view), granted: (user: string) => readonly PolicyRule[] = () => []): Authorizer {
  let compiled: Compiled | undefined;
  let compiledAt: unknown;
  const nodes = createNodeAuthorizer(view);

  const current = (): Compiled => {
    const now = revision();
    if (!compiled || now !== compiledAt) {
      compiled = compile(view);
      compiledAt = now;
    }
    return compiled;
  };

  const authorize = (user: UserInfo, attributes: AccessAttributes): Decision => {
    if (user.groups.includes(SUPERUSERS)) return { allowed: true, reason: "" };
    const byNode = nodes.authorize(user, attributes);
    if (byNode?.allowed) return byNode;
    if (granted(user.name).some((rule) => ruleAllows(rule, attributes))) return { allowed: true, reason: "allowed by the manifest of the plugin" };
    const { cluster, namespaced } = current();
    const grant = findGrant(cluster, user, attributes) ??
      (attributes.namespace ? findGrant(namespaced.get(attributes.namespace), user, attributes) : undefined);
    if (!grant) return byNode ?? { allowed: false, reason: "" };
    return { allowed: true, reason: `RBAC: allowed by ${grant.binding} of ${grant.role} to ${grant.subject}` };
  };

  return {
    authorize,
    decide: authorize,
    check(user, attributes) {
      const { allowed, reason } = authorize(user, attributes);
      if (!allowed) throw forbiddenAccess(user, attributes, reason);
    },
    rulesFor(user, namespace) {
      if (user.groups.includes(SUPERUSERS)) return everything;
      const { cluster, namespaced } = current();
      const indexes = [cluster, namespace ? namespaced.get(namespace) : undefined];
      const stored = indexes.flatMap((index) =>
        subjectKeys(user).flatMap((key) => (index?.get(key) ?? []).flatMap((grant) => grant.rules)));
      return [...granted(user.name), ...stored];
    },
    unresolved: (user) => (nodeNameOf(user) === undefined ? [] : ["node authorizer does not support user rule resolution"]),
    rulesOfRole: (ref, namespace) => current().roles.get(roleKey(ref.kind, ref.name, namespace)),
  };
}

const everything: readonly PolicyRule[] = [
  { verbs: ["*"], apiGroups: ["*"], resources: ["*"] }, { verbs: ["*"], nonResourceURLs: ["*"] },
];

function listSignature(view: CacheView): () => unknown {
  const plurals = ["clusterroles", "clusterrolebindings", "roles", "rolebindings"];
  let before: readonly (readonly Obj[])[] = [];
  let count = 0;
  return () => {
    const now = plurals.map((plural) => view.list(RBAC, plural));
    const same = now.every((list, i) => list.length === before[i]?.length && list.every((item, j) => item === before[i]![j]));
    if (!same) count++;
    before = now;
    return count;
  };
}

function compile(view: CacheView): Compiled {
  const roles = new Map<string, readonly PolicyRule[]>();
  const clusterRoles = view.list(RBAC, "clusterroles");
  for (const role of clusterRoles) roles.set(roleKey("ClusterRole", role.metadata!.name!), clusterRoleRules(role, clusterRoles));
  for (const role of view.list(RBAC, "roles")) {
    roles.set(roleKey("Role", role.metadata!.name!, role.metadata!.namespace), role.rules ?? []);
  }
  const cluster: GrantIndex = new Map();
  for (const binding of view.list(RBAC, "clusterrolebindings")) addGrants(cluster, roles, binding);
  const namespaced = new Map<string, GrantIndex>();
  for (const binding of view.list(RBAC, "rolebindings")) {
    const namespace = binding.metadata!.namespace!;
    if (!namespaced.has(namespace)) namespaced.set(namespace, new Map());
    addGrants(namespaced.get(namespace)!, roles, binding);
  }
  return { cluster, namespaced, roles };
}

const roleKey = (kind: string, name: string, namespace = ""): string =>
  kind === "ClusterRole" ? name : `${namespace}/${name}`;

/** An aggregated role holds what its parts hold now, also before the controller has written it down. */
function clusterRoleRules(role: Obj, all: readonly Obj[]): readonly PolicyRule[] {
  const selectors: readonly object[] | undefined = role.aggregationRule?.clusterRoleSelectors;
  if (!selectors?.length) return role.rules ?? [];
  const parts = all.filter((part) => part !== role && !part.aggregationRule &&
    selectors.some((selector) => matchesSelector(selector, part.metadata!.labels)));
  return [...(role.rules ?? []), ...parts.flatMap((part) => (part.rules ?? []) as PolicyRule[])];
}

function addGrants(index: GrantIndex, roles: Compiled["roles"], binding: Obj): void {
  const { name, namespace } = binding.metadata!;
  const rules = roles.get(roleKey(binding.roleRef.kind, binding.roleRef.name, namespace));
  if (!rules) return;
  for (const subject of (binding.subjects ?? []) as { kind: string; name: string; namespace?: string }[]) {
    const key = subjectKey(subject, namespace);
    if (!key) continue;
    const text = subject.kind === "ServiceAccount" ? `${subject.name}/${subject.namespace ?? namespace}` : subject.name;
    const grant: Grant = {
      rules,
      binding: namespace ? `RoleBinding "${name}/${namespace}"` : `ClusterRoleBinding "${name}"`,
      role: `${binding.roleRef.kind} "${binding.roleRef.name}"`,
      subject: `${subject.kind} "${text}"`,
    };
    const list = index.get(key);
    if (list) list.push(grant);
    else index.set(key, [grant]);
  }
}

function subjectKey(subject: { kind: string; name: string; namespace?: string }, namespace = ""): string | undefined {
  switch (subject.kind) {
    case "User": return `u:${subject.name}`;
    case "Group": return `g:${subject.name}`;
    case "ServiceAccount": return `u:system:serviceaccount:${subject.namespace || namespace}:${subject.name}`;
    default: return undefined;
  }
}

const subjectKeys = (user: UserInfo): string[] => [`u:${user.name}`, ...user.groups.map((group) => `g:${group}`)];

function findGrant(index: GrantIndex | undefined, user: UserInfo, attributes: AccessAttributes): Grant | undefined {
  if (!index) return undefined;
  const byUser = matchIn(index.get(`u:${user.name}`), attributes);
  if (byUser) return byUser;
  for (const group of user.groups) {
    const found = matchIn(index.get(`g:${group}`), attributes);
    if (found) return found;
  }
  return undefined;
}

function matchIn(grants: readonly Grant[] | undefined, attributes: AccessAttributes): Grant | undefined {
  return grants?.find((grant) => grant.rules.some((rule) => ruleAllows(rule, attributes)));
}

/** 403 in upstream's words. */
export function forbiddenAccess(user: UserInfo, a: AccessAttributes, reason = ""): ApiError {
  const why = `User ${JSON.stringify(user.name)} cannot ${deniedAction(a)}${reason && `: ${reason}`}`;
  if (!a.isResource) return apiError(403, "Forbidden", `forbidden: ${why}`, {});
  const target = groupResource(a.group, a.resource);
  return apiError(403, "Forbidden", `${target}${a.name && ` "${a.name}"`} is forbidden: ${why}`, {
    ...(a.name && { name: a.name }), ...(a.group && { group: a.group }), kind: a.resource,
  });
}

function deniedAction(a: AccessAttributes): string {
  if (!a.isResource) return `${a.verb} path "${a.path}"`;
  const resource = a.subresource ? `${a.resource}/${a.subresource}` : a.resource;
  const where = a.namespace ? `in the namespace "${a.namespace}"` : "at the cluster scope";
  return `${a.verb} resource "${resource}" in API group "${a.group}" ${where}`;
}
