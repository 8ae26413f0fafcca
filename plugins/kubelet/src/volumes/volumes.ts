/** Mounts a pod's volumes and takes them away again: one function a kind, found in a table. */
import { chmod, mkdir, readdir, realpath, rm } from "node:fs/promises";
import { join } from "node:path";
import { quantityValue, type Pod, type Volume } from "@k3s-p/plugin-api/kube";
import type { Runtime } from "@k3s-p/plugin-api/slots";
import type { KubeletContext } from "../context.ts";
import type { ImageResult } from "../images.ts";
import type { ReferencedObjects } from "../objects.ts";
import { podDir, podsDir, subPathDir, volumeDir } from "../paths.ts";
import { allContainers, namespaceOf, nameOf, uidOf } from "../pod.ts";
import { podTotal } from "../resources.ts";
import { writeAtomically, type Payload } from "./atomic-writer.ts";
import { checkHostPath } from "./host-path.ts";
import type { Mounter } from "./mounts.ts";
import { pluginName } from "./names.ts";
import { applyFsGroup, ownFolder } from "./ownership.ts";
import { volumePayload, type TokenSource } from "./payload.ts";

export interface MountedVolume {
  readonly hostPath: string;
  readonly readOnly: boolean;
  /** Contents follow the API: a subPath into it is never created. */
  readonly managed: boolean;
  /** A raw device, for `volumeDevices`. */
  readonly isDevice?: boolean;
  /** How it is measured: by what lies in its folder, or as the file system that it is. Paths of the host are not. */
  readonly usage?: "folder" | "fileSystem";
  /** Name of the claim behind it. */
  readonly claim?: string;
  /** Id of the image that it shows. */
  readonly imageId?: string;
}
export type MountedVolumes = ReadonlyMap<string, MountedVolume>;

/** A volume that cannot be mounted now; the message is upstream's, with the volume's name. */
export class MountError extends Error {
  override readonly name = "MountError";
}

export interface Volumes {
  /** Mounts what the pod's containers use; repeated calls bring API contents up to date. */
  mount(pod: Pod): Promise<MountedVolumes>;
  /** What was mounted last. */
  mounted(uid: string): MountedVolumes;
  /** When contents want refreshing (tokens), Unix ms. */
  refreshAt(uid: string): number | undefined;
  unmount(uid: string): Promise<void>;
  /** Removes the pod's folder. */
  remove(uid: string): Promise<void>;
  /** Uids that have a folder. */
  uids(): Promise<readonly string[]>;
}

export interface VolumesContext extends Pick<KubeletContext, "node" | "kube" | "clock" | "figures"> {
  readonly mounts: Mounter;
  readonly objects: ReferencedObjects;
  readonly tokens: TokenSource;
  readonly allocatable: () => Readonly<Record<string, string>>;
  /** The image of a volume, pulled as a container's would be. */
  image(pod: Pod, name: string, source: ImageSource): Promise<ImageResult>;
  /** Absent where the runtime cannot. */
  readonly mountImage: Runtime["mountImage"];
}

type ImageSource = NonNullable<Volume["image"]>;

type Mount = (ctx: VolumesContext, pod: Pod, volume: Volume) => Promise<MountedVolume>;

const kinds: Readonly<Record<string, Mount>> = {
  emptyDir: mountEmptyDir,
  hostPath: async (_ctx, _pod, { hostPath }) => {
    await checkHostPath(hostPath!.path, hostPath!.type);
    return { hostPath: hostPath!.path, readOnly: false, managed: false };
  },
  configMap: (ctx, pod, volume) => mountContents(ctx, pod, volume, "configmap", false),
  secret: (ctx, pod, volume) => mountContents(ctx, pod, volume, "secret", true),
  downwardAPI: (ctx, pod, volume) => mountContents(ctx, pod, volume, "downward-api", true),
  projected: (ctx, pod, volume) => mountContents(ctx, pod, volume, "projected", true),
  persistentVolumeClaim: (ctx, pod, { name, persistentVolumeClaim: claim }) =>
    ofClaim(claim!.claimName, mountClaim(ctx, pod, name, claim!.claimName, { readOnly: claim!.readOnly === true })),
  ephemeral: (ctx, pod, { name }) => ofClaim(`${nameOf(pod)}-${name}`, mountClaim(ctx, pod, name, `${nameOf(pod)}-${name}`, { isOwn: true })),
  image: mountImage,
  nfs: (ctx, pod, { name, nfs }) => mountNfs(ctx, pod, name, nfs!, []),
};

