/**
 * VolumeBinding: bound volumes must be reachable from the node; claims that wait for their first consumer are
 * matched with a free volume or handed to their provisioner once a node is chosen.
 */
import { compareQuantity, matchesSelector, persistentVolumeClaims, persistentVolumes } from "@k3s-p/plugin-api/kube";
import type { Informer, KubeClient, PersistentVolume, PersistentVolumeClaim, StorageClass } from "@k3s-p/plugin-api/kube";
import { reject, type PreFilterResult, type SchedulingPlugin } from "../framework.ts";
import type { NodeInfo } from "../node-info.ts";
import type { PodInfo } from "../pod-info.ts";
import { compileTerms, matchesTerms } from "./node-affinity.ts";
import { untilBound } from "./volume-wait.ts";

export interface VolumeSources {
  readonly client: KubeClient;
  readonly claims: Informer<PersistentVolumeClaim>;
  readonly volumes: Informer<PersistentVolume>;
  readonly classes: Informer<StorageClass>;
  /** Whether a node of that name is in the cluster. */
  readonly hasNode: (name: string) => boolean;
  /** Longest wait for a claim to be bound, milliseconds; upstream's `bindTimeoutSeconds` is 600. */
  readonly bindTimeout?: number;
}

interface State {
  readonly bound: readonly PersistentVolume[];
  readonly delayed: readonly PersistentVolumeClaim[];
}

/** What binding will do on the chosen node. */
interface Plan {
  readonly node: string;
  readonly matched: readonly { readonly claim: PersistentVolumeClaim; readonly volume: PersistentVolume }[];
  readonly provisioned: readonly PersistentVolumeClaim[];
}

export const selectedNode = "volume.kubernetes.io/selected-node";
const noProvisioner = "kubernetes.io/no-provisioner";

const noVolumes = reject("node(s) didn't find available persistent volumes to bind");
const affinityConflict = reject("node(s) didn't match PersistentVolume's node affinity");
const unboundImmediate = reject("pod has unbound immediate PersistentVolumeClaims");

export function volumeBinding(sources: VolumeSources): SchedulingPlugin<State> {
  const { client, claims, bindTimeout = 600_000 } = sources;
  const plans = new Map<string, Plan>();
  const taken = new Map<string, string>();
  const chosen = new Map<string, string>();
  const finder = planner(sources, taken, chosen);

  function drop(uid: string): void {
    const plan = plans.get(uid);
    if (!plan) return;
    plans.delete(uid);
    for (const { volume } of plan.matched) taken.delete(volume.metadata.name!);
    for (const claim of plan.provisioned) chosen.delete(keyOf(claim));
  }

  return {
    name: "VolumeBinding",
    events: ["node", "claim", "volume", "storageClass"],
    preFilter: (pod) => (pod.claims.length ? sortClaims(pod, sources) : { skip: true }),
    filter(node, _pod, { bound, delayed }) {
      if (!bound.every((volume) => reachable(volume, node))) return affinityConflict;
      return delayed.length && !finder(delayed, node) ? noVolumes : undefined;
    },
    reserve(pod, node, state) {
      const plan = state?.delayed.length ? finder(state.delayed, node) : undefined;
      if (!plan) return;
      plans.set(pod.uid, plan);
      for (const { claim, volume } of plan.matched) taken.set(volume.metadata.name!, keyOf(claim));
      for (const claim of plan.provisioned) chosen.set(keyOf(claim), node.name);
    },
    unreserve: (pod) => drop(pod.uid),
    async preBind(pod, _node, signal) {
      const plan = plans.get(pod.uid);
      if (!plan) return;
      try {
        await carryOut(client, plan);
        const waiting = [...plan.matched.map((m) => m.claim), ...plan.provisioned];
        await untilBound(claims, waiting, plan.node, bindTimeout, signal);
      } finally {
        drop(pod.uid);
      }
    },
  };
}

const keyOf = (claim: PersistentVolumeClaim): string => `${claim.metadata.namespace}/${claim.metadata.name}`;

/** Splits the pod's claims into bound ones and those that wait for a node; anything else refuses the pod. */
function sortClaims(pod: PodInfo, { claims, volumes, classes }: VolumeSources): PreFilterResult<State> {
  const bound: PersistentVolume[] = [];
  const delayed: PersistentVolumeClaim[] = [];
  for (const { key, ephemeral } of pod.claims) {
    const name = key.slice(pod.namespace.length + 1);
    const claim = claims.get(name, pod.namespace);
    const problem = problemOf(claim, name, pod, ephemeral);
    if (problem || !claim) return { reject: reject(problem ?? `persistentvolumeclaim "${name}" not found`) };
    const volumeName = claim.spec?.volumeName;
    if (volumeName) {
      const volume = volumes.get(volumeName);
      if (!volume) return { reject: reject("node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)") };
      bound.push(volume);
    } else if (classes.get(claim.spec?.storageClassName ?? "")?.volumeBindingMode === "WaitForFirstConsumer") {
      delayed.push(claim);
    } else return { reject: unboundImmediate };
  }
  return { state: { bound, delayed } };
}

