/** Validation of storage.k8s.io. */
import { validateInlineVolume } from "../core/validate-persistent.ts";
import { items, same } from "../fields.ts";
import type { Obj } from "../types.ts";
import { duplicate, type FieldError, forbidden, IMMUTABLE, invalidAll, invalidValue, nonNegative, notSupported, required, tooLong } from "../validate/field.ts";
import { csiDriverName, dns1123Subdomain, qualifiedName } from "../validate/names.ts";
import { quantityProblems } from "../validate/resources.ts";
import { validateLabelSelector } from "../validate/selector.ts";

const MAX_PARAMETERS = 512;
const MAX_PARAMETER_BYTES = 256 * 1024;

export function validateStorageClass(object: Obj): FieldError[] {
  return [
    ...validateProvisioner("provisioner", object.provisioner),
    ...validateParameters(object.parameters),
    ...among("reclaimPolicy", object.reclaimPolicy || "Delete", ["Delete", "Retain"]),
    ...among("volumeBindingMode", object.volumeBindingMode, ["Immediate", "WaitForFirstConsumer"]),
    ...validateTopologies("allowedTopologies", items(object, "allowedTopologies")),
  ];
}

/** Also "" is not, where it does not stand for nothing. */
const among = (field: string, value: unknown, supported: readonly string[]): FieldError[] =>
  (value === undefined || supported.includes(value as string) ? [] : [notSupported(field, value, supported)]);

function validateTopologies(field: string, terms: readonly Obj[]): FieldError[] {
  // To upstream, a term that asks for nothing repeats another.
  const seen: object[] = [{}];
  return terms.flatMap((term, i) => {
    const at = `${field}[${i}].matchLabelExpressions`;
    const keys = new Set<string>();
    const errors = items(term, "matchLabelExpressions").flatMap(({ key = "", values }, j) => {
      const list: string[] = values ?? [];
      const problems = list.length > 0 ? [] : [required(`${at}[${j}].values`)];
      list.forEach((value, k) => list.indexOf(value) < k && problems.push(duplicate(`${at}[${j}].values[${k}]`, value)));
      problems.push(...invalidAll(`${at}[${j}].key`, key, qualifiedName(key)));
      if (keys.has(key)) problems.push(duplicate(`${at}[${j}].key`, key));
      keys.add(key);
      return problems;
    });
    const meaning = Object.fromEntries(items(term, "matchLabelExpressions").map(({ key, values }) => [key, [...(values ?? [])].sort()]));
    if (seen.some((other) => same(Object.entries(other), Object.entries(meaning)))) errors.push(duplicate(`${field}[${i}].matchLabelExpressions`, ""));
    seen.push(meaning);
    return errors;
  });
}

const validateProvisioner = (field: string, name: unknown): FieldError[] =>
  typeof name === "string" && name ? invalidAll(field, name, qualifiedName(name.toLowerCase())) : [required(field, "")];

function validateParameters(parameters: unknown): FieldError[] {
  const entries = Object.entries((parameters ?? {}) as Record<string, string>);
  if (entries.length > MAX_PARAMETERS) return [tooLong("parameters", MAX_PARAMETERS)];
  const errors: FieldError[] = [];
  if (entries.some(([key]) => key === "")) errors.push(invalidValue("parameters", "", "field can not be empty."));
  const size = sizeOf(parameters);
  if (size > MAX_PARAMETER_BYTES) errors.push(tooLong("parameters", MAX_PARAMETER_BYTES));
  return errors;
}

const sizeOf = (texts: unknown): number =>
  Object.entries((texts ?? {}) as Record<string, string>).reduce((sum, [key, value]) => sum + Buffer.byteLength(key) + Buffer.byteLength(value), 0);

const frozen = (object: Obj, old: Obj, fields: readonly string[]): FieldError[] =>
  fields.filter((field) => !same(object[field], old[field])).map((field) => forbidden(field, `updates to ${field} are forbidden.`));

export const validateStorageClassUpdate = (object: Obj, old: Obj): FieldError[] => [
  ...validateStorageClass(object), ...frozen(object, old, ["parameters", "provisioner", "reclaimPolicy"]),
  ...(object.volumeBindingMode === old.volumeBindingMode ? [] : [invalidValue("volumeBindingMode", object.volumeBindingMode, IMMUTABLE)]),
];

