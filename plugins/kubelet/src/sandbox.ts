/** The CRI configuration of a pod's sandbox. */
import { join } from "node:path";
import type { Pod } from "@k3s-p/plugin-api/kube";
import type { NodeInfo, PodSandboxConfig } from "@k3s-p/plugin-api/slots";
import { podDns, sandboxHostname, type DnsConfig } from "./dns.ts";
import { podLogDir } from "./paths.ts";
import { isHostNetwork, labelsOf, mainContainers, initContainers, nameOf, namespaceOf, uidOf } from "./pod.ts";
import { sandboxSecurity } from "./security.ts";

const PROTOCOL: Readonly<Record<string, number>> = { TCP: 0, UDP: 1, SCTP: 2 };

/** `cgroup` is relative to a controller's root. */
export function sandboxConfig(pod: Pod, node: NodeInfo, hostResolver: DnsConfig, attempt: number, cgroup: string): PodSandboxConfig {
  const { cluster, paths } = node;
  const host = isHostNetwork(pod);
  return {
    metadata: { name: nameOf(pod), namespace: namespaceOf(pod), uid: uidOf(pod), attempt },
    ...(!host && { hostname: sandboxHostname(pod, cluster.clusterDomain) }),
    logDirectory: podLogDir(paths, pod),
    dnsConfig: podDns(pod, cluster, hostResolver),
    portMappings: host ? [] : portMappings(pod),
    labels: {
      ...pod.metadata.labels,
      [labelsOf.podName]: nameOf(pod), [labelsOf.podNamespace]: namespaceOf(pod), [labelsOf.podUid]: uidOf(pod),
    },
    annotations: pod.metadata.annotations ?? {},
    linux: {
      cgroupParent: join("/", cgroup),
      sysctls: Object.fromEntries((pod.spec?.securityContext?.sysctls ?? []).map((s) => [s.name, s.value])),
      securityContext: sandboxSecurity(pod, paths.kubelet),
    },
  };
}

function portMappings(pod: Pod): NonNullable<PodSandboxConfig["portMappings"]> {
  return [...mainContainers(pod), ...initContainers(pod).filter((ref) => ref.sidecar)].flatMap((ref) =>
    (ref.spec.ports ?? []).map((port) => ({
      protocol: PROTOCOL[port.protocol ?? "TCP"] ?? 0,
      containerPort: port.containerPort,
      hostPort: port.hostPort ?? 0,
      ...(port.hostIP && { hostIp: port.hostIP }),
    })),
  );
}
