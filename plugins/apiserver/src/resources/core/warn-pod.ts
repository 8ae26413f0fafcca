/** What clients are warned of in pods and pod templates: accepted, and probably not what was meant. */
import { parseNano } from "@k3s-p/plugin-api/kube";
import { isObject, items } from "../fields.ts";
import type { Obj } from "../types.ts";
import { dns1123Label } from "../validate/names.ts";
import { warnOfOverlaps } from "./warn-volume.ts";

/** Labels of nodes that have been replaced: since when, and by what. */
export const oldLabels: Readonly<Record<string, string>> = {
  "beta.kubernetes.io/arch": 'deprecated since v1.14; use "kubernetes.io/arch" instead',
  "beta.kubernetes.io/instance-type": 'deprecated since v1.17; use "node.kubernetes.io/instance-type" instead',
  "beta.kubernetes.io/os": 'deprecated since v1.14; use "kubernetes.io/os" instead',
  "failure-domain.beta.kubernetes.io/region": 'deprecated since v1.17; use "topology.kubernetes.io/region" instead',
  "failure-domain.beta.kubernetes.io/zone": 'deprecated since v1.17; use "topology.kubernetes.io/zone" instead',
};
/** By the start of the annotation's name. */
const oldAnnotations: readonly (readonly [string, string])[] = [
  ["container.apparmor.security.beta.kubernetes.io/", 'deprecated since v1.30; use the "appArmorProfile" field instead'],
  ["container.seccomp.security.alpha.kubernetes.io/", 'non-functional in v1.27+; use the "seccompProfile" field instead'],
  ["scheduler.alpha.kubernetes.io/critical-pod", 'non-functional in v1.16+; use the "priorityClassName" field instead'],
  ["seccomp.security.alpha.kubernetes.io/pod", 'non-functional in v1.27+; use the "seccompProfile" field instead'],
  ["security.alpha.kubernetes.io/sysctls", 'non-functional in v1.11+; use the "sysctls" field instead'],
  ["security.alpha.kubernetes.io/unsafe-sysctls", 'non-functional in v1.11+; use the "sysctls" field instead'],
];
/** Plugins of volumes that are gone. */
export const oldVolumes: Readonly<Record<string, string>> = {
  cephfs: "deprecated in v1.28, non-functional in v1.31+", flocker: "deprecated in v1.22, non-functional in v1.25+",
  gitRepo: "deprecated in v1.11, and disabled by default in v1.33+", glusterfs: "deprecated in v1.25, non-functional in v1.26+",
  photonPersistentDisk: "deprecated in v1.11, non-functional in v1.16+", quobyte: "deprecated in v1.22, non-functional in v1.25+",
  rbd: "deprecated in v1.28, non-functional in v1.31+", scaleIO: "deprecated in v1.16, non-functional in v1.22+",
  storageos: "deprecated in v1.22, non-functional in v1.25+",
};
const NO_SELECTOR = "a null labelSelector results in matching no pod";
const DURING = ["requiredDuringSchedulingIgnoredDuringExecution", "preferredDuringSchedulingIgnoredDuringExecution"] as const;

export function warnOfPod(pod: Obj): string[] {
  return [...warnOfName(pod, "the Pod's hostname"), ...warnOfTemplate("", pod)];
}

/** Names become parts of host names; `use` says where. */
export function warnOfName({ metadata }: Obj, use = "Pod names and hostnames"): string[] {
  const problems = dns1123Label(metadata?.name ?? "");
  return problems.length ? [`metadata.name: this is used in ${use}, which can result in surprising behavior; a DNS label is recommended: [${problems.join(" ")}]`] : [];
}

/** A workload whose pods are named after it. */
export const warnOfWorkload = (object: Obj): string[] => [...warnOfName(object), ...warnOfTemplate("spec.template", object.spec?.template)];

/** `at` is "" for a pod itself. */
export function warnOfTemplate(at: string, template: unknown): string[] {
  if (!isObject(template) || !isObject(template.spec)) return [];
  const root = at && `${at}.`;
  const { spec, metadata } = template;
  const containers = ["initContainers", "containers"].flatMap((list) => items(spec, list).map((container, i): [string, Obj] => [`${root}spec.${list}[${i}]`, container]));
  return [
    ...Object.keys(spec.nodeSelector ?? {}).filter((key) => oldLabels[key]).map((key) => `${root}spec.nodeSelector[${key}]: ${oldLabels[key]}`),
    ...warnOfSpread(`${root}spec`, spec),
    ...warnOfAnnotations(`${root}metadata.annotations`, metadata?.annotations),
    ...items(spec, "volumes").flatMap((volume, i) => Object.keys(volume).filter((name) => oldVolumes[name]).map((name) => `${root}spec.volumes[${i}].${name}: ${oldVolumes[name]}`)),
    ...items(spec, "volumes").flatMap(({ ephemeral }, i) =>
      warnOfFraction(`${root}spec.volumes[${i}].ephemeral.volumeClaimTemplate.spec.resources.requests[storage]`, ephemeral?.volumeClaimTemplate?.spec?.resources?.requests?.storage)),
    ...warnOfOverlaps(items(spec, "volumes")),
    ...warnOfTwice(`${root}spec.hostAliases`, spec, "hostAliases", "ip"),
    ...warnOfTwice(`${root}spec.imagePullSecrets`, spec, "imagePullSecrets", "name"),
    ...items(spec, "imagePullSecrets").flatMap(({ name }, i) => (name ? [] : [`${root}spec.imagePullSecrets[${i}].name: invalid empty name ""`])),
    ...["memory", "ephemeral-storage"].flatMap((name) => warnOfFraction(`${root}spec.overhead[${name}]`, spec.overhead?.[name])),
    ...containers.flatMap(([field, container]) => warnOfContainer(field, container)),
    ...warnOfPorts(containers),
    ...(spec.terminationGracePeriodSeconds < 0 ? [`${root}spec.terminationGracePeriodSeconds: must be >= 0; negative values are invalid and will be treated as 1`] : []),
  ];
}

