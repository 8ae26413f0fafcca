/** K3s's file layout: every path that the server or its plugins use, in one place. */
import { join } from "node:path";
import type { Paths } from "@k3s-p/plugin-api/slots";

/** Without root there is no `/run/k3s`: sockets and pid files go below the data directory. */
const defaultRun = (dataDir: string): string => (process.getuid?.() === 0 ? "/run/k3s" : join(dataDir, "run"));

export function layout(dataDir: string, run = defaultRun(dataDir)): Paths {
  const server = join(dataDir, "server");
  const agent = join(dataDir, "agent");
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
