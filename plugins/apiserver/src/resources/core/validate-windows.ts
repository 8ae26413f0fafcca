/** Validation of what is for Windows pods alone, and of what a pod's operating system rules out. */
import { isObject, items } from "../fields.ts";
import type { Obj } from "../types.ts";
import { type FieldError, forbidden, invalidAll, invalidValue, notSupported, required } from "../validate/field.ts";
import { dns1123Subdomain } from "../validate/names.ts";

const MAX_CREDENTIAL = 64 * 1024;
const MAX_DOMAIN = 256;
const MAX_USER = 104;

export function validateWindowsOptions(field: string, options: unknown): FieldError[] {
  if (!isObject(options)) return [];
  const { gmsaCredentialSpecName: name, gmsaCredentialSpec: spec, runAsUserName: user } = options;
  const errors = name == null ? [] : invalidAll(`${field}.gmsaCredentialSpecName`, name, dns1123Subdomain(name));
  if (spec === "") errors.push(invalidValue(`${field}.gmsaCredentialSpec`, spec, "gmsaCredentialSpec cannot be an empty string"));
  else if (spec?.length > MAX_CREDENTIAL) errors.push(invalidValue(`${field}.gmsaCredentialSpec`, spec, "gmsaCredentialSpec size must be under 64 KiB"));
  if (user != null) errors.push(...invalidAll(`${field}.runAsUserName`, user, userProblems(user)));
  return errors;
}

const netBiosName = /^[^\\/:*?"<>|.][^\\/:*?"<>|]{0,14}$/;
const dnsPart = "[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?";
const dnsName = new RegExp(`^${dnsPart}(?:\\.${dnsPart})*$`);

/** Of `DOMAIN\USER` or `USER`. */
function userProblems(name: string): string[] {
  if (name === "") return ["runAsUserName cannot be an empty string"];
  // oxlint-disable-next-line no-control-regex
  if (/[\0-\x1f\x7f]/.test(name)) return ["runAsUserName cannot contain control characters"];
  const parts = name.split("\\");
  if (parts.length > 2) return ["runAsUserName cannot contain more than one backslash"];
  const user = parts.at(-1)!;
  const domain = parts.length === 2 ? parts[0]! : undefined;
  const problems: string[] = [];
  if (domain !== undefined && domain.length >= MAX_DOMAIN) problems.push(`runAsUserName's Domain length must be under ${MAX_DOMAIN} characters`);
  if (domain !== undefined && !netBiosName.test(domain) && !dnsName.test(domain)) problems.push("runAsUserName's Domain doesn't match the NetBios nor the DNS format");
  if (user === "") problems.push("runAsUserName's User cannot be empty");
  else if (user.length > MAX_USER) problems.push(`runAsUserName's User length must not be longer than ${MAX_USER} characters`);
  if (/^[. ]+$/.test(user)) problems.push("runAsUserName's User cannot contain only periods or spaces");
  if (/["/\\:;|=,+*?<>@[\]]/.test(user)) problems.push('runAsUserName\'s User cannot contain the following characters: "/\\:;|=,+*?<>@[]');
  return problems;
}

/** Containers of every sort with their place; init containers come first, as upstream visits them. */
const containersOf = (field: string, spec: Obj): [string, Obj][] =>
  ["initContainers", "containers", "ephemeralContainers"].flatMap((list) => items(spec, list).map((c, i): [string, Obj] => [`${field}.${list}[${i}]`, c]));

/** Either all containers are processes of the host, or none. */
export function validateHostProcess(field: string, spec: Obj): FieldError[] {
  const ofPod = spec.securityContext?.windowsOptions?.hostProcess;
  const errors: FieldError[] = [];
  const containers = containersOf(field, spec);
  const onHost = containers.filter(([at, container]) => {
    const own = container.securityContext?.windowsOptions?.hostProcess;
    if (ofPod != null && own != null && ofPod !== own) {
      errors.push(invalidValue(`${at}.securityContext.windowsOptions.hostProcess`, own, `pod hostProcess value must be identical if both are specified, was ${ofPod}`));
    }
    return own ?? ofPod;
  });
  if (onHost.length === 0) return errors;
  if (onHost.length !== containers.length) errors.push(invalidValue(field, "", "If pod contains any hostProcess containers then all containers must be HostProcess containers"));
  if (!spec.hostNetwork) errors.push(invalidValue(`${field}.hostNetwork`, false, "hostNetwork must be true if pod contains any hostProcess containers"));
  return errors;
}

const notForWindows = {
  pod: ["hostUsers", "hostPID", "hostIPC", "shareProcessNamespace"],
  podSecurity: [
    "appArmorProfile", "seLinuxOptions", "seccompProfile", "fsGroup", "fsGroupChangePolicy", "sysctls", "runAsUser", "runAsGroup",
    "supplementalGroups", "supplementalGroupsPolicy", "seLinuxChangePolicy",
  ],
  containerSecurity: [
    "appArmorProfile", "seLinuxOptions", "seccompProfile", "capabilities", "readOnlyRootFilesystem", "privileged",
    "allowPrivilegeEscalation", "procMount", "runAsUser", "runAsGroup",
  ],
};

export function validateOs(field: string, spec: Obj): FieldError[] {
  if (!isObject(spec.os)) return [];
  const { name } = spec.os;
  if (!name) return [required(`${field}.os.name`, "cannot be empty")];
  if (name !== "linux" && name !== "windows") return [notSupported(`${field}.os`, name, ["linux", "windows"])];
  const contexts = containersOf(field, spec).map(([at, container]): [string, Obj | undefined] => [`${at}.securityContext`, container.securityContext]);
  const ofPod: [string, Obj | undefined] = [`${field}.securityContext`, spec.securityContext];
  if (name === "linux") return [ofPod, ...contexts].flatMap(([at, context]) => refuse(at, context, ["windowsOptions"], "windows options cannot be set for a linux pod"));
  const why = "cannot be set for a windows pod";
  return [
    ...refuse(...ofPod, notForWindows.podSecurity, why),
    ...refuse(field, spec, notForWindows.pod, why),
    ...contexts.flatMap(([at, context]) => refuse(at, context, notForWindows.containerSecurity, why)),
  ];
}

/** Namespaces of the host and lists are set when there is something in them. */
function refuse(at: string, object: Obj | undefined, names: readonly string[], why: string): FieldError[] {
  const isSet = (value: unknown, name: string): boolean => (name === "hostPID" || name === "hostIPC" ? value === true : Array.isArray(value) ? value.length > 0 : value != null);
  return names.filter((name) => isSet(object?.[name], name)).map((name) => forbidden(`${at}.${name}`, why));
}
