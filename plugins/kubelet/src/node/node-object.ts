/** The Node object of this machine: what it is made with, and what its status says. */
import type { Node, Taint } from "@k3s-p/plugin-api/kube";
import { findCondition } from "@k3s-p/plugin-api/kube";
import type { Image, NodeInfo } from "@k3s-p/plugin-api/slots";
import type { KubeletOptions } from "../options.ts";
import { same } from "../status-manager.ts";
import type { Machine } from "./machine.ts";

export const KUBELET_VERSION = "v1.36.0+k3sp1";
const INSTANCE_TYPE = "k3s";
const PROVIDER = "k3s";
const EXTERNAL_IP = "k3s.io/external-ip";
const MAX_IMAGES = 50;
const MAX_IMAGE_NAMES = 5;

type NodeStatus = NonNullable<Node["status"]>;
type NodeCondition = NonNullable<NodeStatus["conditions"]>[number];

/** Labels that the kubelet owns: they are put back at every start. */
export function ownLabels(node: NodeInfo, machine: Machine): Record<string, string> {
  return {
    "beta.kubernetes.io/arch": machine.architecture,
    "beta.kubernetes.io/os": "linux",
    "beta.kubernetes.io/instance-type": INSTANCE_TYPE,
    "kubernetes.io/arch": machine.architecture,
    "kubernetes.io/hostname": node.name,
    "kubernetes.io/os": "linux",
    "node.kubernetes.io/instance-type": INSTANCE_TYPE,
  };
}

/** Of a cluster whose cloud provider is another program, that one gives the id; else K3s's own does. */
const providerId = (node: NodeInfo, { providerId: given, externalCloud }: KubeletOptions): string | undefined =>
  given ?? (externalCloud ? undefined : `${PROVIDER}://${node.name}`);

export function newNode(node: NodeInfo, options: KubeletOptions, machine: Machine, status: NodeStatus): Node {
  const taints = [...node.taints, ...options.taints, ...(options.externalCloud ? [UNINITIALIZED] : [])].map(parseTaint);
  const id = providerId(node, options);
  return {
    apiVersion: "v1", kind: "Node",
    metadata: {
      name: node.name,
      labels: { ...node.labels, ...options.labels, ...ownLabels(node, machine) },
      annotations: {
        "alpha.kubernetes.io/provided-node-ip": node.ip,
        ...(node.externalIp && { [EXTERNAL_IP]: node.externalIp }),
        "k3s.io/hostname": node.name,
        "k3s.io/internal-ip": node.ip,
        "volumes.kubernetes.io/controller-managed-attach-detach": "true",
      },
    },
    spec: { ...(id && { providerID: id }), ...(taints.length > 0 && { taints }) },
    status,
  } as Node;
}

/** What a Node that is there already lacks of the one that would be made; undefined when that is nothing. Taints are its owner's. */
export function registrationPatch({ metadata, spec }: Node, wanted: Node, own: Readonly<Record<string, string>>): object | undefined {
  const labels = { ...metadata.labels, ...own };
  const noLonger = metadata.annotations?.[EXTERNAL_IP] !== undefined && !wanted.metadata.annotations?.[EXTERNAL_IP];
  const annotations = { ...wanted.metadata.annotations, ...(noLonger && { [EXTERNAL_IP]: null }) };
  const lacksId = !spec?.providerID && wanted.spec?.providerID !== undefined;
  if (!lacksId && same(labels, metadata.labels) && same({ ...metadata.annotations, ...annotations }, metadata.annotations)) return undefined;
  return { metadata: { labels, annotations }, ...(lacksId && { spec: { providerID: wanted.spec!.providerID } }) };
}

/** Taken away by the cloud controller once it knows the node. */
const UNINITIALIZED = "node.cloudprovider.kubernetes.io/uninitialized=true:NoSchedule";

/** `key=value:Effect` or `key:Effect`. */
function parseTaint(text: string): Taint {
  const [pair = "", effect = ""] = text.split(":");
  const [key = "", value] = pair.split("=");
  return { key, effect, ...(value && { value }) } as Taint;
}

export interface NodeState {
  readonly images: readonly Image[];
  readonly runtimeVersion: string;
  /** Why the node is not ready; undefined when it is. */
  readonly problem: string | undefined;
  readonly diskPressure: boolean;
  readonly memoryPressure: boolean;
  readonly pidPressure: boolean;
}

