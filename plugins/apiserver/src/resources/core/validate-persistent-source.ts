/** Validation of what a PersistentVolume is made of: one source, of the kinds that there are or have been. */
import { isObject } from "../fields.ts";
import type { Obj } from "../types.ts";
import { type FieldError, forbidden, invalidAll, invalidValue, notSupported, required } from "../validate/field.ts";
import { csiDriverName, dns1123Label, dns1123Subdomain, noBacksteps } from "../validate/names.ts";
import { type Check, hostPathTypes, requires } from "./validate-volume.ts";

const PARTITION = "must be between 1 and 255, inclusive";
const LUN = "must be between 0 and 255, inclusive";
const HOST_PORT = "must be a host:port pair or multiple pairs separated by commas";
const MAX_PORTAL = 64;
const MAX_TENANT = 64;

const path: Check = (at, source) => (source.path ? noBacksteps(`${at}.path`, source.path) : [required(`${at}.path`)]);
const partition: Check = (at, { partition: number = 0 }) => (number < 0 || number > 255 ? [invalidValue(`${at}.partition`, number, PARTITION)] : []);
const all = (...checks: Check[]): Check => (at, source) => checks.flatMap((check) => check(at, source));
const secret = (...fields: string[]): Check => (at, { secretRef }) => (isObject(secretRef) ? requires(...fields)(`${at}.secretRef`, secretRef) : []);
const lunProblems = (at: string, lun: number): FieldError[] => (lun < 0 || lun > 255 ? [invalidValue(`${at}.lun`, lun, LUN)] : []);

/** In upstream's order: the first that is given is the volume's. */
const sources: Readonly<Record<string, Check>> = {
  hostPath: (at, source) => [
    ...path(at, source),
    ...(source.path && source.type && !hostPathTypes.includes(source.type) ? [notSupported(`${at}.type`, source.type, hostPathTypes)] : []),
  ],
  gcePersistentDisk: all(requires("pdName"), partition),
  awsElasticBlockStore: all(requires("volumeID"), partition),
  glusterfs: all(requires("endpoints", "path"), (at, { endpointsNamespace: namespace }) => {
    if (namespace === "") return [invalidValue(`${at}.endpointsNamespace`, namespace, "if the endpointnamespace is set, it must be a valid namespace name")];
    return namespace == null ? [] : invalidAll(`${at}.endpointsNamespace`, namespace, dns1123Label(namespace));
  }),
  flocker: validateFlocker,
  nfs: all(requires("server", "path"), (at, { path: directory = "" }) => (directory.startsWith("/") ? [] : [invalidValue(`${at}.path`, directory, "must be an absolute path")])),
  rbd: (at, source) => [...(source.monitors?.length ? [] : [required(`${at}.monitors`)]), ...requires("image")(at, source)],
  quobyte: validateQuobyte,
  cephfs: (at, source) => (source.monitors?.length ? [] : [required(`${at}.monitors`)]),
  iscsi: validateIscsi,
  cinder: all(requires("volumeID"), secret("name", "namespace")),
  fc: validateFibreChannel,
  flexVolume: all(requires("driver"), reservedOptions),
  azureFile: all(requires("secretName", "shareName"), (at, { secretNamespace }) => (secretNamespace === "" ? [required(`${at}.secretNamespace`)] : [])),
  vsphereVolume: requires("volumePath"),
  photonPersistentDisk: requires("pdID"),
  portworxVolume: requires("volumeID"),
  azureDisk: validateAzureDisk,
  scaleIO: requires("gateway", "system", "volumeName"),
  local: path,
  storageos: all(requires("volumeName"), (at, { volumeName, volumeNamespace }) => [
    ...(volumeName ? invalidAll(`${at}.volumeName`, volumeName, dns1123Label(volumeName)) : []),
    ...(volumeNamespace ? invalidAll(`${at}.volumeNamespace`, volumeNamespace, dns1123Label(volumeNamespace)) : []),
  ], secret("name", "namespace")),
  csi: validateCsi,
};
/** Where upstream's messages name a source differently. */
const shownAs: Readonly<Record<string, string>> = { gcePersistentDisk: "persistentDisk" };
const shownAsSecond: Readonly<Record<string, string>> = { cephfs: "cephFS" };

export const persistentSources = Object.keys(sources);

/** `name` is the volume's, which iSCSI makes a part of another. */
export function validatePersistentSource(field: string, spec: Obj, name: string): FieldError[] {
  const [first, ...more] = persistentSources.filter((source) => isObject(spec[source]));
  if (!first) return [required(field, "must specify a volume type")];
  const at = `${field}.${shownAs[first] ?? first}`;
  return [
    ...sources[first]!(at, spec[first]),
    ...(first === "iscsi" ? validatePortal(at, spec[first], name) : []),
    ...(first === "local" && !isObject(spec.nodeAffinity) ? [required(`${field}.nodeAffinity`, "Local volume requires node affinity")] : []),
    ...more.map((other) => forbidden(`${field}.${shownAsSecond[other] ?? other}`, "may not specify more than 1 volume type")),
  ];
}

