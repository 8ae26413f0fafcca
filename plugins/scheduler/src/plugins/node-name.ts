/** NodeName: a pod that names its node goes nowhere else. */
import { reject, type SchedulingPlugin } from "../framework.ts";

const otherNode = reject("node(s) didn't match the requested node name");

export const nodeName: SchedulingPlugin<string> = {
  name: "NodeName",
  events: ["node"],
  local: true,
  preFilter: ({ pod }) => (pod.spec?.nodeName ? { state: pod.spec.nodeName } : { skip: true }),
  filter: (node, _pod, wanted) => (node.name === wanted ? undefined : otherNode),
};
