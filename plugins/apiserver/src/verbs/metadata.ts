/** Rules for the metadata that all kinds share, in upstream's wording. */
import type { FieldError, FieldErrorType, ObjectMeta, OwnerReference } from "@k3s-p/plugin-api/kube";
import type { Obj, ResourceDef } from "../resources/types.ts";

const label = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
const subdomain = `${label}(\\.${label})*`;
const label1035 = "[a-z]([-a-z0-9]*[a-z0-9])?";
const namePart = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]";
const labelValue = `(${namePart})?`;

interface NameRule {
  readonly pattern: RegExp;
  readonly max: number;
  readonly message: string;
}

const subdomainRule: NameRule = {
  pattern: new RegExp(`^${subdomain}$`), max: 253,
  message: "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end " +
    `with an alphanumeric character (e.g. 'example.com', regex used for validation is '${subdomain}')`,
};
const labelRule: NameRule = {
  pattern: new RegExp(`^${label}$`), max: 63,
  message: "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with " +
    `an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '${label}')`,
};
const label1035Rule: NameRule = {
  pattern: new RegExp(`^${label1035}$`), max: 63,
  message: "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end " +
    `with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '${label1035}')`,
};
const rules = { dns1123subdomain: subdomainRule, dns1123label: labelRule, dns1035label: label1035Rule } as const;

const MAX_ANNOTATIONS = 256 * 1024;

/** Problems of a name under a row's rule; `prefix` marks a generateName, whose end is still to come. */
export function nameProblems(rule: ResourceDef["nameRule"], name: string, prefix = false): string[] {
  if (rule === "path") return pathProblems(name);
  const { pattern, max, message } = rules[rule ?? "dns1123subdomain"];
  const text = prefix ? name.replace(/[-.]$/, "a") : name;
  const problems = text.length > max ? [`must be no more than ${max} bytes`] : [];
  return pattern.test(text) ? problems : [...problems, message];
}

function pathProblems(name: string): string[] {
  if (name === "." || name === "..") return [`may not be '${name}'`];
  return ["/", "%"].filter((c) => name.includes(c)).map((c) => `may not contain '${c}'`);
}

export function validateMetadata(object: Obj, def: ResourceDef): FieldError[] {
  const meta = object.metadata ?? {};
  return [
    ...validateNames(meta, def),
    ...validateLabels(meta.labels, "metadata.labels"),
    ...validateAnnotations(meta.annotations),
    ...validateOwners(meta.ownerReferences),
    ...validateFinalizers(meta.finalizers ?? []),
  ];
}

/** Kinds of these groups take any finalizer, as custom ones do. */
const extensionGroups = new Set(["admissionregistration.k8s.io", "apiextensions.k8s.io", "apiregistration.k8s.io"]);

/** What a new object owes in addition. */
export function validateNewMetadata(object: Obj, def: ResourceDef): FieldError[] {
  const errors = validateMetadata(object, def);
  if (def.custom || extensionGroups.has(def.group)) return errors;
  (object.metadata?.finalizers ?? []).forEach((name, i) => {
    if (name.includes("/") || standardFinalizers.has(name)) return;
    errors.push(bad(`metadata.finalizers[${i}]`, name, "name is neither a standard finalizer name nor is it fully qualified"));
  });
  return errors;
}

const [ORPHAN, FOREGROUND] = ["orphan", "foregroundDeletion"];
const standardFinalizers = new Set(["kubernetes", ORPHAN, FOREGROUND]);

function validateFinalizers(names: readonly string[]): FieldError[] {
  const errors = names.flatMap((name) => qualifiedNameProblems(name).map((why) => bad("metadata.finalizers", name, why)));
  if (!names.includes(ORPHAN) || !names.includes(FOREGROUND)) return errors;
  return [...errors, bad("metadata.finalizers", names, `finalizer ${ORPHAN} and ${FOREGROUND} cannot be both set`)];
}

function validateNames(meta: ObjectMeta, def: ResourceDef): FieldError[] {
  const errors: FieldError[] = [];
  if (meta.generateName) {
    for (const why of nameProblems(def.nameRule, meta.generateName, true)) errors.push(bad("metadata.generateName", meta.generateName, why));
  }
  if (!meta.name) errors.push(found("FieldValueRequired", "metadata.name", "Required value: name or generateName is required"));
  else for (const why of nameProblems(def.nameRule, meta.name)) errors.push(bad("metadata.name", meta.name, why));
  if (!def.namespaced && meta.namespace) {
    errors.push(found("FieldValueForbidden", "metadata.namespace", "Forbidden: not allowed on this type"));
  }
  if (def.namespaced) {
    if (!meta.namespace) errors.push(found("FieldValueRequired", "metadata.namespace", "Required value"));
    else for (const why of nameProblems("dns1123label", meta.namespace)) errors.push(bad("metadata.namespace", meta.namespace, why));
  }
  return errors;
}

