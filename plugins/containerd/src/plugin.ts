/** Fills the `runtime` slot with a containerd of our own, spoken to by CRI. */
import { join } from "node:path";
import { definePlugin, k3spError, type PluginContext } from "@k3s-p/plugin-api";
import { node, runner, runtime } from "@k3s-p/plugin-api/slots";
import { renderConfig, type ContainerdSettings } from "./config-toml.ts";
import { openChannel, type CriChannel } from "./cri.ts";
import { runDaemon } from "./daemon.ts";
import { eventHub } from "./events.ts";
import { checkControllers, findPrograms, hostFacts, lacksSysResource, linkPrograms, readProcStatus, type Programs } from "./host.ts";
import { renderHosts, writeHosts } from "./hosts-toml.ts";
import { importBytes, mountImage, watchImages, type ImageImport } from "./images.ts";
import { loopback } from "./loopback.ts";
import { ownPauseImage, pauseImage, type ImageArchive } from "./pause.ts";
import { noRegistries, readRegistries } from "./registries.ts";
import { criRuntime, settle } from "./runtime.ts";
import type { Kill } from "./stop-signal.ts";

interface Config {
  readonly snapshotter?: string;
  readonly pauseImage?: string;
  readonly systemDefaultRegistry?: string;
  readonly defaultRuntime?: string;
  readonly streamPort?: number;
  readonly privateRegistry?: string;
  readonly disableDefaultRegistryEndpoint?: boolean;
}

const needs = { node, runner };
type Context = PluginContext<typeof needs, {}, Config>;

export default definePlugin<typeof runtime, typeof needs, {}, Config>({
  provides: runtime,
  needs,
  async start(ctx) {
    const { paths } = ctx.needs.node;
    requireRoot();
    checkControllers();
    const programs = findPrograms();
    const pause = pauseImage(process.arch === "arm64" ? "arm64" : "x64");
    const sandboxImage = ownPauseImage(ctx.config) || pause.name;
    const finding = hostFacts(ctx.needs.runner, programs.containerd, paths.containerdRoot);
    // Loading gRPC holds the event loop for a while: the commands above run meanwhile.
    const opening = openChannel(paths.containerdSocket);
    // Also closed when the start fails before it is used.
    ctx.defer(() => opening.then((channel) => channel.close(), () => undefined));
    linkPrograms(paths.cniBin, programs.cni);
    const { major, overlay } = await finding;
    const snapshotter = chooseSnapshotter(ctx, overlay);
    const restrictOomScoreAdj = lacksSysResource(readProcStatus());
    const registryAuths = await configureRegistries(ctx, major);
    const config = settingsText(ctx, programs, { sandboxImage, snapshotter, major, restrictOomScoreAdj, registryAuths });
    await runDaemon(ctx, {
      configFile: join(paths.agentEtc, "containerd", "config.toml"), config,
      socket: paths.containerdSocket, root: paths.containerdRoot, state: paths.containerdState,
    });
    const channel = await opening;
    await answering(channel, ctx.signal);
    const imports: ImageImport = {
      ctr: programs.ctr, major, socket: paths.containerdSocket, snapshotter, root: paths.containerdRoot, runner: ctx.needs.runner, log: ctx.log,
    };
    if (!ctx.config.pauseImage) await ensurePause(channel, imports, pause);
    const events = eventHub({ channel, settle: (event) => settle(channel, event) });
    ctx.defer(() => events.stop());
    const pinned = new Set([sandboxImage]);
    const folder = watchImages(imports, paths.images, pinned, (name) => channel.call("image", "PullImage", { image: { image: name } }, 0));
    ctx.defer(() => folder.stop());
    return criRuntime({
      endpoint: `unix://${paths.containerdSocket}`,
      cni: { confDir: paths.cniConf, binDir: paths.cniBin },
      pauseImage: sandboxImage,
      channel, events,
      images: { pinned, imported: folder.imported },
      kill: taskKill(imports),
      mountImage: (image, path) => mountImage(imports, image, path),
    });
  },
  async health(impl) {
    const { runtimeReady, message } = await impl.status();
    return runtimeReady ? { ok: true } : { ok: false, message };
  },
});

