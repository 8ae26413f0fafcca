/** The CRI configuration of one container: command, environment, mounts, resources, security. */
import { mkdir, writeFile, chmod } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { ContainerConfig, Image, Mount } from "@k3s-p/plugin-api/slots";
import type { ContainerSpec, Pod } from "@k3s-p/plugin-api/kube";
import type { KubeletContext } from "./context.ts";
import { ConfigError, containerEnv, expand, type EnvSources } from "./env.ts";
import { containerLogName, etcHostsPath, messageFile, subPathDir } from "./paths.ts";
import { annotationsOf, containerHash, labelsOf, nameOf, namespaceOf, uidOf, type ContainerRef } from "./pod.ts";
import { containerResources } from "./resources.ts";
import { containerSecurity } from "./security.ts";
import type { Mounter } from "./volumes/mounts.ts";
import { prepareSubPath } from "./volumes/sub-path.ts";
import type { MountedVolume, MountedVolumes } from "./volumes/volumes.ts";

export interface ContainerInput {
  readonly pod: Pod;
  readonly ref: ContainerRef;
  readonly restartCount: number;
  readonly image: Image;
  readonly env: EnvSources;
  readonly volumes: MountedVolumes;
  readonly memoryCapacity: number;
  /** Id of the container whose processes an ephemeral container sees. */
  readonly targetId?: string;
}

type ConfigContext = Pick<KubeletContext, "node"> & { readonly mounts: Mounter };

const PROPAGATION: Readonly<Record<string, number>> = { None: 0, HostToContainer: 1, Bidirectional: 2 };
const ETC_HOSTS = "/etc/hosts";
const DEFAULT_MESSAGE_PATH = "/dev/termination-log";

export async function containerConfig(ctx: ConfigContext, input: ContainerInput): Promise<ContainerConfig> {
  const { pod, ref, restartCount, image } = input;
  const { spec } = ref;
  const env = await containerEnv(pod, spec, input.env);
  return {
    metadata: { name: spec.name, attempt: restartCount },
    image: { image: image.id },
    command: (spec.command ?? []).map((text) => expand(text, env)),
    args: (spec.args ?? []).map((text) => expand(text, env)),
    ...(spec.workingDir && { workingDir: spec.workingDir }),
    envs: [...env].map(([key, value]) => ({ key, value })),
    mounts: await containerMounts(ctx, input, env),
    ...(spec.volumeDevices?.length && { devices: spec.volumeDevices.map(({ name, devicePath }) => volumeDevice(input, name, devicePath)) }),
    labels: {
      [labelsOf.podName]: nameOf(pod), [labelsOf.podNamespace]: namespaceOf(pod),
      [labelsOf.podUid]: uidOf(pod), [labelsOf.container]: spec.name,
    },
    annotations: containerAnnotations(pod, spec, restartCount),
    logPath: containerLogName(spec.name, restartCount),
    stdin: spec.stdin === true,
    stdinOnce: spec.stdinOnce === true,
    tty: spec.tty === true,
    ...(spec.lifecycle?.stopSignal && { stopSignal: spec.lifecycle.stopSignal }),
    linux: {
      resources: containerResources(pod, spec, input.memoryCapacity),
      securityContext: containerSecurity({
        pod, spec, image, root: ctx.node.paths.kubelet, ...(input.targetId && { targetId: input.targetId }),
      }),
    },
  };
}

function containerAnnotations(pod: Pod, spec: ContainerSpec, restartCount: number): Record<string, string> {
  const grace = pod.spec?.terminationGracePeriodSeconds;
  return {
    [annotationsOf.hash]: containerHash(spec),
    [annotationsOf.restartCount]: String(restartCount),
    [annotationsOf.messagePath]: spec.terminationMessagePath ?? DEFAULT_MESSAGE_PATH,
    [annotationsOf.messagePolicy]: spec.terminationMessagePolicy ?? "File",
    ...(grace !== undefined && { [annotationsOf.grace]: String(grace) }),
    ...(spec.ports && { [annotationsOf.ports]: JSON.stringify(spec.ports) }),
    ...(spec.lifecycle?.preStop && { [annotationsOf.preStop]: JSON.stringify(spec.lifecycle.preStop) }),
  };
}

