/** NodePorts: host ports of the pod must be free on the node. */
import { reject, type SchedulingPlugin } from "../framework.ts";
import { portInUse } from "../node-info.ts";

const taken = reject("node(s) didn't have free ports for the requested pod ports", true);

export const nodePorts: SchedulingPlugin = {
  name: "NodePorts",
  events: ["node", "podDeleted"],
  local: true,
  preFilter: (pod) => (pod.hostPorts.length ? { state: undefined } : { skip: true }),
  filter: (node, pod) => (pod.hostPorts.some((port) => portInUse(node, port)) ? taken : undefined),
};
