/** `k3s-p kubectl ...`: kubectl with the administrator's kubeconfig, in place of this process. */
import { existsSync } from "node:fs";
import { findTool } from "../tools/bundled.ts";

const kubeconfig = "/etc/rancher/k3s/k3s.yaml";

export const usages = (): readonly string[] => ["kubectl ARGUMENTS"];

export async function run(argv: readonly string[]): Promise<number> {
  const kubectl = await findTool("kubectl");
  const env = { ...process.env };
  if (!env.KUBECONFIG && existsSync(kubeconfig)) env.KUBECONFIG = kubeconfig;
  process.execve!(kubectl, [kubectl, ...argv], env);
  return 1;
}
