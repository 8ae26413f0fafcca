/** Validation of probes and lifecycle handlers. */
import { isObject } from "../fields.ts";
import type { Obj } from "../types.ts";
import { type FieldError, forbidden, invalidValue, nonNegative, oneOf, required } from "../validate/field.ts";
import { portOrName } from "../validate/names.ts";

const schemes = ["HTTP", "HTTPS"];

export function validateProbe(field: string, probe: unknown): FieldError[] {
  if (!isObject(probe)) return [];
  const errors = validateHandler(field, probe);
  for (const name of ["initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"]) {
    errors.push(...nonNegative(`${field}.${name}`, probe[name]));
  }
  const grace = probe.terminationGracePeriodSeconds;
  if (grace != null && grace <= 0) errors.push(invalidValue(`${field}.terminationGracePeriodSeconds`, grace, "must be greater than 0"));
  return errors;
}

/** Liveness and startup probes succeed at once. */
export function validateOneSuccess(field: string, probe: unknown): FieldError[] {
  if (!isObject(probe) || probe.successThreshold == null || probe.successThreshold === 1) return [];
  return [invalidValue(`${field}.successThreshold`, probe.successThreshold, "must be 1")];
}

/** `grace` = the time that the pod has to end. */
export function validateLifecycle(field: string, lifecycle: unknown, grace: number): FieldError[] {
  if (!isObject(lifecycle)) return [];
  return ["postStart", "preStop"].flatMap((name) => (isObject(lifecycle[name]) ? validateHandler(`${field}.${name}`, lifecycle[name], grace) : []));
}

const handlers: Readonly<Record<string, (field: string, action: Obj, grace?: number) => FieldError[]>> = {
  exec: (field, action) => (action.command?.length ? [] : [required(`${field}.command`)]),
  httpGet: validateHttpGet,
  tcpSocket: (field, action) => portOrName(`${field}.port`, action.port),
  grpc: (field, action) => portOrName(`${field}.port`, action.port),
  sleep: (field, { seconds = 0 }, grace = Infinity) => (seconds < 0 || seconds > grace
    ? [invalidValue(field, seconds, `must be non-negative and less than terminationGracePeriodSeconds (${grace})`)] : []),
};

function validateHandler(field: string, handler: Obj, grace?: number): FieldError[] {
  const given = Object.keys(handlers).filter((name) => isObject(handler[name]));
  if (given.length === 0) return [required(field, "must specify a handler type")];
  const [first, ...more] = given;
  return [
    ...handlers[first!]!(`${field}.${first}`, handler[first!], grace),
    ...more.map((name) => forbidden(`${field}.${name}`, "may not specify more than 1 handler type")),
  ];
}

const headerName = /^[-A-Za-z0-9]+$/;

function validateHttpGet(field: string, action: Obj): FieldError[] {
  const errors: FieldError[] = action.path ? [] : [required(`${field}.path`)];
  errors.push(...portOrName(`${field}.port`, action.port), ...oneOf(`${field}.scheme`, action.scheme, schemes));
  (action.httpHeaders ?? []).forEach((header: Obj) => {
    if (headerName.test(header.name ?? "")) return;
    errors.push(invalidValue(`${field}.httpHeaders`, header.name, "a valid HTTP header must consist of alphanumeric characters or '-' (e.g. 'X-Header-Name', regex used for validation is '[-A-Za-z0-9]+')"));
  });
  return errors;
}
