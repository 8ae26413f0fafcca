/** Validation of containers of every sort: regular, init and ephemeral. */
import { isObject, items } from "../fields.ts";
import type { Obj } from "../types.ts";
import { duplicate, type FieldError, forbidden, invalidAll, invalidValue, notFound, notSupported, oneOf, optionalOneOf, required, tooMany } from "../validate/field.ts";
import { dns1123Label, portName, portNumber } from "../validate/names.ts";
import { validateClaimNames, validateRequirements } from "../validate/resources.ts";
import { validateEnv, validateEnvFrom } from "./validate-env.ts";
import { validateMounts } from "./validate-mounts.ts";
import { validateLifecycle, validateOneSuccess, validateProbe } from "./validate-probe.ts";
import { validateContainerSecurity } from "./validate-security.ts";

const protocols = ["SCTP", "TCP", "UDP"];
const pullPolicies = ["Always", "IfNotPresent", "Never"];
const messagePolicies = ["File", "FallbackToLogsOnError"];
const restartPolicies = ["Always", "Never", "OnFailure"];
const MAX_RESTART_RULES = 20;
const MAX_EXIT_CODES = 255;
const probes = ["livenessProbe", "readinessProbe", "startupProbe"] as const;
const notEphemeral = ["lifecycle", "livenessProbe", "ports", "readinessProbe", "resizePolicy", "resources", "startupProbe"] as const;

/** All containers of a pod spec. */
export function validateContainers(field: string, spec: Obj): FieldError[] {
  const volumes = new Map(items(spec, "volumes").map((v): [string, Obj] => [v.name, v]));
  const names = new Set<string>();
  const each = (list: string, check: (at: string, container: Obj) => FieldError[]): FieldError[] =>
    items(spec, list).flatMap((container, i) => {
      const at = `${field}.${list}[${i}]`;
      const errors = validateCommon(at, container, volumes, spec);
      if (container.name && names.has(container.name)) errors.push(duplicate(`${at}.name`, container.name));
      names.add(container.name);
      return [...errors, ...check(at, container)];
    });
  const hostPorts = new Set<string>();
  const regular = each("containers", (at, c) => validateRunning(at, c, spec));
  const conflicts = items(spec, "containers").flatMap((c, i) => hostPortConflicts(`${field}.containers[${i}]`, c, hostPorts));
  // Init containers run one after the other: ports are in conflict within one.
  const init = each("initContainers", (at, c) => [...hostPortConflicts(at, c, new Set()), ...validateInit(at, c, spec)]);
  const ephemeral = each("ephemeralContainers", (at, c) => validateEphemeral(at, c, spec));
  return [...(items(spec, "containers").length ? [] : [required(`${field}.containers`)]), ...regular, ...conflicts, ...init, ...ephemeral];
}

function validateCommon(at: string, container: Obj, volumes: ReadonlyMap<string, Obj>, spec: Obj): FieldError[] {
  const errors: FieldError[] = container.name ? invalidAll(`${at}.name`, container.name, dns1123Label(container.name)) : [required(`${at}.name`)];
  if (!container.image) errors.push(required(`${at}.image`));
  return [
    ...errors,
    ...oneOf(`${at}.terminationMessagePolicy`, container.terminationMessagePolicy, messagePolicies),
    ...validatePorts(`${at}.ports`, container),
    ...validateEnv(`${at}.env`, container, volumes),
    ...validateEnvFrom(`${at}.envFrom`, container),
    ...validateMounts(at, container, volumes),
    ...oneOf(`${at}.imagePullPolicy`, container.imagePullPolicy, pullPolicies),
    ...validateRequirements(`${at}.resources`, container.resources),
    ...validateClaimNames(`${at}.resources.claims`, items(container.resources, "claims"), items(spec, "resourceClaims").map(({ name }) => name)),
    ...validateResizePolicy(`${at}.resizePolicy`, container, spec),
    ...validateContainerSecurity(`${at}.securityContext`, container.securityContext, spec),
    ...validateRestartPolicy(at, container),
  ];
}