const taskKill = ({ ctr, socket, runner }: ImageImport): Kill => async (id, signal) => {
  const { code, stderr } = await runner.run(ctr, ["--address", socket, "--namespace", "k8s.io", "tasks", "kill", "--signal", String(signal), id]);
  if (code !== 0) throw new Error(`signal ${signal} not sent to container ${id}: ${stderr.trim()}`);
};

function requireRoot(): void {
  if (process.getuid?.() === 0) return;
  throw k3spError("K3SP_ROOT_REQUIRED", {
    message: "containers need root",
    fix: "run it with sudo, or without containers: --disable-agent",
    plugin: "containerd",
  });
}

function chooseSnapshotter(ctx: Context, overlay: boolean): string {
  const wanted = ctx.config.snapshotter ?? "overlayfs";
  if (wanted !== "overlayfs" || overlay) return wanted;
  ctx.log.warn(`${ctx.needs.node.paths.containerdRoot} cannot carry overlay mounts: using the snapshotter "native", which copies every layer`);
  return "native";
}

/** Read at start only, as K3s does. Returns the credentials, which are not for hosts.toml. */
async function configureRegistries(ctx: Context, major: number): Promise<ContainerdSettings["registryAuths"]> {
  const { privateRegistry = defaultRegistries, disableDefaultRegistryEndpoint: disableDefaultEndpoint = false } = ctx.config;
  const read = await readRegistries(privateRegistry);
  if (!read && privateRegistry !== defaultRegistries) ctx.log.warn(`${privateRegistry} is not there: registries are asked without settings`);
  const { registries = noRegistries, warnings = [] } = read ?? {};
  const hosts = await renderHosts(registries, { disableDefaultEndpoint, major, loopback: loopback(ctx) });
  for (const warning of [...warnings, ...hosts.warnings.map((each) => `${privateRegistry}: ${each}`)]) ctx.log.warn(warning);
  await writeHosts(certsDir(ctx), hosts.files);
  return hosts.auths;
}

const defaultRegistries = "/etc/rancher/k3s/registries.yaml";
const certsDir = (ctx: Context) => join(ctx.needs.node.paths.agentEtc, "containerd", "certs.d");

type Facts = Pick<ContainerdSettings, "sandboxImage" | "snapshotter" | "major" | "restrictOomScoreAdj" | "registryAuths">;

function settingsText(ctx: Context, programs: Programs, facts: Facts): string {
  const { paths } = ctx.needs.node;
  const defaultRuntime = ctx.config.defaultRuntime || (programs.runtimes.runc ? "runc" : "crun");
  if (!programs.runtimes[defaultRuntime]) {
    throw k3spError("K3SP_CONFIG_INVALID", {
      message: `default runtime "${defaultRuntime}" is not installed`,
      fix: `use one of: ${Object.keys(programs.runtimes).join(", ")}`,
      plugin: "containerd",
    });
  }
  return renderConfig({
    ...facts,
    root: paths.containerdRoot, state: paths.containerdState, socket: paths.containerdSocket,
    runtimes: programs.runtimes, defaultRuntime,
    cniBin: paths.cniBin, cniConf: paths.cniConf,
    registryConfig: certsDir(ctx),
    streamPort: ctx.config.streamPort ?? 0,
  });
}

/** The socket is there before CRI is: its first calls answer Unavailable. */
async function answering(channel: CriChannel, signal: AbortSignal): Promise<void> {
  for (let attempt = 0; ; attempt++) {
    try {
      await channel.call("runtime", "Version", { version: "v1" }, 5000);
      return;
    } catch (error) {
      signal.throwIfAborted();
      if (attempt === 500) throw k3spError("K3SP_RUNTIME_FAILED", { message: "containerd's CRI service does not answer", cause: error, plugin: "containerd" });
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
}

/** CRI learns of a new image by an event, so look until it shows; without it the first sandbox would try to pull. */
async function ensurePause(channel: CriChannel, imports: ImageImport, pause: ImageArchive): Promise<void> {
  const there = async () => (await channel.call("image", "ImageStatus", { image: { image: pause.name } }, 5000)).image !== null;
  if (await there()) return;
  await importBytes(imports, pause);
  for (let attempt = 0; !(await there()); attempt++) {
    if (attempt === 200) throw k3spError("K3SP_RUNTIME_FAILED", { message: `the sandbox image ${pause.name} did not appear after its import`, plugin: "containerd" });
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