const warnOfAnnotations = (at: string, annotations: Readonly<Record<string, string>> | undefined): string[] =>
  Object.keys(annotations ?? {}).flatMap((key) => oldAnnotations.filter(([start]) => (start.endsWith("/") ? key.startsWith(start) : key === start)).map(([, why]) => `${at}[${key}]: ${why}`));

function warnOfSpread(at: string, spec: Obj): string[] {
  const warnings = items(spec, "topologySpreadConstraints").flatMap(({ topologyKey, labelSelector }, i) => {
    const field = `${at}.topologySpreadConstraints[${i}]`;
    return [
      ...(oldLabels[topologyKey] ? [`${field}.topologyKey: ${topologyKey} is ${oldLabels[topologyKey]}`] : []),
      ...(labelSelector == null ? [`${field}.labelSelector: ${NO_SELECTOR}`] : []),
    ];
  });
  for (const kind of ["podAffinity", "podAntiAffinity"]) {
    for (const when of DURING) {
      items(spec.affinity?.[kind], when).forEach((entry, i) => {
        const [term, field] = entry.podAffinityTerm ? [entry.podAffinityTerm, ".podAffinityTerm"] : [entry, ""];
        if (term.labelSelector == null) warnings.push(`${at}.affinity.${kind}.${when}[${i}]${field}.labelSelector: ${NO_SELECTOR}`);
      });
    }
  }
  return warnings;
}

function warnOfTwice(at: string, spec: Obj, list: string, key: string): string[] {
  const seen = new Set<string>();
  return items(spec, list).flatMap((item, i) => {
    const value: string = item[key] ?? "";
    return seen.size === seen.add(value).size ? [`${at}[${i}].${key}: duplicate ${key} ${JSON.stringify(value)}`] : [];
  });
}

/** Of all containers of a pod: they share its addresses. */
function warnOfPorts(containers: readonly (readonly [string, Obj])[]): string[] {
  const seen: { readonly field: string; readonly port: Obj }[] = [];
  return containers.flatMap(([at, container]) => items(container, "ports").flatMap((port, i) => {
    const field = `${at}.ports[${i}]`;
    const { name = "", hostPort = 0, containerPort, protocol, hostIP = "" } = port;
    const others = seen.filter(({ port: other }) => other.containerPort === containerPort && other.protocol === protocol);
    seen.push({ field, port });
    return [
      ...(hostIP && !hostPort ? [`${field}: hostIP set without hostPort: {Name:${name} HostPort:0 ContainerPort:${containerPort} Protocol:${protocol} HostIP:${hostIP}}`] : []),
      ...others.flatMap((other) => {
        const { hostPort: otherPort = 0, hostIP: otherIp = "" } = other.port;
        const how = hostIP === otherIp && hostPort === otherPort ? "duplicate"
          : !hostPort || !otherPort ? "overlapping"
            : hostPort === otherPort && (hostIP === "") !== (otherIp === "") ? "dangerously ambiguous" : undefined;
        return how ? [`${field}: ${how} port definition with ${other.field}`] : [];
      }),
    ];
  }));
}

function warnOfContainer(at: string, container: Obj): string[] {
  const warnings: string[] = [];
  const names = new Set<string>();
  items(container, "env").forEach(({ name, value = "", valueFrom }, i) => {
    if (names.size !== names.add(name).size) return;
    // What is made of the one before hides nothing.
    const before = `$(${name})`;
    if (valueFrom == null && value !== before && value.includes(before)) return;
    warnings.push(`${at}.env[${i}]: hides previous definition of ${JSON.stringify(name)}, which may be dropped when using apply`);
  });
  for (const list of ["limits", "requests"]) {
    for (const name of ["memory", "ephemeral-storage"]) warnings.push(...warnOfFraction(`${at}.resources.${list}[${name}]`, container.resources?.[list]?.[name]));
  }
  return warnings;
}

/** Bytes come whole. */
export function warnOfFraction(field: string, value: unknown): string[] {
  const nano = value == null ? undefined : parseNano(value as string);
  return nano !== undefined && nano % 1_000_000_000n !== 0n ? [`${field}: fractional byte value ${JSON.stringify(value)} is invalid, must be an integer`] : [];
}
