/** K3s's file layout: every path that the server or its plugins use, in one place. */
import { join } from "node:path";
import type { Paths } from "@k3s-p/plugin-api/slots";

export function layout(dataDir: string): Paths {
  const server = join(dataDir, "server");
  const agent = join(dataDir, "agent");
  const run = "/run/k3s";
  const containerdState = join(run, "containerd");
  return Object.freeze({
    dataDir, server, agent, run, containerdState,
    db: join(server, "db"),
    manifests: join(server, "manifests"),
    tls: join(server, "tls"),
    token: join(server, "token"),
    images: join(agent, "images"),
    agentEtc: join(agent, "etc"),
    podManifests: join(agent, "pod-manifests"),
    containerdRoot: join(agent, "containerd"),
    containerdSocket: join(containerdState, "containerd.sock"),
    flannelRun: "/run/flannel",
    cniConf: join(agent, "etc/cni/net.d"),
    cniBin: join(dataDir, "data/cni"),
    storage: join(dataDir, "storage"),
    kubelet: "/var/lib/kubelet",
    podLogs: "/var/log/pods",
    containerLogs: "/var/log/containers",
  });
}
