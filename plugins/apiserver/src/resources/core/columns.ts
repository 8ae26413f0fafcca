/** Table columns of the core kinds except Pods. */
import { ageColumn, containerColumns, count, createdAtColumn, integer, nameColumn, selectorColumn, templateSpec, text, wide } from "../columns.ts";
import { accessModesText, firstThree, hostPort, labelsText, loadBalancerText, orNone } from "../human.ts";
import type { Column, Obj } from "../types.ts";

const size = (value: object | undefined): number => Object.keys(value ?? {}).length;

export const configMapColumns: readonly Column[] = [
  nameColumn,
  count("Data", "Number of entries.", (o) => size(o.data) + size(o.binaryData)),
  ageColumn,
];

export const secretColumns: readonly Column[] = [
  nameColumn,
  text("Type", "What the secret holds, for programs.", (o) => o.type ?? ""),
  count("Data", "Number of entries.", (o) => size(o.data)),
  ageColumn,
];

export const serviceAccountColumns: readonly Column[] = [
  nameColumn,
  count("Secrets", "Number of secrets that the account's pods may use.", (o) => o.secrets?.length ?? 0),
  ageColumn,
];

export const namespaceColumns: readonly Column[] = [
  nameColumn,
  text("Status", "The status of the namespace", (o) => o.status?.phase ?? ""),
  ageColumn,
];

export const limitRangeColumns: readonly Column[] = [nameColumn, createdAtColumn];

export const componentStatusColumns: readonly Column[] = [
  nameColumn,
  text("Status", "Status of the component conditions", (o) => healthy(o)?.status === "True" ? "Healthy" : "Unhealthy"),
  text("Message", "Message of the component conditions", (o) => healthy(o)?.message ?? ""),
  text("Error", "Error of the component conditions", (o) => healthy(o)?.error ?? ""),
];

const healthy = (o: Obj): Obj | undefined => (o.conditions ?? []).find((c: Obj) => c.type === "Healthy");

export const endpointsColumns: readonly Column[] = [nameColumn, text("Endpoints", "Addresses and ports.", endpointsText), ageColumn];

function endpointsText(endpoints: Obj): string {
  const all = ((endpoints.subsets ?? []) as Obj[]).flatMap((subset) => {
    const ips: readonly string[] = (subset.addresses ?? []).map((a: Obj) => a.ip);
    if (!subset.ports?.length) return ips;
    return (subset.ports as Obj[]).flatMap((port) => ips.map((ip) => hostPort(ip, port.port)));
  });
  return firstThree(all, "<none>");
}

export const serviceColumns: readonly Column[] = [
  nameColumn,
  text("Type", "How the service is exposed.", (o) => o.spec?.type ?? ""),
  text("Cluster-IP", "Address of the service inside the cluster.", (o) => orNone(o.spec?.clusterIPs?.[0] ?? o.spec?.clusterIP)),
  text("External-IP", "Addresses that reach the service from outside.", externalIp),
  text("Port(s)", "Ports that the service listens on.", (o) => orNone((o.spec?.ports ?? []).map(portText).join(","))),
  ageColumn,
  wide("Selector", "Labels of the pods behind the service.", (o) => labelsText(o.spec?.selector)),
];

function externalIp(service: Obj): string {
  const external: readonly string[] = service.spec?.externalIPs ?? [];
  switch (service.spec?.type) {
    case "ExternalName": return service.spec.externalName ?? "";
    case "LoadBalancer": {
      const addresses = [loadBalancerText(service.status), ...external].filter(Boolean);
      return addresses.join(",") || "<pending>";
    }
    case "ClusterIP": case "NodePort": return orNone(external.join(","));
    default: return "<unknown>";
  }
}

const portText = (port: Obj): string =>
  port.nodePort ? `${port.port}:${port.nodePort}/${port.protocol}` : `${port.port}/${port.protocol}`;

export const nodeColumns: readonly Column[] = [
  nameColumn,
  text("Status", "The status of the node", nodeStatus),
  text("Roles", "The roles of the node", nodeRoles),
  ageColumn,
  text("Version", "Version that the kubelet reports.", (o) => o.status?.nodeInfo?.kubeletVersion ?? ""),
  wide("Internal-IP", "Address inside the cluster's network.", (o) => address(o, "InternalIP")),
  wide("External-IP", "Address that is reachable from outside.", (o) => address(o, "ExternalIP")),
  wide("OS-Image", "Operating system that the node reports.", (o) => o.status?.nodeInfo?.osImage || "<unknown>"),
  wide("Kernel-Version", "Kernel that the node reports.", (o) => o.status?.nodeInfo?.kernelVersion || "<unknown>"),
  wide("Container-Runtime", "Runtime and version that the node reports.", (o) => o.status?.nodeInfo?.containerRuntimeVersion || "<unknown>"),
];

