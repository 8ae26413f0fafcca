/** TaintToleration: refuses nodes with untolerated hard taints, prefers those with few untolerated soft ones. */
import { normalize, reject, type SchedulingPlugin } from "../framework.ts";
import { tolerates } from "./tolerations.ts";

const tainted = reject("node(s) had untolerated taint(s)");

export const taintToleration: SchedulingPlugin = {
  name: "TaintToleration",
  events: ["node"],
  local: true,
  weight: 3,
  filter(node, { pod }) {
    for (const taint of node.hardTaints) if (!tolerates(pod.spec?.tolerations, taint)) return tainted;
    return undefined;
  },
  score(nodes, { pod }, _cluster, out) {
    if (!nodes.some((node) => node.softTaints.length)) return false;
    const soft = pod.spec?.tolerations?.filter((t) => !t.effect || t.effect === "PreferNoSchedule");
    nodes.forEach((node, i) => {
      out[i] = node.softTaints.filter((taint) => !tolerates(soft, taint)).length;
    });
    normalize(out, nodes.length, true);
    return true;
  },
};
