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

export function validateLifecycle(field: string, lifecycle: unknown, spec: Obj): FieldError[] {
  if (!isObject(lifecycle)) return [];
  const grace: number = spec.terminationGracePeriodSeconds;
  const handlers = ["postStart", "preStop"].filter((name) => isObject(lifecycle[name]));
  return [
    ...handlers.flatMap((name) => validateHandler(`${field}.${name}`, lifecycle[name] as Obj, grace)),
    ...(lifecycle.stopSignal == null ? [] : validateStopSignal(`${field}.stopSignal`, lifecycle.stopSignal, spec.os?.name)),
  ];
}

const numbered = (from: number, to: number, prefix: string): string[] => Array.from({ length: to - from + 1 }, (_, i) => `${prefix}${from + i}`);

const stopSignals: Readonly<Record<string, readonly string[]>> = {
  linux: [
    "SIGABRT", "SIGALRM", "SIGBUS", "SIGCHLD", "SIGCLD", "SIGCONT", "SIGFPE", "SIGHUP", "SIGILL", "SIGINT", "SIGIO", "SIGIOT", "SIGKILL",
    "SIGPIPE", "SIGPOLL", "SIGPROF", "SIGPWR", "SIGQUIT", "SIGRTMAX", ...numbered(1, 14, "SIGRTMAX-"), "SIGRTMIN", ...numbered(1, 15, "SIGRTMIN+"),
    "SIGSEGV", "SIGSTKFLT", "SIGSTOP", "SIGSYS", "SIGTERM", "SIGTRAP", "SIGTSTP", "SIGTTIN", "SIGTTOU", "SIGURG", "SIGUSR1", "SIGUSR2",
    "SIGVTALRM", "SIGWINCH", "SIGXCPU", "SIGXFSZ",
  ].sort(),
  windows: ["SIGKILL", "SIGTERM"],
};

/** Which signals there are depends on where the pod runs (KEP-4960). */
function validateStopSignal(field: string, signal: unknown, os: string | undefined): FieldError[] {
  if (!os) return [forbidden(field, "may not be set for containers with empty `spec.os.name`")];
  return oneOf(field, signal, stopSignals[os] ?? []);
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
