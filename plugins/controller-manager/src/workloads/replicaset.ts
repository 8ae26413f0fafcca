/** The replicaset controller. */
import { matchesSelector, replicaSets } from "@k3s-p/plugin-api/kube";
import type { ControllerDeps } from "../controller.ts";
import { startReplicas } from "./replicas.ts";

export function start(deps: ControllerDeps): void {
  startReplicas(deps, {
    name: "replicaset", component: "replicaset-controller", resource: replicaSets, countsTerminating: true,
    matches: (set, labels) => matchesSelector(set.spec?.selector, labels),
  });
}