export function volumes(ctx: VolumesContext): Volumes {
  const { node, mounts, tokens } = ctx;
  const present = new Map<string, MountedVolumes>();
  return {
    async mount(pod) {
      const used = usedVolumes(pod);
      const wanted = (pod.spec?.volumes ?? []).filter((volume) => used.has(volume.name));
      const before = present.get(uidOf(pod));
      const mounted = await Promise.all(wanted.map(async (volume) => {
        const known = before?.get(volume.name);
        // What an image volume shows stays as it was first resolved.
        return [volume.name, known?.imageId === undefined ? await mountOne(ctx, pod, volume) : known] as const;
      }));
      present.set(uidOf(pod), new Map(mounted));
      return present.get(uidOf(pod))!;
    },
    mounted: (uid) => present.get(uid) ?? new Map(),
    refreshAt: tokens.refreshAt,
    async unmount(uid) {
      tokens.forget(uid);
      present.delete(uid);
      await mounts.unmountBelow(podDir(node.paths, uid));
      await rm(subPathDir(node.paths, uid), { recursive: true, force: true });
      await rm(join(podDir(node.paths, uid), "volumes"), { recursive: true, force: true });
    },
    async remove(uid) {
      const folder = podDir(node.paths, uid);
      await mounts.unmountBelow(folder);
      await rm(folder, { recursive: true, force: true });
    },
    uids: () => readdir(podsDir(node.paths)).catch(() => []),
  };
}

const usedVolumes = (pod: Pod): Set<string> =>
  new Set(allContainers(pod).flatMap(({ spec }) => [
    ...(spec.volumeMounts ?? []).map((m) => m.name),
    ...(spec.volumeDevices ?? []).map((d) => d.name),
  ]));

async function mountOne(ctx: VolumesContext, pod: Pod, volume: Volume): Promise<MountedVolume> {
  const kind = Object.keys(volume).find((key) => key !== "name");
  const mount = kind ? kinds[kind] : mountEmptyDir;
  try {
    if (!mount) throw new Error(`volumes of kind ${kind} are not supported`);
    const labels = { operation_name: "volume_mount", volume_plugin: pluginName(volume), migrated: "false" };
    return await ctx.figures.timed("mount", labels, () => mount(ctx, pod, volume));
  } catch (error) {
    throw new MountError(`MountVolume.SetUp failed for volume "${volume.name}" : ${(error as Error).message}`, { cause: error });
  }
}

async function mountEmptyDir(ctx: VolumesContext, pod: Pod, volume: Volume): Promise<MountedVolume> {
  const hostPath = await makeFolder(ctx, pod, "empty-dir", volume.name, 0o777);
  const { medium = "", sizeLimit } = volume.emptyDir ?? {};
  if (medium !== "" && medium !== "Memory") throw new Error(`unknown storage medium "${medium}"`);
  if (medium === "Memory" && !(await ctx.mounts.isMountPoint(hostPath))) {
    const limits = [quantityValue(sizeLimit), podTotal(pod, "limits", "memory")].filter((bytes) => bytes > 0);
    await ctx.mounts.tmpfs(hostPath, limits.length ? [`size=${Math.min(...limits)}`] : []);
    await chmod(hostPath, 0o777);
  }
  await ownByGroup(pod, hostPath, false);
  return { hostPath, readOnly: false, managed: false, usage: medium === "Memory" ? "fileSystem" : "folder" };
}

async function mountContents(
  ctx: VolumesContext, pod: Pod, volume: Volume, kind: string, inMemory: boolean,
): Promise<MountedVolume> {
  const { objects, node, kube, clock, tokens } = ctx;
  const payload = await volumePayload(pod, volume, {
    kube, clock, tokens, configMap: objects.configMap, secret: objects.secret, podIps: [],
    nodeName: node.name, hostIps: [node.ip], allocatable: ctx.allocatable(),
  });
  const hostPath = await makeFolder(ctx, pod, kind, volume.name, 0o777);
  if (inMemory && !(await ctx.mounts.isMountPoint(hostPath))) {
    await ctx.mounts.tmpfs(hostPath);
    await chmod(hostPath, 0o777);
  }
  const gid = pod.spec?.securityContext?.fsGroup;
  await writeAtomically(hostPath, gid === undefined ? payload : readableByGroup(payload), gid);
  if (gid !== undefined) await ownFolder(hostPath, gid);
  return { hostPath, readOnly: true, managed: true, usage: "folder" };
}

const readableByGroup = (payload: Payload): Payload =>
  new Map([...payload].map(([path, file]) => [path, { ...file, mode: file.mode | 0o440 }]));

