/** The audit policy: how much of which request is written down. https://kubernetes.io/docs/reference/config-api/apiserver-audit.v1/ */
import type { UserInfo } from "@k3s-p/plugin-api/slots";
import type { RequestInfo } from "../server/request.ts";

export const levels = ["None", "Metadata", "Request", "RequestResponse"] as const;
export type Level = (typeof levels)[number];
export const stages = ["RequestReceived", "ResponseStarted", "ResponseComplete", "Panic"] as const;
export type Stage = (typeof stages)[number];

interface GroupResources {
  readonly group?: string;
  readonly resources?: readonly string[];
  readonly resourceNames?: readonly string[];
}

interface AuditRule {
  readonly level: Level;
  readonly users?: readonly string[];
  readonly userGroups?: readonly string[];
  readonly verbs?: readonly string[];
  readonly resources?: readonly GroupResources[];
  readonly namespaces?: readonly string[];
  readonly nonResourceURLs?: readonly string[];
  readonly omitStages?: readonly Stage[];
  readonly omitManagedFields?: boolean;
}

export interface AuditPolicy {
  readonly rules: readonly AuditRule[];
  readonly omitStages?: readonly Stage[];
  readonly omitManagedFields?: boolean;
}

export interface Treatment {
  readonly level: Level;
  readonly omitStages: ReadonlySet<Stage>;
  readonly omitManagedFields: boolean;
}

/** Throws an Error that says what is wrong with a parsed policy file. */
export function checkPolicy(value: unknown): AuditPolicy {
  const { apiVersion, kind, rules, omitStages = [] } = (value ?? {}) as AuditPolicy & { apiVersion?: string; kind?: string };
  if (apiVersion !== "audit.k8s.io/v1" || kind !== "Policy") throw new Error(`it is ${apiVersion} ${kind}, and should be audit.k8s.io/v1 Policy`);
  if (!Array.isArray(rules) || rules.length === 0) throw new Error("it has no rules, so that nothing would be written");
  const given = rules as readonly AuditRule[];
  given.forEach(({ level, omitStages: omitted = [], nonResourceURLs, resources, namespaces }, i) => {
    if (!levels.includes(level)) throw new Error(`rules[${i}].level is ${JSON.stringify(level)}, and should be one of ${levels.join(", ")}`);
    checkStages(omitted, `rules[${i}].omitStages`);
    if (nonResourceURLs?.length && (resources?.length || namespaces?.length)) throw new Error(`rules[${i}] is for resources and for other URLs; part it`);
  });
  checkStages(omitStages, "omitStages");
  return value as AuditPolicy;
}

function checkStages(given: readonly Stage[], where: string): void {
  const bad = given.find((stage) => !stages.includes(stage));
  if (bad) throw new Error(`${where} names ${JSON.stringify(bad)}, and should name some of ${stages.join(", ")}`);
}

/** The first rule that fits decides; without one nothing is written. */
export function treatmentOf(policy: AuditPolicy, user: UserInfo, info: RequestInfo): Treatment {
  const rule = policy.rules.find((candidate) => fits(candidate, user, info));
  return {
    level: rule?.level ?? "None",
    omitStages: new Set([...(policy.omitStages ?? []), ...(rule?.omitStages ?? [])]),
    omitManagedFields: rule?.omitManagedFields ?? policy.omitManagedFields ?? false,
  };
}

function fits(rule: AuditRule, user: UserInfo, info: RequestInfo): boolean {
  const { users, userGroups, verbs, resources, namespaces, nonResourceURLs } = rule;
  if (users?.length && !users.includes(user.name)) return false;
  if (userGroups?.length && !userGroups.some((group) => user.groups.includes(group))) return false;
  if (verbs?.length && !verbs.includes(info.verb)) return false;
  if (resources?.length || namespaces?.length) return info.isResource && fitsResource(rule, info);
  return nonResourceURLs?.length ? !info.isResource && nonResourceURLs.some((url) => fitsUrl(url, info.path)) : true;
}

function fitsResource({ resources, namespaces }: AuditRule, { group, resource, subresource, name, namespace }: RequestInfo): boolean {
  if (namespaces?.length && !namespaces.includes(namespace)) return false;
  if (!resources?.length) return true;
  const whole = subresource ? `${resource}/${subresource}` : resource;
  return resources.some((entry) => (entry.group ?? "") === group &&
    (!entry.resources?.length || (entry.resources.some((text) => covers(text, whole, resource, subresource)) &&
      (!entry.resourceNames?.length || entry.resourceNames.includes(name)))));
}

const covers = (text: string, whole: string, resource: string, subresource: string): boolean =>
  text === "*" || text === whole || (subresource !== "" && (text === `${resource}/*` || text === `*/${subresource}`));

const fitsUrl = (rule: string, path: string): boolean => rule === "*" || rule === path || (rule.endsWith("*") && path.startsWith(rule.slice(0, -1)));
