/** Validation of APIServices. */
import { isObject, items } from "../fields.ts";
import type { Obj } from "../types.ts";
import { type FieldError, invalidAll, invalidValue, notSupported, required } from "../validate/field.ts";
import { dns1035Label, dns1123Subdomain, portNumber } from "../validate/names.ts";

export function validateApiService({ metadata, spec }: Obj): FieldError[] {
  const errors: FieldError[] = [];
  const wanted = `${spec.version ?? ""}.${spec.group ?? ""}`;
  if (metadata?.name !== wanted) errors.push(invalidValue("metadata.name", metadata?.name, `must be \`spec.version+"."+spec.group\`: ${JSON.stringify(wanted)}`));
  const { group: name = "", version: served = "" } = spec;
  if (!name && served !== "v1") errors.push(required("spec.group", "only v1 may have an empty group and it better be legacy kube"));
  if (name) errors.push(...invalidAll("spec.group", name, dns1123Subdomain(name)));
  errors.push(...invalidAll("spec.version", served, dns1035Label(served)));
  const { groupPriorityMinimum: group = 0, versionPriority: version = 0 } = spec;
  if (group <= 0 || group > 20_000) errors.push(invalidValue("spec.groupPriorityMinimum", group, "must be positive and less than 20000"));
  if (version <= 0 || version > 1000) errors.push(invalidValue("spec.versionPriority", version, "must be positive and less than 1000"));
  if (!isObject(spec.service)) {
    if (spec.caBundle) errors.push(invalidValue("spec.caBundle", `${Buffer.from(spec.caBundle, "base64").length} bytes`, "local APIServices may not have a caBundle"));
    if (spec.insecureSkipTLSVerify) errors.push(invalidValue("spec.insecureSkipTLSVerify", true, "local APIServices may not have insecureSkipTLSVerify"));
    return errors;
  }
  for (const name of ["namespace", "name"]) if (!spec.service[name]) errors.push(required(`spec.service.${name}`));
  errors.push(...portNumber(spec.service.port).map((why) => invalidValue("spec.service.port", spec.service.port, `port is not valid: ${why}`)));
  if (spec.caBundle && spec.insecureSkipTLSVerify) errors.push(invalidValue("spec.insecureSkipTLSVerify", true, "may not be true if caBundle is present"));
  return errors;
}

export const validateApiServiceStatus = ({ status }: Obj): FieldError[] => items(status, "conditions").flatMap(({ status: value = "" }, i) =>
  (statuses.includes(value) ? [] : [notSupported(`status.conditions[${i}].status`, value, statuses)]));

const statuses = ["True", "False", "Unknown"];
