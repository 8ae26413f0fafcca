/** K3s's flags as tables: type, environment variable, and who reads them. */
import type { Role } from "@k3s-p/plugin-api";

export interface Flag {
  readonly name: string;
  readonly type: "string" | "bool" | "int" | "list";
  readonly short?: string;
  readonly env?: string;
  /** An old name, which K3s takes too. */
  readonly alias?: string;
  readonly help: string;
  /** Commas separate values too. */
  readonly commas?: boolean;
  readonly hidden?: boolean;
  /** Unknown to an agent. */
  readonly on?: "server";
  /** Shown in help; the code that reads the flag holds the default itself. */
  readonly default?: string;
}

const flag = (name: string, type: Flag["type"], help: string, more: Partial<Flag> = {}): Flag => ({ name, type, help, ...more });
const hidden = (names: string, type: Flag["type"], more: Partial<Flag> = {}): readonly Flag[] =>
  names.trim().split(/\s+/).map((name) => flag(name, type, "of K3s", { hidden: true, ...hiddenForms[name], ...more }));

/** How else K3s takes some of those flags: what the environment says is not to be lost in silence either. */
const hiddenForms: Readonly<Record<string, Partial<Flag>>> = {
  server: { short: "s", env: "K3S_URL" }, log: { short: "l" }, "cluster-init": { env: "K3S_CLUSTER_INIT" }, "cluster-reset": { env: "K3S_CLUSTER_RESET" },
  "datastore-endpoint": { env: "K3S_DATASTORE_ENDPOINT" }, "datastore-cafile": { env: "K3S_DATASTORE_CAFILE" },
  "datastore-certfile": { env: "K3S_DATASTORE_CERTFILE" }, "datastore-keyfile": { env: "K3S_DATASTORE_KEYFILE" },
  "supervisor-port": { env: "K3S_SUPERVISOR_PORT" }, "apiserver-port": { env: "K3S_APISERVER_PORT" }, "apiserver-bind-address": { env: "K3S_APISERVER_BIND_ADDRESS" },
  "system-default-registry": { env: "K3S_SYSTEM_DEFAULT_REGISTRY" }, "lb-server-port": { env: "K3S_LB_SERVER_PORT" }, "resolv-conf": { env: "K3S_RESOLV_CONF" },
  selinux: { env: "K3S_SELINUX" }, "vpn-auth": { env: "K3S_VPN_AUTH" }, "vpn-auth-file": { env: "K3S_VPN_AUTH_FILE" },
  "kube-cloud-controller-manager-arg": { alias: "kube-cloud-controller-arg" },
};

