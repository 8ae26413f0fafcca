/** Validation of CustomResourceDefinitions, apart from their schemas. */
import type { FieldError } from "@k3s-p/plugin-api/kube";
import { isObject, items } from "../resources/fields.ts";
import type { Obj } from "../resources/types.ts";
import { forbidden, IMMUTABLE, invalidAll, invalidValue, oneOf, required } from "../resources/validate/field.ts";
import { dns1035Label, dns1123Subdomain } from "../resources/validate/names.ts";
import { validateClient } from "../resources/admission/validate-client.ts";
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
    if (problems.length > 0) errors.push(...joined("spec.group", group, problems));
    else if (!group.includes(".")) errors.push(invalidValue("spec.group", group, "should be a domain with at least one dot"));
  }
  const versions = items(spec, "versions");
  return [
    ...errors, ...oneOf("spec.scope", spec.scope, ["Cluster", "Namespaced"]),
    ...versions.flatMap(({ schema }, i) => (isObject(schema?.openAPIV3Schema) ? [] : [required(`spec.versions[${i}].schema.openAPIV3Schema`, "schemas are required")])),
    ...validateVersions(versions),
    ...["plural", "singular", "kind", "listKind"].filter((field) => !names[field]).map((field) => required(`spec.names.${field}`)),
    ...validateNames(names, "spec.names"), ...validateParts(versions, items(old?.spec, "versions")), ...validateConversion(spec.conversion, old?.spec?.conversion),
  ];
}

/** Several problems of a value in one finding. */
const joined = (field: string, value: unknown, problems: readonly string[], before = ""): FieldError[] =>
  problems.length > 0 ? [invalidValue(field, value, before + problems.join(","))] : [];