export function validateVolumeAttributesClass(object: Obj): FieldError[] {
  const errors = [...validateProvisioner("driverName", object.driverName), ...validateParameters(object.parameters)];
  const isEmpty = Object.keys(object.parameters ?? {}).length === 0;
  return isEmpty ? [...errors, required("parameters", "must contain at least one key/value pair")] : errors;
}

export const validateVolumeAttributesClassUpdate = (object: Obj, old: Obj): FieldError[] =>
  [...frozen(object, old, ["driverName", "parameters"]), ...validateVolumeAttributesClass(object)];

const policies = ["File", "None", "ReadWriteOnceWithFSType"];
const lifecycles = ["Persistent", "Ephemeral"];
const [MIN_TOKEN, MAX_TOKEN] = [600, 2 ** 32];
const MIN_PERIOD = 10;

export function validateCsiDriver({ spec }: Obj): FieldError[] {
  const period = spec.nodeAllocatableUpdatePeriodSeconds;
  const requests = items(spec, "tokenRequests");
  return [
    ...among("spec.fsGroupPolicy", spec.fsGroupPolicy, policies),
    ...validateTokenRequests("spec.tokenRequests", requests),
    ...((spec.volumeLifecycleModes ?? []) as string[]).flatMap((mode) => among("spec.volumeLifecycleModes", mode, lifecycles)),
    ...(period != null && period < MIN_PERIOD ? [invalidValue("spec.nodeAllocatableUpdatePeriodSeconds", period, "must be greater than or equal to 10 seconds")] : []),
    ...(spec.serviceAccountTokenInSecrets != null && requests.length === 0
      ? [invalidValue("spec.serviceAccountTokenInSecrets", spec.serviceAccountTokenInSecrets, "serviceAccountTokenInSecrets is set but no tokenRequests are specified")] : []),
  ];
}

function validateTokenRequests(field: string, requests: readonly Obj[]): FieldError[] {
  const audiences = new Set<string>();
  return requests.flatMap(({ audience = "", expirationSeconds: seconds }, i) => {
    if (audiences.has(audience)) return [duplicate(`${field}[${i}].audience`, audience)];
    audiences.add(audience);
    const why = seconds < MIN_TOKEN ? "less than 10 minutes" : seconds > MAX_TOKEN ? "larger than 2^32 seconds" : undefined;
    return why ? [invalidValue(`${field}[${i}].expirationSeconds`, seconds, `may not specify a duration ${why}`)] : [];
  });
}

/** Upstream has its own spelling of the one field in messages. */
const frozenOfDriver = [["attachRequired", "attachedRequired"], ["volumeLifecycleModes", "volumeLifecycleModes"]] as const;

export const validateCsiDriverUpdate = (object: Obj, old: Obj): FieldError[] => [
  ...validateCsiDriver(object),
  ...frozenOfDriver.filter(([field]) => !same(object.spec[field], old.spec[field])).map(([field, shown]) => invalidValue(`spec.${shown}`, object.spec[field], IMMUTABLE)),
];

const MAX_NODE_ID = 256;

export function validateCsiNode({ spec }: Obj): FieldError[] {
  const names = new Set<string>();
  return items(spec, "drivers").flatMap((driver, i) => {
    const { name = "", nodeID = "", allocatable, topologyKeys } = driver;
    const at = `spec.drivers[${i}]`;
    const again = names.has(name) ? [duplicate(`${at}.name`, name)] : [];
    names.add(name);
    return [
      ...csiDriverName(`${at}.name`, name),
      ...(nodeID ? [] : [required(`${at}.nodeID`)]),
      ...(Buffer.byteLength(nodeID) > MAX_NODE_ID ? [invalidValue(`${at}.nodeID`, nodeID, `must be ${MAX_NODE_ID} characters or less`)] : []),
      ...nonNegative(`${at}.allocatable.count`, allocatable?.count),
      ...again, ...validateTopologyKeys(at, topologyKeys ?? []),
    ];
  });
}

/** Upstream tells of them as of their driver. */
const validateTopologyKeys = (at: string, keys: readonly string[]): FieldError[] => keys.flatMap((key, i) => [
  ...(key ? [] : [required(at)]),
  ...(keys.indexOf(key) < i ? [duplicate(at, key)] : []),
  ...invalidAll(at, key, qualifiedName(key)),
]);

