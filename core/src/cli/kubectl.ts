/** `k3s-p kubectl ...`: kubectl with the administrator's kubeconfig, in place of this process. */
import { accessSync, constants, existsSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { findTool } from "../tools/bundled.ts";
import { handOver } from "../tools/hand-over.ts";

const kubeconfig = "/etc/rancher/k3s/k3s.yaml";

export const usages = (): readonly string[] => ["kubectl ARGUMENTS"];

export async function run(argv: readonly string[]): Promise<number> {
  const kubectl = await findTool("kubectl");
  const isTold = Boolean(process.env.KUBECONFIG) || argv.some((arg) => arg === "--kubeconfig" || arg.startsWith("--kubeconfig="));
  if (isTold) return handOver(kubectl, argv, process.env);
  if (!existsSync(kubeconfig)) {
    // Some commands need no server, and others find one in the user's own kubeconfig.
    if (!existsSync(join(homedir(), ".kube/config"))) process.stderr.write(`${kubeconfig} is not there yet: the server writes it when it starts\n`);
    return handOver(kubectl, argv, process.env);
  }
  if (!isReadable(kubeconfig)) process.stderr.write(`${kubeconfig} cannot be read by this user: use sudo, or start the server with --write-kubeconfig-mode\n`);
  return handOver(kubectl, argv, { ...process.env, KUBECONFIG: kubeconfig });
}

function isReadable(file: string): boolean {
  try {
    accessSync(file, constants.R_OK);
    return true;
  } catch {
    return false;
  }
}
