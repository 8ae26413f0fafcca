/** The `runtime` slot: CRI's v1 RuntimeService and ImageService as plain values and async methods. */
import { defineSlot } from "../contract.ts";

export type Labels = Readonly<Record<string, string>>;

export interface PodSandboxMetadata {
  readonly name: string;
  readonly uid: string;
  readonly namespace: string;
  readonly attempt: number;
}

/** CRI NamespaceMode: POD 0, CONTAINER 1, NODE 2, TARGET 3. */
export interface NamespaceOptions {
  readonly network?: number;
  readonly pid?: number;
  readonly ipc?: number;
  readonly targetId?: string;
}

export interface SeccompProfile {
  /** RuntimeDefault 0, Unconfined 1, Localhost 2. */
  readonly profileType: number;
  readonly localhostRef?: string;
}

export interface PodSandboxConfig {
  readonly metadata: PodSandboxMetadata;
  /** Must stay empty for a pod on the host's network. */
  readonly hostname?: string;
  readonly logDirectory: string;
  readonly dnsConfig?: { readonly servers?: readonly string[]; readonly searches?: readonly string[]; readonly options?: readonly string[] };
  readonly portMappings?: readonly {
    /** TCP 0, UDP 1, SCTP 2 */
    readonly protocol: number;
    readonly containerPort: number;
    readonly hostPort: number;
    readonly hostIp?: string;
  }[];
  readonly labels?: Labels;
  readonly annotations?: Labels;
  readonly linux?: {
    readonly cgroupParent?: string;
    readonly sysctls?: Labels;
    readonly securityContext?: LinuxSandboxSecurityContext;
  };
}

export interface LinuxSandboxSecurityContext {
  readonly namespaceOptions?: NamespaceOptions;
  readonly runAsUser?: { readonly value: number };
  readonly runAsGroup?: { readonly value: number };
  readonly readonlyRootfs?: boolean;
  readonly supplementalGroups?: readonly number[];
  readonly privileged?: boolean;
  readonly seccomp?: SeccompProfile;
}

export interface Mount {
  readonly containerPath: string;
  readonly hostPath: string;
  readonly readonly?: boolean;
  /** PRIVATE 0, HOST_TO_CONTAINER 1, BIDIRECTIONAL 2 */
  readonly propagation?: number;
  readonly selinuxRelabel?: boolean;
}

export interface LinuxContainerResources {
  readonly cpuPeriod?: number;
  readonly cpuQuota?: number;
  readonly cpuShares?: number;
  readonly memoryLimitInBytes?: number;
  readonly oomScoreAdj?: number;
  readonly cpusetCpus?: string;
  readonly hugepageLimits?: readonly { readonly pageSize: string; readonly limit: number }[];
}

export interface LinuxContainerSecurityContext {
  readonly capabilities?: { readonly addCapabilities?: readonly string[]; readonly dropCapabilities?: readonly string[] };
  readonly privileged?: boolean;
  readonly namespaceOptions?: NamespaceOptions;
  readonly runAsUser?: { readonly value: number };
  readonly runAsGroup?: { readonly value: number };
  readonly runAsUsername?: string;
  readonly readonlyRootfs?: boolean;
  readonly supplementalGroups?: readonly number[];
  readonly noNewPrivs?: boolean;
  readonly maskedPaths?: readonly string[];
  readonly readonlyPaths?: readonly string[];
  readonly seccomp?: SeccompProfile;
  readonly apparmorProfile?: string;
}

export interface ContainerConfig {
  readonly metadata: { readonly name: string; readonly attempt: number };
  readonly image: { readonly image: string };
  readonly command?: readonly string[];
  readonly args?: readonly string[];
  readonly workingDir?: string;
  readonly envs?: readonly { readonly key: string; readonly value: string }[];
  readonly mounts?: readonly Mount[];
  readonly devices?: readonly { readonly containerPath: string; readonly hostPath: string; readonly permissions: string }[];
  readonly labels?: Labels;
  readonly annotations?: Labels;
  /** Relative to the sandbox's `logDirectory`. */
  readonly logPath: string;
  readonly stdin?: boolean;
  readonly stdinOnce?: boolean;
  readonly tty?: boolean;
  /** As the API names it: `SIGUSR1`, `SIGRTMIN+3`; without one the image's counts, else SIGTERM. */
  readonly stopSignal?: string;
  readonly linux?: { readonly resources?: LinuxContainerResources; readonly securityContext?: LinuxContainerSecurityContext };
}

export interface PodSandbox {
  readonly id: string;
  readonly metadata: PodSandboxMetadata;
  readonly state: "READY" | "NOTREADY";
  /** Unix nanoseconds. */
  readonly createdAt: bigint;
  readonly labels: Labels;
  readonly annotations: Labels;
}

export interface PodSandboxStatus extends PodSandbox {
  /** Primary and additional pod addresses; empty on the host network. */
  readonly ips: readonly string[];
}

export type ContainerState = "CREATED" | "RUNNING" | "EXITED" | "UNKNOWN";

export interface Container {
  readonly id: string;
  readonly podSandboxId: string;
  readonly metadata: { readonly name: string; readonly attempt: number };
  readonly state: ContainerState;
  readonly image: string;
  readonly imageRef: string;
  readonly createdAt: bigint;
  readonly labels: Labels;
  readonly annotations: Labels;
}

