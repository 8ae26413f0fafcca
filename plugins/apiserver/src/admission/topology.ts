/** PodTopologyLabels: a pod carries the zone and region of its node, for the downward API. */
import type { AdmissionPlugin } from "@k3s-p/plugin-api/points";
import type { Obj } from "../resources/types.ts";
import { type AdmissionDeps, toPlugin } from "./common.ts";

const copied = ["topology.kubernetes.io/zone", "topology.kubernetes.io/region"];

/** A Binding brings its labels to the pod. A node that is not there yet has nothing to tell. */
export function podTopologyLabels({ view }: Pick<AdmissionDeps, "view">): AdmissionPlugin {
  const label = (object: Obj, nodeName: string | undefined): void => {
    const labels = nodeName ? view.get("", "nodes", nodeName)?.metadata?.labels : undefined;
    const found = copied.filter((key) => labels?.[key] !== undefined);
    if (found.length === 0) return;
    const meta = (object.metadata ??= {});
    meta.labels = { ...Object.fromEntries(found.map((key) => [key, labels![key]!])), ...meta.labels };
  };
  return toPlugin({
    name: "PodTopologyLabels", resources: ["pods"], operations: ["CREATE"], subresources: ["", "binding"],
    mutate(object, { subresource }) {
      if (subresource === "") label(object, object.spec?.nodeName);
      else if ((object["target"]?.kind ?? "Node") === "Node") label(object, object["target"]?.name);
    },
  });
}
