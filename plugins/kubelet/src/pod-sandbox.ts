/** A pod's sandbox: made with its network, in place of one that changed, and its hosts file. */
import { readFile, writeFile } from "node:fs/promises";
import { messageOf } from "@k3s-p/plugin-api";
import type { Pod } from "@k3s-p/plugin-api/kube";
import type { PodSandboxConfig } from "@k3s-p/plugin-api/slots";
import { podEvent } from "./context.ts";
import { etcHosts } from "./dns.ts";
import { etcHostsPath } from "./paths.ts";
import { isHostNetwork, uidOf } from "./pod.ts";
import type { PodServices } from "./pod-services.ts";
import { sandboxConfig } from "./sandbox.ts";
import { podIps } from "./status.ts";

export const sandboxOf = ({ node, hostDns, cgroups }: PodServices, pod: Pod, attempt: number): PodSandboxConfig =>
  sandboxConfig(pod, node, hostDns, attempt, cgroups.pathOf(pod));

export async function createSandbox(services: PodServices, pod: Pod, attempt: number): Promise<void> {
  const { runtime, view } = services;
  for (const old of view.pod(uidOf(pod)).sandboxes) {
    podEvent(services, pod, "Normal", "SandboxChanged", "Pod sandbox changed, it will be killed and re-created.");
    await runtime.stopPodSandbox(old.id);
    await view.refresh(old.id);
  }
  try {
    const { runtimeClassName, hostUsers } = pod.spec ?? {};
    if (hostUsers === false) throw new Error("can't set `spec.hostUsers: false`, runtime does not support user namespaces");
    const handler = runtimeClassName ? await services.runtimeHandler(runtimeClassName) : undefined;
    await view.refresh(await runtime.runPodSandbox(sandboxOf(services, pod, attempt), handler));
    services.figures.containerStarted("pod_sandbox");
  } catch (error) {
    services.figures.containerFailed("pod_sandbox", "CreatePodSandboxError");
    podEvent(services, pod, "Warning", "FailedCreatePodSandBox", `Failed to create pod sandbox: ${messageOf(error)}`);
    throw error;
  }
  await writeHosts(services, pod);
}

async function writeHosts({ node, view }: PodServices, pod: Pod): Promise<void> {
  const uid = uidOf(pod);
  const hostFile = isHostNetwork(pod) ? await readFile("/etc/hosts", "utf8").catch(() => "") : "";
  const ips = podIps(pod, view.pod(uid).sandboxes, node.ip);
  await writeFile(etcHostsPath(node.paths, uid), etcHosts(pod, ips, node.cluster.clusterDomain, hostFile), { mode: 0o644 });
}
