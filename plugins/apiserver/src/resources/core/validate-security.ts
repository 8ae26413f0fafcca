/** Validation of the security contexts of pods and containers. */
import { isObject, items } from "../fields.ts";
import type { Obj } from "../types.ts";
import { duplicate, type FieldError, forbidden, invalidValue, optionalOneOf, required } from "../validate/field.ts";

const MAX_ID = 2_147_483_647;
const userFields = ["runAsUser", "runAsGroup"];
const profileTypes = ["Localhost", "RuntimeDefault", "Unconfined"];

function validateIds(field: string, context: Obj, names: readonly string[]): FieldError[] {
  return names.filter((name) => context[name] != null && (context[name] < 0 || context[name] > MAX_ID))
    .map((name) => invalidValue(`${field}.${name}`, context[name], `must be between 0 and ${MAX_ID}, inclusive`));
}

export function validateContainerSecurity(field: string, context: unknown): FieldError[] {
  if (!isObject(context)) return [];
  const errors = [...validateIds(field, context, userFields), ...validateProfiles(field, context)];
  errors.push(...optionalOneOf(`${field}.procMount`, context.procMount, ["Default", "Unmasked"]));
  if (context.allowPrivilegeEscalation === false) {
    if (context.privileged) errors.push(invalidValue(field, context, "cannot set `allowPrivilegeEscalation` to false and `privileged` to true"));
    if (context.capabilities?.add?.includes("CAP_SYS_ADMIN")) {
      errors.push(invalidValue(field, context, "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN"));
    }
  }
  return errors;
}

export function validatePodSecurity(field: string, spec: Obj): FieldError[] {
  const context = spec.securityContext;
  if (!isObject(context)) return [];
  const errors = [...validateIds(field, context, ["fsGroup", ...userFields]), ...validateProfiles(field, context)];
  (context.supplementalGroups ?? []).forEach((group: number, i: number) => {
    if (group < 0 || group > MAX_ID) errors.push(invalidValue(`${field}.supplementalGroups[${i}]`, group, `must be between 0 and ${MAX_ID}, inclusive`));
  });
  errors.push(...validateSysctls(`${field}.sysctls`, context, spec));
  errors.push(...optionalOneOf(`${field}.fsGroupChangePolicy`, context.fsGroupChangePolicy, ["Always", "OnRootMismatch"]));
  errors.push(...optionalOneOf(`${field}.supplementalGroupsPolicy`, context.supplementalGroupsPolicy, ["Merge", "Strict"]));
  return errors;
}

function validateProfiles(field: string, context: Obj): FieldError[] {
  return ["seccompProfile", "appArmorProfile"].flatMap((name) => {
    const profile = context[name];
    return isObject(profile) ? validateProfile(`${field}.${name}`, profile) : [];
  });
}

function validateProfile(field: string, profile: Obj): FieldError[] {
  if (profile.type === "Localhost") {
    return profile.localhostProfile ? [] : [required(`${field}.localhostProfile`, "must be set when seccomp type is Localhost")];
  }
  if (profile.localhostProfile != null && profile.type) {
    return [invalidValue(`${field}.localhostProfile`, profile.localhostProfile, "can only be set when seccomp type is Localhost")];
  }
  if (!profile.type) return [required(`${field}.type`, "type is required when seccompProfile is set")];
  return optionalOneOf(`${field}.type`, profile.type, profileTypes);
}

const sysctlSegment = "[a-z0-9]([-_a-z0-9]*[a-z0-9])?";
const sysctlName = new RegExp(`^(${sysctlSegment}[\\./])*${sysctlSegment}$`);

function validateSysctls(field: string, context: Obj, spec: Obj): FieldError[] {
  const seen = new Set<string>();
  return items(context, "sysctls").flatMap((sysctl, i) => {
    const at = `${field}[${i}].name`;
    const name: string = sysctl.name ?? "";
    const errors: FieldError[] = [];
    if (!name) errors.push(required(at));
    else if (name.length > 253 || !sysctlName.test(name)) {
      errors.push(invalidValue(at, name, `must have at most 253 characters and match regex ^(${sysctlSegment}[\\./])*${sysctlSegment}$`));
    } else if (seen.has(name)) errors.push(duplicate(at, name));
    seen.add(name);
    if (spec.hostNetwork && name.replaceAll("/", ".").startsWith("net.")) errors.push(invalidValue(at, name, "may not be specified when 'hostNetwork' is true"));
    if (spec.hostIPC && /^(kernel\.(shm|msg|sem)|fs\.mqueue\.)/.test(name.replaceAll("/", "."))) {
      errors.push(invalidValue(at, name, "may not be specified when 'hostIPC' is true"));
    }
    return errors;
  });
}

export function validateHostNamespaces(field: string, spec: Obj): FieldError[] {
  if (spec.shareProcessNamespace && spec.hostPID) {
    return [invalidValue(`${field}.shareProcessNamespace`, true, "ShareProcessNamespace and HostPID cannot both be enabled")];
  }
  const hostFields = ["hostNetwork", "hostPID", "hostIPC"].filter((name) => spec[name]);
  return spec.hostUsers === false ? hostFields.map((name) => forbidden(`${field}.${name}`, "when `hostUsers` is false")) : [];
}