async function containerMounts(
  ctx: ConfigContext, input: ContainerInput, env: ReadonlyMap<string, string>,
): Promise<Mount[]> {
  const { pod, ref: { spec } } = input;
  const mounts: Mount[] = [];
  for (const [index, mount] of (spec.volumeMounts ?? []).entries()) {
    mounts.push(await volumeMount(ctx, input, mount, index, env));
  }
  const has = (path: string): boolean => mounts.some((mount) => mount.containerPath === path);
  if (!has(ETC_HOSTS)) {
    mounts.push({
      containerPath: ETC_HOSTS, hostPath: etcHostsPath(ctx.node.paths, uidOf(pod)),
      readonly: spec.securityContext?.readOnlyRootFilesystem === true,
    });
  }
  const containerPath = spec.terminationMessagePath ?? DEFAULT_MESSAGE_PATH;
  if (!has(containerPath)) mounts.push({ containerPath, hostPath: await makeMessageFile(ctx, input) });
  return mounts;
}

function volumeDevice(input: ContainerInput, name: string, containerPath: string): NonNullable<ContainerConfig["devices"]>[number] {
  const { hostPath, readOnly } = volumeOf(input, name, true);
  return { containerPath, hostPath, permissions: readOnly ? "r" : "mrw" };
}

function volumeOf({ ref, volumes }: ContainerInput, name: string, asDevice: boolean): MountedVolume {
  const volume = volumes.get(name);
  if (!volume) throw new ConfigError(`cannot find volume "${name}" to mount into container "${ref.spec.name}"`);
  if ((volume.isDevice === true) === asDevice) return volume;
  const [mode, list] = asDevice ? ["Filesystem", "volumeDevices"] : ["Block", "volumeMounts"];
  throw new ConfigError(`volume ${name} has volumeMode ${mode}, but is specified in ${list}`);
}

type VolumeMount = NonNullable<ContainerSpec["volumeMounts"]>[number];

async function volumeMount(
  ctx: ConfigContext, input: ContainerInput, mount: VolumeMount, index: number, env: ReadonlyMap<string, string>,
): Promise<Mount> {
  const { pod } = input;
  const volume = volumeOf(input, mount.name, false);
  if (mount.recursiveReadOnly === "Enabled") throw new ConfigError(`volume mount "${mount.name}" wants to be recursively read-only, which the runtime does not support`);
  const readonly = mount.readOnly === true || volume.readOnly;
  const subPath = mount.subPathExpr ? expandSubPath(mount.subPathExpr, env) : mount.subPath;
  const create = !readonly && !volume.managed;
  return {
    hostPath: subPath
      ? await subPathMount(ctx, input, mount.name, index, { volume: volume.hostPath, subPath, create })
      : volume.hostPath,
    readonly,
    containerPath: mount.mountPath.startsWith("/") ? mount.mountPath : `/${mount.mountPath}`,
    propagation: PROPAGATION[mount.mountPropagation ?? "None"] ?? 0,
    selinuxRelabel: pod.spec?.hostIPC !== true,
  };
}

async function subPathMount(
  { node, mounts }: ConfigContext, { pod, ref }: ContainerInput, name: string, index: number,
  request: { readonly volume: string; readonly subPath: string; readonly create: boolean },
): Promise<string> {
  const target = join(subPathDir(node.paths, uidOf(pod)), name, ref.spec.name, String(index));
  try {
    await mounts.unmountBelow(target);
    return await prepareSubPath({ ...request, target }, mounts);
  } catch (error) {
    throw new ConfigError(`failed to prepare subPath for volumeMount "${name}" of container "${ref.spec.name}": ${(error as Error).message}`, { cause: error });
  }
}

function expandSubPath(expression: string, env: ReadonlyMap<string, string>): string {
  const missing = [...expression.matchAll(/\$\$|\$\(([^)]*)\)/g)].find(([, name]) => name !== undefined && !env.has(name));
  if (missing) throw new ConfigError(`failed to expand subPathExpr "${expression}": missing value for "${missing[1]}"`);
  const path = expand(expression, env);
  if (path.startsWith("/")) throw new ConfigError(`error SubPath \`${path}\` must not be an absolute path`);
  if (path.split("/").includes("..")) throw new ConfigError(`unable to provision SubPath \`${path}\`: must not contain '..'`);
  return path;
}

/** The container writes its last words here, whoever it runs as. */
async function makeMessageFile(ctx: ConfigContext, { pod, ref, restartCount }: ContainerInput): Promise<string> {
  const path = messageFile(ctx.node.paths, uidOf(pod), ref.spec.name, restartCount);
  await mkdir(dirname(path), { recursive: true, mode: 0o750 });
  await writeFile(path, "", { mode: 0o666 });
  await chmod(path, 0o666);
  return path;
}
