/** Validation of CustomResourceDefinitions and APIServices. */
import { isObject, items } from "../fields.ts";
import type { Obj } from "../types.ts";
import { duplicate, type FieldError, forbidden, IMMUTABLE, invalidAll, invalidValue, oneOf, required } from "../validate/field.ts";
import { dns1035Label, dns1123Subdomain } from "../validate/names.ts";

export function validateCrd({ metadata, spec }: Obj): FieldError[] {
  const errors: FieldError[] = [];
  const wanted = `${spec.names?.plural ?? ""}.${spec.group ?? ""}`;
  if (metadata?.name !== wanted) errors.push(invalidValue("metadata.name", metadata?.name, `must be spec.names.plural+"."+spec.group`));
  if (!spec.group) errors.push(required("spec.group"));
  else {
    errors.push(...invalidAll("spec.group", spec.group, dns1123Subdomain(spec.group)));
    if (spec.group.split(".").length < 2) errors.push(invalidValue("spec.group", spec.group, "should be a domain with at least one dot"));
  }
  errors.push(...oneOf("spec.scope", spec.scope, ["Cluster", "Namespaced"]));
  errors.push(...validateVersions(items(spec, "versions")), ...validateNames(spec.names ?? {}));
  return [...errors, ...validateConversion(spec)];
}

function validateVersions(versions: readonly Obj[]): FieldError[] {
  const names = new Set<string>();
  const errors = versions.flatMap((version, i) => {
    const at = `spec.versions[${i}]`;
    const problems: FieldError[] = version.name ? invalidAll(`${at}.name`, version.name, dns1035Label(version.name)) : [required(`${at}.name`)];
    if (names.has(version.name)) problems.push(duplicate(`${at}.name`, version.name));
    names.add(version.name);
    if (!isObject(version.schema?.openAPIV3Schema)) problems.push(required(`${at}.schema.openAPIV3Schema`, "schemas are required"));
    else if (version.schema.openAPIV3Schema.type !== "object" && !version.schema.openAPIV3Schema["x-kubernetes-preserve-unknown-fields"]) {
      const type = version.schema.openAPIV3Schema.type;
      problems.push(type ? invalidValue(`${at}.schema.openAPIV3Schema.type`, type, 'must be object at the root') : required(`${at}.schema.openAPIV3Schema.type`, "must not be empty at the root"));
    }
    return [...problems, ...validateScale(`${at}.subresources.scale`, version.subresources?.scale)];
  });
  const stored = versions.filter((version) => version.storage).length;
  if (stored !== 1) errors.push(invalidValue("spec.versions", versions, "must have exactly one version marked as storage version"));
  return errors;
}

function validateScale(at: string, scale: unknown): FieldError[] {
  if (!isObject(scale)) return [];
  const errors: FieldError[] = [];
  for (const [field, prefix] of [["specReplicasPath", ".spec."], ["statusReplicasPath", ".status."]] as const) {
    if (!scale[field]) errors.push(required(`${at}.${field}`));
    else if (!scale[field].startsWith(prefix)) errors.push(invalidValue(`${at}.${field}`, scale[field], `should be a json path under ${prefix.slice(0, -1)}`));
  }
  return errors;
}

function validateNames(names: Obj): FieldError[] {
  const errors: FieldError[] = [];
  for (const field of ["plural", "singular", "kind", "listKind"]) {
    const at = `spec.names.${field}`;
    const value: string = names[field] ?? "";
    if (!value) errors.push(required(at));
    else errors.push(...invalidAll(at, value, dns1035Label(value.toLowerCase())));
  }
  ((names.shortNames ?? []) as string[]).forEach((name, i) => errors.push(...invalidAll(`spec.names.shortNames[${i}]`, name, dns1035Label(name))));
  if (names.kind && names.kind === names.listKind) errors.push(invalidValue("spec.names.listKind", names.listKind, "kind and listKind may not be the same"));
  return errors;
}

function validateConversion({ conversion }: Obj): FieldError[] {
  if (!isObject(conversion)) return [required("spec.conversion")];
  const errors = oneOf("spec.conversion.strategy", conversion.strategy, ["None", "Webhook"]);
  const client = conversion.webhook?.clientConfig;
  if (conversion.strategy === "None" && conversion.webhook) {
    errors.push(forbidden("spec.conversion.webhook", "should not be set when strategy is not set to Webhook"));
  }
  if (conversion.strategy === "Webhook" && !isObject(client)) errors.push(required("spec.conversion.webhook.clientConfig", "required when strategy is set to Webhook"));
  return errors;
}

export function validateCrdUpdate(crd: Obj, old: Obj): FieldError[] {
  const errors = validateCrd(crd);
  for (const [field, now, before] of [
    ["spec.group", crd.spec.group, old.spec.group], ["spec.names.plural", crd.spec.names?.plural, old.spec.names?.plural],
  ]) if (now !== before) errors.push(invalidValue(field, now, IMMUTABLE));
  const established = items(old.status, "conditions").some((c) => c.type === "Established" && c.status === "True");
  if (established && crd.spec.scope !== old.spec.scope) errors.push(invalidValue("spec.scope", crd.spec.scope, IMMUTABLE));
  if (established && crd.spec.names?.kind !== old.spec.names?.kind) errors.push(invalidValue("spec.names.kind", crd.spec.names?.kind, IMMUTABLE));
  const served = new Set(items(crd.spec, "versions").map((version) => version.name));
  ((old.status?.storedVersions ?? []) as string[]).forEach((version, i) => {
    if (served.has(version)) return;
    errors.push(invalidValue(`status.storedVersions[${i}]`, version, `missing from spec.versions; ${version} was previously a storage version, and must remain in spec.versions until a storage migration ensures no data remains persisted in ${version} and removes ${version} from status.storedVersions`));
  });
  return errors;
}

export function validateApiService({ metadata, spec }: Obj): FieldError[] {
  const errors: FieldError[] = [];
  const wanted = `${spec.version ?? ""}.${spec.group ?? ""}`;
  if (metadata?.name !== wanted) errors.push(invalidValue("metadata.name", metadata?.name, `must be \`spec.version+"."+spec.group\`: ${JSON.stringify(wanted)}`));
  if (spec.group) errors.push(...invalidAll("spec.group", spec.group, dns1123Subdomain(spec.group)));
  if (!spec.version) errors.push(required("spec.version"));
  else errors.push(...invalidAll("spec.version", spec.version, dns1035Label(spec.version)));
  const { groupPriorityMinimum: group = 0, versionPriority: version = 0 } = spec;
  if (group <= 0 || group > 20_000) errors.push(invalidValue("spec.groupPriorityMinimum", group, "must be positive and less than 20000"));
  if (version <= 0 || version > 1000) errors.push(invalidValue("spec.versionPriority", version, "must be positive and less than 1000"));
  if (!isObject(spec.service)) {
    if (spec.caBundle) errors.push(invalidValue("spec.caBundle", `${spec.caBundle.length} bytes`, "local APIServices may not have a caBundle"));
    if (spec.insecureSkipTLSVerify) errors.push(invalidValue("spec.insecureSkipTLSVerify", true, "local APIServices may not have insecureSkipTLSVerify"));
    return errors;
  }
  for (const name of ["namespace", "name"]) if (!spec.service[name]) errors.push(required(`spec.service.${name}`));
  if (spec.caBundle && spec.insecureSkipTLSVerify) errors.push(invalidValue("spec.insecureSkipTLSVerify", true, "may not be true if caBundle is present"));
  return errors;
}