function validateFlocker(at: string, { datasetName = "", datasetUUID = "" }: Obj): FieldError[] {
  return [
    ...(datasetName || datasetUUID ? [] : [required(at, "one of datasetName and datasetUUID is required")]),
    ...(datasetName && datasetUUID ? [invalidValue(at, "resource", "datasetName and datasetUUID can not be specified simultaneously")] : []),
    ...(datasetName.includes("/") ? [invalidValue(`${at}.datasetName`, datasetName, "must not contain '/'")] : []),
  ];
}

function validateQuobyte(at: string, source: Obj): FieldError[] {
  const { registry = "", tenant = "" } = source;
  const errors: FieldError[] = [];
  if (!registry) errors.push(required(`${at}.registry`, HOST_PORT));
  else if (tenant.length > MAX_TENANT) errors.push(required(`${at}.tenant`, "must be a UUID and may not exceed a length of 64 characters"));
  else if (!registry.split(",").every((pair: string) => /^([^:[\]]*|\[[^\]]*\]):[^:]*$/.test(pair))) errors.push(invalidValue(`${at}.registry`, registry, HOST_PORT));
  return [...errors, ...requires("volume")(at, source)];
}

const initiators: readonly RegExp[] = [/^iqn\.\d{4}-\d{2}\.[a-zA-Z0-9.-]+(:[^,;*&$|\s]+)$/, /^eui.[a-zA-Z0-9]{16}$/, /^naa.[a-zA-Z0-9]{32}$/];
const initiatorProblems = (field: string, name: string): FieldError[] =>
  (initiators.some((pattern) => pattern.test(name)) ? [] : [invalidValue(field, name, "must be valid format")]);

function validateIscsi(at: string, source: Obj): FieldError[] {
  const needsSecret = (source.discoveryCHAPAuth || source.sessionCHAPAuth) && !isObject(source.secretRef);
  return [
    ...requires("targetPortal")(at, source),
    ...(source.iqn ? initiatorProblems(`${at}.iqn`, source.iqn) : [required(`${at}.iqn`)]),
    ...lunProblems(at, source.lun ?? 0),
    ...(needsSecret ? [required(`${at}.secretRef`)] : []),
    ...secret("name")(at, source),
    ...(source.initiatorName == null ? [] : initiatorProblems(`${at}.initiatorname`, source.initiatorName)),
  ];
}

function validatePortal(at: string, { initiatorName, targetPortal = "" }: Obj, name: string): FieldError[] {
  return initiatorName != null && `${name}:${targetPortal}`.length > MAX_PORTAL
    ? [invalidValue(`${at}.targetportal`, targetPortal, "Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters if iscsi.initiatorName is specified.")] : [];
}

function validateFibreChannel(at: string, { targetWWNs, wwids, lun }: Obj): FieldError[] {
  const [hasTargets, hasIds] = [targetWWNs?.length > 0, wwids?.length > 0];
  if (!hasTargets && !hasIds) return [required(`${at}.targetWWNs`, "must specify either targetWWNs or wwids, but not both")];
  const both = hasTargets && hasIds ? [invalidValue(`${at}.targetWWNs`, targetWWNs, "targetWWNs and wwids can not be specified simultaneously")] : [];
  if (!hasTargets) return both;
  return [...both, ...(lun == null ? [required(`${at}.lun`, "lun is required if targetWWNs is specified")] : lunProblems(at, lun))];
}

function reservedOptions(at: string, { options }: Obj): FieldError[] {
  const isReserved = (key: string): boolean => /\.(kubernetes|k8s)\.io$/.test(`.${key.split("/")[0]!.toLowerCase()}`);
  return Object.keys(options ?? {}).filter(isReserved)
    .map((key) => invalidValue(`${at}.options[${key}]`, key, "kubernetes.io and k8s.io namespaces are reserved"));
}

const cachingModes = ["None", "ReadOnly", "ReadWrite"];
const diskKinds = ["Dedicated", "Managed", "Shared"];

function validateAzureDisk(at: string, source: Obj): FieldError[] {
  const { cachingMode, kind, diskURI = "" } = source;
  const errors = requires("diskName", "diskURI")(at, source);
  if (cachingMode != null && !cachingModes.includes(cachingMode)) errors.push(notSupported(`${at}.cachingMode`, cachingMode, cachingModes));
  if (kind != null && !diskKinds.includes(kind)) errors.push(notSupported(`${at}.kind`, kind, diskKinds));
  const [start, form] = kind === "Managed" ? ["/subscriptions/", "/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}"]
    : ["https://", "https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd"];
  return kind != null && !diskURI.startsWith(start) ? [...errors, notSupported(`${at}.diskURI`, diskURI, [form])] : errors;
}

function validateCsi(at: string, source: Obj): FieldError[] {
  const secrets = ["controllerPublishSecretRef", "controllerExpandSecretRef", "nodePublishSecretRef", "nodeExpandSecretRef"];
  return [
    ...csiDriverName(`${at}.driver`, source.driver ?? ""), ...requires("volumeHandle")(at, source),
    ...secrets.filter((name) => isObject(source[name])).flatMap((name) => validateSecretRef(`${at}.${name}`, source[name])),
  ];
}

const validateSecretRef = (at: string, { name, namespace }: Obj): FieldError[] => [
  ...(name ? invalidAll(`${at}.name`, name, dns1123Subdomain(name)) : [required(`${at}.name`)]),
  ...(namespace ? invalidAll(`${at}.namespace`, namespace, dns1123Label(namespace)) : [required(`${at}.namespace`)]),
];