/** Read by the core. */
const coreFlags: readonly Flag[] = [
  flag("config", "string", "load configuration from FILE", { short: "c", env: "K3S_CONFIG_FILE", default: "/etc/rancher/k3s/config.yaml" }),
  flag("debug", "bool", "turn on debug logs", { env: "K3S_DEBUG" }),
  flag("data-dir", "string", "folder that holds state", { short: "d", env: "K3S_DATA_DIR", default: "/var/lib/rancher/k3s" }),
  flag("bind-address", "string", "IP address to listen on", { default: "0.0.0.0" }),
  flag("https-listen-port", "int", "HTTPS port of the API server", { default: "6443", on: "server" }),
  flag("advertise-address", "string", "IP address that other members reach the API server at", { on: "server" }),
  flag("tls-san", "list", "additional names or addresses in the server's certificate", { commas: true, on: "server" }),
  flag("cluster-cidr", "list", "IPv4/IPv6 network of pods", { commas: true, default: "10.42.0.0/16", on: "server" }),
  flag("service-cidr", "list", "IPv4/IPv6 network of services", { commas: true, default: "10.43.0.0/16", on: "server" }),
  flag("service-node-port-range", "string", "port range of NodePort services", { default: "30000-32767", on: "server" }),
  flag("cluster-dns", "list", "ClusterIP of the DNS service", { commas: true, default: "10.43.0.10", on: "server" }),
  flag("cluster-domain", "string", "DNS domain of the cluster", { default: "cluster.local", on: "server" }),
  flag("write-kubeconfig", "string", "write the admin kubeconfig to FILE", { short: "o", env: "K3S_KUBECONFIG_OUTPUT", default: "/etc/rancher/k3s/k3s.yaml", on: "server" }),
  flag("write-kubeconfig-mode", "string", "octal mode of the admin kubeconfig", { env: "K3S_KUBECONFIG_MODE", default: "0600", on: "server" }),
  flag("write-kubeconfig-group", "string", "group of the admin kubeconfig", { env: "K3S_KUBECONFIG_GROUP", on: "server" }),
  flag("disable", "list", "plugin or AddOn that is not deployed, and whose objects are deleted", { commas: true, on: "server" }),
  flag("disable-scheduler", "bool", "same as --disable scheduler", { on: "server" }),
  flag("disable-helm-controller", "bool", "same as --disable helm-controller", { on: "server" }),
  flag("disable-kube-proxy", "bool", "same as --disable kube-proxy", { on: "server" }),
  flag("disable-network-policy", "bool", "same as --disable network-policy", { on: "server" }),
  flag("disable-controller-manager", "bool", "same as --disable controller-manager", { hidden: true, on: "server" }),
  flag("disable-agent", "bool", "run no pods on this server", { hidden: true, on: "server" }),
  flag("node-name", "string", "name of the node", { env: "K3S_NODE_NAME", default: "hostname" }),
  flag("with-node-id", "bool", "append an id of this machine to the node's name"),
  flag("node-ip", "list", "addresses to advertise for the node", { short: "i", commas: true }),
  flag("node-external-ip", "list", "external addresses to advertise for the node", { commas: true }),
  flag("node-label", "list", "labels set when the node is registered"),
  flag("node-taint", "list", "taints set when the node is registered"),
  flag("plugin", "list", "load a plugin: folder, module, .tgz, npm package or program; it takes the place of the default provider of its slot"),
  flag("allow-inline", "list", "run the plugin NAME in the server's own process, as its manifest asks for", { commas: true }),
  flag("attach", "list", "let the process of the plugin NAME wait for a debugger before it loads", { commas: true }),
  flag("slot", "list", "choose the provider of a slot: SLOT=PLUGIN, or SLOT=none"),
  flag("profile", "string", "start only a part: full, api (datastore and API server)", { default: "full", on: "server" }),
];

/** Read by the plugins that name them in their manifests. */
const pluginFlags: readonly Flag[] = [
  flag("token", "string", "shared secret to join servers and agents", { short: "t", env: "K3S_TOKEN" }),
  flag("token-file", "string", "file that holds the token", { env: "K3S_TOKEN_FILE" }),
  flag("agent-token", "string", "shared secret to join agents, in place of the token", { env: "K3S_AGENT_TOKEN", on: "server" }),
  flag("agent-token-file", "string", "file that holds the agents' token", { env: "K3S_AGENT_TOKEN_FILE", on: "server" }),
  flag("secrets-encryption", "bool", "encrypt Secrets in the datastore", { on: "server" }),
  flag("secrets-encryption-provider", "string", "what new keys are made for: aescbc, aesgcm, secretbox", { default: "aescbc", on: "server" }),
  flag("kubelet-arg", "list", "option for the kubelet, KEY=VALUE"),
  flag("kube-apiserver-arg", "list", "option for the API server, KEY=VALUE", { on: "server" }),
  flag("kube-controller-manager-arg", "list", "option for the controllers, KEY=VALUE", { alias: "kube-controller-arg", on: "server" }),
  flag("kube-scheduler-arg", "list", "option for the scheduler, KEY=VALUE", { on: "server" }),
  flag("kube-proxy-arg", "list", "option for the proxy, KEY=VALUE"),
  flag("flannel-backend", "string", "backend of the pod network: vxlan, host-gw, none", { default: "vxlan", on: "server" }),
  flag("flannel-iface", "string", "interface of the pod network"),
  flag("private-registry", "string", "file with mirrors and credentials of registries", { default: "/etc/rancher/k3s/registries.yaml" }),
  flag("disable-default-registry-endpoint", "bool", "of registries with mirrors, ask only the mirrors"),
  flag("default-local-storage-path", "string", "folder of local-path volumes", { on: "server" }),
];

