/** Every built-in resource of Kubernetes 1.36 that is generally available and served by default. */
import { admissionResources } from "./admission/index.ts";
import { workloadResources } from "./apps/index.ts";
import { autoscalingResources } from "./autoscaling/index.ts";
import { coreResources } from "./core/index.ts";
import { discoveryResources } from "./discovery/index.ts";
import { miscResources } from "./misc/index.ts";
import { networkingResources } from "./networking/index.ts";
import { rbacResources } from "./rbac/index.ts";
import { storageResources } from "./storage/index.ts";
import type { ResourceDef } from "./types.ts";

export const builtinResources: readonly ResourceDef[] = [
  ...coreResources, ...workloadResources, ...autoscalingResources, ...networkingResources, ...discoveryResources,
  ...rbacResources, ...storageResources, ...admissionResources, ...miscResources,
];
