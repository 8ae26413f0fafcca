/** The checks of the baseline and restricted Pod Security Standards, one function each. */
import type { Obj } from "../resources/types.ts";

export type Level = "privileged" | "baseline" | "restricted";

export interface Finding {
  readonly reason: string;
  readonly detail: string;
}

/** `minor` is the version of Kubernetes whose standards count; some became stricter or laxer over time. */
type Check = (pod: Obj, containers: readonly Obj[], minor: number) => Finding | undefined;

/** Everything in a pod that is not allowed at the level, in upstream's order (by the name of the check). */
export function violations(pod: Obj, level: Level, minor = Infinity): Finding[] {
  if (level === "privileged") return [];
  const { initContainers = [], containers = [], ephemeralContainers = [] } = pod.spec;
  const all: Obj[] = [...initContainers, ...containers, ...ephemeralContainers];
  const checks = level === "baseline" ? baseline : restricted;
  return checks.map((check) => check(pod, all, minor)).filter((finding) => finding !== undefined);
}

/** A check that came with a version, and the one whose place it took. */
const since = (first: number, check: Check, before: Check = () => undefined): Check =>
  (pod, all, minor) => (minor >= first ? check : before)(pod, all, minor);

const quote = (names: readonly string[]): string => names.map((name) => JSON.stringify(name)).join(", ");
const plural = (names: readonly unknown[], one: string, many = `${one}s`): string => (names.length === 1 ? one : many);
const namesOf = (containers: readonly Obj[]): string[] => containers.map((container) => container.name);
const subject = (names: readonly string[]): string => `${plural(names, "container")} ${quote(names)}`;
/** Windows has no such settings; before this version they were asked for all the same. */
const isWindows = (pod: Obj, minor: number): boolean => minor >= 25 && pod.spec.os?.name === "windows";

function listed(reason: string, all: readonly Obj[], bad: (container: Obj) => boolean, must: string): Finding | undefined {
  const names = namesOf(all.filter(bad));
  return names.length > 0 ? { reason, detail: `${subject(names)} ${must}` } : undefined;
}

const hostNamespaces: Check = ({ spec }) => {
  const used = ["hostNetwork", "hostPID", "hostIPC"].filter((field) => spec[field]);
  return used.length > 0 ? { reason: "host namespaces", detail: used.map((field) => `${field}=true`).join(", ") } : undefined;
};

const privileged: Check = (_, all) =>
  listed("privileged", all, (c) => c.securityContext?.privileged === true, "must not set securityContext.privileged=true");

const baselineCapabilities = new Set([
  "AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE", "SETFCAP", "SETGID",
  "SETPCAP", "SETUID", "SYS_CHROOT",
]);

const addedCapabilities: Check = (_, all) => {
  const foreign = (c: Obj): string[] => (c.securityContext?.capabilities?.add ?? []).filter((cap: string) => !baselineCapabilities.has(cap));
  const names = namesOf(all.filter((c) => foreign(c).length > 0));
  const caps = [...new Set(all.flatMap(foreign))].sort();
  if (names.length === 0) return undefined;
  return { reason: "non-default capabilities", detail: `${subject(names)} must not include ${quote(caps)} in securityContext.capabilities.add` };
};

const hostPathVolumes: Check = ({ spec }) => {
  const names = (spec.volumes ?? []).filter((volume: Obj) => volume.hostPath).map((volume: Obj) => volume.name);
  return names.length > 0 ? { reason: "hostPath volumes", detail: `${plural(names, "volume")} ${quote(names)}` } : undefined;
};

const hostPorts: Check = (_, all) => {
  const ports = (c: Obj): number[] => (c.ports ?? []).map((port: Obj) => port.hostPort).filter(Boolean);
  const names = namesOf(all.filter((c) => ports(c).length > 0));
  const used = [...new Set(all.flatMap(ports))].sort((a, b) => a - b);
  if (names.length === 0) return undefined;
  return { reason: "hostPort", detail: `${subject(names)} ${plural(names, "uses", "use")} ${plural(used, "hostPort")} ${used.join(", ")}` };
};

