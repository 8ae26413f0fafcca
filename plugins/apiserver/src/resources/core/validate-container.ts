/** Validation of containers of every sort: regular, init and ephemeral. */
import { isObject, items } from "../fields.ts";
import type { Obj } from "../types.ts";
import { duplicate, type FieldError, forbidden, invalidAll, invalidValue, notFound, oneOf, optionalOneOf, required } from "../validate/field.ts";
import { dns1123Label, portName, portNumber, relativePath } from "../validate/names.ts";
import { validateRequirements } from "../validate/resources.ts";
import { validateEnv, validateEnvFrom } from "./validate-env.ts";
import { validateLifecycle, validateOneSuccess, validateProbe } from "./validate-probe.ts";
import { validateContainerSecurity } from "./validate-security.ts";

const protocols = ["SCTP", "TCP", "UDP"];
const pullPolicies = ["Always", "IfNotPresent", "Never"];
const restartPolicies = ["Always", "Never", "OnFailure"];
const probes = ["livenessProbe", "readinessProbe", "startupProbe"] as const;
const notEphemeral = ["lifecycle", "livenessProbe", "ports", "readinessProbe", "resizePolicy", "resources", "startupProbe"] as const;

/** All containers of a pod spec. */
export function validateContainers(field: string, spec: Obj): FieldError[] {
  const volumes = new Map(items(spec, "volumes").map((v): [string, Obj] => [v.name, v]));
  const names = new Set<string>();
  const hostPorts = new Set<string>();
  const each = (list: string, check: (at: string, container: Obj) => FieldError[]): FieldError[] =>
    items(spec, list).flatMap((container, i) => {
      const at = `${field}.${list}[${i}]`;
      const errors = [...validateCommon(at, container, volumes, spec), ...check(at, container)];
      if (container.name && names.has(container.name)) errors.push(duplicate(`${at}.name`, container.name));
      names.add(container.name);
      return errors;
    });
  const conflicts = (at: string, container: Obj) => hostPortConflicts(at, container, hostPorts);
  const regular = each("containers", (at, c) => [...validateRunning(at, c), ...conflicts(at, c)]);
  const init = each("initContainers", (at, c) => [...validateInit(at, c), ...(c.restartPolicy === "Always" ? conflicts(at, c) : [])]);
  const ephemeral = each("ephemeralContainers", (at, c) => validateEphemeral(at, c, spec));
  return [...(items(spec, "containers").length ? [] : [required(`${field}.containers`)]), ...regular, ...init, ...ephemeral];
}

function validateCommon(at: string, container: Obj, volumes: ReadonlyMap<string, Obj>, spec: Obj): FieldError[] {
  const errors: FieldError[] = container.name ? invalidAll(`${at}.name`, container.name, dns1123Label(container.name)) : [required(`${at}.name`)];
  errors.push(...validateImage(at, container.image));
  const policy = container.terminationMessagePolicy;
  if (!policy) errors.push(required(`${at}.terminationMessagePolicy`));
  else if (policy !== "File" && policy !== "FallbackToLogsOnError") {
    errors.push(invalidValue(`${at}.terminationMessagePolicy`, policy, "must be 'File' or 'FallbackToLogsOnError'"));
  }
  return [
    ...errors,
    ...validatePorts(`${at}.ports`, container, spec.hostNetwork === true),
    ...validateEnv(`${at}.env`, container),
    ...validateEnvFrom(`${at}.envFrom`, container),
    ...validateMounts(at, container, volumes),
    ...oneOf(`${at}.imagePullPolicy`, container.imagePullPolicy, pullPolicies),
    ...validateRequirements(`${at}.resources`, container.resources),
    ...validateContainerSecurity(`${at}.securityContext`, container.securityContext),
    ...optionalOneOf(`${at}.restartPolicy`, container.restartPolicy, restartPolicies),
  ];
}

function validateImage(at: string, image: unknown): FieldError[] {
  if (typeof image !== "string" || image.trim() === "") return [required(`${at}.image`)];
  return image !== image.trim() ? [invalidValue(`${at}.image`, image, "must not have leading or trailing whitespace")] : [];
}

/** What containers have that run as long as the pod. */
function validateRunning(at: string, container: Obj): FieldError[] {
  const errors = validateLifecycle(`${at}.lifecycle`, container.lifecycle);
  for (const name of probes) errors.push(...validateProbe(`${at}.${name}`, container[name]));
  for (const name of ["livenessProbe", "startupProbe"]) errors.push(...validateOneSuccess(`${at}.${name}`, container[name]));
  const grace = container.readinessProbe?.terminationGracePeriodSeconds;
  if (grace != null) errors.push(invalidValue(`${at}.readinessProbe.terminationGracePeriodSeconds`, grace, "must not be set for readinessProbes"));
  return errors;
}

function validateInit(at: string, container: Obj): FieldError[] {
  if (container.restartPolicy === "Always") return validateRunning(at, container);
  return ["lifecycle", ...probes].filter((name) => container[name] != null)
    .map((name) => forbidden(`${at}.${name}`, "may not be set for init containers without restartPolicy=Always"));
}

