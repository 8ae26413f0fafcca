/** Validation of the security contexts of pods and containers. */
import { isObject, items } from "../fields.ts";
import type { Obj } from "../types.ts";
import { duplicate, type FieldError, forbidden, invalidValue, optionalOneOf, required, tooLong } from "../validate/field.ts";
import { relativePath } from "../validate/names.ts";
import { validateWindowsOptions } from "./validate-windows.ts";

const MAX_ID = 2_147_483_647;
const MAX_PROFILE_NAME = 4095;
const userFields = ["runAsUser", "runAsGroup"];
const profileTypes = ["Localhost", "RuntimeDefault", "Unconfined"];

function validateIds(field: string, context: Obj, names: readonly string[]): FieldError[] {
  return names.filter((name) => context[name] != null && (context[name] < 0 || context[name] > MAX_ID))
    .map((name) => invalidValue(`${field}.${name}`, context[name], `must be between 0 and ${MAX_ID}, inclusive`));
}

export function validateContainerSecurity(field: string, context: unknown, spec: Obj): FieldError[] {
  if (!isObject(context)) return [];
  const errors = [...validateIds(field, context, userFields), ...optionalOneOf(`${field}.procMount`, context.procMount, ["Default", "Unmasked"])];
  if (context.procMount === "Unmasked" && spec.hostUsers !== false) {
    errors.push(invalidValue(`${field}.procMount`, context.procMount, "`hostUsers` must be false to use `Unmasked`"));
  }
  errors.push(...validateSeccomp(`${field}.seccompProfile`, context.seccompProfile));
  if (context.allowPrivilegeEscalation === false) {
    if (context.privileged) errors.push(invalidValue(field, context, "cannot set `allowPrivilegeEscalation` to false and `privileged` to true"));
    if (context.capabilities?.add?.includes("CAP_SYS_ADMIN")) {
      errors.push(invalidValue(field, context, "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN"));
    }
  }
  return [...errors, ...validateWindowsOptions(`${field}.windowsOptions`, context.windowsOptions), ...validateAppArmor(`${field}.appArmorProfile`, context.appArmorProfile)];
}

export function validatePodSecurity(field: string, spec: Obj): FieldError[] {
  const context = spec.securityContext;
  if (!isObject(context)) return validateSharedProcesses(field, spec);
  const errors = validateIds(field, context, ["fsGroup", ...userFields]);
  (context.supplementalGroups ?? []).forEach((group: number, i: number) => {
    if (group < 0 || group > MAX_ID) errors.push(invalidValue(`${field}.supplementalGroups[${i}]`, group, `must be between 0 and ${MAX_ID}, inclusive`));
  });
  return [
    ...errors,
    ...validateSharedProcesses(field, spec),
    ...validateSysctls(`${field}.sysctls`, context, spec),
    ...optionalOneOf(`${field}.fsGroupChangePolicy`, context.fsGroupChangePolicy, ["Always", "OnRootMismatch"]),
    ...validateSeccomp(`${field}.seccompProfile`, context.seccompProfile),
    ...validateWindowsOptions(`${field}.windowsOptions`, context.windowsOptions),
    ...validateAppArmor(`${field}.appArmorProfile`, context.appArmorProfile),
    ...optionalOneOf(`${field}.supplementalGroupsPolicy`, context.supplementalGroupsPolicy, ["Merge", "Strict"]),
    ...optionalOneOf(`${field}.seLinuxChangePolicy`, context.seLinuxChangePolicy, ["MountOption", "Recursive"]),
  ];
}

/** Named as a part of the security context, where upstream keeps it. */
function validateSharedProcesses(field: string, spec: Obj): FieldError[] {
  if (!spec.shareProcessNamespace || !spec.hostPID) return [];
  return [invalidValue(`${field}.shareProcessNamespace`, true, "ShareProcessNamespace and HostPID cannot both be enabled")];
}

function validateSeccomp(field: string, profile: unknown): FieldError[] {
  if (!isObject(profile)) return [];
  const { type, localhostProfile: name } = profile;
  const errors = type ? optionalOneOf(`${field}.type`, type, profileTypes) : [required(`${field}.type`, "type is required when seccompProfile is set")];
  if (type !== "Localhost") return name == null ? errors : [...errors, invalidValue(`${field}.localhostProfile`, profile, "can only be set when seccomp type is Localhost")];
  return [...errors, ...(name == null ? [required(`${field}.localhostProfile`, "must be set when seccomp type is Localhost")] : relativePath(`${field}.localhostProfile`, name))];
}

function validateAppArmor(field: string, profile: unknown): FieldError[] {
  if (!isObject(profile)) return [];
  const { type, localhostProfile: name } = profile;
  const at = `${field}.localhostProfile`;
  if (!type) return [required(`${field}.type`, "type is required when appArmorProfile is set")];
  if (type !== "Localhost") {
    const unknown = optionalOneOf(`${field}.type`, type, profileTypes);
    return unknown.length > 0 || name == null ? unknown : [invalidValue(at, name, "can only be set when AppArmor type is Localhost")];
  }
  if (!name) return [required(at, "must be set when AppArmor type is Localhost")];
  return [
    ...(name.trim() === name ? [] : [invalidValue(at, name, "must not be padded with whitespace")]),
    ...(Buffer.byteLength(name) > MAX_PROFILE_NAME ? [tooLong(at, MAX_PROFILE_NAME)] : []),
  ];
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

/** Spec field -> what upstream calls it. */
const hostNamespaces = { hostNetwork: "hostNetwork", hostPID: "HostPID", hostIPC: "HostIPC" };

/** A pod with users of its own shares no namespace with the host. */
export function validateHostUsers(field: string, spec: Obj): FieldError[] {
  if (spec.hostUsers !== false) return [];
  return Object.entries(hostNamespaces).filter(([name]) => spec[name]).map(([, name]) => forbidden(`${field}.${name}`, "when `pod.Spec.HostUsers` is false"));
}
