/** NodeUnschedulable: cordoned nodes take only pods that tolerate the cordon. */
import { reject, type SchedulingPlugin } from "../framework.ts";
import { tolerates } from "./tolerations.ts";

const cordoned = reject("node(s) were unschedulable");
const cordon = { key: "node.kubernetes.io/unschedulable", effect: "NoSchedule" };

export const nodeUnschedulable: SchedulingPlugin = {
  name: "NodeUnschedulable",
  events: ["node"],
  local: true,
  filter: (node, { pod }) => (node.unschedulable && !tolerates(pod.spec?.tolerations, cordon) ? cordoned : undefined),
};
