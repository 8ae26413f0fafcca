import { expect, test } from "vitest";
import type { PluginStatus } from "../kernel/lifecycle.ts";
import { createHookTimes, pluginMetrics } from "./metrics.ts";

const status = (id: string, more: Partial<PluginStatus> = {}): PluginStatus =>
  ({ id, version: "1.0.0", slots: [], mode: "inline", criticality: "required", state: "ready", since: 0, restarts: 0, health: [], ...more });

test("each plugin's state, start, restarts, hooks and own process are told to Prometheus", () => {
  const hooks = createHookTimes();
  hooks.record({ step: "hook", hook: "serverReady", plugin: "a", started: 0, ended: 500 });
  hooks.record({ step: "hook", hook: "serverReady", plugin: "a", started: 500, ended: 750 });
  hooks.record({ step: "start", plugin: "a", started: 100, ended: 350 });
  const kernel = { status: () => [status("a"), status("b", { state: "quarantined", restarts: 2, pid: 7 })], timings: new Map([["a", { started: 100, ready: 350 }]]) };
  expect(pluginMetrics(kernel, hooks, (pid) => ({ cpuSeconds: pid, memoryBytes: 4096 })).render()).toBe(`# HELP k3sp_plugin_state State of the plugin; 1 for the present one.
# TYPE k3sp_plugin_state gauge
k3sp_plugin_state{plugin="a",state="ready"} 1
k3sp_plugin_state{plugin="b",state="quarantined"} 1
# HELP k3sp_plugin_start_seconds Time from when its needs were ready to when it was.
# TYPE k3sp_plugin_start_seconds gauge
k3sp_plugin_start_seconds{plugin="a"} 0.25
# HELP k3sp_plugin_restarts_total Restarts after a failure.
# TYPE k3sp_plugin_restarts_total counter
k3sp_plugin_restarts_total{plugin="a"} 0
k3sp_plugin_restarts_total{plugin="b"} 2
# HELP k3sp_plugin_hook_seconds Time that the plugin spent in a hook.
# TYPE k3sp_plugin_hook_seconds summary
k3sp_plugin_hook_seconds_sum{hook="serverReady",plugin="a"} 0.75
k3sp_plugin_hook_seconds_count{hook="serverReady",plugin="a"} 2
# HELP k3sp_plugin_cpu_seconds_total CPU time of the plugin's own process.
# TYPE k3sp_plugin_cpu_seconds_total counter
k3sp_plugin_cpu_seconds_total{plugin="b"} 7
# HELP k3sp_plugin_resident_memory_bytes Memory of the plugin's own process.
# TYPE k3sp_plugin_resident_memory_bytes gauge
k3sp_plugin_resident_memory_bytes{plugin="b"} 4096
`);
});
