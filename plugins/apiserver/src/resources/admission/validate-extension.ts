/** Validation of APIServices. */
import { isObject } from "../fields.ts";
import type { Obj } from "../types.ts";
import { type FieldError, invalidAll, invalidValue, required } from "../validate/field.ts";
import { dns1035Label, dns1123Subdomain } from "../validate/names.ts";

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