/** Drivers come and go, and may hold more or fewer volumes; otherwise they stay what they are. */
export function validateCsiNodeUpdate(node: Obj, old: Obj): FieldError[] {
  const before = items(old.spec, "drivers");
  const fixed = ({ allocatable: _, ...driver }: Obj): Obj => driver;
  const changed = items(node.spec, "drivers").filter((driver) => before.some((had) => had.name === driver.name && !same(fixed(had), fixed(driver))));
  return [...validateCsiNode(node), ...changed.map((driver) => invalidValue("spec.drivers", internalDriver(driver), IMMUTABLE))];
}

/** As upstream shows its internal type. */
const internalDriver = ({ name: Name = "", nodeID: NodeID = "", topologyKeys: TopologyKeys = null }: Obj): object => ({ Name, NodeID, TopologyKeys, Allocatable: null });

const MAX_ATTACHMENT = 256 * 1024;
const MAX_ERROR = 1024;
const ONE_OF = "must specify exactly one of inlineVolumeSpec and persistentVolumeName";

/** What is asked of new ones beyond what is of all. */
export function validateNewVolumeAttachment(attachment: Obj): FieldError[] {
  const { attacher = "", source } = attachment.spec ?? {};
  const name: string | undefined = source?.persistentVolumeName;
  return [
    ...validateVolumeAttachment(attachment), ...csiDriverName("spec.attacher", attacher),
    ...(name === undefined ? [] : invalidAll("spec.source.persistentVolumeName", name, dns1123Subdomain(name))),
  ];
}

function validateVolumeAttachment({ spec = {}, status }: Obj): FieldError[] {
  const { persistentVolumeName: name, inlineVolumeSpec: inline } = spec.source ?? {};
  return [
    ...(spec.attacher ? [] : [required("spec.attacher")]),
    ...(name === undefined && !inline ? [required("spec.source", ONE_OF)] : []),
    ...(name !== undefined && inline ? [forbidden("spec.source", ONE_OF)] : []),
    ...(name === "" && !inline ? [required("spec.source.persistentVolumeName", "must specify non empty persistentVolumeName")] : []),
    ...(name === undefined && inline ? validateInlineVolume("spec.source.inlineVolumeSpec", inline) : []),
    ...invalidAll("spec.nodeName", spec.nodeName ?? "", dns1123Subdomain(spec.nodeName ?? "")),
    ...validateAttachmentStatus(status ?? {}),
  ];
}

function validateAttachmentStatus(status: Obj): FieldError[] {
  return [
    ...(sizeOf(status.attachmentMetadata) > MAX_ATTACHMENT ? [tooLong("status.attachmentMetadata", MAX_ATTACHMENT)] : []),
    ...["attachError", "detachError"].flatMap((name) => {
      const { message = "", errorCode } = status[name] ?? {};
      return [
        ...(Buffer.byteLength(message) > MAX_ERROR ? [tooLong(`status.${name}.message`, MAX_ATTACHMENT)] : []),
        ...(errorCode < 0 ? [invalidValue(`status.${name}.errorCode`, errorCode, "must be between 0 and 2147483647, inclusive")] : []),
      ];
    }),
  ];
}

export const validateVolumeAttachmentUpdate = (object: Obj, old: Obj): FieldError[] =>
  [...validateVolumeAttachment(object), ...(same(object.spec, old.spec) ? [] : [invalidValue("spec", object.spec, IMMUTABLE)])];

export function validateCapacity(object: Obj): FieldError[] {
  const name: string = object.storageClassName ?? "";
  return [
    ...validateLabelSelector("nodeTopology", object.nodeTopology), ...invalidAll("storageClassName", name, dns1123Subdomain(name)),
    ...(object.capacity == null ? [] : invalidAll("capacity", object.capacity, quantityProblems(object.capacity))),
  ];
}

export const validateCapacityUpdate = (object: Obj, old: Obj): FieldError[] => [
  ...validateCapacity(object),
  ...["nodeTopology", "storageClassName"].filter((field) => !same(object[field], old[field])).map((field) => invalidValue(field, object[field], IMMUTABLE)),
];
