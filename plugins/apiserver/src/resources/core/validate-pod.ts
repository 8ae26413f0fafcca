/** Validation of pods and pod templates. */
import { isIP } from "node:net";
import { compareQuantity, formatNano } from "@k3s-p/plugin-api/kube";
import { isObject, items } from "../fields.ts";
import type { Obj } from "../types.ts";
import { duplicate, type FieldError, forbidden, invalidAll, invalidValue, oneOf, optionalOneOf, required } from "../validate/field.ts";
import { dns1123Label, dns1123Subdomain, dns1123SubdomainWithUnderscore, ipAddress, qualifiedName, validateLabels } from "../validate/names.ts";
import { ofPods, validateRequirements } from "../validate/resources.ts";
import { computeRequests } from "./pod-defaults.ts";
import { validateContainers, validateHostNetworkPorts, validateImages } from "./validate-container.ts";
import { validateAffinity, validateGates, validateTolerations, validateTopologySpread } from "./validate-scheduling.ts";
import { validateHostUsers, validatePodSecurity } from "./validate-security.ts";
import { validateVolumes } from "./validate-volume.ts";
import { validateHostProcess, validateOs } from "./validate-windows.ts";

const MAX_INT32 = 2_147_483_647;
const restartPolicies = ["Always", "OnFailure", "Never"];
const dnsPolicies = ["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"];

export function validatePod(pod: Obj): FieldError[] {
  const errors = [...validatePodSpec("spec", pod.spec), ...validateImages("spec", pod.spec)];
  if (items(pod.spec, "ephemeralContainers").length > 0) errors.push(forbidden("spec.ephemeralContainers", "cannot be set on create"));
  if (pod.spec.nodeName && items(pod.spec, "schedulingGates").length > 0) errors.push(forbidden("spec.nodeName", "cannot be set until all schedulingGates have been cleared"));
  return errors;
}

export function validatePodTemplate(field: string, template: unknown): FieldError[] {
  if (!isObject(template)) return [required(field)];
  const errors = [
    ...validateLabels(`${field}.metadata.labels`, template.metadata?.labels),
    ...validatePodSpec(`${field}.spec`, template.spec ?? {}),
  ];
  if (items(template.spec, "ephemeralContainers").length > 0) errors.push(forbidden(`${field}.spec.ephemeralContainers`, "ephemeral containers not allowed in pod template"));
  return errors;
}

export function validatePodSpec(field: string, spec: Obj): FieldError[] {
  return [
    ...validateVolumes(`${field}.volumes`, spec),
    ...validateResourceClaims(`${field}.resourceClaims`, spec),
    ...validateContainers(field, spec),
    ...validatePodResources(`${field}.resources`, spec),
    ...validateHostNetworkPorts(field, spec),
    ...oneOf(`${field}.restartPolicy`, spec.restartPolicy, restartPolicies),
    ...oneOf(`${field}.dnsPolicy`, spec.dnsPolicy, dnsPolicies),
    ...validateLabels(`${field}.nodeSelector`, spec.nodeSelector),
    ...validatePodSecurity(`${field}.securityContext`, spec),
    ...validateAffinity(`${field}.affinity`, spec.affinity),
    ...validateDns(`${field}.dnsConfig`, spec),
    ...validateReadinessGates(`${field}.readinessGates`, spec),
    ...validateGates(`${field}.schedulingGates`, spec),
    ...validateTopologySpread(`${field}.topologySpreadConstraints`, items(spec, "topologySpreadConstraints")),
    ...validateHostProcess(field, spec),
    ...validateHostUsers(field, spec),
    ...validateNames(field, spec, { serviceAccountName: dns1123Subdomain, nodeName: dns1123Subdomain }),
    ...validateDeadline(`${field}.activeDeadlineSeconds`, spec.activeDeadlineSeconds),
    ...validateNames(field, spec, { hostname: dns1123Label, subdomain: dns1123Label }),
    ...validateTolerations(`${field}.tolerations`, items(spec, "tolerations")),
    ...validateHostAliases(`${field}.hostAliases`, spec),
    ...validateNames(field, spec, { priorityClassName: dns1123Subdomain, runtimeClassName: dns1123Subdomain }),
    ...optionalOneOf(`${field}.preemptionPolicy`, spec.preemptionPolicy, ["PreemptLowerPriority", "Never"]),
    ...validateRequirements(`${field}.overhead`, { limits: spec.overhead }),
    ...validateOs(field, spec),
  ];
}

function validateNames(field: string, spec: Obj, rules: Readonly<Record<string, (value: string) => string[]>>): FieldError[] {
  return Object.entries(rules).flatMap(([name, rule]) => (spec[name] ? invalidAll(`${field}.${name}`, spec[name], rule(spec[name])) : []));
}

