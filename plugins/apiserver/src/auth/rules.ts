/** What is asked of an authorizer, and whether one RBAC rule allows it. */

/** What is asked: the authorization part of a request. */
export interface AccessAttributes {
  readonly isResource: boolean;
  readonly verb: string;
  /** Path of what is not a resource. */
  readonly path: string;
  readonly group: string;
  readonly resource: string;
  readonly subresource: string;
  readonly namespace: string;
  readonly name: string;
  /** As it was asked with, for lists and watches. */
  readonly fieldSelector?: string;
}

export interface Decision {
  readonly allowed: boolean;
  /** Refused for good, and not merely allowed by none. */
  readonly denied?: boolean;
  /** Why it is allowed, or what went wrong. */
  readonly reason: string;
}

/** A rule as `rbac.authorization.k8s.io/v1` has it. */
export interface PolicyRule {
  readonly verbs: readonly string[];
  readonly apiGroups?: readonly string[];
  readonly resources?: readonly string[];
  readonly resourceNames?: readonly string[];
  readonly nonResourceURLs?: readonly string[];
}

export function ruleAllows(rule: PolicyRule, a: AccessAttributes): boolean {
  if (!rule.verbs.includes("*") && !rule.verbs.includes(a.verb)) return false;
  if (!a.isResource) return rule.nonResourceURLs?.some((url) => urlCovers(url, a.path)) ?? false;
  const { apiGroups = [], resources = [], resourceNames = [] } = rule;
  if (!apiGroups.includes("*") && !apiGroups.includes(a.group)) return false;
  if (!resourceCovers(resources, a)) return false;
  return resourceNames.length === 0 || resourceNames.includes(a.name);
}

function resourceCovers(resources: readonly string[], { resource, subresource }: AccessAttributes): boolean {
  if (resources.includes("*")) return true;
  if (!subresource) return resources.includes(resource);
  return resources.includes(`${resource}/${subresource}`) || resources.includes(`*/${subresource}`);
}

const urlCovers = (rule: string, path: string): boolean =>
  rule === "*" || rule === path || (rule.endsWith("*") && path.startsWith(rule.slice(0, -1)));
