/** Validation of environment variables and their sources. */
import { isObject, items } from "../fields.ts";
import type { Obj } from "../types.ts";
import { type FieldError, invalidAll, invalidValue, notFound, notSupported, required } from "../validate/field.ts";
import { configKey, dns1123Subdomain, envVarName, qualifiedName, relativePath } from "../validate/names.ts";

const envFields = [
  "metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName", "spec.serviceAccountName",
  "status.hostIP", "status.hostIPs", "status.podIP", "status.podIPs",
];
export const volumeFields = ["metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"];
/** Paths that exist and yet cannot be used everywhere. */
const knownFields = new Set([...envFields, ...volumeFields, "spec.host", "spec.restartPolicy", "spec.schedulerName", "status.phase"]);
const envResources = [
  "limits.cpu", "limits.ephemeral-storage", "limits.memory", "requests.cpu", "requests.ephemeral-storage", "requests.memory",
];

export function validateEnv(field: string, container: Obj, volumes: ReadonlyMap<string, Obj>): FieldError[] {
  return items(container, "env").flatMap((variable, i) => {
    const at = `${field}[${i}]`;
    const name = variable.name ? invalidAll(`${at}.name`, variable.name, envVarName(variable.name)) : [required(`${at}.name`)];
    return [...name, ...validateSource(`${at}.valueFrom`, variable), ...validateFileVolume(`${at}.valueFrom.fileKeyRef`, variable.valueFrom?.fileKeyRef, volumes)];
  });
}

const sources: Readonly<Record<string, (field: string, ref: Obj) => FieldError[]>> = {
  fieldRef: (field, ref) => validateFieldRef(field, ref, envFields),
  resourceFieldRef: (field, ref) => validateResourceFieldRef(field, ref, false),
  configMapKeyRef: validateKeyRef,
  secretKeyRef: validateKeyRef,
  fileKeyRef: validateFileRef,
};

function validateFileRef(field: string, ref: Obj): FieldError[] {
  return [
    ...["volumeName", "path", "key"].filter((name) => !ref[name]).map((name) => required(`${field}.${name}`)),
    ...(ref.path ? relativePath(`${field}.path`, ref.path) : []),
  ];
}

/** Files come from a volume that other containers of the pod write. */
function validateFileVolume(field: string, ref: Obj | undefined, volumes: ReadonlyMap<string, Obj>): FieldError[] {
  if (!ref?.volumeName) return [];
  const volume = volumes.get(ref.volumeName);
  if (!volume) return [notFound(`${field}.volumeName`, ref.volumeName)];
  return volume.emptyDir ? [] : [invalidValue(`${field}.volumeName`, ref.volumeName, "referenced volume must be of type emptyDir")];
}

function validateSource(field: string, variable: Obj): FieldError[] {
  const source = variable.valueFrom;
  if (!isObject(source)) return [];
  const given = Object.keys(sources).filter((name) => isObject(source[name]));
  const errors = given.flatMap((name) => sources[name]!(`${field}.${name}`, source[name]));
  if (given.length === 0) errors.push(invalidValue(field, "", "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`"));
  else if (variable.value) errors.push(invalidValue(field, "", "may not be specified when `value` is not empty"));
  else if (given.length > 1) errors.push(invalidValue(field, "", "may not have more than one field specified at a time"));
  return errors;
}

function validateKeyRef(field: string, ref: Obj): FieldError[] {
  return [
    ...(ref.name ? [] : [required(`${field}.name`)]),
    ...(ref.key ? invalidAll(`${field}.key`, ref.key, configKey(ref.key)) : [required(`${field}.key`)]),
  ];
}

export function validateFieldRef(field: string, ref: Obj, supported: readonly string[]): FieldError[] {
  if (!ref.apiVersion) return [required(`${field}.apiVersion`)];
  if (!ref.fieldPath) return [required(`${field}.fieldPath`)];
  const at = `${field}.fieldPath`;
  const subscript = /^(.+)\['(.*)'\]$/.exec(ref.fieldPath);
  if (subscript) {
    const [, path, key = ""] = subscript;
    if (path === "metadata.annotations") return invalidAll(at, key, qualifiedName(key.toLowerCase()));
    if (path === "metadata.labels") return invalidAll(at, key, qualifiedName(key));
    return [invalidValue(at, path, "does not support subscript")];
  }
  if (!knownFields.has(ref.fieldPath)) return [invalidValue(at, ref.fieldPath, `error converting fieldPath: field label not supported: ${ref.fieldPath}`)];
  return supported.includes(ref.fieldPath) ? [] : [notSupported(at, ref.fieldPath, supported)];
}

export function validateResourceFieldRef(field: string, ref: Obj, volume: boolean): FieldError[] {
  if (volume && !ref.containerName) return [required(`${field}.containerName`)];
  if (!ref.resource) return [required(`${field}.resource`)];
  const known = envResources.includes(ref.resource) || /^(limits|requests)\.hugepages-/.test(ref.resource);
  return known ? [] : [notSupported(`${field}.resource`, ref.resource, envResources)];
}

export function validateEnvFrom(field: string, container: Obj): FieldError[] {
  return items(container, "envFrom").flatMap((source, i) => {
    const at = `${field}[${i}]`;
    const given = ["configMapRef", "secretRef"].filter((name) => isObject(source[name]));
    const errors = source.prefix ? invalidAll(`${at}.prefix`, source.prefix, envVarName(source.prefix)) : [];
    for (const name of given) {
      const ref = source[name];
      errors.push(...(ref.name ? invalidAll(`${at}.${name}.name`, ref.name, dns1123Subdomain(ref.name)) : [required(`${at}.${name}.name`)]));
    }
    if (given.length === 0) errors.push(invalidValue(at, "", "must specify one of: `configMapRef` or `secretRef`"));
    else if (given.length > 1) errors.push(invalidValue(at, "", "may not have more than one field specified at a time"));
    return errors;
  });
}