export function validateLabels(labels: Readonly<Record<string, string>> | undefined, field: string): FieldError[] {
  return Object.entries(labels ?? {}).flatMap(([key, value]) => [
    ...qualifiedNameProblems(key).map((why) => bad(field, key, why)),
    ...labelValueProblems(value).map((why) => bad(field, value, why)),
  ]);
}

function validateAnnotations(annotations: Readonly<Record<string, string>> | undefined): FieldError[] {
  const entries = Object.entries(annotations ?? {});
  const errors = entries.flatMap(([key]) => qualifiedNameProblems(key.toLowerCase()).map((why) => bad("metadata.annotations", key, why)));
  const size = entries.reduce((sum, [key, value]) => sum + Buffer.byteLength(key) + Buffer.byteLength(String(value)), 0);
  if (size > MAX_ANNOTATIONS) {
    errors.push(found("FieldValueTooLong", "metadata.annotations", `Too long: may not be more than ${MAX_ANNOTATIONS} bytes`));
  }
  return errors;
}

function validateOwners(owners: readonly OwnerReference[] | undefined): FieldError[] {
  const errors: FieldError[] = [];
  const controllers = (owners ?? []).filter((owner) => owner.controller);
  for (const owner of owners ?? []) {
    if (!owner.apiVersion) errors.push(bad("metadata.ownerReferences.apiVersion", "", "version must not be empty"));
    for (const key of ["kind", "name", "uid"] as const) {
      if (!owner[key]) errors.push(bad(`metadata.ownerReferences.${key}`, "", "must not be empty"));
    }
  }
  if (controllers.length > 1) {
    const [a, b] = controllers;
    errors.push(found("FieldValueInvalid", "metadata.ownerReferences", `Invalid value: ${JSON.stringify(owners)}: Only one reference ` +
      `can have Controller set to true. Found "true" in references for ${a!.kind}/${a!.name} and ${b!.kind}/${b!.name}`));
  }
  return errors;
}

const immutable = ["name", "namespace", "uid", "creationTimestamp"] as const;

export function validateMetadataUpdate(object: Obj, old: Obj, def: ResourceDef): FieldError[] {
  const meta = object.metadata ?? {};
  const before = old.metadata ?? {};
  const errors = immutable
    .filter((key) => (meta[key] ?? "") !== (before[key] ?? ""))
    .map((key) => bad(`metadata.${key}`, meta[key] ?? "", "field is immutable"));
  const added = (meta.finalizers ?? []).filter((name) => !before.finalizers?.includes(name));
  if (before.deletionTimestamp && added.length > 0) {
    const list = added.map((name) => JSON.stringify(name)).join(", ");
    errors.push(found("FieldValueForbidden", "metadata.finalizers",
      `Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers []string{${list}}`));
  }
  return [...errors, ...validateMetadata(object, def).filter((e) => e.field !== "metadata.name")];
}

function qualifiedNameProblems(text: string): string[] {
  const slash = text.indexOf("/");
  const name = text.slice(slash + 1);
  if (text.indexOf("/", slash + 1) >= 0) {
    return [`a qualified name ${nameMessage} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')`];
  }
  const problems: string[] = [];
  if (slash === 0) problems.push("prefix part must be non-empty");
  else if (slash > 0) problems.push(...nameProblems(undefined, text.slice(0, slash)).map((why) => `prefix part ${why}`));
  if (name === "") problems.push("name part must be non-empty");
  if (name.length > 63) problems.push("name part must be no more than 63 bytes");
  if (!namePartPattern.test(name)) problems.push(`name part ${nameMessage}`);
  return problems;
}

const nameMessage = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric " +
  `character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '${namePart}')`;
const namePartPattern = new RegExp(`^${namePart}$`);
const labelValuePattern = new RegExp(`^${labelValue}$`);

function labelValueProblems(value: string): string[] {
  const problems = value.length > 63 ? ["must be no more than 63 bytes"] : [];
  if (labelValuePattern.test(value)) return problems;
  return [...problems, "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start " +
    "and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is " +
    `'${labelValue}')`];
}

const found = (type: FieldErrorType, field: string, message: string): FieldError => ({ type, field, message });
const bad = (field: string, value: unknown, why: string): FieldError =>
  found("FieldValueInvalid", field, `Invalid value: ${JSON.stringify(value)}: ${why}`);
