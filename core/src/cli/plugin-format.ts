/** How `k3s-p plugin` shows what a server answers: tables, graphs and a timeline. */
import { k3spError } from "@k3s-p/plugin-api";
import type { LogLine } from "../admin/logs.ts";
import type { GraphResult, ListResult, TimelineResult } from "../admin/protocol.ts";
import { textTable } from "./table.ts";

export function listText({ plugins, leftOut }: ListResult, now: number): string {
  const rows = [...plugins].sort((a, b) => a.id.localeCompare(b.id)).map((p) => [
    p.id, p.version, p.slots.join(",") || "-", p.mode, p.state, age(now - p.since), String(p.restarts), p.error ?? trouble(p.health),
  ]);
  const out = leftOut.map((l) => [l.plugin, "-", "-", "-", "left out", "-", "-", l.why]);
  return textTable([["NAME", "VERSION", "SLOT", "MODE", "STATE", "SINCE", "RESTARTS", "MESSAGE"], ...rows, ...out]);
}

/** What is over is no news, though it is among the last results. */
function trouble(health: ListResult["plugins"][number]["health"]): string {
  const latest = health.at(-1);
  return latest && !latest.ok ? (latest.message ?? "") : "";
}

export const logText = ({ time, level, message }: LogLine): string => `${time} ${level.toUpperCase().padEnd(5)} ${message}\n`;

/** kubectl's way to write durations: 5s, 12m, 3h, 9d. */
function age(ms: number): string {
  const seconds = Math.max(0, Math.round(ms / 1000));
  const units: readonly (readonly [number, string])[] = [[86_400, "d"], [3600, "h"], [60, "m"]];
  const unit = units.find(([size]) => seconds >= size * 2);
  return unit ? `${Math.floor(seconds / unit[0])}${unit[1]}` : `${seconds}s`;
}

export function inspectText(plugin: Readonly<Record<string, unknown>>): string {
  const rows = Object.entries(plugin).filter(([, value]) => !isEmpty(value));
  const width = Math.max(...rows.map(([key]) => key.length)) + 2;
  return rows.map(([key, value]) => `${`${key}:`.padEnd(width)}${key === "since" ? new Date(value as number).toISOString() : valueText(value)}\n`).join("");
}

/** Lists of words read better without brackets; the rest is JSON. */
function valueText(value: unknown): string {
  const isText = (part: unknown): part is string => typeof part === "string";
  if (isText(value)) return value;
  if (Array.isArray(value) && value.every(isText)) return value.join("; ");
  return JSON.stringify(value);
}

const isEmpty = (value: unknown): boolean => value === "" || (typeof value === "object" && value !== null && Object.keys(value).length === 0);

const graphs: Readonly<Record<string, (graph: GraphResult) => string>> = {
  text: ({ plugins }) => plugins.map((p) => `${p.id}${p.slots.length ? ` (${p.slots.join(", ")})` : ""}${p.after.length ? ` <- ${p.after.join(", ")}` : ""}\n`).join(""),
  dot: ({ plugins }) => [
    "digraph plugins {", "  rankdir=LR;",
    ...plugins.map((p) => `  "${p.id}" [label="${[p.id, ...p.slots].join("\\n")}"];`),
    ...plugins.flatMap((p) => p.after.map((other) => `  "${p.id}" -> "${other}";`)), "}", "",
  ].join("\n"),
  mermaid: ({ plugins }) => [
    "graph LR", ...plugins.map((p) => `  ${p.id}["${[p.id, ...p.slots].join("<br>")}"]`),
    ...plugins.flatMap((p) => p.after.map((other) => `  ${p.id} --> ${other}`)), "",
  ].join("\n"),
};

export function graphAs(format: string, graph: GraphResult): string {
  const draw = Object.hasOwn(graphs, format) ? graphs[format] : undefined;
  if (draw) return draw(graph);
  throw k3spError("K3SP_FLAG_INVALID", { message: `--format ${format} is not allowed`, detail: [`allowed: ${Object.keys(graphs).join(", ")}`], fix: "use one of the allowed values" });
}

const barWidth = 50;

/** One bar a plugin, from when its needs were ready to when it was ready itself. */
export function timelineText({ steps, later, criticalPath }: TimelineResult): string {
  const end = Math.max(1, ...steps.map((s) => s.ready));
  const at = (ms: number): number => Math.round((ms / end) * barWidth);
  const width = Math.max(0, ...[...steps, ...later].map((s) => s.id.length));
  const critical = new Set(criticalPath.map((step) => step.id));
  const bars = steps.map(({ id, started, ready }) => {
    const bar = (critical.has(id) ? "#" : "=").repeat(Math.max(1, at(ready) - at(started)));
    return `${id.padEnd(width)} |${`${" ".repeat(at(started))}${bar}`.padEnd(barWidth + 1)}| ${(ready - started).toFixed(0).padStart(5)} ms\n`;
  });
  const path = criticalPath.map((step) => `${step.id} ${step.ms.toFixed(0)} ms`).join(" -> ");
  const since = later.map(({ id, started, ready }) => `${id.padEnd(width)} ${`${age(started)} after the server`.padEnd(barWidth + 3)} ${(ready - started).toFixed(0).padStart(5)} ms\n`);
  return `${bars.join("")}critical path (#): ${path}\n${since.join("")}`;
}
