/** Where the kubelet keeps things on disk: upstream's layout below `/var/lib/kubelet` and `/var/log`. */
import { join } from "node:path";
import type { Pod } from "@k3s-p/plugin-api/kube";
import type { Paths } from "@k3s-p/plugin-api/slots";
import { nameOf, namespaceOf, uidOf } from "./pod.ts";

export const podsDir = (paths: Paths): string => join(paths.kubelet, "pods");
export const podDir = (paths: Paths, uid: string): string => join(podsDir(paths), uid);
export const etcHostsPath = (paths: Paths, uid: string): string => join(podDir(paths, uid), "etc-hosts");
export const volumeDir = (paths: Paths, uid: string, kind: string, name: string): string =>
  join(podDir(paths, uid), "volumes", `kubernetes.io~${kind}`, name);
export const subPathDir = (paths: Paths, uid: string): string => join(podDir(paths, uid), "volume-subpaths");

/** The file behind a container's termination message, one for each start. */
export const messageFile = (paths: Paths, uid: string, container: string, restart: number): string =>
  join(podDir(paths, uid), "containers", container, String(restart));

export const podLogDir = (paths: Paths, pod: Pod): string =>
  join(paths.podLogs, `${namespaceOf(pod)}_${nameOf(pod)}_${uidOf(pod)}`);
export const containerLogName = (container: string, restart: number): string => join(container, `${restart}.log`);
/** The symlink that log shippers follow. */
export const containerLogLink = (paths: Paths, pod: Pod, container: string, id: string): string => {
  const stem = `${nameOf(pod)}_${namespaceOf(pod)}_${container}`.slice(0, 255 - id.length - 5);
  return join(paths.containerLogs, `${stem}-${id}.log`);
};
