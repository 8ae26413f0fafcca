/** What the compiler refuses of points, hooks and reconfigurations: `tsc` fails on an `@ts-expect-error` that is none. */
import { expect, test } from "vitest";
import { definePlugin } from "@k3s-p/plugin-api";
import { admission, healthCheck } from "@k3s-p/plugin-api/points";
import { cni, kube } from "@k3s-p/plugin-api/slots";

const confList = { cniVersion: "1.0.0", name: "x", plugins: [] };
const status = async () => ({ ready: true });

test("the types of a plugin follow its declarations", () => {
  const plugins = [
    definePlugin({ provides: cni, start: () => ({ confList, status }) }),
    definePlugin({ start: (ctx) => ctx.contribute(healthCheck, { name: "x", check: async () => ({ ok: true }) }) }),
    // @ts-expect-error a check must be asynchronous
    definePlugin({ start: (ctx) => ctx.contribute(healthCheck, { name: "x", check: () => ({ ok: true }) }) }),
    // @ts-expect-error a health check is no admission plugin
    definePlugin({ start: (ctx) => ctx.contribute(admission, { check: async () => ({ ok: true }) }) }),
    definePlugin({ start: (ctx) => ctx.tap(ctx.hooks.pluginReady, (id) => void id.length) }),
    // @ts-expect-error a plugin's name is a string
    definePlugin({ start: (ctx) => ctx.tap(ctx.hooks.pluginReady, (id: number) => void id) }),
    // @ts-expect-error plugins cannot call a hook
    definePlugin({ start: (ctx) => ctx.hooks.none.call() }),
    definePlugin({ needs: { kube }, start: (ctx) => ctx.onReplaced(kube, () => {}) }),
    // @ts-expect-error a reconfiguration is applied, or asks for a restart
    definePlugin({ start() {}, reconfigure: () => "done" }),
  ];
  expect(plugins).toHaveLength(9);
});
