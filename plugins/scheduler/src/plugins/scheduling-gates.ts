/** SchedulingGates: a pod with gates stays out of the queue (KEP-3521). */
import type { SchedulingPlugin } from "../framework.ts";

export const schedulingGates: SchedulingPlugin = {
  name: "SchedulingGates",
  preEnqueue: (pod) => !pod.pod.spec?.schedulingGates?.length,
};
