/** How long a request may take: a minute, or what the client says in `?timeout=`, when that is less. */
import { apiError, badRequest } from "@k3s-p/plugin-api/kube";
import type { ApiRequest } from "./request.ts";

/** Upstream's `--request-timeout`. */
export const REQUEST_TIMEOUT = 60_000;

/** Milliseconds; 400 for what is no duration. */
export function deadlineOf(req: Pick<ApiRequest, "url" | "query">, longest: number): number {
  if (!req.url.includes("timeout=")) return longest;
  const text = req.query.get("timeout");
  if (!text) return longest;
  const asked = parseDuration(text);
  if (asked === undefined) throw badRequest(`invalid timeout specified in the request URL - time: invalid duration ${JSON.stringify(text)}`);
  return asked <= 0 ? longest : Math.min(asked, longest);
}

const units: Readonly<Record<string, number>> = { ns: 1e-6, us: 1e-3, "µs": 1e-3, ms: 1, s: 1000, m: 60_000, h: 3_600_000 };

/** Milliseconds of Go's form of durations, such as `1m30s`. */
export function parseDuration(text: string): number | undefined {
  const [, sign, body = ""] = /^([+-]?)(.*)$/.exec(text) ?? [];
  if (body === "0") return 0;
  const parts = [...body.matchAll(/(\d+\.?\d*|\.\d+)(ns|us|µs|ms|s|m|h)/g)];
  if (parts.length === 0 || parts.map(([part]) => part).join("") !== body) return undefined;
  const sum = parts.reduce((total, [, number, unit]) => total + Number(number) * units[unit!]!, 0);
  return sign === "-" ? -sum : sum;
}

/** Rejects with 504 when the work takes longer; what it still does has nobody to answer to. */
export function withDeadline(work: Promise<void>, milliseconds: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(timedOut()), milliseconds);
    const done = (settle: () => void) => (): void => {
      clearTimeout(timer);
      settle();
    };
    work.then(done(resolve), (error: unknown) => done(() => reject(error))());
  });
}

const timedOut = (): Error =>
  apiError(504, "Timeout", "Timeout: request did not complete within requested timeout - context deadline exceeded");