function problemOf(claim: PersistentVolumeClaim | undefined, name: string, pod: PodInfo, ephemeral: boolean): string | undefined {
  if (!claim) {
    return ephemeral
      ? `waiting for ephemeral volume controller to create the persistentvolumeclaim "${name}"`
      : `persistentvolumeclaim "${name}" not found`;
  }
  if (claim.status?.phase === "Lost") {
    return `persistentvolumeclaim "${name}" bound to non-existent persistentvolume "${claim.spec?.volumeName ?? ""}"`;
  }
  if (claim.metadata.deletionTimestamp) return `persistentvolumeclaim "${name}" is being deleted`;
  if (ephemeral && !claim.metadata.ownerReferences?.some((owner) => owner.uid === pod.uid)) {
    return `PVC "${pod.namespace}/${name}" was not created for pod "${pod.key}" (pod is not owner)`;
  }
  return undefined;
}

function reachable(volume: PersistentVolume, node: NodeInfo): boolean {
  const required = volume.spec?.nodeAffinity?.required;
  return !required || matchesTerms(compileTerms(required.nodeSelectorTerms), node);
}

/** Finds what would bind the claims on a node; undefined when nothing would. */
function planner(
  { volumes, classes, hasNode }: VolumeSources,
  taken: ReadonlyMap<string, string>,
  chosen: ReadonlyMap<string, string>,
): (claims: readonly PersistentVolumeClaim[], node: NodeInfo) => Plan | undefined {
  return (claims, node) => {
    const matched: { claim: PersistentVolumeClaim; volume: PersistentVolume }[] = [];
    const provisioned: PersistentVolumeClaim[] = [];
    for (const claim of claims) {
      const earlier = chosen.get(keyOf(claim)) ?? claim.metadata.annotations?.[selectedNode];
      if (earlier && earlier !== node.name && hasNode(earlier)) return undefined;
      const used = new Set(matched.map((m) => m.volume));
      const volume = earlier ? undefined : smallestFit(volumes.list(), claim, node, taken, used);
      if (volume) matched.push({ claim, volume });
      else if (canProvision(classes.get(claim.spec?.storageClassName ?? ""), node)) provisioned.push(claim);
      else return undefined;
    }
    return { node: node.name, matched, provisioned };
  };
}

function smallestFit(
  volumes: readonly PersistentVolume[],
  claim: PersistentVolumeClaim,
  node: NodeInfo,
  taken: ReadonlyMap<string, string>,
  used: ReadonlySet<PersistentVolume>,
): PersistentVolume | undefined {
  let best: PersistentVolume | undefined;
  for (const volume of volumes) {
    if (used.has(volume) || !suits(volume, claim) || !reachable(volume, node)) continue;
    const holder = taken.get(volume.metadata.name!);
    if (holder !== undefined && holder !== keyOf(claim)) continue;
    if (volume.spec?.claimRef) return volume;
    if (!best || compareQuantity(capacityOf(volume), capacityOf(best)) < 0) best = volume;
  }
  return best;
}

const capacityOf = (volume: PersistentVolume): string => volume.spec?.capacity?.["storage"] ?? "0";

function suits({ spec, status, metadata }: PersistentVolume, claim: PersistentVolumeClaim): boolean {
  if (metadata.deletionTimestamp || !spec) return false;
  const reserved = spec.claimRef;
  if (reserved) {
    const { name, namespace, uid } = claim.metadata;
    if (reserved.name !== name || reserved.namespace !== namespace || (reserved.uid && reserved.uid !== uid)) return false;
  } else if (status?.phase !== "Available") return false;
  const wanted = claim.spec;
  if ((spec.storageClassName ?? "") !== (wanted?.storageClassName ?? "")) return false;
  if ((spec.volumeMode ?? "Filesystem") !== (wanted?.volumeMode ?? "Filesystem")) return false;
  if (!wanted?.accessModes?.every((mode) => spec.accessModes?.includes(mode))) return false;
  if (wanted.selector && !matchesSelector(wanted.selector, metadata.labels)) return false;
  return compareQuantity(spec.capacity?.["storage"] ?? "0", wanted.resources?.requests?.["storage"] ?? "0") >= 0;
}

function canProvision(storageClass: StorageClass | undefined, node: NodeInfo): boolean {
  if (!storageClass?.provisioner || storageClass.provisioner === noProvisioner) return false;
  const allowed = storageClass.allowedTopologies;
  if (!allowed?.length) return true;
  return allowed.some((term) =>
    (term.matchLabelExpressions ?? []).every((e) => e.values.includes(node.labels[e.key] ?? "")),
  );
}

async function carryOut(client: KubeClient, plan: Plan): Promise<void> {
  for (const { claim, volume } of plan.matched) {
    const { name, namespace, uid, resourceVersion } = claim.metadata;
    const claimRef = { kind: "PersistentVolumeClaim", apiVersion: "v1", name, namespace, uid, resourceVersion };
    const annotations = { "pv.kubernetes.io/bound-by-controller": "yes" };
    const metadata = { annotations, resourceVersion: volume.metadata.resourceVersion };
    await client.patch(persistentVolumes, volume.metadata.name!, { metadata, spec: { claimRef } });
  }
  for (const claim of plan.provisioned) {
    if (claim.metadata.annotations?.[selectedNode] === plan.node) continue;
    const patch = { metadata: { annotations: { [selectedNode]: plan.node }, resourceVersion: claim.metadata.resourceVersion } };
    await client.patch(persistentVolumeClaims, claim.metadata.name!, patch, { namespace: claim.metadata.namespace! });
  }
}