function validateVersions(versions: readonly Obj[]): FieldError[] {
  const errors = versions.flatMap(({ name = "", deprecated, deprecationWarning: warning }, i) => [
    ...joined(`spec.versions[${i}].name`, name, dns1035Label(name)),
    ...deprecationProblems(deprecated, warning).map((why) => invalidValue(`spec.versions[${i}].deprecationWarning`, warning, why)),
  ]);
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

function deprecationProblems(deprecated: unknown, warning: string | undefined): string[] {
  if (warning === undefined) return [];
  if (!deprecated) return ["can only be set for deprecated versions"];
  const hidden = [...warning].findIndex((character) => character !== " " && /[\p{C}\p{Z}]/u.test(character));
  return [
    ...(warning.length > 256 ? ["must be <= 256 characters long"] : []), ...(warning === "" ? ["must not be an empty string"] : []),
    ...(hidden < 0 ? [] : [`must only contain printable UTF-8 characters; non-printable character found at index ${hidden}`]),
  ];
}

/** What the versions hold. Parts that are the same in all of them count as one, at the top of the spec; findings say so. */
function validateParts(versions: readonly Obj[], old: readonly Obj[]): FieldError[] {
  const hasStatus = versions.some(({ subresources }) => subresources?.status);
  const schemas = parts(versions, "schema", "validation").filter(({ version }) => isObject(version.schema?.openAPIV3Schema));
  return [
    ...validateSchemas(schemas.map(({ version, at, isShared }) => ({
      schema: version.schema.openAPIV3Schema, at: `${at}.openAPIV3Schema`, hasStatus: isShared ? hasStatus : Boolean(version.subresources?.status),
      isUnchanged: old.some((before) => before.name === version.name && sameJson(before.schema, version.schema)),
    }))),
    ...parts(versions, "subresources").flatMap(({ version, at }) => validateScale(version.subresources?.scale, `${at}.scale`)),
    ...parts(versions, "additionalPrinterColumns").flatMap(({ version, at }) =>
      items(version, "additionalPrinterColumns").flatMap((column, i) => validateColumn(column, `${at}[${i}]`))),
    ...parts(versions, "selectableFields").flatMap(({ version, at }) => validateSelectable(version, at)),
  ];
}

interface Part {
  readonly version: Obj;
  readonly at: string;
  readonly isShared: boolean;
}

function parts(versions: readonly Obj[], field: string, shared = field): Part[] {
  const [first] = versions;
  if (first && versions.every((version) => sameJson(version[field], first[field]))) return [{ version: first, at: `spec.${shared}`, isShared: true }];
  return versions.map((version, i) => ({ version, at: `spec.versions[${i}].${field}`, isShared: false }));
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
  if (!jsonPath) return [...errors, required(`${at}.JSONPath`)];
  if (!jsonPath.startsWith(".")) return [...errors, invalidValue(`${at}.JSONPath`, jsonPath, "must be a simple json path starting with .")];
  try {
    parseJsonPath(jsonPath);
  } catch (error) {
    errors.push(invalidValue(`${at}.JSONPath`, jsonPath, (error as Error).message));
  }
  return errors;
}

/** Names that are there, in spec or in status. */
export function validateNames(names: Obj, at: string): FieldError[] {
  const list = (field: string): FieldError[] => ((names[field] ?? []) as string[]).flatMap((name, i) => joined(`${at}.${field}[${i}]`, name, dns1035Label(name)));
  const given = (...fields: string[]): string[] => fields.filter((field) => names[field]);
  return [
    ...given("plural", "singular").flatMap((field) => joined(`${at}.${field}`, names[field], dns1035Label(names[field]))),
    ...given("kind", "listKind").flatMap((field) =>
      joined(`${at}.${field}`, names[field], dns1035Label(String(names[field]).toLowerCase()), "may have mixed case, but should otherwise match: ")),
    ...list("shortNames"),
    ...(names.kind && names.kind === names.listKind ? [invalidValue(`${at}.listKind`, names.listKind, "kind and listKind may not be the same")] : []),
    ...list("categories"),
  ];
}

const REVIEW_VERSIONS = ["v1", "v1beta1"];
const isKnown = (versions: readonly string[]): boolean => versions.some((version) => REVIEW_VERSIONS.includes(version));

/** Findings name the fields as they are kept, which v1 writes within `webhook`. */
function validateConversion(conversion: unknown, old: Obj | undefined): FieldError[] {
  const at = "spec.conversion";
  if (!isObject(conversion)) return [];
  const errors = oneOf(`${at}.strategy`, conversion.strategy, ["None", "Webhook"]);
  const { clientConfig, conversionReviewVersions: versions = [] } = (conversion.webhook ?? {}) as Obj;
  if (conversion.strategy !== "Webhook") {
    const given = [...(clientConfig ? ["webhookClientConfig"] : []), ...(versions.length > 0 ? ["conversionReviewVersions"] : [])];
    return [...errors, ...given.map((field) => forbidden(`${at}.${field}`, "should not be set when strategy is not set to Webhook"))];
  }
  const client = isObject(clientConfig) ? validateClient(`${at}.webhookClientConfig`, clientConfig)
    : [required(`${at}.webhookClientConfig`, "required when strategy is set to Webhook")];
  return [...errors, ...client, ...validateReviewVersions(`${at}.conversionReviewVersions`, versions, old?.webhook?.conversionReviewVersions)];
}

function validateReviewVersions(field: string, versions: readonly string[], old: readonly string[] = []): FieldError[] {
  if (versions.length === 0) return [required(field)];
  const errors = versions.flatMap((version, i) => (versions.indexOf(version) < i ? [invalidValue(`${field}[${i}]`, version, "duplicate version")]
    : invalidAll(`${field}[${i}]`, version, dns1035Label(version))));
  if (isKnown(versions) || (old.length > 0 && !isKnown(old))) return errors;
  return [...errors, invalidValue(field, versions, `must include at least one of ${REVIEW_VERSIONS.join(", ")}`)];
}

/** An old definition that keeps everything may go on doing so. */
export function validateUnknownFields({ spec }: Obj, old?: Obj): FieldError[] {
  if (spec.preserveUnknownFields !== true || old?.spec?.preserveUnknownFields === true) return [];
  return [invalidValue("spec.preserveUnknownFields", true, "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead")];
}

export function validateUpdateOf(crd: Obj, old: Obj): FieldError[] {
  const always = [["spec.group", crd.spec.group, old.spec.group], ["spec.names.plural", crd.spec.names?.plural, old.spec.names?.plural]];
  const once = [["spec.scope", crd.spec.scope, old.spec.scope], ["spec.names.kind", crd.spec.names?.kind, old.spec.names?.kind]];
  const established = items(old.status, "conditions").some((c) => c.type === "Established" && c.status === "True");
  return [...(established ? once : []), ...always].filter(([, now, before]) => now !== before)
    .map(([field, now]) => invalidValue(field!, now, IMMUTABLE));
}
