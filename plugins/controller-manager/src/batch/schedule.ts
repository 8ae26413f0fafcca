/** Cron schedules: five fields, `@hourly` and its kin, `@every 90s`, each in a time zone. */
import { Cron } from "croner";
import { messageOf } from "@k3s-p/plugin-api";

export interface Schedule {
  /** The first run after `from`. */
  next(from: Date): Date | undefined;
}

export type Parsed =
  | { readonly ok: true; readonly schedule: Schedule }
  | { readonly ok: false; readonly reason: "schedule" | "timezone"; readonly message: string };

const units: Readonly<Record<string, number>> = { h: 3_600_000, m: 60_000, s: 1000, ms: 1 };

export function parseSchedule(text: string, timeZone?: string): Parsed {
  if (timeZone !== undefined && !isTimeZone(timeZone))
    return { ok: false, reason: "timezone", message: `unknown time zone ${timeZone}` };
  const every = /^@every\s+(.+)$/.exec(text.trim());
  if (every) return parseEvery(every[1]!);
  try {
    // A question mark stands for any value, as in the cron library that upstream uses.
    const cron = new Cron(text.trim().replaceAll("?", "*"), { paused: true, ...(timeZone && { timezone: timeZone }) });
    return { ok: true, schedule: { next: (from) => cron.nextRun(from) ?? undefined } };
  } catch (error) {
    return { ok: false, reason: "schedule", message: messageOf(error) };
  }
}

function isTimeZone(name: string): boolean {
  try {
    return Boolean(new Intl.DateTimeFormat("en", { timeZone: name }));
  } catch {
    return false;
  }
}

function parseEvery(text: string): Parsed {
  const parts = [...text.matchAll(/(\d+(?:\.\d+)?)(ms|h|m|s)/g)];
  const ms = parts.reduce((sum, [, n, unit]) => sum + Number(n) * units[unit!]!, 0);
  if (parts.map(([part]) => part).join("") !== text || ms < 1)
    return { ok: false, reason: "schedule", message: `failed to parse duration @every ${text}` };
  const step = Math.max(1000, Math.floor(ms / 1000) * 1000);
  return { ok: true, schedule: { next: (from) => new Date(Math.floor(from.getTime() / 1000) * 1000 + step) } };
}

export interface Runs {
  /** The latest run that is due. */
  readonly due: Date | undefined;
  /** More runs were missed than can be explained by anything but a wrong clock. */
  readonly missed: boolean;
  readonly next: Date | undefined;
}

const MANY = 100;

/** What a schedule asks for between `from` (excluded) and `now` (included). */
export function runsSince(schedule: Schedule, from: Date, now: Date): Runs {
  let due: Date | undefined;
  let count = 0;
  let next = schedule.next(from);
  while (next && next <= now) {
    due = next;
    count++;
    // Far behind: go on close to now, since only the latest run matters.
    const step = count === MANY ? jump(schedule, next, now) : undefined;
    next = schedule.next(step ?? next);
  }
  return { due, missed: count > MANY, next };
}

function jump(schedule: Schedule, from: Date, now: Date): Date | undefined {
  const following = schedule.next(from);
  if (!following) return undefined;
  const period = following.getTime() - from.getTime();
  const target = new Date(now.getTime() - 2 * period - 1000);
  return target > from ? target : undefined;
}
