/** What the compiler refuses of an author: each marked line must be an error, or the type check fails. */
import { expect, test } from "vitest";
import { definePlugin } from "./plugin.ts";
import { cni, datastore, dns, kube, node } from "./slots/index.ts";

export const undeclaredNeed = definePlugin({
  needs: { node },
  start(ctx) {
    const name: string = ctx.needs.node.name;
    // @ts-expect-error kube is not declared in needs
    void ctx.needs.kube.list;
    void name;
  },
});

export const wishMayBeMissing = definePlugin({
  wants: { kube },
  start(ctx) {
    // @ts-expect-error a wanted slot may have no provider
    void ctx.wants.kube.list;
  },
});

export const wrongShape = definePlugin({
  provides: dns,
  // @ts-expect-error the port is missing
  start: () => ({ address: "127.0.0.1" }),
});

export const nothingReturned = definePlugin({
  provides: cni,
  // @ts-expect-error a provider returns the slot's implementation
  start() {},
});

export const wrongMethod = definePlugin({
  provides: datastore,
  // @ts-expect-error one method is not the store
  start: () => ({ revision: () => 1 }),
});

export const typedConfig = definePlugin<typeof dns, {}, {}, { readonly ttl: number }>({
  provides: dns,
  start(ctx) {
    // @ts-expect-error the configuration has no such option
    void ctx.config.tll;
    return { address: "127.0.0.1", port: ctx.config.ttl };
  },
});

export const frozen = definePlugin({
  start(ctx) {
    // @ts-expect-error the context is read-only
    ctx.id = "other";
  },
});

test("the lines that are marked are errors, by the type check of the repository", () => {
  expect([undeclaredNeed, wishMayBeMissing, wrongShape, nothingReturned, wrongMethod, typedConfig, frozen]).toHaveLength(7);
});
