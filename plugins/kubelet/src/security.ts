/** Security contexts of the API as CRI's: users, capabilities, namespaces, seccomp, masked paths. */
import type { Image, LinuxContainerSecurityContext, LinuxSandboxSecurityContext, NamespaceOptions, SeccompProfile } from "@k3s-p/plugin-api/slots";
import type { ContainerSpec, Pod } from "@k3s-p/plugin-api/kube";
import { join } from "node:path";
import { ConfigError } from "./env.ts";
import { allContainers } from "./pod.ts";

const NAMESPACE = { pod: 0, container: 1, node: 2, target: 3 } as const;
const SECCOMP: Readonly<Record<string, number>> = { RuntimeDefault: 0, Unconfined: 1, Localhost: 2 };

const maskedPaths = [
  "/proc/asound", "/proc/acpi", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
  "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware",
  "/sys/devices/virtual/powercap",
];
const readonlyPaths = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

export function namespaceOptions(pod: Pod, targetId?: string): NamespaceOptions {
  const { hostNetwork, hostPID, hostIPC, shareProcessNamespace } = pod.spec ?? {};
  const pid = hostPID ? NAMESPACE.node : targetId ? NAMESPACE.target : shareProcessNamespace ? NAMESPACE.pod : NAMESPACE.container;
  return {
    network: hostNetwork ? NAMESPACE.node : NAMESPACE.pod,
    ipc: hostIPC ? NAMESPACE.node : NAMESPACE.pod,
    pid,
    ...(pid === NAMESPACE.target && { targetId }),
  };
}

type Profile = { readonly type: string; readonly localhostProfile?: string };

/** Localhost profiles lie below `<kubelet>/seccomp`. */
function seccomp(profile: Profile | undefined, root: string): SeccompProfile {
  const profileType = SECCOMP[profile?.type ?? "Unconfined"] ?? 1;
  return { profileType, ...(profileType === 2 && { localhostRef: join(root, "seccomp", profile!.localhostProfile ?? "") }) };
}

/** As CRI names it; what the pod leaves out is the runtime's to choose. */
function appArmor(profile: Profile | undefined): string | undefined {
  if (!profile) return undefined;
  return { RuntimeDefault: "runtime/default", Unconfined: "unconfined" }[profile.type] ?? `localhost/${profile.localhostProfile ?? ""}`;
}

/** Profiles that the pod's containers are to be held by. */
export const appArmorProfiles = (pod: Pod): string[] =>
  allContainers(pod).flatMap(({ spec }) => appArmor(spec.securityContext?.appArmorProfile ?? pod.spec?.securityContext?.appArmorProfile) ?? []);

const isPrivileged = (spec: ContainerSpec): boolean => spec.securityContext?.privileged === true;

export function sandboxSecurity(pod: Pod, root: string): LinuxSandboxSecurityContext {
  const own = pod.spec?.securityContext;
  const containers = [...(pod.spec?.containers ?? []), ...(pod.spec?.initContainers ?? [])];
  return {
    namespaceOptions: namespaceOptions(pod),
    privileged: containers.some(isPrivileged),
    seccomp: own?.seccompProfile ? seccomp(own.seccompProfile, root) : { profileType: 0 },
    ...(own?.runAsUser !== undefined && { runAsUser: { value: own.runAsUser } }),
    ...(own?.runAsUser !== undefined && own.runAsGroup !== undefined && { runAsGroup: { value: own.runAsGroup } }),
    supplementalGroups: podGroups(pod),
  };
}

/** fsGroup and supplementalGroups of the pod. */
function podGroups(pod: Pod): number[] {
  const own = pod.spec?.securityContext;
  return [...(own?.fsGroup !== undefined ? [own.fsGroup] : []), ...(own?.supplementalGroups ?? [])];
}

export interface SecurityInput {
  readonly pod: Pod;
  readonly spec: ContainerSpec;
  readonly image: Image | undefined;
  /** `/var/lib/kubelet` */
  readonly root: string;
  /** Container whose PID namespace an ephemeral container joins. */
  readonly targetId?: string;
}

export function containerSecurity(input: SecurityInput): LinuxContainerSecurityContext {
  const { pod, spec, image, root, targetId } = input;
  const own = spec.securityContext;
  const shared = pod.spec?.securityContext;
  const user = own?.runAsUser ?? shared?.runAsUser;
  const group = own?.runAsGroup ?? shared?.runAsGroup;
  verifyNonRoot(input, user);
  const privileged = isPrivileged(spec);
  const unmasked = own?.procMount === "Unmasked" || privileged;
  const runAsUser = user ?? image?.uid;
  const apparmorProfile = appArmor(own?.appArmorProfile ?? shared?.appArmorProfile);
  const numeric = user !== undefined || image?.username === undefined || image.username === "";
  return {
    namespaceOptions: namespaceOptions(pod, targetId),
    privileged,
    capabilities: { addCapabilities: own?.capabilities?.add ?? [], dropCapabilities: own?.capabilities?.drop ?? [] },
    ...(numeric && runAsUser !== undefined && { runAsUser: { value: runAsUser } }),
    ...(!numeric && { runAsUsername: image!.username! }),
    ...(group !== undefined && { runAsGroup: { value: group } }),
    readonlyRootfs: own?.readOnlyRootFilesystem === true,
    supplementalGroups: podGroups(pod),
    noNewPrivs: own?.allowPrivilegeEscalation === false,
    maskedPaths: unmasked ? [] : maskedPaths,
    readonlyPaths: unmasked ? [] : readonlyPaths,
    seccomp: seccomp(own?.seccompProfile ?? shared?.seccompProfile, root),
    ...(apparmorProfile && { apparmorProfile }),
  };
}

/** `runAsNonRoot` refuses uid 0, and image users by name, whose uid nobody knows before the start. */
function verifyNonRoot({ pod, spec, image }: SecurityInput, user: number | undefined): void {
  const wanted = spec.securityContext?.runAsNonRoot ?? pod.spec?.securityContext?.runAsNonRoot;
  if (!wanted) return;
  const who = `(pod: "${pod.metadata.name}_${pod.metadata.namespace}(${pod.metadata.uid})", container: ${spec.name})`;
  if (user !== undefined) {
    if (user === 0) throw new ConfigError(`container's runAsUser breaks non-root policy ${who}`);
    return;
  }
  if (image?.username) {
    throw new ConfigError(`container has runAsNonRoot and image has non-numeric user (${image.username}), cannot verify user is non-root ${who}`);
  }
  if ((image?.uid ?? 0) === 0) throw new ConfigError(`container has runAsNonRoot and image will run as root ${who}`);
}
