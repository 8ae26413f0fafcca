/** Validation of CustomResourceDefinitions, apart from their schemas. */
import type { FieldError } from "@k3s-p/plugin-api/kube";
import { isObject, items } from "../resources/fields.ts";
import type { Obj } from "../resources/types.ts";
import { forbidden, IMMUTABLE, invalidAll, invalidValue, oneOf, required } from "../resources/validate/field.ts";
import { dns1035Label, dns1123Subdomain } from "../resources/validate/names.ts";
import { sameJson } from "../verbs/update.ts";
import { parseJsonPath, simplePathProblem } from "./jsonpath.ts";
import { validateSchemas } from "./validate-schema.ts";
import { validateSelectable } from "./validate-selectable.ts";

/** `old` is what an update replaces. */
export function validateDefinition({ metadata, spec }: Obj, old?: Obj): FieldError[] {
  const { group = "", names = {} } = spec;
  const errors: FieldError[] = [];
  if (metadata?.name !== `${names.plural ?? ""}.${group}`) {
    errors.push(invalidValue("metadata.name", metadata?.name, `must be spec.names.plural+"."+spec.group`));
  }
  if (!group) errors.push(required("spec.group"));
  else {
    const problems = dns1123Subdomain(group);
    if (problems.length > 0) errors.push(...invalidAll("spec.group", group, problems));
    else if (!group.includes(".")) errors.push(invalidValue("spec.group", group, "should be a domain with at least one dot"));
  }
  errors.push(...oneOf("spec.scope", spec.scope, ["Cluster", "Namespaced"]));
  if (spec.preserveUnknownFields === true) {
    errors.push(invalidValue("spec.preserveUnknownFields", true, "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead"));
  }
  errors.push(...validateVersions(items(spec, "versions"), items(old?.spec, "versions")));
  for (const field of ["plural", "singular", "kind", "listKind"]) if (!names[field]) errors.push(required(`spec.names.${field}`));
  return [...errors, ...validateNames(names, "spec.names"), ...validateConversion(spec.conversion)];
}

function validateVersions(versions: readonly Obj[], old: readonly Obj[]): FieldError[] {
  const errors = versions.flatMap((version, i) => validateVersion(version, `spec.versions[${i}]`));
  errors.push(...validateSchemas(versions.flatMap(({ name, schema, subresources }, i) => !isObject(schema?.openAPIV3Schema) ? [] : [{
    schema: schema.openAPIV3Schema, at: `spec.versions[${i}].schema.openAPIV3Schema`, hasStatus: Boolean(subresources?.status),
    isUnchanged: old.some((before) => before.name === name && sameJson(before.schema, schema)),
  }])));
  if (new Set(versions.map((version) => version.name)).size < versions.length) {
    errors.push(invalidValue("spec.versions", brief(versions), "must contain unique version names"));
  }
  if (versions.filter((version) => version.storage).length !== 1) {
    errors.push(invalidValue("spec.versions", brief(versions), "must have exactly one version marked as storage version"));
  }
  return errors;
}

/** Versions without their schemas, which would drown the message. */
const brief = (versions: readonly Obj[]): object[] => versions.map(({ schema: _, ...rest }) => rest);

function validateVersion(version: Obj, at: string): FieldError[] {
  const { name = "", schema, subresources, deprecationWarning: warning } = version;
  const errors = invalidAll(`${at}.name`, name, dns1035Label(name));
  if (warning !== undefined) {
    const problem = !version.deprecated ? "can only be set for deprecated versions" : warning === "" ? "must not be an empty string"
      : warning.length > 256 ? "must be <= 256 characters long" : undefined;
    if (problem) errors.push(invalidValue(`${at}.deprecationWarning`, warning, problem));
  }
  if (!isObject(schema?.openAPIV3Schema)) errors.push(required(`${at}.schema.openAPIV3Schema`, "schemas are required"));
  errors.push(...validateScale(subresources?.scale, `${at}.subresources.scale`));
  items(version, "additionalPrinterColumns").forEach((column, i) => errors.push(...validateColumn(column, `${at}.additionalPrinterColumns[${i}]`)));
  return [...errors, ...validateSelectable(version, `${at}.selectableFields`)];
}

function validateScale(scale: unknown, at: string): FieldError[] {
  if (!isObject(scale)) return [];
  const rules = [
    ["specReplicasPath", [".spec."], "should be a json path under .spec"],
    ["statusReplicasPath", [".status."], "should be a json path under .status"],
    ["labelSelectorPath", [".spec.", ".status."], "should be a json path under either .spec or .status"],
  ] as const;
  return rules.flatMap(([field, roots, why]): FieldError[] => {
    const path: string = scale[field] ?? "";
    if (!path) return field === "labelSelectorPath" ? [] : [required(`${at}.${field}`)];
    const problem = simplePathProblem(path);
    if (problem) return [invalidValue(`${at}.${field}`, path, problem)];
    return roots.some((root) => path.startsWith(root)) ? [] : [invalidValue(`${at}.${field}`, path, why)];
  });
}

