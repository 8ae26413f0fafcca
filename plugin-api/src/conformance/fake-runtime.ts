/** A runtime in memory: containers "run" until a test lets them exit. Every call is counted. */
import type { Container, ContainerConfig, ContainerStatus, Image, PodSandboxConfig, PodSandboxStatus, Runtime, RuntimeEvent } from "../slots/runtime.ts";

export interface FakeRuntime extends Runtime {
  /** Names of the calls that change something, in order: `runPodSandbox web`, `startContainer c`. */
  readonly calls: string[];
  readonly sandboxes: Map<string, PodSandboxStatus>;
  readonly containers: Map<string, ContainerStatus>;
  readonly configs: Map<string, ContainerConfig>;
  readonly images: Map<string, Image>;
  /** Lets the newest instance of a container exit. */
  exit(name: string, code: number): void;
  /** Answers of `execSync`, by the joined command; default exit code 0. */
  readonly exec: Map<string, { readonly code: number; readonly stdout?: string }>;
  /** Errors to throw, once each, by method name. */
  readonly errors: Map<string, Error>;
  networkReady: boolean;
}

export interface FakeRuntimeOptions {
  readonly now?: () => number;
  readonly images?: readonly string[];
  /** A container stops when it is asked to; else only after its grace period. */
  readonly stopsAtOnce?: boolean;
}