const hostProbes: Check = since(34, (_, all) => {
  const handlers = (c: Obj): Obj[] => [
    c.livenessProbe, c.readinessProbe, c.startupProbe, c.lifecycle?.postStart, c.lifecycle?.preStop,
  ].filter(Boolean);
  const hosts = (c: Obj): string[] => handlers(c).map((h) => h.httpGet?.host ?? h.tcpSocket?.host)
    .filter((host) => host && host !== "127.0.0.1" && host !== "::1");
  return listed("probe or lifecycle host", all, (c) => hosts(c).length > 0, "must not set host in probes and lifecycle handlers");
});

const appArmorProfiles = new Set([undefined, "RuntimeDefault", "Localhost"]);
const APPARMOR_ANNOTATION = "container.apparmor.security.beta.kubernetes.io/";

const appArmor: Check = (pod, all) => {
  const parts: string[] = [];
  if (!appArmorProfiles.has(pod.spec.securityContext?.appArmorProfile?.type)) {
    parts.push(`pod must not set AppArmor profile type to ${JSON.stringify(pod.spec.securityContext.appArmorProfile.type)}`);
  }
  const bad = all.filter((c) => !appArmorProfiles.has(c.securityContext?.appArmorProfile?.type));
  if (bad.length > 0) {
    const types = [...new Set(bad.map((c) => c.securityContext.appArmorProfile.type as string))];
    parts.push(`${subject(namesOf(bad))} must not set AppArmor profile type to ${quote(types)}`);
  }
  const annotations = Object.entries(pod.metadata?.annotations ?? {}).filter(([key, value]) =>
    key.startsWith(APPARMOR_ANNOTATION) && value !== "" && value !== "runtime/default" && !value.startsWith("localhost/"));
  if (annotations.length > 0) {
    const list = annotations.map(([key, value]) => `${key}=${JSON.stringify(value)}`).sort();
    parts.push(`${plural(list, "annotation")} ${list.join(", ")}`);
  }
  if (parts.length === 0) return undefined;
  return { reason: plural(parts, "forbidden AppArmor profile"), detail: parts.join(" and ") };
};

/** Each with the version that allowed it. */
const seLinuxTypes: Readonly<Record<string, number>> = { "": 0, container_t: 0, container_init_t: 0, container_kvm_t: 0, container_engine_t: 31 };
const isSeLinuxType = (type: string, minor: number): boolean => minor >= (seLinuxTypes[type] ?? Infinity) && type in seLinuxTypes;

const seLinux: Check = (pod, all, minor) => {
  const contexts = [pod.spec.securityContext, ...all.map((c) => c.securityContext)].map((s: Obj | undefined) => s?.seLinuxOptions as Obj | undefined);
  const types = contexts.map((options) => options?.type as string | undefined).filter((type) => type !== undefined && !isSeLinuxType(type, minor));
  const parts: string[] = [];
  if (types.length > 0) parts.push(`${plural(types, "type")} ${quote([...new Set(types as string[])])}`);
  if (contexts.some((options) => options?.user)) parts.push("user may not be set");
  if (contexts.some((options) => options?.role)) parts.push("role may not be set");
  if (parts.length === 0) return undefined;
  const isBad = (options: Obj | undefined): boolean =>
    Boolean(options && ((options.type !== undefined && !isSeLinuxType(options.type, minor)) || options.user || options.role));
  const setters = [...(isBad(contexts[0]) ? ["pod"] : []), ...setBy(all, (c) => isBad(c.securityContext?.seLinuxOptions))];
  return { reason: "seLinuxOptions", detail: `${setters.join(" and ")} set forbidden securityContext.seLinuxOptions: ${parts.join("; ")}` };
};

const setBy = (all: readonly Obj[], bad: (c: Obj) => boolean): string[] => {
  const names = namesOf(all.filter(bad));
  return names.length > 0 ? [subject(names)] : [];
};

