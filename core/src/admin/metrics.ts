/** What Prometheus is told about each plugin: its state, start, restarts, hooks, and the process that it has of its own. */
import { readFileSync } from "node:fs";
import type { MetricsSource } from "@k3s-p/plugin-api/points";
import type { Kernel } from "../kernel/lifecycle.ts";
import type { OnSpan } from "../kernel/span.ts";

export interface HookTimes {
  readonly record: OnSpan;
  readonly list: () => readonly { readonly hook: string; readonly plugin: string; readonly count: number; readonly seconds: number }[];
}

export function createHookTimes(): HookTimes {
  const times = new Map<string, { hook: string; plugin: string; count: number; seconds: number }>();
  return {
    record({ hook, plugin, started, ended }) {
      if (!hook) return;
      const key = `${hook} ${plugin}`;
      const entry = times.get(key) ?? { hook, plugin, count: 0, seconds: 0 };
      times.set(key, entry);
      entry.count++;
      entry.seconds += (ended - started) / 1000;
    },
    list: () => [...times.values()],
  };
}

type Labels = Readonly<Record<string, string>>;
type Sample = readonly [suffix: string, labels: Labels, value: number];

export function pluginMetrics(kernel: Pick<Kernel, "status" | "timings">, hooks: HookTimes, usage = processUsage): MetricsSource {
  return {
    render() {
      const plugins = kernel.status();
      const own = plugins.flatMap(({ id, pid }) => {
        const used = pid === undefined ? undefined : usage(pid);
        return used ? [{ plugin: id, ...used }] : [];
      });
      return [
        family("k3sp_plugin_state", "gauge", "State of the plugin; 1 for the present one.", plugins.map((p) => ["", { plugin: p.id, state: p.state }, 1])),
        family("k3sp_plugin_start_seconds", "gauge", "Time from when its needs were ready to when it was.",
          [...kernel.timings].map(([plugin, t]) => ["", { plugin }, (t.ready - t.started) / 1000])),
        family("k3sp_plugin_restarts_total", "counter", "Restarts after a failure.", plugins.map((p) => ["", { plugin: p.id }, p.restarts])),
        family("k3sp_plugin_hook_seconds", "summary", "Time that the plugin spent in a hook.", hooks.list().flatMap(({ hook, plugin, count, seconds }): Sample[] =>
          [["_sum", { hook, plugin }, seconds], ["_count", { hook, plugin }, count]])),
        family("k3sp_plugin_cpu_seconds_total", "counter", "CPU time of the plugin's own process.", own.map((p) => ["", { plugin: p.plugin }, p.cpuSeconds])),
        family("k3sp_plugin_resident_memory_bytes", "gauge", "Memory of the plugin's own process.", own.map((p) => ["", { plugin: p.plugin }, p.memoryBytes])),
      ].join("");
    },
  };
}

function family(name: string, type: string, help: string, samples: readonly Sample[]): string {
  if (!samples.length) return "";
  const lines = samples.map(([suffix, labels, value]) => `${name}${suffix}{${Object.entries(labels).map(([k, v]) => `${k}=${JSON.stringify(v)}`).join(",")}} ${value}\n`);
  return `# HELP ${name} ${help}\n# TYPE ${name} ${type}\n${lines.join("")}`;
}

/** Of Linux: clock ticks are hundredths of a second, pages 4 KiB. */
function processUsage(pid: number): { readonly cpuSeconds: number; readonly memoryBytes: number } | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return { cpuSeconds: (Number(fields[11]) + Number(fields[12])) / 100, memoryBytes: Number(fields[21]) * 4096 };
  } catch {
    return undefined;
  }
}