export function fakeRuntime(options: FakeRuntimeOptions = {}): FakeRuntime {
  const { now = Date.now, images: present = ["busybox:latest"], stopsAtOnce = true } = options;
  const calls: string[] = [];
  const sandboxes = new Map<string, PodSandboxStatus>();
  const containers = new Map<string, ContainerStatus>();
  const configs = new Map<string, ContainerConfig>();
  const images = new Map<string, Image>(present.map((name) => [name, fakeImage(name)]));
  const exec = new Map<string, { code: number; stdout?: string }>();
  const errors = new Map<string, Error>();
  const listeners = new Set<(event: RuntimeEvent) => void>();
  let sequence = 0;
  let networkReady = true;

  const nanos = (): bigint => BigInt(now()) * 1_000_000n + BigInt(sequence++);
  const emit = (type: RuntimeEvent["type"], containerId: string): void => {
    for (const listener of listeners) queueMicrotask(() => listener({ type, containerId }));
  };
  function call(method: string, subject: string): void {
    calls.push(`${method} ${subject}`);
    const error = errors.get(method);
    errors.delete(method);
    if (error) throw error;
  }
  const nameOf = (id: string): string => containers.get(id)?.metadata.name ?? id;
  function finish(id: string, exitCode: number): void {
    const status = containers.get(id);
    if (status?.state !== "RUNNING") return;
    const reason = exitCode === 0 ? "Completed" : "Error";
    containers.set(id, { ...status, state: "EXITED", exitCode, reason, finishedAt: nanos() });
    emit("exited", id);
  }

  return {
    calls, sandboxes, containers, configs, images, exec, errors,
    name: "fake", endpoint: "unix:///fake.sock", cni: { confDir: "/tmp", binDir: "/tmp" }, pauseImage: "pause",
    get networkReady() {
      return networkReady;
    },
    set networkReady(value) {
      networkReady = value;
    },
    exit(name, code) {
      const id = [...containers.values()].filter((c) => c.metadata.name === name && c.state === "RUNNING").at(-1)?.id;
      if (!id) throw new Error(`no running container ${name}`);
      finish(id, code);
    },
    version: async () => ({ runtimeName: "fake", runtimeVersion: "1.0", runtimeApiVersion: "v1" }),
    status: async () => ({ runtimeReady: true, networkReady, message: networkReady ? "" : "cni plugin not initialized" }),
    async runPodSandbox(config: PodSandboxConfig) {
      call("runPodSandbox", config.metadata.name);
      const id = `sandbox-${++sequence}`;
      sandboxes.set(id, {
        id, metadata: config.metadata, state: "READY", createdAt: nanos(), labels: config.labels ?? {},
        annotations: config.annotations ?? {}, ips: config.hostname === undefined ? [] : [`10.42.0.${sequence}`],
      });
      emit("started", id);
      return id;
    },
    async stopPodSandbox(id) {
      call("stopPodSandbox", sandboxes.get(id)?.metadata.name ?? id);
      for (const c of containers.values()) if (c.podSandboxId === id) finish(c.id, 137);
      const sandbox = sandboxes.get(id);
      if (sandbox) sandboxes.set(id, { ...sandbox, state: "NOTREADY" });
      emit("exited", id);
    },
    async removePodSandbox(id) {
      call("removePodSandbox", sandboxes.get(id)?.metadata.name ?? id);
      sandboxes.delete(id);
      emit("deleted", id);
    },
    podSandboxStatus: async (id) => sandboxes.get(id),
    listPodSandboxes: async () => [...sandboxes.values()],
    async createContainer(podSandboxId, config) {
      call("createContainer", config.metadata.name);
      const id = `container-${++sequence}`;
      configs.set(config.metadata.name, config);
      containers.set(id, {
        id, podSandboxId, metadata: config.metadata, state: "CREATED", image: config.image.image,
        imageRef: `sha256:${config.image.image}`, createdAt: nanos(), startedAt: 0n, finishedAt: 0n, exitCode: 0,
        reason: "", message: "", logPath: "", labels: config.labels ?? {}, annotations: config.annotations ?? {},
        ...(config.stopSignal && { stopSignal: config.stopSignal }),
      });
      return id;
    },
    async startContainer(id) {
      call("startContainer", nameOf(id));
      containers.set(id, { ...containers.get(id)!, state: "RUNNING", startedAt: nanos() });
      emit("started", id);
    },
    async stopContainer(id, seconds) {
      call("stopContainer", `${nameOf(id)} ${seconds}`);
      if (!stopsAtOnce && seconds > 0) await new Promise((resolve) => setTimeout(resolve, seconds * 1000));
      finish(id, stopsAtOnce ? 143 : 137);
    },
    async removeContainer(id) {
      call("removeContainer", nameOf(id));
      containers.delete(id);
      emit("deleted", id);
    },
    listContainers: async (): Promise<readonly Container[]> => [...containers.values()],
    containerStatus: async (id) => containers.get(id),
    async updateContainerResources(id) {
      call("updateContainerResources", nameOf(id));
    },
    async reopenContainerLog(id) {
      call("reopenContainerLog", nameOf(id));
    },
    async execSync(id, command) {
      call("execSync", `${nameOf(id)} ${command.join(" ")}`);
      const { code, stdout = "" } = exec.get(command.join(" ")) ?? { code: 0 };
      return { stdout: Buffer.from(stdout), stderr: Buffer.alloc(0), exitCode: code };
    },
    execUrl: async (id) => `http://127.0.0.1:1/exec/${id}`,
    attachUrl: async (id) => `http://127.0.0.1:1/attach/${id}`,
    portForwardUrl: async (id) => `http://127.0.0.1:1/portforward/${id}`,
    listContainerStats: async () => [],
    async pullImage(image) {
      call("pullImage", image);
      images.set(image, fakeImage(image));
      return image;
    },
    imageStatus: async (image) => images.get(image),
    listImages: async () => [...images.values()],
    async removeImage(image) {
      call("removeImage", image);
      images.delete(image);
    },
    imageFsInfo: async () => ({ mountpoint: "/", usedBytes: 0, inodesUsed: 0 }),
    subscribe(onEvent) {
      listeners.add(onEvent);
      return () => void listeners.delete(onEvent);
    },
  };
}

const fakeImage = (name: string): Image => ({ id: name, repoTags: [name], repoDigests: [], size: 1000 });