function validateEphemeral(at: string, container: Obj, spec: Obj): FieldError[] {
  const isSet = (name: string): boolean =>
    name === "resources" ? Object.keys({ ...container.resources?.limits, ...container.resources?.requests }).length > 0
      : Array.isArray(container[name]) ? container[name].length > 0 : container[name] != null;
  const errors = notEphemeral.filter(isSet).map((name) => forbidden(`${at}.${name}`, "cannot be set for an Ephemeral Container"));
  items(container, "volumeMounts").forEach((mount, i) => {
    for (const name of ["subPath", "subPathExpr"]) if (mount[name]) errors.push(forbidden(`${at}.volumeMounts[${i}].${name}`, "cannot be set for an Ephemeral Container"));
  });
  const target = container.targetContainerName;
  const known = [...items(spec, "containers"), ...items(spec, "initContainers")].some((c) => c.name === target);
  if (target && !known) errors.push(notFound(`${at}.targetContainerName`, target));
  return errors;
}

function validatePorts(field: string, container: Obj, hostNetwork: boolean): FieldError[] {
  const names = new Set<string>();
  return items(container, "ports").flatMap((port, i) => {
    const at = `${field}[${i}]`;
    const errors: FieldError[] = [];
    if (port.name) {
      const problems = portName(port.name);
      if (problems.length) errors.push(...invalidAll(`${at}.name`, port.name, problems));
      else if (names.has(port.name)) errors.push(duplicate(`${at}.name`, port.name));
      names.add(port.name);
    }
    if (!port.containerPort) errors.push(required(`${at}.containerPort`));
    else errors.push(...invalidAll(`${at}.containerPort`, port.containerPort, portNumber(port.containerPort)));
    if (port.hostPort) errors.push(...invalidAll(`${at}.hostPort`, port.hostPort, portNumber(port.hostPort)));
    errors.push(...oneOf(`${at}.protocol`, port.protocol, protocols));
    if (hostNetwork && port.hostPort && port.hostPort !== port.containerPort) {
      errors.push(invalidValue(`${at}.containerPort`, port.containerPort, "must match `hostPort` when `hostNetwork` is true"));
    }
    return errors;
  });
}

function hostPortConflicts(at: string, container: Obj, seen: Set<string>): FieldError[] {
  return items(container, "ports").flatMap((port, i) => {
    if (!port.hostPort) return [];
    const key = `${port.protocol}/${port.hostIP ?? ""}/${port.hostPort}`;
    if (seen.has(key)) return [duplicate(`${at}.ports[${i}].hostPort`, key)];
    seen.add(key);
    return [];
  });
}

function validateMounts(at: string, container: Obj, volumes: ReadonlyMap<string, Obj>): FieldError[] {
  const paths = new Set<string>();
  const mounts = items(container, "volumeMounts").flatMap((mount, i) => {
    const errors = validateMount(`${at}.volumeMounts[${i}]`, mount, volumes, container);
    if (mount.mountPath && paths.has(mount.mountPath)) errors.push(invalidValue(`${at}.volumeMounts[${i}].mountPath`, mount.mountPath, "must be unique"));
    paths.add(mount.mountPath);
    return errors;
  });
  const devices = items(container, "volumeDevices").flatMap((device, i) => {
    const field = `${at}.volumeDevices[${i}]`;
    const errors: FieldError[] = [];
    if (!device.name) errors.push(required(`${field}.name`));
    else if (!volumes.has(device.name)) errors.push(notFound(`${field}.name`, device.name));
    else if (!isObject(volumes.get(device.name)!.persistentVolumeClaim) && !isObject(volumes.get(device.name)!.ephemeral)) {
      errors.push(invalidValue(`${field}.name`, device.name, "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode"));
    }
    if (!device.devicePath) errors.push(required(`${field}.devicePath`));
    else if (paths.has(device.devicePath)) errors.push(invalidValue(`${field}.devicePath`, device.devicePath, "must not already exist in volumeMounts"));
    return errors;
  });
  return [...mounts, ...devices];
}

function validateMount(field: string, mount: Obj, volumes: ReadonlyMap<string, Obj>, container: Obj): FieldError[] {
  const errors: FieldError[] = [];
  if (!mount.name) errors.push(required(`${field}.name`));
  else if (!volumes.has(mount.name)) errors.push(notFound(`${field}.name`, mount.name));
  if (!mount.mountPath) errors.push(required(`${field}.mountPath`));
  if (mount.subPath) errors.push(...relativePath(`${field}.subPath`, mount.subPath));
  if (mount.subPathExpr) {
    if (mount.subPath) errors.push(invalidValue(`${field}.subPathExpr`, mount.subPathExpr, "subPathExpr and subPath are mutually exclusive"));
    errors.push(...relativePath(`${field}.subPathExpr`, mount.subPathExpr));
  }
  errors.push(...optionalOneOf(`${field}.mountPropagation`, mount.mountPropagation, ["Bidirectional", "HostToContainer", "None"]));
  if (mount.mountPropagation === "Bidirectional" && !container.securityContext?.privileged) {
    errors.push(forbidden(`${field}.mountPropagation`, "Bidirectional mount propagation is available only to privileged containers"));
  }
  return errors;
}
