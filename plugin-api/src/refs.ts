/** What the kernel itself provides: the node, the cluster's settings, paths, keys and a process runner. */
import { defineSlot, type Role } from "./contract.ts";

/** Identity of this machine in the cluster. */
export interface NodeInfo {
  readonly name: string;
  /** Primary node address (`--node-ip`, else the address of the default route). */
  readonly ip: string;
  readonly externalIp?: string;
  readonly role: Role;
  /** `--node-label`, applied at first registration only. */
  readonly labels: Readonly<Record<string, string>>;
  /** `--node-taint` as `key=value:Effect`. */
  readonly taints: readonly string[];
  readonly paths: Paths;
  readonly cluster: ClusterSettings;
}

/** Cluster-wide settings with K3s's names and defaults. */
export interface ClusterSettings {
  readonly clusterCidr: readonly string[];
  readonly serviceCidr: readonly string[];
  readonly clusterDns: readonly string[];
  readonly clusterDomain: string;
  readonly serviceNodePortRange: readonly [number, number];
  readonly bindAddress: string;
  readonly httpsListenPort: number;
  /** Address and port under which clients on other machines reach the API server. */
  readonly advertiseAddress: string;
  readonly tlsSan: readonly string[];
  /** Names given with `--disable`: plugins, and AddOns of the user's own. */
  readonly disabled: readonly string[];
  /** Path, mode and, if one was asked for, group id of the admin kubeconfig. */
  readonly kubeconfig: { readonly path: string; readonly mode: number; readonly gid?: number };
  /** What agents take over: flag or `plugins.NAME.config.OPTION` -> value in force. Empty on an agent, as the two below. */
  readonly shared: Readonly<Record<string, string | number | boolean | readonly string[]>>;
  /** Slots whose provider is to be the same on every node -> plugin: `{ cni: "flannel", proxy: "kube-proxy" }`. */
  readonly nodeSlots: Readonly<Record<string, string>>;
  /** Plugins that agents may run under their accounts, whether they run here or not. */
  readonly agentPlugins: readonly string[];
}

/** K3s's file layout, absolute paths. */
export interface Paths {
  readonly dataDir: string;
  readonly server: string;
  readonly db: string;
  readonly manifests: string;
  readonly tls: string;
  readonly token: string;
  readonly agent: string;
  readonly images: string;
  readonly agentEtc: string;
  readonly podManifests: string;
  /** containerd's root (image store). */
  readonly containerdRoot: string;
  /** `/run/k3s` */
  readonly run: string;
  /** `/run/k3s/containerd` */
  readonly containerdState: string;
  readonly containerdSocket: string;
  /** `/run/flannel` */
  readonly flannelRun: string;
  readonly cniConf: string;
  /** Symlinks to the distribution's CNI programs, and those that plugins add. */
  readonly cniBin: string;
  readonly storage: string;
  /** `/var/lib/kubelet` */
  readonly kubelet: string;
  /** `/var/log/pods` and `/var/log/containers` */
  readonly podLogs: string;
  readonly containerLogs: string;
}

export type CaName = "server-ca" | "client-ca" | "request-header-ca";

export interface LeafRequest {
  /** File name below `server/tls` or `agent`, without extension: `client-admin`, `serving-kube-apiserver`. */
  readonly name: string;
  readonly ca: CaName;
  readonly commonName: string;
  readonly organizations?: readonly string[];
  readonly usage: "client" | "server" | "both";
  /** DNS names and IP addresses. */
  readonly sans?: readonly string[];
  /** Folder; default `server/tls`. */
  readonly dir?: string;
}

export interface KeyPair {
  /** PEM. */
  readonly cert: string;
  readonly key: string;
  readonly certPath: string;
  readonly keyPath: string;
}

export interface Renewal {
  /** The certificate was renewed while the server runs; the key may be the same. */
  readonly onRenewed: (pair: KeyPair) => void;
  /** Ends it. */
  readonly signal: AbortSignal;
}

/** The cluster's certificate authorities (ECDSA P-256). Files are kept and reused; leaves renew when they near expiry. */
export interface Pki {
  ca(name: CaName): { readonly cert: string; readonly certPath: string };
  /** With `renewal` the certificate is followed until it is no longer needed; else it is renewed at the next start. */
  issue(request: LeafRequest, renewal?: Renewal): Promise<KeyPair>;
  /**
   * Certifies the key of a PKCS#10 request (PEM) for another machine: subject and names are those given here, never the
   * request's. Resolves to PEM with the CA behind; a request that is not signed by its own key, or whose key is weak,
   * rejects with `K3SP_CERTIFICATE_INVALID`. On an agent it always rejects, and so do `serviceAccountKey` and the
   * `ca("request-header-ca")`: the keys for these are on servers alone.
   */
  certify(csr: string, request: Omit<LeafRequest, "name" | "dir">): Promise<string>;
  /** PEM of the ServiceAccount token key pair (`service.key`), created once. More private keys may follow the first, which signs. */
  serviceAccountKey(): Promise<{ readonly publicKey: string; readonly privateKey: string; readonly path: string }>;
}

export interface RunOptions {
  readonly stdin?: string | Uint8Array;
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
  /** Milliseconds; default 30,000. */
  readonly timeout?: number;
}

export interface RunResult {
  /** Exit code; 128 + signal when killed. */
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface SpawnOptions {
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
  readonly onOutput?: (chunk: string, stream: "stdout" | "stderr") => void;
}

export interface RunningProcess {
  readonly pid: number;
  write(data: string): void;
  closeStdin(): void;
  kill(signal?: "SIGTERM" | "SIGKILL" | "SIGINT" | "SIGHUP"): void;
  readonly exited: Promise<{ readonly code: number | null; readonly signal: string | null }>;
}

/**
 * Runs commands for everybody from one small process, so that no `fork` ever blocks the server's event loop.
 * `run` rejects only when the program cannot be started (`ENOENT`); a non-zero exit is a result. `kubectl` and `helm` come
 * with the server, for machines that have none on the PATH.
 */
export interface Runner {
  run(command: string, args: readonly string[], options?: RunOptions): Promise<RunResult>;
  spawn(command: string, args: readonly string[], options?: SpawnOptions): Promise<RunningProcess>;
}

export const node = defineSlot<NodeInfo>("node");
export const pki = defineSlot<Pki>("pki");
export const runner = defineSlot<Runner>("runner");
