/** `k3s-p ctr ...`: containerd's own tool, on the containerd of the server and in the namespace of its pods. */
import { layout } from "../node/layout.ts";
import { findProgram, handOver } from "../tools/hand-over.ts";

export const usages = (): readonly string[] => ["ctr ARGUMENTS"];

export async function run(argv: readonly string[]): Promise<number> {
  const { containerdSocket } = layout("/var/lib/rancher/k3s");
  return handOver(findProgram("ctr", "containerd"), argv, { CONTAINERD_ADDRESS: containerdSocket, CONTAINERD_NAMESPACE: "k8s.io", ...process.env });
}
