/** `/debug/plugins`: in one answer what `k3s-p plugin list`, `graph` and `timeline` tell on the node itself. */
import type { DebugPage } from "@k3s-p/plugin-api/points";
import { criticalPath } from "../kernel/graph.ts";
import type { Kernel } from "../kernel/lifecycle.ts";
import type { GraphResult, ListResult, TimelineResult } from "./protocol.ts";

/** Milliseconds in which nothing starts: what comes after is a change of the running server. */
const PAUSE = 500;

type Told = Pick<Kernel, "status" | "plan" | "timings">;

export const listOf = (kernel: Told): ListResult => ({ plugins: kernel.status(), leftOut: kernel.plan().leftOut });

export function graphOf(kernel: Told): GraphResult {
  const { plugins, edges } = kernel.plan();
  return { plugins: plugins.map((m) => ({ id: m.id, slots: Object.keys(m.provides), after: edges.get(m.id) ?? [] })) };
}

export function timelineOf({ plan, timings }: Told): TimelineResult {
  const all = [...timings].map(([id, t]) => ({ id, ...t })).sort((a, b) => a.started - b.started || a.ready - b.ready);
  const end = all.findIndex(({ started }, i) => i > 0 && started - Math.max(...all.slice(0, i).map((s) => s.ready)) > PAUSE);
  const steps = end < 0 ? all : all.slice(0, end);
  const ofStart = new Map(steps.map(({ id, ...t }) => [id, t]));
  return { steps, later: all.slice(steps.length), criticalPath: criticalPath(plan().edges, ofStart) };
}

export const debugPlugins = (kernel: Told): DebugPage => ({
  name: "plugins",
  read: () => ({ ...listOf(kernel), graph: graphOf(kernel).plugins, timeline: timelineOf(kernel) }),
});