export interface ContainerStatus extends Container {
  readonly startedAt: bigint;
  readonly finishedAt: bigint;
  readonly exitCode: number;
  /** `OOMKilled`, `Error`, `Completed` */
  readonly reason: string;
  readonly message: string;
  readonly logPath: string;
  /** What the container is told to stop with, as far as the runtime says. */
  readonly stopSignal?: string;
}

export interface Image {
  readonly id: string;
  readonly repoTags: readonly string[];
  readonly repoDigests: readonly string[];
  readonly size: number;
  readonly uid?: number;
  readonly username?: string;
  readonly pinned?: boolean;
}

export interface ImageAuth {
  readonly username?: string;
  readonly password?: string;
  readonly auth?: string;
  readonly serverAddress?: string;
  readonly identityToken?: string;
  readonly registryToken?: string;
}

export interface ContainerStats {
  readonly id: string;
  readonly labels: Labels;
  /** Unix nanoseconds of the sample. */
  readonly timestamp: bigint;
  readonly cpuUsageCoreNanoSeconds: bigint;
  readonly memoryWorkingSetBytes: number;
  readonly memoryUsageBytes?: number;
  readonly memoryRssBytes?: number;
  readonly writableLayerBytes?: number;
  readonly writableLayerInodes?: number;
}

/** A change of one container or sandbox, pushed by the runtime and never polled. */
export interface RuntimeEvent {
  readonly type: "created" | "started" | "exited" | "deleted" | "oom";
  /** Container or sandbox id. */
  readonly containerId: string;
}

export interface StreamOptions {
  readonly stdin?: boolean;
  readonly stdout?: boolean;
  readonly stderr?: boolean;
  readonly tty?: boolean;
}

export interface Runtime {
  readonly name: string;
  /** `unix:///run/k3s/containerd/containerd.sock` */
  readonly endpoint: string;
  /** Where this runtime looks for CNI configuration and programs. */
  readonly cni: { readonly confDir: string; readonly binDir: string };
  readonly pauseImage: string;
  version(): Promise<{ readonly runtimeName: string; readonly runtimeVersion: string; readonly runtimeApiVersion: string }>;
  status(): Promise<{ readonly runtimeReady: boolean; readonly networkReady: boolean; readonly message: string }>;
  /** Stderr or reason in the thrown error's message. */
  runPodSandbox(config: PodSandboxConfig, runtimeHandler?: string): Promise<string>;
  stopPodSandbox(id: string): Promise<void>;
  removePodSandbox(id: string): Promise<void>;
  podSandboxStatus(id: string): Promise<PodSandboxStatus | undefined>;
  listPodSandboxes(): Promise<readonly PodSandbox[]>;
  createContainer(sandboxId: string, config: ContainerConfig, sandbox: PodSandboxConfig): Promise<string>;
  startContainer(id: string): Promise<void>;
  /** The container's stop signal (its configuration's, the image's, or SIGTERM), then SIGKILL after `timeoutSeconds`. */
  stopContainer(id: string, timeoutSeconds: number): Promise<void>;
  removeContainer(id: string): Promise<void>;
  listContainers(): Promise<readonly Container[]>;
  containerStatus(id: string): Promise<ContainerStatus | undefined>;
  updateContainerResources(id: string, resources: LinuxContainerResources): Promise<void>;
  reopenContainerLog(id: string): Promise<void>;
  execSync(id: string, command: readonly string[], timeoutSeconds: number): Promise<{
    readonly stdout: Buffer;
    readonly stderr: Buffer;
    readonly exitCode: number;
  }>;
  /** URL of the runtime's streaming server that speaks SPDY/3.1 and WebSocket `v4.channel.k8s.io`. */
  execUrl(id: string, command: readonly string[], options: StreamOptions): Promise<string>;
  attachUrl(id: string, options: StreamOptions): Promise<string>;
  portForwardUrl(sandboxId: string, ports: readonly number[]): Promise<string>;
  listContainerStats(): Promise<readonly ContainerStats[]>;
  /** Returns the image reference (id) to put in `Container.imageRef`. */
  pullImage(image: string, auth?: ImageAuth, sandbox?: PodSandboxConfig): Promise<string>;
  imageStatus(image: string): Promise<Image | undefined>;
  listImages(): Promise<readonly Image[]>;
  removeImage(image: string): Promise<void>;
  /**
   * Mounts an image's files read-only at a folder that is there, for a volume of kind `image`; who asked for it unmounts it.
   * Absent where the runtime cannot.
   */
  mountImage?(image: string, path: string): Promise<void>;
  imageFsInfo(): Promise<{ readonly mountpoint: string; readonly usedBytes: number; readonly inodesUsed: number }>;
  /**
   * Subscribes to events; the returned function ends it. After a reconnect, `onResync` asks for a fresh list. When the slot was
   * taken over (`ctx.onReplaced`), also by the same plugin after a restart, subscribe again and list.
   */
  subscribe(onEvent: (event: RuntimeEvent) => void, onResync: () => void): () => void;
}

export const runtime = defineSlot<Runtime>("runtime", { required: ["agent"] });