const procMount: Check = (pod, all) => (pod.spec.hostUsers === false ? undefined
  : listed("procMount", all, (c) => (c.securityContext?.procMount ?? "Default") !== "Default",
    `must not set securityContext.procMount to "Unmasked"`));

const seccompBaseline: Check = (pod, all) => {
  const bad = (context: Obj | undefined) => context?.seccompProfile?.type === "Unconfined";
  const parts = [
    ...(bad(pod.spec.securityContext) ? ["pod"] : []), ...setBy(all, (c) => bad(c.securityContext)),
  ];
  return parts.length > 0
    ? { reason: "seccompProfile", detail: `${parts.join(" and ")} must not set securityContext.seccompProfile.type to "Unconfined"` } : undefined;
};

/** Each with the version that allowed it. */
const safeSysctls: Readonly<Record<string, number>> = {
  "kernel.shm_rmid_forced": 0, "net.ipv4.ip_local_port_range": 0, "net.ipv4.tcp_syncookies": 0, "net.ipv4.ping_group_range": 0,
  "net.ipv4.ip_unprivileged_port_start": 0, "net.ipv4.ip_local_reserved_ports": 27, "net.ipv4.tcp_keepalive_time": 29,
  "net.ipv4.tcp_fin_timeout": 29, "net.ipv4.tcp_keepalive_intvl": 29, "net.ipv4.tcp_keepalive_probes": 29,
  "net.ipv4.tcp_rmem": 32, "net.ipv4.tcp_wmem": 32,
};

const sysctls: Check = (pod, _, minor) => {
  const names: string[] = (pod.spec.securityContext?.sysctls ?? []).map((s: Obj) => s.name);
  const bad = names.filter((name) => !(name in safeSysctls) || minor < safeSysctls[name]!);
  return bad.length > 0 ? { reason: "forbidden sysctls", detail: bad.join(", ") } : undefined;
};

const windowsHostProcess: Check = (pod, all) => {
  const isHost = (context: Obj | undefined) => context?.windowsOptions?.hostProcess === true;
  const parts = [...(isHost(pod.spec.securityContext) ? ["pod"] : []), ...setBy(all, (c) => isHost(c.securityContext))];
  return parts.length > 0
    ? { reason: "hostProcess", detail: `${parts.join(" and ")} must not set securityContext.windowsOptions.hostProcess=true` } : undefined;
};

const privilegeEscalation: Check = (pod, all, minor) => (isWindows(pod, minor) ? undefined
  : listed("allowPrivilegeEscalation != false", all, (c) => c.securityContext?.allowPrivilegeEscalation !== false,
    "must set securityContext.allowPrivilegeEscalation=false"));

const restrictedCapabilities: Check = (pod, all, minor) => {
  if (isWindows(pod, minor)) return undefined;
  const caps = (c: Obj) => c.securityContext?.capabilities as { add?: string[]; drop?: string[] } | undefined;
  const undropped = namesOf(all.filter((c) => !caps(c)?.drop?.includes("ALL")));
  const foreign = (c: Obj) => (caps(c)?.add ?? []).filter((cap) => cap !== "NET_BIND_SERVICE");
  const adding = all.filter((c) => foreign(c).length > 0);
  const parts: string[] = [];
  if (undropped.length > 0) parts.push(`${subject(undropped)} must set securityContext.capabilities.drop=["ALL"]`);
  if (adding.length > 0) {
    const list = [...new Set(adding.flatMap(foreign))].sort();
    parts.push(`${subject(namesOf(adding))} must not include ${quote(list)} in securityContext.capabilities.add`);
  }
  return parts.length > 0 ? { reason: "unrestricted capabilities", detail: parts.join("; ") } : undefined;
};

