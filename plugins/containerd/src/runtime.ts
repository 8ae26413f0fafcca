/** The `runtime` slot over a CRI channel: one method, one call. */
import type { Image, Runtime, RuntimeEvent } from "@k3s-p/plugin-api/slots";
import { containerStates, toContainer, toContainerStatus, toImage, toSandbox, toSandboxStatus, toStats } from "./convert.ts";
import { grpcCode, hasCode, type CriChannel, type Message } from "./cri.ts";
import type { EventHub } from "./events.ts";
import { askedSignal, signalNumber, stopBySignal, withStopSignal, type Kill } from "./stop-signal.ts";

export interface RuntimeParts {
  readonly endpoint: string;
  readonly cni: Runtime["cni"];
  readonly pauseImage: string;
  readonly channel: CriChannel;
  readonly events: Pick<EventHub, "subscribe">;
  readonly images: ImageSource;
  /** For a stop signal that this containerd does not take over CRI. */
  readonly kill: Kill;
  readonly mountImage: NonNullable<Runtime["mountImage"]>;
}

/** What the import of image archives adds to the image calls. */
export interface ImageSource {
  /** Tags that must not be garbage-collected. */
  readonly pinned: ReadonlySet<string>;
  /** Resolves when the archives found at start are in. */
  readonly imported: Promise<void>;
}

/** Upstream's runtime request timeout; calls with a wait of their own add it. */
const requestTimeout = 120_000;
const sandboxTimeout = 2 * requestTimeout;

export function criRuntime({ channel, images, ...parts }: RuntimeParts): Runtime {
  const call = (method: string, request: object = {}, timeout = requestTimeout) => channel.call("runtime", method, request, timeout);
  const image = (method: string, request: object = {}, timeout = requestTimeout) => channel.call("image", method, request, timeout);
  const url = async (method: string, request: object) => (await call(method, request)).url as string;
  const sandboxes = new Map<string, string>();

  async function sandboxOf(id: string): Promise<string> {
    if (!sandboxes.has(id)) await listContainers();
    return sandboxes.get(id) ?? "";
  }
  async function listContainers() {
    const list = ((await call("ListContainers")).containers as Message[]).map(toContainer);
    sandboxes.clear();
    for (const each of list) sandboxes.set(each.id, each.podSandboxId);
    return list;
  }
  async function imageStatus(name: string): Promise<Image | undefined> {
    const status = async () => (await image("ImageStatus", { image: { image: name } })).image as Message | null;
    let found = await status();
    if (!found) {
      await images.imported;
      found = await status();
    }
    return found ? toImage(found, images.pinned) : undefined;
  }

  /** Of a running container whose stop signal containerd did not take: before 2.2 it knows the image's only. */
  async function signalToSend(containerId: string): Promise<number | undefined> {
    const found = await unlessMissing(async () => (await call("ContainerStatus", { containerId })).status as Message);
    const asked = askedSignal(found?.annotations);
    return found && asked !== undefined && containerStates[found.state] === "RUNNING" && !found.stopSignal ? signalNumber(asked) : undefined;
  }

  return {
    name: "containerd",
    endpoint: parts.endpoint,
    cni: parts.cni,
    pauseImage: parts.pauseImage,
    subscribe: parts.events.subscribe,
    mountImage: parts.mountImage,
    version: async () => (await call("Version", { version: "v1" })) as Awaited<ReturnType<Runtime["version"]>>,
    status: async () => toStatus(await call("Status")),
    runPodSandbox: async (config, runtimeHandler = "") =>
      (await call("RunPodSandbox", { config, runtimeHandler }, sandboxTimeout)).podSandboxId,
    stopPodSandbox: async (podSandboxId) => void (await call("StopPodSandbox", { podSandboxId }, sandboxTimeout)),
    removePodSandbox: async (podSandboxId) => void (await call("RemovePodSandbox", { podSandboxId })),
    podSandboxStatus: (podSandboxId) =>
      unlessMissing(async () => toSandboxStatus((await call("PodSandboxStatus", { podSandboxId })).status)),
    listPodSandboxes: async () => ((await call("ListPodSandbox")).items as Message[]).map(toSandbox),
    async createContainer(podSandboxId, config, sandboxConfig) {
      const id: string = (await call("CreateContainer", { podSandboxId, config: withStopSignal(config), sandboxConfig })).containerId;
      sandboxes.set(id, podSandboxId);
      return id;
    },
    startContainer: async (containerId) => void (await call("StartContainer", { containerId })),
    async stopContainer(containerId, timeout) {
      const signal = timeout > 0 ? await signalToSend(containerId) : undefined;
      if (signal !== undefined) await stopBySignal(parts.kill, parts.events.subscribe, containerId, signal, timeout);
      const left = signal === undefined ? timeout : 0;
      await call("StopContainer", { containerId, timeout: left }, requestTimeout + left * 1000);
    },
    async removeContainer(containerId) {
      await call("RemoveContainer", { containerId });
      sandboxes.delete(containerId);
    },
    listContainers,
    containerStatus: (containerId) =>
      unlessMissing(async () => {
        const { status } = await call("ContainerStatus", { containerId });
        return toContainerStatus(status, await sandboxOf(containerId));
      }),
    updateContainerResources: async (containerId, linux) =>
      void (await call("UpdateContainerResources", { containerId, linux })),
    reopenContainerLog: async (containerId) => void (await call("ReopenContainerLog", { containerId })),
    async execSync(containerId, cmd, timeout) {
      const limit = timeout > 0 ? requestTimeout + timeout * 1000 : 0;
      const { stdout, stderr, exitCode } = await call("ExecSync", { containerId, cmd, timeout }, limit);
      return { stdout, stderr, exitCode };
    },
    execUrl: (containerId, cmd, options) => url("Exec", { containerId, cmd, ...options }),
    attachUrl: (containerId, options) => url("Attach", { containerId, ...options }),
    portForwardUrl: (podSandboxId, port) => url("PortForward", { podSandboxId, port }),
    listContainerStats: async () =>
      ((await call("ListContainerStats")).stats as Message[]).filter((each) => each.attributes && each.cpu).map(toStats),
    async pullImage(name, auth, sandboxConfig) {
      await images.imported;
      return (await image("PullImage", { image: { image: name }, auth, sandboxConfig }, 0)).imageRef;
    },
    imageStatus,
    listImages: async () => ((await image("ListImages")).images as Message[]).map((each) => toImage(each, images.pinned)),
    removeImage: async (name) => void (await image("RemoveImage", { image: { image: name } })),
    imageFsInfo: async () => toFsInfo(await image("ImageFsInfo")),
  };
}