export function nodeStatus(
  node: NodeInfo, port: number, machine: Machine, state: NodeState, before: NodeStatus | undefined, now: string,
): NodeStatus {
  return {
    addresses: [
      { type: "InternalIP", address: node.ip },
      ...(node.externalIp ? [{ type: "ExternalIP", address: node.externalIp }] : []),
      { type: "Hostname", address: node.name },
    ],
    capacity: { ...extended(machine, before), ...machine.capacity },
    allocatable: { ...extended(machine, before), ...machine.allocatable },
    daemonEndpoints: { kubeletEndpoint: { Port: port } } as unknown as NonNullable<NodeStatus["daemonEndpoints"]>,
    nodeInfo: {
      ...machine.info, containerRuntimeVersion: state.runtimeVersion, kubeletVersion: KUBELET_VERSION, kubeProxyVersion: "",
    },
    images: imageList(state.images),
    conditions: conditions(state, before?.conditions, now),
  } as NodeStatus;
}

/** Extended resources that somebody else has stated as capacity; all of it may be allocated. */
function extended(machine: Machine, before: NodeStatus | undefined): Record<string, string> {
  return Object.fromEntries(Object.entries(before?.capacity ?? {}).filter(([name]) => name.includes("/") && !(name in machine.capacity)));
}

/** The patch that makes `next` of `before`: whose capacity it is states it, what lost its capacity is not allocatable, and what it does not answer at is no address. */
export function statusPatch(before: NodeStatus | undefined, next: NodeStatus, machine: Machine): object {
  const gone = Object.keys(before?.allocatable ?? {}).filter((name) => !(name in next.allocatable!));
  const lost = (before?.addresses ?? []).filter(({ type }) => !next.addresses!.some((address) => address.type === type));
  const addresses = [...next.addresses!, ...lost.map(({ type }) => ({ $patch: "delete", type }))];
  return { ...next, addresses, capacity: machine.capacity, allocatable: { ...next.allocatable, ...Object.fromEntries(gone.map((name) => [name, null])) } };
}

/** The largest first, as upstream, with their digests before their tags. */
function imageList(images: readonly Image[]): NodeStatus["images"] {
  return images
    .map((image) => ({ names: [...image.repoDigests, ...image.repoTags].slice(0, MAX_IMAGE_NAMES), sizeBytes: image.size }))
    .filter((image) => image.names.length > 0)
    .sort((a, b) => b.sizeBytes - a.sizeBytes || a.names[0]!.localeCompare(b.names[0]!))
    .slice(0, MAX_IMAGES);
}

interface Finding {
  readonly type: string;
  readonly status: "True" | "False";
  readonly reason: string;
  readonly message: string;
}

const pressure = (type: string, has: boolean, yes: readonly [string, string], no: readonly [string, string]): Finding => {
  const [reason, message] = has ? yes : no;
  return { type, status: has ? "True" : "False", reason, message };
};

function findings(state: NodeState): Finding[] {
  return [
    pressure("MemoryPressure", state.memoryPressure,
      ["KubeletHasInsufficientMemory", "kubelet has insufficient memory available"],
      ["KubeletHasSufficientMemory", "kubelet has sufficient memory available"]),
    pressure("DiskPressure", state.diskPressure,
      ["KubeletHasDiskPressure", "kubelet has disk pressure"],
      ["KubeletHasNoDiskPressure", "kubelet has no disk pressure"]),
    pressure("PIDPressure", state.pidPressure,
      ["KubeletHasInsufficientPID", "kubelet has insufficient PID available"],
      ["KubeletHasSufficientPID", "kubelet has sufficient PID available"]),
    state.problem === undefined
      ? { type: "Ready", status: "True", reason: "KubeletReady", message: "kubelet is posting ready status" }
      : { type: "Ready", status: "False", reason: "KubeletNotReady", message: state.problem },
  ];
}

function conditions(state: NodeState, before: readonly NodeCondition[] | undefined, now: string): NodeCondition[] {
  return findings(state).map((f) => {
    const old = findCondition(before, f.type);
    const lastTransitionTime = old?.status === f.status ? (old.lastTransitionTime ?? now) : now;
    return { ...f, lastHeartbeatTime: now, lastTransitionTime } as NodeCondition;
  });
}

/** Events of a condition that changed, with upstream's reasons. */
export const transitionReasons: Readonly<Record<string, readonly [whenTrue: string, whenFalse: string]>> = {
  MemoryPressure: ["NodeHasInsufficientMemory", "NodeHasSufficientMemory"],
  DiskPressure: ["NodeHasDiskPressure", "NodeHasNoDiskPressure"],
  PIDPressure: ["NodeHasInsufficientPID", "NodeHasSufficientPID"],
  Ready: ["NodeReady", "NodeNotReady"],
};
