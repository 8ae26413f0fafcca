/** The replicationcontroller controller: the ReplicaSet engine with a selector in map form. */
import { matchesMap, replicationControllers } from "@k3s-p/plugin-api/kube";
import type { ControllerDeps } from "../controller.ts";
import { startReplicas } from "./replicas.ts";

export function start(deps: ControllerDeps): void {
  startReplicas(deps, {
    name: "replicationcontroller", component: "replication-controller", resource: replicationControllers,
    countsTerminating: false,
    matches: (controller, labels) => {
      const selector = controller.spec?.selector ?? {};
      return Object.keys(selector).length > 0 && matchesMap(selector, labels);
    },
  });
}
