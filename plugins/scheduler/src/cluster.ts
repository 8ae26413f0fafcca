/**
 * The scheduler's picture of the cluster. Informers and assumed pods change it in place; a scheduling cycle is
 * synchronous, so it needs no snapshot.
 */
import type { Node, Pod } from "@k3s-p/plugin-api/kube";
import { addPod, newNodeInfo, removePod, setNode, type NodeInfo } from "./node-info.ts";
import { podInfo, type PodInfo } from "./pod-info.ts";

/** Pods with equal namespace, labels and pod affinity, counted per node: affinity and spreading look at classes, not pods. */
export interface PodClass {
  readonly sample: PodInfo;
  readonly perNode: Map<NodeInfo, number>;
}

export interface Cluster {
  /** Nodes in the order in which they are tried: zones take turns. */
  nodes(): readonly NodeInfo[];
  node(name: string): NodeInfo | undefined;
  classesIn(namespace: string): Iterable<PodClass>;
  allClasses(): Iterable<PodClass>;
  /** Classes whose pods carry pod affinity or anti-affinity of their own. */
  affinityClasses(): Iterable<PodClass>;
  /** Number of bound or assumed pods that mount the claim. */
  claimUsers(claim: string): number;
  /** Number of nodes that hold the image. */
  imageNodes(image: string): number;
  namespaceLabels(name: string): Readonly<Record<string, string>> | undefined;
}

/** The same picture with the operations that change it. */
export interface ClusterState extends Cluster {
  setNode(node: Node): void;
  removeNode(name: string): void;
  /** Adds or replaces a bound pod; returns what was known of it before. */
  setPod(pod: Pod, node: string): { readonly info: PodInfo; readonly node: string } | undefined;
  /** Forgets the pod with that uid; returns where it was. */
  removePod(uid: string): { readonly info: PodInfo; readonly node: string } | undefined;
  /** Counts a pod on a node before the API server knows of it. */
  assume(info: PodInfo, node: string): void;
  isAssumed(uid: string): boolean;
  /** Takes pods away or adds them for the length of `fn`, to see what would be. */
  pretend<T>(node: NodeInfo, change: { readonly add?: readonly PodInfo[]; readonly remove?: readonly PodInfo[] }, fn: () => T): T;
}

const zoneKey = "topology.kubernetes.io/zone";
const noClasses: ReadonlySet<PodClass> = new Set();