const ofClaim = async (claim: string, mounted: Promise<MountedVolume>): Promise<MountedVolume> => {
  const volume = await mounted;
  return { ...volume, claim, ...(!volume.isDevice && { usage: "fileSystem" as const }) };
};

async function mountClaim(
  ctx: VolumesContext, pod: Pod, name: string, claimName: string,
  { readOnly = false, isOwn = false }: { readonly readOnly?: boolean; readonly isOwn?: boolean },
): Promise<MountedVolume> {
  const claim = await ctx.objects.claim(namespaceOf(pod), claimName);
  if (!claim) throw new Error(`persistentvolumeclaim "${claimName}" not found`);
  if (isOwn && !claim.metadata.ownerReferences?.some((owner) => owner.uid === pod.metadata.uid)) {
    throw new Error(`PVC ${namespaceOf(pod)}/${claimName} was not created for pod ${namespaceOf(pod)}/${nameOf(pod)} (pod is not owner)`);
  }
  const volumeName = claim.spec?.volumeName;
  if (!volumeName || claim.status?.phase !== "Bound") throw new Error(`PVC ${namespaceOf(pod)}/${claimName} is not bound`);
  const volume = await ctx.objects.volume(volumeName);
  if (!volume) throw new Error(`failed to fetch PV ${volumeName} from API server`);
  if (volume.spec?.claimRef?.uid !== claim.metadata.uid) throw new Error(`PV ${volumeName} is bound to another claim`);
  const { hostPath, local, nfs, mountOptions, volumeMode } = volume.spec ?? {};
  if (volumeMode === "Block") return blockDevice(volumeName, local?.path, readOnly);
  if (nfs) return mountNfs(ctx, pod, name, { ...nfs, readOnly }, mountOptions ?? []);
  if (hostPath) {
    await checkHostPath(hostPath.path, hostPath.type);
    return { hostPath: hostPath.path, readOnly, managed: false };
  }
  if (!local) throw new Error(`PV ${volumeName} is of a kind that is not supported`);
  await checkHostPath(local.path, "Directory");
  await ownByGroup(pod, local.path, readOnly);
  return { hostPath: local.path, readOnly, managed: false };
}

/** The API allows raw devices of local volumes; what lies at the path is often a link to the device. */
async function blockDevice(volume: string, path: string | undefined, readOnly: boolean): Promise<MountedVolume> {
  if (path === undefined) throw new Error(`PV ${volume} is of a kind that cannot be a device`);
  await checkHostPath(path, "BlockDevice");
  return { hostPath: await realpath(path), readOnly, managed: false, isDevice: true };
}

interface NfsSource {
  readonly server: string;
  readonly path: string;
  readonly readOnly?: boolean;
}

async function mountNfs(
  ctx: VolumesContext, pod: Pod, name: string, nfs: NfsSource, options: readonly string[],
): Promise<MountedVolume> {
  const hostPath = await makeFolder(ctx, pod, "nfs", name, 0o750);
  if (!(await ctx.mounts.isMountPoint(hostPath))) {
    await ctx.mounts.nfs(`${nfs.server}:${nfs.path}`, hostPath, nfs.readOnly ? ["ro", ...options] : options);
  }
  return { hostPath, readOnly: nfs.readOnly === true, managed: false, usage: "fileSystem" };
}

async function mountImage(ctx: VolumesContext, pod: Pod, { name, image: source }: Volume): Promise<MountedVolume> {
  if (!ctx.mountImage) throw new Error("the runtime does not support image volumes");
  const hostPath = await makeFolder(ctx, pod, "image", name, 0o755);
  const present = await ctx.image(pod, name, source!);
  if (!present.ok) throw new Error(`${present.reason}: ${present.message}`);
  if (!(await ctx.mounts.below(hostPath)).includes(hostPath)) await ctx.mountImage(present.image.id, hostPath);
  return { hostPath, readOnly: true, managed: true, imageId: present.image.id };
}

/** Makes the volume's folder; the umask must not take bits away. */
async function makeFolder(ctx: VolumesContext, pod: Pod, kind: string, name: string, mode: number): Promise<string> {
  const folder = volumeDir(ctx.node.paths, uidOf(pod), kind, name);
  const made = await mkdir(folder, { recursive: true, mode: 0o750 });
  if (made !== undefined) await chmod(folder, mode);
  return folder;
}

async function ownByGroup(pod: Pod, path: string, readOnly: boolean): Promise<void> {
  const { fsGroup, fsGroupChangePolicy } = pod.spec?.securityContext ?? {};
  if (fsGroup === undefined) return;
  await applyFsGroup(path, { gid: fsGroup, readOnly, onRootMismatch: fsGroupChangePolicy === "OnRootMismatch" });
}
