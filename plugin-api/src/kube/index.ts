/** Kubernetes helpers for plugins: typed resources, the client, work queue, quantities, selectors, conditions, events. */
export * from "./client.ts";
export * from "./conditions.ts";
export * from "./errors.ts";
export * from "./events.ts";
export * from "./indexes.ts";
export * from "./meta.ts";
export * from "./quantity.ts";
export * from "./resources.ts";
export * from "./selectors.ts";
export * from "./parse-selector.ts";
export type * from "./types.ts";
export * from "./workqueue.ts";
