/** The options of upstream's server that say how much it does at once, and for how long. */
import { argError, numberArg, type ServerArgs } from "./args.ts";
import type { ServerLimits } from "./api-server.ts";
import { parseDuration } from "./deadline.ts";

/** The server has to be gone before the kernel's patience is, which is eight seconds for stopping. */
const MAX_SHUTDOWN_DELAY = 3000;

export function limitsOf(args: ServerArgs): ServerLimits {
  const readOnly = numberArg(args, "max-requests-inflight");
  const mutating = numberArg(args, "max-mutating-requests-inflight");
  const requestTimeout = durationArg(args, "request-timeout");
  const shutdownDelay = durationArg(args, "shutdown-delay-duration");
  if (shutdownDelay !== undefined && shutdownDelay > MAX_SHUTDOWN_DELAY) {
    throw argError("shutdown-delay-duration", `${args.get("shutdown-delay-duration")} is too long`, "give 3s or less: the whole server stops within eight seconds");
  }
  return {
    ...(readOnly !== undefined && { readOnly }), ...(mutating !== undefined && { mutating }), fair: fairness(args),
    ...(requestTimeout && { requestTimeout }), ...(shutdownDelay && { shutdownDelay }),
  };
}

function fairness(args: ServerArgs): boolean {
  const text = args.get("enable-priority-and-fairness") ?? "true";
  if (text === "true" || text === "false") return text === "true";
  throw argError("enable-priority-and-fairness", `${JSON.stringify(text)} is neither true nor false`, "give true or false");
}

/** Milliseconds. */
function durationArg(args: ServerArgs, name: string): number | undefined {
  const text = args.get(name);
  if (text === undefined) return undefined;
  const milliseconds = parseDuration(text);
  if (milliseconds !== undefined && milliseconds >= 0) return milliseconds;
  throw argError(name, `${JSON.stringify(text)} is no duration`, "give one such as 30s or 1m30s");
}