export function createCluster(namespaceLabels: Cluster["namespaceLabels"]): ClusterState {
  const nodes = new Map<string, NodeInfo>();
  const bound = new Map<string, { info: PodInfo; node: string; assumed: boolean }>();
  const classes = new Map<string, PodClass>();
  const byNamespace = new Map<string, Set<PodClass>>();
  const withAffinity = new Set<PodClass>();
  const claims = new Map<string, number>();
  const images = new Map<string, number>();
  let order: readonly NodeInfo[] | undefined;

  const place = (name: string): NodeInfo => {
    let info = nodes.get(name);
    if (!info) nodes.set(name, (info = newNodeInfo(name)));
    return info;
  };

  function classOf(info: PodInfo): PodClass {
    let found = classes.get(info.classKey);
    if (found) return found;
    found = { sample: info, perNode: new Map() };
    classes.set(info.classKey, found);
    const peers = byNamespace.get(info.namespace) ?? new Set();
    byNamespace.set(info.namespace, peers.add(found));
    if (hasTerms(info)) withAffinity.add(found);
    return found;
  }

  function dropClass(found: PodClass): void {
    const { classKey, namespace } = found.sample;
    classes.delete(classKey);
    withAffinity.delete(found);
    const peers = byNamespace.get(namespace);
    peers?.delete(found);
    if (peers?.size === 0) byNamespace.delete(namespace);
  }

  function put(node: NodeInfo, info: PodInfo): void {
    addPod(node, info);
    const { perNode } = classOf(info);
    perNode.set(node, (perNode.get(node) ?? 0) + 1);
    for (const claim of info.claims) claims.set(claim.key, (claims.get(claim.key) ?? 0) + 1);
  }

  function take(node: NodeInfo, info: PodInfo): void {
    removePod(node, info);
    const found = classOf(info);
    const left = (found.perNode.get(node) ?? 0) - 1;
    if (left > 0) found.perNode.set(node, left);
    else found.perNode.delete(node);
    if (found.perNode.size === 0) dropClass(found);
    for (const claim of info.claims) {
      const users = (claims.get(claim.key) ?? 0) - 1;
      if (users > 0) claims.set(claim.key, users);
      else claims.delete(claim.key);
    }
  }

  function countImages(node: NodeInfo, sign: 1 | -1): void {
    for (const name of node.images.keys()) {
      const left = (images.get(name) ?? 0) + sign;
      if (left > 0) images.set(name, left);
      else images.delete(name);
    }
  }

  function change(name: string, node: Node | undefined): void {
    const info = place(name);
    const moves = (info.node === undefined) !== (node === undefined) || info.labels[zoneKey] !== node?.metadata.labels?.[zoneKey];
    countImages(info, -1);
    setNode(info, node);
    countImages(info, 1);
    if (moves) order = undefined;
    if (!node) info.index = -1;
    if (!node && info.pods.size === 0) nodes.delete(name);
  }

  function forget(uid: string): { info: PodInfo; node: string } | undefined {
    const before = bound.get(uid);
    if (!before) return undefined;
    bound.delete(uid);
    const node = place(before.node);
    take(node, before.info);
    if (!node.node && node.pods.size === 0) nodes.delete(before.node);
    return before;
  }

  return {
    nodes: () => (order ??= interleave(nodes.values())),
    node: (name) => nodes.get(name),
    classesIn: (namespace) => byNamespace.get(namespace) ?? noClasses,
    allClasses: () => classes.values(),
    affinityClasses: () => withAffinity,
    claimUsers: (claim) => claims.get(claim) ?? 0,
    imageNodes: (image) => images.get(image) ?? 0,
    namespaceLabels,
    setNode: (node) => change(node.metadata.name!, node),
    removeNode: (name) => change(name, undefined),
    setPod(pod, name) {
      const info = podInfo(pod);
      const before = forget(info.uid);
      put(place(name), info);
      bound.set(info.uid, { info, node: name, assumed: false });
      return before;
    },
    removePod: forget,
    assume(info, name) {
      put(place(name), info);
      bound.set(info.uid, { info, node: name, assumed: true });
    },
    isAssumed: (uid) => bound.get(uid)?.assumed === true,
    pretend(node, { add = [], remove = [] }, fn) {
      for (const info of remove) take(node, info);
      for (const info of add) put(node, info);
      try {
        return fn();
      } finally {
        for (const info of add) take(node, info);
        for (const info of remove) put(node, info);
      }
    },
  };
}

const hasTerms = ({ affinity, antiAffinity }: PodInfo): boolean =>
  affinity.required.length + affinity.preferred.length + antiAffinity.required.length + antiAffinity.preferred.length > 0;

/** One node of each zone in turn, so that a sample of nodes covers all zones. Sets each node's `index`. */
function interleave(nodes: Iterable<NodeInfo>): readonly NodeInfo[] {
  const zones = new Map<string, NodeInfo[]>();
  for (const info of nodes) {
    if (!info.node) continue;
    const zone = info.labels[zoneKey] ?? "";
    const members = zones.get(zone) ?? [];
    zones.set(zone, members);
    members.push(info);
  }
  const lists = [...zones.values()];
  const rounds = Math.max(0, ...lists.map((list) => list.length));
  const order: NodeInfo[] = [];
  for (let i = 0; i < rounds; i++) {
    for (const list of lists) if (i < list.length) order.push(list[i]!);
  }
  order.forEach((info, i) => (info.index = i));
  return order;
}
