/** The one list of default plugins, and the profiles that start a part of them. Data, not code. */

export const defaultPlugins: readonly string[] = [
  "apiserver", "containerd", "controller-manager", "coredns", "datastore-sqlite", "deployer", "flannel", "helm-controller",
  "kube-proxy", "kubelet", "local-storage", "metrics-server", "network-policy", "scheduler", "servicelb", "supervisor", "traefik",
];

/** By command, not by role: a server with a node of its own has the role agent too. */
export const agentPlugins: readonly string[] = ["server-link"];

/** Profile -> the plugins it keeps; undefined keeps all. */
export const profiles: Readonly<Record<string, readonly string[] | undefined>> = {
  full: undefined,
  api: ["apiserver", "datastore-sqlite"],
};

/** Flags that disable a plugin, as K3s spells them. */
export const disableFlags: Readonly<Record<string, readonly string[]>> = {
  "disable-agent": ["containerd", "flannel", "kube-proxy", "kubelet", "network-policy"],
  "disable-controller-manager": ["controller-manager"],
  "disable-helm-controller": ["helm-controller"],
  "disable-kube-proxy": ["kube-proxy"],
  "disable-network-policy": ["network-policy"],
  "disable-scheduler": ["scheduler"],
};
