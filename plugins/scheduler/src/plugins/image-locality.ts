/** ImageLocality: prefers nodes that hold the pod's images already, weighed by size and by how common they are. */
import type { SchedulingPlugin } from "../framework.ts";

const MB = 1024 * 1024;
const smallest = 23 * MB;
const largestPerContainer = 1000 * MB;

export const imageLocality: SchedulingPlugin = {
  name: "ImageLocality",
  weight: 1,
  score(nodes, { pod }, cluster, out) {
    const containers = [...(pod.spec?.initContainers ?? []), ...(pod.spec?.containers ?? [])];
    const total = cluster.nodes().length;
    const images = containers.map((c) => withTag(c.image ?? "")).filter((image) => cluster.imageNodes(image) > 0);
    if (!images.length || !total) return false;
    const spread = images.map((image) => cluster.imageNodes(image) / total);
    const largest = largestPerContainer * containers.length;
    for (let i = 0; i < nodes.length; i++) {
      let sum = 0;
      for (let k = 0; k < images.length; k++) sum += Math.trunc((nodes[i]!.images.get(images[k]!) ?? 0) * spread[k]!);
      const clamped = Math.min(largest, Math.max(smallest, sum));
      out[i] = Math.trunc((100 * (clamped - smallest)) / (largest - smallest));
    }
    return true;
  },
};

/** `busybox` means `busybox:latest`; a colon before the last slash is a registry's port. */
function withTag(image: string): string {
  return image.lastIndexOf(":") > image.lastIndexOf("/") ? image : `${image}:latest`;
}