const volumeKinds = new Set(["configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "image", "persistentVolumeClaim", "projected", "secret"]);

const restrictedVolumes: Check = ({ spec }) => {
  const kindOf = (volume: Obj): string => Object.keys(volume).find((key) => key !== "name") ?? "unknown";
  const bad: Obj[] = (spec.volumes ?? []).filter((volume: Obj) => !volumeKinds.has(kindOf(volume)));
  if (bad.length === 0) return undefined;
  const kinds = [...new Set(bad.map(kindOf))].sort();
  return {
    reason: "restricted volume types",
    detail: `${plural(bad, "volume")} ${quote(bad.map((v) => v.name))} ${plural(bad, "uses", "use")} restricted volume ${plural(kinds, "type")} ${quote(kinds)}`,
  };
};

const runAsNonRoot: Check = (pod, all) => {
  if (pod.spec.hostUsers === false) return undefined;
  const forPod = pod.spec.securityContext?.runAsNonRoot;
  const explicit = namesOf(all.filter((c) => c.securityContext?.runAsNonRoot === false));
  if (forPod === false || explicit.length > 0) {
    const parts = [...(forPod === false ? ["pod"] : []), ...(explicit.length > 0 ? [subject(explicit)] : [])];
    return { reason: "runAsNonRoot != true", detail: `${parts.join(" and ")} must not set securityContext.runAsNonRoot=false` };
  }
  if (forPod === true) return undefined;
  const implicit = namesOf(all.filter((c) => c.securityContext?.runAsNonRoot === undefined));
  return implicit.length > 0
    ? { reason: "runAsNonRoot != true", detail: `pod or ${subject(implicit)} must set securityContext.runAsNonRoot=true` } : undefined;
};

const runAsUser: Check = (pod, all) => {
  if (pod.spec.hostUsers === false) return undefined;
  const parts = [
    ...(pod.spec.securityContext?.runAsUser === 0 ? ["pod"] : []), ...setBy(all, (c) => c.securityContext?.runAsUser === 0),
  ];
  return parts.length > 0 ? { reason: "runAsUser=0", detail: `${parts.join(" and ")} must not set runAsUser=0` } : undefined;
};

const seccompRestricted: Check = (pod, all, minor) => {
  if (isWindows(pod, minor)) return undefined;
  const allowed = (type: string) => type === "RuntimeDefault" || type === "Localhost";
  const typeOf = (context: Obj | undefined): string | undefined => context?.seccompProfile?.type;
  const forPod = typeOf(pod.spec.securityContext);
  const explicit = all.filter((c) => typeOf(c.securityContext) !== undefined && !allowed(typeOf(c.securityContext)!));
  if ((forPod !== undefined && !allowed(forPod)) || explicit.length > 0) {
    const types = [...new Set([...(forPod !== undefined && !allowed(forPod) ? [forPod] : []), ...explicit.map((c) => typeOf(c.securityContext)!)])];
    const parts = [...(forPod !== undefined && !allowed(forPod) ? ["pod"] : []), ...(explicit.length > 0 ? [subject(namesOf(explicit))] : [])];
    return { reason: "seccompProfile", detail: `${parts.join(" and ")} must not set securityContext.seccompProfile.type to ${quote(types)}` };
  }
  if (forPod !== undefined) return undefined;
  const implicit = namesOf(all.filter((c) => typeOf(c.securityContext) === undefined));
  return implicit.length > 0 ? {
    reason: "seccompProfile",
    detail: `pod or ${subject(implicit)} must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost"`,
  } : undefined;
};

/** Both lists are sorted by upstream's ids of the checks; a restricted check takes the place of what it contains. */
const baseline: readonly Check[] = [
  appArmor, addedCapabilities, hostNamespaces, hostPathVolumes, hostPorts, hostProbes, privileged, procMount, seLinux,
  seccompBaseline, sysctls, windowsHostProcess,
];
const restricted: readonly Check[] = [
  since(8, privilegeEscalation), appArmor, since(22, restrictedCapabilities, addedCapabilities), hostNamespaces, hostPorts, hostProbes,
  privileged, procMount, restrictedVolumes, runAsNonRoot, since(23, runAsUser), seLinux, since(19, seccompRestricted, seccompBaseline),
  sysctls, windowsHostProcess,
];