function toStatus({ status }: Message): Awaited<ReturnType<Runtime["status"]>> {
  const conditions: readonly Message[] = status?.conditions ?? [];
  const is = (type: string) => conditions.find((each) => each.type === type)?.status === true;
  const problems = conditions.filter((each) => !each.status && each.type !== "ContainerdHasNoDeprecationWarnings");
  return {
    runtimeReady: is("RuntimeReady"),
    networkReady: is("NetworkReady"),
    message: problems.map((each) => `${each.reason}: ${each.message}`).join("; "),
  };
}

function toFsInfo({ imageFilesystems }: Message): Awaited<ReturnType<Runtime["imageFsInfo"]>> {
  const [first] = imageFilesystems as readonly Message[];
  return {
    mountpoint: first?.fsId?.mountpoint ?? "",
    usedBytes: Number(first?.usedBytes?.value ?? 0),
    inodesUsed: Number(first?.inodesUsed?.value ?? 0),
  };
}

async function unlessMissing<T>(read: () => Promise<T>): Promise<T | undefined> {
  try {
    return await read();
  } catch (error) {
    if (hasCode(error, grpcCode.notFound)) return undefined;
    throw error;
  }
}

const settleSteps = [0, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000];

/**
 * containerd announces an exit before its CRI service has written it down, and nothing follows. So an `exited` event
 * is held back (milliseconds) until the container or sandbox no longer shows as running.
 */
export async function settle(channel: Pick<CriChannel, "call">, event: RuntimeEvent): Promise<void> {
  if (event.type !== "exited") return;
  for (const wait of settleSteps) {
    if (wait) await new Promise((resolve) => setTimeout(resolve, wait));
    if (!(await stillRunning(channel, event.containerId))) return;
  }
}

async function stillRunning(channel: Pick<CriChannel, "call">, id: string): Promise<boolean> {
  const status = (method: string, key: string) =>
    unlessMissing(() => channel.call("runtime", method, { [key]: id }, 5000)).catch(() => undefined);
  const container = await status("ContainerStatus", "containerId");
  if (container) return container.status?.state === 1;
  const sandbox = await status("PodSandboxStatus", "podSandboxId");
  return sandbox?.status?.state === 0;
}
