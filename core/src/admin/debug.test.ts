/** What `k3s-p plugin timeline` and `/debug/plugins` tell of the start, and of what was started since. */
import { expect, test } from "vitest";
import type { Kernel } from "../kernel/lifecycle.ts";
import { timelineText } from "../cli/plugin-format.ts";
import { timelineOf } from "./debug.ts";

test("the timeline is of the server's start; a plugin that was started later stands below it", () => {
  const timings = new Map([
    ["datastore", { started: 0, ready: 100 }], ["apiserver", { started: 100, ready: 400 }],
    ["kubelet", { started: 400, ready: 450 }], ["dns", { started: 36_000, ready: 36_030 }],
  ]);
  const edges = new Map([["apiserver", ["datastore"]], ["kubelet", ["apiserver"]], ["dns", ["apiserver"]]]);
  const told = timelineOf({ timings, plan: () => ({ edges }) } as unknown as Kernel);
  expect(timelineText(told).replace(/ +/g, " ")).toBe([
    "datastore |########### | 100 ms", "apiserver | ################################# | 300 ms", "kubelet | ###### | 50 ms",
    "critical path (#): datastore 100 ms -> apiserver 300 ms -> kubelet 50 ms", "dns 36s after the server 30 ms", "",
  ].join("\n"));
});
