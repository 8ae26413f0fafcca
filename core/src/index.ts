/** What embedders and the test kit use of the core. */
export { planServer, type NodePlan } from "./plan.ts";
export { startNode, describeError, type RunningNode } from "./server.ts";
export { createKernel, type Kernel, type KernelOptions } from "./kernel/lifecycle.ts";
export { resolvePlan, type Plan } from "./kernel/resolve.ts";
export { readManifest, type Manifest } from "./kernel/manifest.ts";
export { createPki } from "./pki/pki.ts";
export { createRunner } from "./runner/runner.ts";
export { layout } from "./node/layout.ts";