const columnTypes = ["boolean", "date", "integer", "number", "string"];
const columnFormats = ["byte", "date", "date-time", "double", "float", "int32", "int64", "password"];

function validateColumn({ name, type, format, jsonPath }: Obj, at: string): FieldError[] {
  const errors: FieldError[] = name ? [] : [required(`${at}.name`)];
  const types = `must be one of ${columnTypes.join(",")}`;
  if (!type) errors.push(required(`${at}.type`, types));
  else if (!columnTypes.includes(type)) errors.push(invalidValue(`${at}.type`, type, types));
  if (format && !columnFormats.includes(format)) errors.push(invalidValue(`${at}.format`, format, `must be one of ${columnFormats.join(",")}`));
  if (!jsonPath) return [...errors, required(`${at}.jsonPath`)];
  if (!jsonPath.startsWith(".")) return [...errors, invalidValue(`${at}.jsonPath`, jsonPath, "must be a simple json path starting with .")];
  try {
    parseJsonPath(jsonPath);
  } catch (error) {
    errors.push(invalidValue(`${at}.jsonPath`, jsonPath, (error as Error).message));
  }
  return errors;
}

/** Names that are there, in spec or in status. */
export function validateNames(names: Obj, at: string): FieldError[] {
  const errors: FieldError[] = [];
  for (const field of ["plural", "singular"]) {
    if (names[field]) errors.push(...invalidAll(`${at}.${field}`, names[field], dns1035Label(names[field])));
  }
  for (const field of ["kind", "listKind"]) {
    if (!names[field]) continue;
    const problems = dns1035Label(String(names[field]).toLowerCase());
    errors.push(...invalidAll(`${at}.${field}`, names[field], problems.map((why) => `may have mixed case, but should otherwise match: ${why}`)));
  }
  for (const field of ["shortNames", "categories"]) {
    ((names[field] ?? []) as string[]).forEach((name, i) => errors.push(...invalidAll(`${at}.${field}[${i}]`, name, dns1035Label(name))));
  }
  if (names.kind && names.kind === names.listKind) errors.push(invalidValue(`${at}.listKind`, names.listKind, "kind and listKind may not be the same"));
  return errors;
}

const REVIEW_VERSIONS = ["v1", "v1beta1"];

function validateConversion(conversion: unknown): FieldError[] {
  const at = "spec.conversion";
  if (!isObject(conversion)) return [];
  const errors = oneOf(`${at}.strategy`, conversion.strategy, ["None", "Webhook"]);
  const { webhook } = conversion;
  if (conversion.strategy !== "Webhook") {
    return webhook ? [...errors, forbidden(`${at}.webhook`, "should not be set when strategy is not set to Webhook")] : errors;
  }
  const client = webhook?.clientConfig;
  if (!isObject(client)) errors.push(required(`${at}.webhook.clientConfig`, "required when strategy is set to Webhook"));
  else if ((client.url == null) === (client.service == null)) errors.push(required(`${at}.webhook.clientConfig`, "exactly one of url or service is required"));
  else if (client.service) {
    for (const field of ["name", "namespace"]) if (!client.service[field]) errors.push(required(`${at}.webhook.clientConfig.service.${field}`));
  }
  const versions: readonly string[] = webhook?.conversionReviewVersions ?? [];
  if (versions.length === 0) errors.push(required(`${at}.webhook.conversionReviewVersions`));
  else if (!versions.some((version) => REVIEW_VERSIONS.includes(version))) {
    errors.push(invalidValue(`${at}.webhook.conversionReviewVersions`, versions, `must include at least one of ${REVIEW_VERSIONS.join(", ")}`));
  }
  return errors;
}

export function validateUpdateOf(crd: Obj, old: Obj): FieldError[] {
  const always = [["spec.group", crd.spec.group, old.spec.group], ["spec.names.plural", crd.spec.names?.plural, old.spec.names?.plural]];
  const once = [["spec.scope", crd.spec.scope, old.spec.scope], ["spec.names.kind", crd.spec.names?.kind, old.spec.names?.kind]];
  const established = items(old.status, "conditions").some((c) => c.type === "Established" && c.status === "True");
  return [...(established ? once : []), ...always].filter(([, now, before]) => now !== before)
    .map(([field, now]) => invalidValue(field!, now, IMMUTABLE));
}