/** Of pods alone: templates may hold a space for what is filled in later. */
export function validateImages(field: string, spec: Obj): FieldError[] {
  return ["containers", "initContainers", "ephemeralContainers"].flatMap((list) => items(spec, list).flatMap(({ image }, i) =>
    (image && image !== image.trim() ? [invalidValue(`${field}.${list}[${i}].image`, image, "must not have leading or trailing whitespace")] : [])));
}

function validateResizePolicy(field: string, container: Obj, spec: Obj): FieldError[] {
  const seen = new Set<string>();
  return items(container, "resizePolicy").flatMap(({ resourceName, restartPolicy }, i) => {
    const errors = seen.has(resourceName) ? [duplicate(`${field}[${i}]`, resourceName)] : [];
    seen.add(resourceName);
    errors.push(...oneOf(field, resourceName, ["cpu", "memory"]), ...oneOf(field, restartPolicy, ["NotRequired", "RestartContainer"]));
    if (spec.restartPolicy === "Never" && restartPolicy !== "NotRequired") {
      errors.push(invalidValue(field, restartPolicy, "must be 'NotRequired' when `restartPolicy` is 'Never'"));
    }
    return errors;
  });
}

function validateRestartPolicy(at: string, container: Obj): FieldError[] {
  const rules = items(container, "restartPolicyRules");
  const errors = optionalOneOf(`${at}.restartPolicy`, container.restartPolicy, restartPolicies);
  if (rules.length > 0 && container.restartPolicy == null) errors.push(required(`${at}.restartPolicy`, "must specify restartPolicy when restart rules are used"));
  if (rules.length > MAX_RESTART_RULES) errors.push(tooMany(`${at}.restartPolicyRules`, rules.length, MAX_RESTART_RULES));
  rules.forEach(({ action, exitCodes }, i) => {
    const field = `${at}.restartPolicyRules[${i}]`;
    if (action !== "Restart") errors.push(notSupported(`${field}.action`, action ?? "", ["Restart"]));
    if (!isObject(exitCodes)) return void errors.push(required(`${field}.exitCodes`, "must be specified"));
    errors.push(...oneOf(`${field}.exitCodes.operator`, exitCodes.operator, ["In", "NotIn"]));
    const count = exitCodes.values?.length ?? 0;
    if (count > MAX_EXIT_CODES) errors.push(tooMany(`${field}.exitCodes.values`, count, MAX_EXIT_CODES));
  });
  return errors;
}

/** What containers have that run as long as the pod. */
function validateRunning(at: string, container: Obj, spec: Obj): FieldError[] {
  const errors = validateLifecycle(`${at}.lifecycle`, container.lifecycle, spec);
  for (const name of probes) {
    const probe = container[name];
    errors.push(...validateProbe(`${at}.${name}`, probe));
    if (name !== "readinessProbe") errors.push(...validateOneSuccess(`${at}.${name}`, probe));
    else if (probe?.terminationGracePeriodSeconds != null) {
      errors.push(invalidValue(`${at}.${name}.terminationGracePeriodSeconds`, probe.terminationGracePeriodSeconds, "must not be set for readinessProbes"));
    }
  }
  return errors;
}

function validateInit(at: string, container: Obj, spec: Obj): FieldError[] {
  if (container.restartPolicy === "Always") return validateRunning(at, container, spec);
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

function validatePorts(field: string, container: Obj): FieldError[] {
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
    return errors;
  });
}

/** On the host's network a port of a container is a port of the host. */
export function validateHostNetworkPorts(field: string, spec: Obj): FieldError[] {
  if (!spec.hostNetwork) return [];
  return items(spec, "containers").flatMap((container, i) => items(container, "ports").flatMap(({ hostPort, containerPort }, j) =>
    (hostPort && hostPort !== containerPort
      ? [invalidValue(`${field}.containers[${i}].ports[${j}].hostPort`, hostPort, "must match `containerPort` when `hostNetwork` is true")] : [])));
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
