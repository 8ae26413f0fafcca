/** Nobody may grant rights that they do not hold: the check on writes of roles and bindings. */
import { apiError, groupResource } from "@k3s-p/plugin-api/kube";
import type { ApiError } from "@k3s-p/plugin-api/kube";
import type { UserInfo } from "@k3s-p/plugin-api/slots";
import type { Obj } from "../resources/types.ts";
import type { Authorizer } from "./rbac.ts";
import { type PolicyRule, ruleAllows } from "./rules.ts";

const RBAC = "rbac.authorization.k8s.io";

/** Throws 403 when `object` (a role or a binding, of resource `plural`) would grant more than `user` has, 404 when nobody knows what. */
export function checkEscalation(authorizer: Authorizer, user: UserInfo, plural: string, object: Obj, old: Obj | undefined): void {
  const namespace = object.metadata?.namespace ?? "";
  const name = object.metadata?.name ?? "";
  const may = (verb: string, resource: string, target: string) => authorizer.authorize(user, {
    isResource: true, verb, path: "", group: RBAC, resource, subresource: "", namespace, name: target,
  }).allowed;
  if (plural === "roles" || plural === "clusterroles") {
    if (same(object.rules, old?.rules) && same(object.aggregationRule, old?.aggregationRule)) return;
    if (may("escalate", plural, name)) return;
    if (object.aggregationRule && !same(object.aggregationRule, old?.aggregationRule)) {
      assertCovered(authorizer, user, namespace, plural, name, anything);
    }
    assertCovered(authorizer, user, namespace, plural, name, object.rules ?? []);
    return;
  }
  if (same(object.roleRef, old?.roleRef) && same(object.subjects, old?.subjects)) return;
  const ref = object.roleRef as { kind: string; name: string };
  if (may("bind", ref.kind === "Role" ? "roles" : "clusterroles", ref.name)) return;
  const rules = authorizer.rulesOfRole(ref, namespace);
  if (!rules) {
    const missing = ref.kind === "Role" ? "role" : "clusterrole";
    throw apiError(404, "NotFound", `${missing}.${RBAC} ${JSON.stringify(ref.name)} not found`, { name: ref.name, group: RBAC, kind: missing });
  }
  assertCovered(authorizer, user, namespace, plural, name, rules);
}

const anything: readonly PolicyRule[] = [
  { verbs: ["*"], apiGroups: ["*"], resources: ["*"] }, { verbs: ["*"], nonResourceURLs: ["*"] },
];

const same = (a: unknown, b: unknown): boolean => a === b || JSON.stringify(a) === JSON.stringify(b);

function assertCovered(
  authorizer: Authorizer, user: UserInfo, namespace: string, plural: string, name: string, rules: readonly PolicyRule[],
): void {
  const held = authorizer.rulesFor(user, namespace);
  const missing = rules.flatMap(single).filter((rule) => !held.some((own) => covers(own, rule)));
  if (missing.length === 0) return;
  const groups = user.groups.map((group) => JSON.stringify(group)).join(" ");
  const lines = [...new Set(compact(missing).map(describe))].sort().join("\n");
  throw refused(plural, name,
    `user ${JSON.stringify(user.name)} (groups=[${groups}]) is attempting to grant RBAC permissions not currently held:\n${lines}`);
}

/** One rule for each combination of verb, group, resource and name. */
function single(rule: PolicyRule): PolicyRule[] {
  const urls = (rule.nonResourceURLs ?? []).flatMap((url) => rule.verbs.map((verb) => ({ verbs: [verb], nonResourceURLs: [url] })));
  const names = rule.resourceNames?.length ? rule.resourceNames.map((name) => [name]) : [undefined];
  const resources = (rule.apiGroups ?? []).flatMap((group) => (rule.resources ?? []).flatMap((resource) =>
    rule.verbs.flatMap((verb) => names.map((resourceNames) => ({
      verbs: [verb], apiGroups: [group], resources: [resource], ...(resourceNames && { resourceNames }),
    })))));
  return [...urls, ...resources];
}

/** Verbs on the same resource, in one rule. */
function compact(rules: readonly PolicyRule[]): PolicyRule[] {
  const found = new Map<string, PolicyRule>();
  for (const { verbs, ...what } of rules) {
    const key = JSON.stringify(what.nonResourceURLs ? [what, verbs] : what);
    found.set(key, { ...what, verbs: [...new Set([...(found.get(key)?.verbs ?? []), ...verbs])] });
  }
  return [...found.values()];
}

function covers(own: PolicyRule, wanted: PolicyRule): boolean {
  const url = wanted.nonResourceURLs?.[0];
  const [resource = "", subresource = ""] = (wanted.resources?.[0] ?? "").split("/");
  const name = wanted.resourceNames?.[0];
  // A right over all names is held only by a rule that names none.
  if (url === undefined && name === undefined && own.resourceNames?.length) return false;
  return ruleAllows(own, {
    isResource: url === undefined, verb: wanted.verbs[0]!, path: url ?? "",
    group: wanted.apiGroups?.[0] ?? "", resource, subresource, namespace: "", name: name ?? "",
  });
}

const list = (values: readonly string[]): string => `[${values.map((value) => JSON.stringify(value)).join(" ")}]`;

function describe({ verbs, apiGroups, resources, resourceNames, nonResourceURLs }: PolicyRule): string {
  const parts = nonResourceURLs ? [`NonResourceURLs:${list(nonResourceURLs)}`]
    : [`APIGroups:${list(apiGroups ?? [])}`, `Resources:${list(resources ?? [])}`];
  if (resourceNames) parts.push(`ResourceNames:${list(resourceNames)}`);
  return `{${[...parts, `Verbs:${list(verbs)}`].join(", ")}}`;
}

function refused(plural: string, name: string, why: string): ApiError {
  return apiError(403, "Forbidden", `${groupResource(RBAC, plural)} ${JSON.stringify(name)} is forbidden: ${why}`,
    { name, group: RBAC, kind: plural });
}
