/** Validation of pods and pod templates. */
import { isIP } from "node:net";
import { isObject, items } from "../fields.ts";
import type { Obj } from "../types.ts";
import { duplicate, type FieldError, forbidden, invalidAll, invalidValue, notSupported, oneOf, optionalOneOf, required } from "../validate/field.ts";
import { dns1123Label, dns1123Subdomain, ipAddress, qualifiedName, validateLabels } from "../validate/names.ts";
import { validateRequirements } from "../validate/resources.ts";
import { validateContainers } from "./validate-container.ts";
import { validateAffinity, validateGates, validateTolerations, validateTopologySpread } from "./validate-scheduling.ts";
import { validateHostNamespaces, validatePodSecurity } from "./validate-security.ts";
import { validateVolumes } from "./validate-volume.ts";

const MAX_INT32 = 2_147_483_647;
const restartPolicies = ["Always", "OnFailure", "Never"];
const dnsPolicies = ["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"];

export function validatePod(pod: Obj): FieldError[] {
  const errors = validatePodSpec("spec", pod.spec);
  if (items(pod.spec, "ephemeralContainers").length > 0) errors.push(forbidden("spec.ephemeralContainers", "cannot be set on create"));
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
    ...validateContainers(field, spec),
    ...oneOf(`${field}.restartPolicy`, spec.restartPolicy, restartPolicies),
    ...validateDns(field, spec),
    ...validateLabels(`${field}.nodeSelector`, spec.nodeSelector),
    ...validateHostNamespaces(field, spec),
    ...validatePodSecurity(`${field}.securityContext`, spec),
    ...validateAffinity(`${field}.affinity`, spec.affinity),
    ...validateGates(`${field}.schedulingGates`, spec),
    ...validateTopologySpread(`${field}.topologySpreadConstraints`, items(spec, "topologySpreadConstraints")),
    ...validateNames(field, spec),
    ...validateTolerations(`${field}.tolerations`, items(spec, "tolerations")),
    ...validateHostAliases(`${field}.hostAliases`, spec),
    ...validateLimits(field, spec),
    ...validateRequirements(`${field}.resources`, spec.resources),
    ...validateResourceClaims(`${field}.resourceClaims`, spec),
  ];
}

function validateNames(field: string, spec: Obj): FieldError[] {
  const errors: FieldError[] = [];
  const check = (name: string, rule: (value: string) => string[]) => {
    if (spec[name]) errors.push(...invalidAll(`${field}.${name}`, spec[name], rule(spec[name])));
  };
  check("serviceAccountName", dns1123Subdomain);
  check("nodeName", dns1123Subdomain);
  check("hostname", dns1123Label);
  check("subdomain", dns1123Label);
  check("priorityClassName", dns1123Subdomain);
  check("runtimeClassName", dns1123Subdomain);
  if (!spec.schedulerName) errors.push(required(`${field}.schedulerName`));
  else check("schedulerName", dns1123Subdomain);
  items(spec, "readinessGates").forEach((gate, i) => {
    errors.push(...invalidAll(`${field}.readinessGates[${i}].conditionType`, gate.conditionType ?? "", qualifiedName(gate.conditionType ?? "")));
  });
  if (isObject(spec.os)) errors.push(...oneOf(`${field}.os.name`, spec.os.name, ["linux", "windows"]));
  errors.push(...optionalOneOf(`${field}.preemptionPolicy`, spec.preemptionPolicy, ["Never", "PreemptLowerPriority"]));
  return errors;
}

function validateLimits(field: string, spec: Obj): FieldError[] {
  const errors: FieldError[] = [];
  const deadline = spec.activeDeadlineSeconds;
  if (deadline != null && (deadline < 1 || deadline > MAX_INT32)) {
    errors.push(invalidValue(`${field}.activeDeadlineSeconds`, deadline, `must be between 1 and ${MAX_INT32}, inclusive`));
  }
  return errors;
}

function validateDns(field: string, spec: Obj): FieldError[] {
  const policy = spec.dnsPolicy;
  const errors: FieldError[] = !policy ? [required(`${field}.dnsPolicy`)] : dnsPolicies.includes(policy) ? [] : [notSupported(`${field}.dnsPolicy`, policy, dnsPolicies)];
  const config = spec.dnsConfig;
  const at = `${field}.dnsConfig`;
  if (policy === "None" && !isObject(config)) return [...errors, required(at, "must provide `dnsConfig` when `dnsPolicy` is None")];
  if (!isObject(config)) return errors;
  const servers: string[] = config.nameservers ?? [];
  if (policy === "None" && servers.length === 0) errors.push(required(`${at}.nameservers`, "must provide at least one DNS nameserver when `dnsPolicy` is None"));
  if (servers.length > 3) errors.push(invalidValue(`${at}.nameservers`, servers, "must not have more than 3 nameservers"));
  servers.forEach((server, i) => errors.push(...invalidAll(`${at}.nameservers[${i}]`, server, ipAddress(server))));
  const searches: string[] = config.searches ?? [];
  if (searches.length > 32) errors.push(invalidValue(`${at}.searches`, searches, "must not have more than 32 search paths"));
  if (searches.join(" ").length > 2048) errors.push(invalidValue(`${at}.searches`, searches, "must not have more than 2048 characters (including spaces) in the search list"));
  searches.forEach((search, i) => {
    if (search !== ".") errors.push(...invalidAll(`${at}.searches[${i}]`, search, dns1123Subdomain(search.replace(/\.$/, "").replaceAll("_", "-"))));
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