function nodeStatus(node: Obj): string {
  const ready = (node.status?.conditions ?? []).find((c: Obj) => c.type === "Ready");
  const state = !ready ? "Unknown" : ready.status === "True" ? "Ready" : "NotReady";
  return node.spec?.unschedulable ? `${state},SchedulingDisabled` : state;
}

function nodeRoles(node: Obj): string {
  const prefix = "node-role.kubernetes.io/";
  const roles = Object.entries(node.metadata?.labels ?? {}).map(([key, value]) => {
    if (key.startsWith(prefix)) return key.slice(prefix.length);
    return key === "kubernetes.io/role" ? value : "";
  });
  return orNone([...new Set(roles.filter(Boolean))].sort().join(","));
}

const address = (node: Obj, type: string): string =>
  orNone((node.status?.addresses ?? []).find((a: Obj) => a.type === type)?.address);

const phase = (o: Obj): string => (o.metadata?.deletionTimestamp ? "Terminating" : (o.status?.phase ?? ""));
const volumeModeColumn = wide("VolumeMode", "Filesystem or block device.", (o) => o.spec?.volumeMode ?? "<unset>");
const attributesClassColumn = text("VolumeAttributesClass", "Class of the volume's changeable attributes.", (o) =>
  o.spec?.volumeAttributesClassName ?? "<unset>");
const storageClassName = (o: Obj): string =>
  o.metadata?.annotations?.["volume.beta.kubernetes.io/storage-class"] ?? o.spec?.storageClassName ?? "";

export const persistentVolumeColumns: readonly Column[] = [
  nameColumn,
  text("Capacity", "Size of the volume.", (o) => o.spec?.capacity?.storage ?? ""),
  text("Access Modes", "How the volume can be mounted.", (o) => accessModesText(o.spec?.accessModes)),
  text("Reclaim Policy", "What becomes of the volume when its claim goes.", (o) => o.spec?.persistentVolumeReclaimPolicy ?? ""),
  text("Status", "Phase of the volume.", phase),
  text("Claim", "Claim that the volume is bound to.", (o) =>
    o.spec?.claimRef ? `${o.spec.claimRef.namespace}/${o.spec.claimRef.name}` : ""),
  text("StorageClass", "Class of the volume.", storageClassName),
  attributesClassColumn,
  text("Reason", "Why the volume failed, in one word.", (o) => o.status?.reason ?? ""),
  ageColumn,
  volumeModeColumn,
];

export const persistentVolumeClaimColumns: readonly Column[] = [
  nameColumn,
  text("Status", "Phase of the claim.", phase),
  text("Volume", "Volume that the claim is bound to.", (o) => o.spec?.volumeName ?? ""),
  text("Capacity", "Size of the bound volume.", (o) => (o.spec?.volumeName ? (o.status?.capacity?.storage ?? "0") : "")),
  text("Access Modes", "How the bound volume can be mounted.", (o) =>
    o.spec?.volumeName ? accessModesText(o.status?.accessModes) : ""),
  text("StorageClass", "Class that the claim asks for.", storageClassName),
  attributesClassColumn,
  ageColumn,
  volumeModeColumn,
];

export const replicationControllerColumns: readonly Column[] = [
  nameColumn,
  integer("Desired", "Number of pods asked for.", (o) => o.spec?.replicas ?? 0),
  integer("Current", "Number of pods that exist.", (o) => o.status?.replicas ?? 0),
  integer("Ready", "Number of pods that are ready.", (o) => o.status?.readyReplicas ?? 0),
  ageColumn,
  ...containerColumns(templateSpec),
  wide("Selector", "Labels of the pods that belong to the controller.", (o) => labelsText(o.spec?.selector)),
];

export const replicaSetColumns: readonly Column[] = [...replicationControllerColumns.slice(0, -1), selectorColumn];

export const podTemplateColumns: readonly Column[] = [
  nameColumn,
  ...containerColumns((o) => o.template?.spec).map((column) => ({ ...column, priority: 0 })),
  text("Pod Labels", "The labels for the pod template.", (o) => labelsText(o.template?.metadata?.labels)),
];

export const resourceQuotaColumns: readonly Column[] = [
  nameColumn,
  text("Request", "Request represents a minimum amount of cpu/memory that a container may consume.", (o) => quota(o, (name) => !isLimit(name))),
  text("Limit", "Limits control the maximum amount of cpu/memory that a container may use independent of contention on the node.", (o) => quota(o, isLimit)),
  ageColumn,
];

const isLimit = (resource: string): boolean => resource.startsWith("limits.");

function quota(o: Obj, wanted: (resource: string) => boolean): string {
  const hard: Record<string, string> = o.status?.hard ?? {};
  return Object.keys(hard).filter(wanted).sort()
    .map((name) => `${name}: ${used(o.status?.used?.[name])}/${hard[name]}`).join(", ");
}

const used = (quantity: string | undefined): string => quantity ?? "0";
