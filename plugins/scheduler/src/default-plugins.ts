/** The default set of scheduling plugins in upstream's order; filters stop at the first refusal. */
import type { SchedulingPlugin } from "./framework.ts";
import { balancedAllocation } from "./plugins/balanced-allocation.ts";
import { imageLocality } from "./plugins/image-locality.ts";
import { interPodAffinity } from "./plugins/inter-pod-affinity.ts";
import { nodeAffinity } from "./plugins/node-affinity.ts";
import { nodeName } from "./plugins/node-name.ts";
import { nodePorts } from "./plugins/node-ports.ts";
import { nodeResourcesFit } from "./plugins/node-resources-fit.ts";
import { nodeUnschedulable } from "./plugins/node-unschedulable.ts";
import { podTopologySpread, type DefaultSelector } from "./plugins/pod-topology-spread.ts";
import { schedulingGates } from "./plugins/scheduling-gates.ts";
import { taintToleration } from "./plugins/taint-toleration.ts";
import { volumeBinding, type VolumeSources } from "./plugins/volume-binding.ts";
import { volumeRestrictions } from "./plugins/volume-restrictions.ts";

export function defaultPlugins(volumes: VolumeSources, defaultSelector: DefaultSelector): readonly SchedulingPlugin<any>[] {
  return [
    schedulingGates,
    nodeUnschedulable,
    nodeName,
    taintToleration,
    nodeAffinity,
    nodePorts,
    nodeResourcesFit,
    volumeRestrictions((key) => {
      const slash = key.indexOf("/");
      return volumes.claims.get(key.slice(slash + 1), key.slice(0, slash));
    }),
    volumeBinding(volumes),
    podTopologySpread(defaultSelector),
    interPodAffinity,
    balancedAllocation,
    imageLocality,
  ];
}