/** What all containers have together: each fits into it. */
function validatePodResources(field: string, spec: Obj): FieldError[] {
  const { resources } = spec;
  if (!isObject(resources)) return [];
  const errors = resources.claims == null ? [] : [forbidden(`${field}.claims`, "claims cannot be set for Resources at pod-level")];
  errors.push(...validateRequirements(field, resources, ofPods));
  if (errors.length > 0) return errors;
  for (const [name, nano] of computeRequests(spec)) {
    const [request, sum] = [resources.requests?.[name] ?? "0", formatNano(nano, name === "cpu" ? "decimal" : "binary")];
    if (compareQuantity(sum, request) > 0) errors.push(invalidValue(`${field}.requests[${name}]`, request, `must be greater than or equal to aggregate container requests of ${sum}`));
  }
  items(spec, "containers").forEach((container, i) => {
    for (const [name, limit] of Object.entries((container.resources?.limits ?? {}) as Record<string, string>)) {
      const ofPod = resources.limits?.[name];
      if (ofPod === undefined || compareQuantity(limit, ofPod) <= 0) continue;
      errors.push(invalidValue(`${field}.containers[${i}][${name}].limits`, limit, `must be less than or equal to pod limits of ${ofPod}`));
    }
  });
  return errors;
}

function validateReadinessGates(field: string, spec: Obj): FieldError[] {
  return items(spec, "readinessGates").flatMap(({ conditionType = "" }, i) => invalidAll(`${field}[${i}].conditionType`, conditionType, qualifiedName(conditionType)));
}

function validateDeadline(field: string, seconds: number | null | undefined): FieldError[] {
  if (seconds == null || (seconds >= 1 && seconds <= MAX_INT32)) return [];
  return [invalidValue(field, seconds, `must be between 1 and ${MAX_INT32}, inclusive`)];
}

function validateDns(at: string, spec: Obj): FieldError[] {
  const config = spec.dnsConfig;
  const isNone = spec.dnsPolicy === "None";
  if (!isObject(config)) return isNone ? [required(at, "must provide `dnsConfig` when `dnsPolicy` is None")] : [];
  const servers: string[] = config.nameservers ?? [];
  if (isNone && servers.length === 0) return [required(`${at}.nameservers`, "must provide at least one DNS nameserver when `dnsPolicy` is None")];
  const errors: FieldError[] = [];
  if (servers.length > 3) errors.push(invalidValue(`${at}.nameservers`, servers, "must not have more than 3 nameservers"));
  servers.forEach((server, i) => errors.push(...invalidAll(`${at}.nameservers[${i}]`, server, ipAddress(server))));
  const searches: string[] = config.searches ?? [];
  if (searches.length > 32) errors.push(invalidValue(`${at}.searches`, searches, "must not have more than 32 search paths"));
  if (searches.join(" ").length > 2048) errors.push(invalidValue(`${at}.searches`, searches, "must not have more than 2048 characters (including spaces) in the search list"));
  searches.forEach((search, i) => {
    if (search !== ".") errors.push(...invalidAll(`${at}.searches[${i}]`, search.replace(/\.$/, ""), dns1123SubdomainWithUnderscore(search.replace(/\.$/, ""))));
  });
  items(config, "options").forEach((option, i) => {
    if (!option.name) errors.push(required(`${at}.options[${i}]`, "must not be empty"));
  });
  return errors;
}

function validateHostAliases(field: string, spec: Obj): FieldError[] {
  return items(spec, "hostAliases").flatMap((alias, i) => [
    ...(isIP(alias.ip ?? "") ? [] : invalidAll(`${field}[${i}].ip`, alias.ip ?? "", ipAddress(alias.ip))),
    ...((alias.hostnames ?? []) as string[]).flatMap((name, j) => invalidAll(`${field}[${i}].hostnames[${j}]`, name, dns1123Subdomain(name))),
  ]);
}

function validateResourceClaims(field: string, spec: Obj): FieldError[] {
  const names = new Set<string>();
  const errors = items(spec, "resourceClaims").flatMap((claim, i) => {
    const at = `${field}[${i}]`;
    const problems: FieldError[] = claim.name ? invalidAll(`${at}.name`, claim.name, dns1123Label(claim.name)) : [required(`${at}.name`)];
    if (names.has(claim.name)) problems.push(duplicate(`${at}.name`, claim.name));
    names.add(claim.name);
    const given = ["resourceClaimName", "resourceClaimTemplateName"].filter((name) => claim[name]);
    if (given.length !== 1) problems.push(invalidValue(at, claim, given.length ? "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified" : "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`"));
    return problems;
  });
  return errors;
}
