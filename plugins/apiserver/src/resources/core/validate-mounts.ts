/** Validation of the volumes that containers mount, and of the devices that they get. */
import { isObject, items } from "../fields.ts";
import type { Obj } from "../types.ts";
import { type FieldError, forbidden, invalidValue, notFound, optionalOneOf, required } from "../validate/field.ts";
import { noBacksteps, relativePath } from "../validate/names.ts";

type Volumes = ReadonlyMap<string, Obj>;

export function validateMounts(at: string, container: Obj, volumes: Volumes): FieldError[] {
  const [mounts, devices] = [items(container, "volumeMounts"), items(container, "volumeDevices")];
  const paths = new Set<string>();
  const ofMounts = mounts.flatMap((mount, i) => {
    const field = `${at}.volumeMounts[${i}]`;
    const errors = validateMount(field, mount, volumes);
    if (paths.has(mount.mountPath)) errors.push(invalidValue(`${field}.mountPath`, mount.mountPath, "must be unique"));
    paths.add(mount.mountPath);
    if (mount.name && devices.some(({ name }) => name === mount.name)) errors.push(invalidValue(`${field}.name`, mount.name, "must not already exist in volumeDevices"));
    if (mount.mountPath && devices.some(({ devicePath }) => devicePath === mount.mountPath)) {
      errors.push(invalidValue(`${field}.mountPath`, mount.mountPath, "must not already exist as a path in volumeDevices"));
    }
    return [...errors, ...validateMountOptions(`${at}.volumeMounts`, mount, i, container)];
  });
  return [...ofMounts, ...validateDevices(`${at}.volumeDevices`, devices, mounts, volumes)];
}

function validateMount(field: string, mount: Obj, volumes: Volumes): FieldError[] {
  const errors: FieldError[] = mount.name ? [] : [required(`${field}.name`)];
  if (!volumes.has(mount.name)) errors.push(notFound(`${field}.name`, mount.name ?? ""));
  if (!mount.mountPath) errors.push(required(`${field}.mountPath`));
  return errors;
}

/** Upstream names the list alone for most of these. */
function validateMountOptions(list: string, mount: Obj, i: number, container: Obj): FieldError[] {
  const errors = mount.subPath ? relativePath(`${list}.subPath`, mount.subPath) : [];
  if (mount.subPathExpr) {
    if (mount.subPath) errors.push(invalidValue(`${list}[${i}].subPathExpr`, mount.subPathExpr, "subPathExpr and subPath are mutually exclusive"));
    errors.push(...relativePath(`${list}.subPathExpr`, mount.subPathExpr));
  }
  errors.push(...optionalOneOf(`${list}.mountPropagation`, mount.mountPropagation, ["Bidirectional", "HostToContainer", "None"]));
  if (mount.mountPropagation === "Bidirectional" && !container.securityContext?.privileged) {
    errors.push(forbidden(`${list}.mountPropagation`, "Bidirectional mount propagation is available only to privileged containers"));
  }
  const recursive = mount.recursiveReadOnly;
  errors.push(...optionalOneOf(`${list}.recursiveReadOnly`, recursive, ["Disabled", "Enabled", "IfPossible"]));
  if (recursive === "Enabled" || recursive === "IfPossible") {
    if (!mount.readOnly) errors.push(forbidden(`${list}.recursiveReadOnly`, "may only be specified when readOnly is true"));
    if (mount.mountPropagation != null && mount.mountPropagation !== "None") {
      errors.push(forbidden(`${list}.recursiveReadOnly`, "may only be specified when mountPropagation is None or not specified"));
    }
  }
  return errors;
}

function validateDevices(list: string, devices: readonly Obj[], mounts: readonly Obj[], volumes: Volumes): FieldError[] {
  const names = new Set<string>();
  const paths = new Set<string>();
  return devices.flatMap(({ name = "", devicePath: path = "" }, i) => {
    const field = `${list}[${i}]`;
    const errors: FieldError[] = [];
    const wrong = (part: "name" | "devicePath", why: string) => errors.push(invalidValue(`${field}.${part}`, part === "name" ? name : path, why));
    if (!name) errors.push(required(`${field}.name`));
    if (names.has(name)) wrong("name", "must be unique");
    const volume = volumes.get(name);
    if (!volume) errors.push(notFound(`${field}.name`, name));
    else if (!isObject(volume.persistentVolumeClaim) && !isObject(volume.ephemeral)) wrong("name", "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode");
    if (!path) errors.push(required(`${field}.devicePath`));
    if (paths.has(path)) wrong("devicePath", "must be unique");
    if (noBacksteps(field, path).length > 0) wrong("devicePath", "can not contain backsteps ('..')");
    else paths.add(path);
    if (name && mounts.some((mount) => mount.name === name)) wrong("name", "must not already exist in volumeMounts");
    if (path && mounts.some((mount) => mount.mountPath === path)) wrong("devicePath", "must not already exist as a path in volumeMounts");
    if (name) names.add(name);
    return errors;
  });
}