/** Parsed so that K3s's install scripts work; unless a plugin reads one, a warning says that it has no effect. */
const otherFlags: readonly Flag[] = [
  ...hidden(`
    alsologtostderr selinux protect-kernel-defaults disable-apiserver-lb docker nonroot-devices enable-pprof rootless
    prefer-bundled-bin`, "bool"),
  ...hidden(`
    disable-cloud-controller disable-apiserver disable-etcd cluster-init cluster-reset embedded-registry
    supervisor-metrics tls-san-security etcd-expose-metrics etcd-disable-snapshots etcd-snapshot-compress
    flannel-ipv6-masq flannel-external-ip kine-tls etcd-s3 etcd-s3-skip-ssl-verify etcd-s3-insecure`, "bool", { on: "server" }),
  ...hidden(`
    v vmodule log server lb-server-port container-runtime-endpoint image-service-endpoint default-runtime pause-image
    snapshotter airgap-extra-registry image-credential-provider-bin-dir image-credential-provider-config resolv-conf
    flannel-conf flannel-cni-conf vpn-auth vpn-auth-file node-internal-dns node-external-dns`, "string"),
  ...hidden(`
    advertise-port supervisor-port apiserver-port apiserver-bind-address egress-selector-mode servicelb-namespace
    helm-job-image cluster-reset-restore-path datastore-endpoint datastore-cafile datastore-certfile datastore-keyfile
    etcd-snapshot-name etcd-snapshot-schedule-cron etcd-snapshot-reconcile-interval etcd-snapshot-retention
    etcd-snapshot-dir system-default-registry etcd-s3-endpoint etcd-s3-endpoint-ca etcd-s3-access-key etcd-s3-secret-key
    etcd-s3-session-token etcd-s3-bucket etcd-s3-bucket-lookup-type etcd-s3-region etcd-s3-folder etcd-s3-retention
    etcd-s3-proxy etcd-s3-config-secret etcd-s3-timeout`, "string", { on: "server" }),
  ...hidden("kube-cloud-controller-manager-arg etcd-arg helm-controller-arg", "list", { on: "server" }),
];

/** The flags of `k3s-p server`. */
export const flags: readonly Flag[] = [...coreFlags, ...pluginFlags, ...otherFlags];

/** Read by the core of an agent; what a server takes for these is hidden or a plugin's. */
const joinFlags: readonly Flag[] = [
  flag("server", "string", "URL of the server to join: https://HOST:6443", { short: "s", env: "K3S_URL" }),
  flag("token", "string", "token of the server: see its /var/lib/rancher/k3s/server/node-token", { short: "t", env: "K3S_TOKEN" }),
  flag("token-file", "string", "file that holds the token", { env: "K3S_TOKEN_FILE" }),
];

const names = (list: readonly Flag[]): readonly string[] => list.map(({ name }) => name);
/** K3s's agent takes it, and nothing but a server listens here. */
const notOnAgents = hidden("bind-address", "string");
const ofAgents = [...joinFlags, ...notOnAgents];
const agentFlags = [...ofAgents, ...flags.filter(({ name, on }) => on !== "server" && !names(ofAgents).includes(name))];

export const flagsOf = (role: Role): readonly Flag[] => (role === "server" ? flags : agentFlags);

const readByCore: Readonly<Record<Role, ReadonlySet<string>>> = {
  server: new Set(names(coreFlags)),
  agent: new Set(names([...joinFlags, ...coreFlags])).difference(new Set(names(notOnAgents))),
};

/** Warnings for settings that nobody reads, so that none is lost in silence. */
export function unreadFlags(settings: ReadonlyMap<string, { readonly source: string }>, claimed: ReadonlySet<string>, role: Role = "server"): string[] {
  return [...settings]
    .filter(([name]) => !readByCore[role].has(name) && !claimed.has(name))
    .map(([name, { source }]) => `${name} (${source}) is accepted and has no effect`);
}
