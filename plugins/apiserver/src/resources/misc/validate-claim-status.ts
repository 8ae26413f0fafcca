/** Validation of a ResourceClaim's status: what is allocated to it, and who may use it. */
import { isObject, items, same } from "../fields.ts";
import type { Obj } from "../types.ts";
import { validateNodeSelector } from "../core/validate-scheduling.ts";
import { validateConditions } from "../validate/conditions.ts";
import { type FieldError, forbidden, IMMUTABLE, invalidValue, oneOf, required, tooLong, tooMany } from "../validate/field.ts";
import { csiDriverName } from "../validate/names.ts";
import { deviceName, driverData, each, eachOnce, MAX_ITEMS, poolName, requestReference, validateConfig } from "./device-parts.ts";

const MAX_CONSUMERS = 256;
const MAX_CONDITIONS = 8;
const MAX_ADDRESSES = 16;
const MAX_INTERFACE = 256;
const MAX_HARDWARE_ADDRESS = 128;

export function validateResourceClaimStatus({ metadata, spec, status = {} }: Obj, old: Obj): FieldError[] {
  const before = old.status ?? {};
  const allocated = new Set(items(status.allocation?.devices, "results").map(deviceId));
  return [
    ...eachOnce("status.reservedFor", items(status, "reservedFor"), MAX_CONSUMERS, validateConsumer, ({ uid }) => uid),
    ...eachOnce("status.devices", items(status, "devices"), Infinity, (at, device) => validateDeviceStatus(at, device, allocated), deviceId),
    ...validateReservations(status, before, metadata?.deletionTimestamp != null),
    ...validateAllocation(status.allocation, before.allocation, requestReference(items(spec?.devices, "requests"))),
  ];
}

/** A device that several claims share has a name for each share. */
const deviceId = ({ driver, pool, device, shareID }: Obj): string => [driver, pool, device, ...(shareID ? [shareID] : [])].join("/");

const validateConsumer = (at: string, consumer: Obj): FieldError[] =>
  ["resource", "name", "uid"].filter((field) => !consumer[field]).map((field) => required(`${at}.${field}`));

function validateReservations(status: Obj, before: Obj, isDeleted: boolean): FieldError[] {
  const consumers = items(status, "reservedFor");
  if (consumers.length === 0) return [];
  if (!status.allocation) return [forbidden("status.reservedFor", "may not be specified when `allocated` is not set")];
  const isNew = (consumer: Obj): boolean => !items(before, "reservedFor").some((known) => same(known, consumer));
  return isDeleted && consumers.some(isNew)
    ? [forbidden("status.reservedFor", "new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set")]
    : [];
}

function validateAllocation(allocation: unknown, before: unknown, reference: (field: string, name: string) => FieldError[]): FieldError[] {
  if (!isObject(allocation)) return [];
  const at = "status.allocation";
  if (before) return same(allocation, before) ? [] : [invalidValue(at, allocation, IMMUTABLE)];
  return [
    ...each(`${at}.devices.results`, items(allocation.devices, "results"), MAX_ITEMS, (field, result) => [
      ...reference(`${field}.request`, result.request ?? ""), ...validateDevice(field, result),
    ]),
    ...each(`${at}.devices.config`, items(allocation.devices, "config"), 2 * MAX_ITEMS, (field, config) => [
      ...oneOf(`${field}.source`, config.source, ["FromClaim", "FromClass"]),
      ...eachOnce(`${field}.requests`, (config.requests ?? []) as string[], MAX_ITEMS, reference, (name) => name),
      ...validateConfig(field, config),
    ]),
    ...(isObject(allocation.nodeSelector) ? validateNodeSelector(`${at}.nodeSelector`, allocation.nodeSelector) : []),
  ];
}

const validateDevice = (at: string, { driver = "", pool, device }: Obj): FieldError[] =>
  [...csiDriverName(`${at}.driver`, driver), ...poolName(`${at}.pool`, pool), ...deviceName(`${at}.device`, device)];

function validateDeviceStatus(at: string, device: Obj, allocated: ReadonlySet<string>): FieldError[] {
  const conditions = items(device, "conditions");
  return [
    ...validateDevice(at, device),
    ...(allocated.has(deviceId(device)) ? [] : [invalidValue(at, deviceId(device), "must be an allocated device in the claim")]),
    ...(conditions.length > MAX_CONDITIONS ? [tooMany(`${at}.conditions`, conditions.length, MAX_CONDITIONS)] : []),
    ...validateConditions(`${at}.conditions`, conditions),
    ...(device.data == null ? [] : driverData(`${at}.data`, device.data)),
    ...validateNetwork(`${at}.networkData`, device.networkData ?? {}),
  ];
}

function validateNetwork(at: string, { interfaceName = "", hardwareAddress = "", ips = [] }: Obj): FieldError[] {
  return [
    ...(interfaceName.length > MAX_INTERFACE ? [tooLong(`${at}.interfaceName`, MAX_INTERFACE)] : []),
    ...(hardwareAddress.length > MAX_HARDWARE_ADDRESS ? [tooLong(`${at}.hardwareAddress`, MAX_HARDWARE_ADDRESS)] : []),
    ...eachOnce(`${at}.ips`, ips as string[], MAX_ADDRESSES, () => [], (address) => address),
  ];
}
