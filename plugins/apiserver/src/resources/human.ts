/** Texts for people in table cells: durations and ages, joined lists, selectors, container images. */
import { formatSelector } from "@k3s-p/plugin-api/kube";
import type { Obj } from "./types.ts";

const MINUTE = 60;
const HOUR = 3600;
const DAY = 24 * HOUR;
const YEAR = 365 * DAY;

/** A duration to two or three significant digits, as kubectl shows it: `45s`, `3m12s`, `2d4h`, `3y20d`. */
export function humanDuration(milliseconds: number): string {
  const seconds = Math.trunc(milliseconds / 1000);
  if (seconds < -1) return "<invalid>";
  if (seconds < 0) return "0s";
  if (seconds < 2 * MINUTE) return `${seconds}s`;
  if (seconds < 10 * MINUTE) return pair(seconds, MINUTE, "m", 1, "s");
  if (seconds < 3 * HOUR) return `${Math.trunc(seconds / MINUTE)}m`;
  if (seconds < 8 * HOUR) return pair(seconds, HOUR, "h", MINUTE, "m");
  if (seconds < 2 * DAY) return `${Math.trunc(seconds / HOUR)}h`;
  if (seconds < 8 * DAY) return pair(seconds, DAY, "d", HOUR, "h");
  if (seconds < 2 * YEAR) return `${Math.trunc(seconds / DAY)}d`;
  if (seconds < 8 * YEAR) return pair(seconds, YEAR, "y", DAY, "d");
  return `${Math.trunc(seconds / YEAR)}y`;
}

function pair(seconds: number, unit: number, name: string, small: number, smallName: string): string {
  const rest = Math.trunc((seconds % unit) / small);
  return `${Math.trunc(seconds / unit)}${name}${rest ? `${rest}${smallName}` : ""}`;
}

/** Time since an RFC 3339 timestamp; `<unknown>` without one. */
export function age(timestamp: string | undefined | null, now: number): string {
  return timestamp ? humanDuration(now - Date.parse(timestamp)) : "<unknown>";
}

export const orNone = (text: string | undefined | null): string => text || "<none>";

/** `a=b,c=d` in key order, `<none>` when empty. */
export function labelsText(labels: Readonly<Record<string, string>> | undefined): string {
  const entries = Object.entries(labels ?? {}).sort(([a], [b]) => (a < b ? -1 : 1));
  return orNone(entries.map(([key, value]) => `${key}=${value}`).join(","));
}

/** A label selector in query form, `<none>` when empty. */
export function selectorText(selector: Obj | undefined): string {
  const sorted = selector && {
    ...selector,
    matchLabels: Object.fromEntries(Object.entries(selector.matchLabels ?? {}).sort(([a], [b]) => (a < b ? -1 : 1))),
  };
  return orNone(formatSelector(sorted as Parameters<typeof formatSelector>[0]));
}

export const containerNames = (podSpec: Obj | undefined): string =>
  (podSpec?.containers ?? []).map((c: Obj) => c.name).join(",");
export const containerImages = (podSpec: Obj | undefined): string =>
  (podSpec?.containers ?? []).map((c: Obj) => c.image ?? "").join(",");

/** At most three items and how many more there are: `a,b,c + 2 more...`. */
export function firstThree(items: readonly string[], none: string): string {
  if (items.length === 0) return none;
  const shown = items.slice(0, 3).join(",");
  return items.length > 3 ? `${shown} + ${items.length - 3} more...` : shown;
}

const shortModes: Readonly<Record<string, string>> = {
  ReadWriteOnce: "RWO", ReadOnlyMany: "ROX", ReadWriteMany: "RWX", ReadWriteOncePod: "RWOP",
};
/** `RWO,RWX`, in upstream's order. */
export const accessModesText = (modes: readonly string[] | undefined): string =>
  Object.entries(shortModes).filter(([mode]) => modes?.includes(mode)).map(([, short]) => short).join(",");

/** Addresses of a load balancer's status, sorted, each once. */
export function loadBalancerText(status: Obj | undefined): string {
  const ingress: readonly Obj[] = status?.loadBalancer?.ingress ?? [];
  return [...new Set(ingress.map((i): string => i.ip || i.hostname).filter(Boolean))].sort().join(",");
}

export const hostPort = (ip: string, port: number): string => (ip.includes(":") ? `[${ip}]:${port}` : `${ip}:${port}`);
