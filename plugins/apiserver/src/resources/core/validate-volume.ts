/** Validation of the volumes of a pod. */
import { isObject, items } from "../fields.ts";
import type { Obj } from "../types.ts";
import { duplicate, type FieldError, forbidden, invalidAll, invalidValue, notSupported, optionalOneOf, required } from "../validate/field.ts";
import { configKey, dns1123Label, noBacksteps, relativePath } from "../validate/names.ts";
import { quantityProblems } from "../validate/resources.ts";
import { validateClaimSpec } from "./validate-claim.ts";
import { validateFieldRef, validateResourceFieldRef, volumeFields } from "./validate-env.ts";

export type Check = (field: string, source: Obj) => FieldError[];

const MAX_MODE = 0o777;
export const hostPathTypes = ["", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"];

/** Fields that may not be empty. */
export const requires = (...fields: string[]): Check => (at, source) => fields.filter((f) => !source[f]).map((f) => required(`${at}.${f}`));

const projections: Readonly<Record<string, Check>> = {
  secret: (at, source) => [...requires("name")(at, source), ...keyPaths(at, source)],
  configMap: (at, source) => [...requires("name")(at, source), ...keyPaths(at, source)],
  downwardAPI: downwardItems,
  serviceAccountToken: validateToken,
  clusterTrustBundle: (at, source) => requires("path")(at, source),
  podCertificate: (at, source) => requires("signerName", "keyType")(at, source),
};

const sources: Readonly<Record<string, Check>> = {
  emptyDir: (at, { sizeLimit }) => (sizeLimit == null ? [] : quantityProblems(sizeLimit).map((why) => forbidden(`${at}.sizeLimit`, why))),
  hostPath: (at, source) => [
    ...(source.path ? noBacksteps(`${at}.path`, source.path) : [required(`${at}.path`)]),
    ...(source.type && !hostPathTypes.includes(source.type) ? [notSupported(`${at}.type`, source.type, hostPathTypes)] : []),
  ],
  secret: (at, source) => [...requires("secretName")(at, source), ...mode(at, source), ...keyPaths(at, source)],
  configMap: (at, source) => [...requires("name")(at, source), ...mode(at, source), ...keyPaths(at, source)],
  downwardAPI: (at, source) => [...mode(at, source), ...downwardItems(at, source)],
  projected: validateProjected,
  persistentVolumeClaim: requires("claimName"),
  ephemeral: (at, source) => (isObject(source.volumeClaimTemplate)
    ? validateClaimSpec(`${at}.volumeClaimTemplate.spec`, source.volumeClaimTemplate.spec ?? {}) : [required(`${at}.volumeClaimTemplate`)]),
  nfs: (at, source) => [
    ...requires("server", "path")(at, source),
    ...(String(source.path ?? "").startsWith("/") ? [] : [invalidValue(`${at}.path`, source.path ?? "", "must be an absolute path")]),
  ],
  csi: requires("driver"),
  image: (at, source) => [
    ...requires("reference")(at, source),
    ...optionalOneOf(`${at}.pullPolicy`, source.pullPolicy, ["Always", "IfNotPresent", "Never"]),
  ],
  iscsi: requires("targetPortal", "iqn"),
  cephfs: requires("monitors"),
  rbd: requires("monitors", "image"),
  glusterfs: requires("endpoints", "path"),
  gitRepo: requires("repository"),
  fc: () => [], flexVolume: requires("driver"), cinder: requires("volumeID"), flocker: () => [],
  gcePersistentDisk: requires("pdName"), awsElasticBlockStore: requires("volumeID"), azureFile: requires("secretName", "shareName"),
  azureDisk: requires("diskName", "diskURI"), vsphereVolume: requires("volumePath"), quobyte: requires("registry", "volume"),
  photonPersistentDisk: requires("pdID"), portworxVolume: requires("volumeID"), scaleIO: requires("gateway", "system", "volumeName"),
  storageos: () => [],
};

export function validateVolumes(field: string, spec: Obj): FieldError[] {
  const names = new Set<string>();
  return items(spec, "volumes").flatMap((volume, i) => {
    const at = `${field}[${i}]`;
    const errors = validateSource(at, volume);
    if (!volume.name) errors.push(required(`${at}.name`));
    else errors.push(...invalidAll(`${at}.name`, volume.name, dns1123Label(volume.name)));
    if (volume.name && names.has(volume.name)) errors.push(duplicate(`${at}.name`, volume.name));
    names.add(volume.name);
    return errors;
  });
}

function validateSource(at: string, volume: Obj): FieldError[] {
  const given = Object.keys(sources).filter((name) => isObject(volume[name]));
  if (given.length === 0) return [required(at, "must specify a volume type")];
  const [first, ...more] = given;
  return [
    ...sources[first!]!(`${at}.${first}`, volume[first!]),
    ...more.map((name) => forbidden(`${at}.${name}`, "may not specify more than 1 volume type")),
  ];
}

function mode(at: string, source: Obj, name = "defaultMode"): FieldError[] {
  const value = source[name];
  return value != null && (value < 0 || value > MAX_MODE)
    ? [invalidValue(`${at}.${name}`, value, "must be a number between 0 and 0777 (octal), both inclusive")] : [];
}

function keyPaths(at: string, source: Obj): FieldError[] {
  return items(source, "items").flatMap((item, i) => {
    const field = `${at}.items[${i}]`;
    return [
      ...(item.key ? invalidAll(`${field}.key`, item.key, configKey(item.key)) : [required(`${field}.key`)]),
      ...(item.path ? relativePath(`${field}.path`, item.path) : [required(`${field}.path`)]),
      ...mode(field, item, "mode"),
    ];
  });
}

function downwardItems(at: string, source: Obj): FieldError[] {
  return items(source, "items").flatMap((item) => {
    const field = at;
    const errors = item.path ? relativePath(`${field}.path`, item.path) : [required(`${field}.path`)];
    if (isObject(item.fieldRef)) {
      errors.push(...validateFieldRef(`${field}.fieldRef`, item.fieldRef, volumeFields));
      if (isObject(item.resourceFieldRef)) errors.push(invalidValue(field, "resource", "fieldRef and resourceFieldRef can not be specified simultaneously"));
    } else if (isObject(item.resourceFieldRef)) errors.push(...validateResourceFieldRef(`${field}.resourceFieldRef`, item.resourceFieldRef, true));
    else errors.push(required(`${field}.fieldRef`, "one of fieldRef and resourceFieldRef is required"));
    return [...errors, ...mode(field, item, "mode")];
  });
}

function validateToken(at: string, source: Obj): FieldError[] {
  const seconds = source.expirationSeconds;
  const errors: FieldError[] = [];
  if (seconds != null && seconds < 600) errors.push(invalidValue(`${at}.expirationSeconds`, seconds, "may not specify a duration less than 10 minutes"));
  if (seconds != null && seconds > 2 ** 32) errors.push(invalidValue(`${at}.expirationSeconds`, seconds, "may not specify a duration larger than 2^32 seconds"));
  return source.path ? errors : [...errors, required(`${at}.path`)];
}

function validateProjected(at: string, source: Obj): FieldError[] {
  const errors = items(source, "sources").flatMap((projection, i) => {
    const field = `${at}.sources[${i}]`;
    const given = Object.keys(projections).filter((name) => isObject(projection[name]));
    if (given.length === 0) return [required(field, "must specify a volume projection source")];
    const [first, ...more] = given;
    return [
      ...projections[first!]!(`${field}.${first}`, projection[first!]),
      ...more.map((name) => forbidden(`${field}.${name}`, "may not specify more than 1 volume type")),
    ];
  });
  return [...errors, ...mode(at, source)];
}
