/** `k3s-p crictl ...`: the tool for container runtimes, on the containerd of the server. */
import { layout } from "../node/layout.ts";
import { findProgram, handOver } from "../tools/hand-over.ts";

export const usages = (): readonly string[] => ["crictl ARGUMENTS"];

export async function run(argv: readonly string[]): Promise<number> {
  const endpoint = `unix://${layout("/var/lib/rancher/k3s").containerdSocket}`;
  return handOver(findProgram("crictl", "cri-tools"), argv, { CONTAINER_RUNTIME_ENDPOINT: endpoint, IMAGE_SERVICE_ENDPOINT: endpoint, ...process.env });
}
