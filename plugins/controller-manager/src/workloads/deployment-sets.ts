/** The ReplicaSets of a Deployment: finding and making the new one, revisions and annotations, scaling, clean-up. */
import { messageOf } from "@k3s-p/plugin-api";
import {
  controllerOf, isAlreadyExists, isNotFound, replicaSets,
  type Deployment, type EventRecorder, type KubeClient, type ReplicaSet,
} from "@k3s-p/plugin-api/kube";
import { deployments } from "@k3s-p/plugin-api/kube";
import { ownerReference } from "../lib/claim.ts";
import { referenceTo } from "../lib/pod-control.ts";
import { isTerminatingNamespace } from "../lib/pod-control.ts";
import { canonicalJson, hashSuffix } from "../lib/values.ts";
import {
  annotation, HASH_LABEL, maxSurge, newSetReplicas, oldestFirst, parseRevision, replicasOf, revisionOf, sameTemplate,
} from "./deployment-math.ts";
import { conditionOf, hasDeadline, withCondition, type NextCondition } from "./deployment-status.ts";

export interface SetControl {
  readonly client: KubeClient;
  readonly events: EventRecorder;
  readonly now: () => Date;
}

/** The new ReplicaSet is the oldest one with the Deployment's template. */
export const findNewSet = (d: Deployment, sets: readonly ReplicaSet[]): ReplicaSet | undefined =>
  [...sets].sort(oldestFirst).find((set) => sameTemplate(set.spec?.template, d.spec!.template));

/** Annotations of the Deployment that its ReplicaSets do not inherit. */
const notInherited: ReadonlySet<string> = new Set([
  "kubectl.kubernetes.io/last-applied-configuration", "deprecated.deployment.rollback.revision",
  "deprecated.deployment.rollback.to", ...Object.values(annotation),
]);
const HISTORY_LENGTH = 2000;

export interface Synced {
  /** With the status changes that finding the new set brought. */
  readonly deployment: Deployment;
  readonly newSet: ReplicaSet | undefined;
}

/** Finds the new ReplicaSet and brings its annotations up to date; makes it when `create` is set. */
export async function syncNewSet(
  ctl: SetControl, d: Deployment, sets: readonly ReplicaSet[], create: boolean,
): Promise<Synced> {
  const existing = findNewSet(d, sets);
  const oldSets = sets.filter((set) => set !== existing);
  const latest = oldSets.map(revisionOf).reduce((a, b) => (a > b ? a : b), 0n);
  const revision = String(latest + 1n);
  if (existing) {
    const newSet = await refreshSet(ctl, d, existing, revision);
    const found: NextCondition = {
      type: "Progressing",
      status: "True",
      reason: "FoundNewReplicaSet",
      message: `Found new replica set "${newSet.metadata.name}"`,
    };
    const first = hasDeadline(d) && !conditionOf(d.status?.conditions, "Progressing");
    return {
      deployment: await record(ctl, d, newSet.metadata.annotations![annotation.revision]!, first ? found : undefined),
      newSet,
    };
  }
  if (!create) return { deployment: d, newSet: undefined };
  const { newSet, made } = await createSet(ctl, d, sets, revision);
  const created: NextCondition = {
    type: "Progressing",
    status: "True",
    reason: "NewReplicaSetCreated",
    message: `Created new replica set "${newSet.metadata.name}"`,
  };
  return {
    deployment: await record(
      ctl,
      d,
      newSet.metadata.annotations?.[annotation.revision] ?? revision,
      made && hasDeadline(d) ? created : undefined,
    ),
    newSet,
  };
}

async function refreshSet(
  { client }: SetControl, d: Deployment, set: ReplicaSet, revision: string,
): Promise<ReplicaSet> {
  const annotations = inheritedAnnotations(d, set.metadata.annotations, revision);
  const minReadySeconds = d.spec?.minReadySeconds ?? 0;
  const same = Object.entries(annotations).every(([k, v]) => set.metadata.annotations?.[k] === v);
  if (same && (set.spec?.minReadySeconds ?? 0) === minReadySeconds) return set;
  return client.update(replicaSets, {
    ...set, metadata: { ...set.metadata, annotations }, spec: { ...set.spec!, minReadySeconds },
  });
}

/** What the ReplicaSet has, overlaid with the Deployment's annotations and a revision that never goes back. */
function inheritedAnnotations(
  d: Deployment, before: Record<string, string> | undefined, revision: string,
): Record<string, string> {
  const annotations = { ...before };
  for (const [key, value] of Object.entries(d.metadata.annotations ?? {}))
    if (!notInherited.has(key)) annotations[key] = value;
  const old = before?.[annotation.revision];
  if (old !== undefined && parseRevision(old) >= parseRevision(revision)) return annotations;
  annotations[annotation.revision] = revision;
  if (old === undefined) return annotations;
  const history = (before?.[annotation.revisionHistory] ?? "").split(",").filter(Boolean);
  history.push(old);
  while (history.join(",").length > HISTORY_LENGTH) history.shift();
  annotations[annotation.revisionHistory] = history.join(",");
  return annotations;
}

/** Writes the Deployment's revision annotation and a condition, when they differ. */
async function record(
  { client, now }: SetControl, d: Deployment, revision: string, condition: NextCondition | undefined,
): Promise<Deployment> {
  let current = d;
  if (d.metadata.annotations?.[annotation.revision] !== revision) {
    const patched = await client.patch(
      deployments,
      d.metadata.name!,
      { metadata: { annotations: { [annotation.revision]: revision } } },
      { namespace: d.metadata.namespace },
    );
    // The spec that this reconcile works on stays the one it started with.
    current = {
      ...d,
      metadata: {
        ...d.metadata,
        annotations: patched.metadata.annotations,
        managedFields: patched.metadata.managedFields,
        resourceVersion: patched.metadata.resourceVersion,
      },
    };
  }
  if (!condition) return current;
  return setProgress({ client, now }, current, condition);
}

async function setProgress(
  { client, now }: Pick<SetControl, "client" | "now">, d: Deployment, condition: NextCondition,
): Promise<Deployment> {
  const conditions = withCondition(d.status?.conditions, condition, now());
  return client.update(deployments, { ...d, status: { ...d.status, conditions } }, { subresource: "status" });
}

async function createSet(
  ctl: SetControl, d: Deployment, sets: readonly ReplicaSet[], revision: string,
): Promise<{ newSet: ReplicaSet; made: boolean }> {
  const desired = newSetObject(d, sets, revision);
  try {
    const newSet = await ctl.client.create(replicaSets, desired);
    if (replicasOf(newSet) > 0) {
      ctl.events.record(
        referenceTo(deployments, d),
        "Normal",
        "ScalingReplicaSet",
        `Scaled up replica set ${newSet.metadata.name} from 0 to ${replicasOf(newSet)}`,
      );
    }
    return { newSet, made: true };
  } catch (error) {
    if (isAlreadyExists(error)) return { newSet: await resolveCollision(ctl, d, desired, error), made: false };
    if (!isTerminatingNamespace(error)) await reportCreateFailure(ctl, d, desired, error);
    throw error;
  }
}

function newSetObject(d: Deployment, sets: readonly ReplicaSet[], revision: string): ReplicaSet {
  const hash = hashSuffix(canonicalJson(d.spec!.template) + String(d.status?.collisionCount ?? ""));
  const meta = d.spec!.template.metadata as { labels?: Record<string, string> } | undefined;
  const labels = { ...meta?.labels, [HASH_LABEL]: hash };
  const selector = d.spec!.selector;
  return {
    apiVersion: "apps/v1", kind: "ReplicaSet",
    metadata: {
      name: `${d.metadata.name}-${hash}`, namespace: d.metadata.namespace, labels,
      annotations: {
        ...inheritedAnnotations(d, undefined, revision), ...scaleAnnotations(d),
      },
      ownerReferences: [ownerReference(deployments, d)],
    },
    spec: {
      replicas: newSetReplicas(d, sets, undefined), minReadySeconds: d.spec?.minReadySeconds ?? 0,
      selector: { ...selector, matchLabels: { ...selector.matchLabels, [HASH_LABEL]: hash } },
      template: { ...d.spec!.template, metadata: { ...meta, labels } },
    },
  } as ReplicaSet;
}

const scaleAnnotations = (d: Deployment) => ({
  [annotation.desiredReplicas]: String(replicasOf(d)),
  [annotation.maxReplicas]: String(replicasOf(d) + maxSurge(d)),
});

/** The name is taken: by our own set that the informer did not show yet, or by a stranger (then the hash changes). */
async function resolveCollision(
  { client }: SetControl, d: Deployment, desired: ReplicaSet, error: unknown,
): Promise<ReplicaSet> {
  const live = await client.get(replicaSets, desired.metadata.name!, d.metadata.namespace);
  if (controllerOf(live)?.uid === d.metadata.uid && sameTemplate(live.spec?.template, d.spec!.template)) return live;
  const collisionCount = (d.status?.collisionCount ?? 0) + 1;
  await client.update(deployments, { ...d, status: { ...d.status, collisionCount } }, { subresource: "status" });
  throw error;
}

async function reportCreateFailure(
  ctl: SetControl, d: Deployment, desired: ReplicaSet, error: unknown,
): Promise<void> {
  const message = `Failed to create new replica set "${desired.metadata.name}": ${messageOf(error)}`;
  if (hasDeadline(d))
    await setProgress(ctl, d, { type: "Progressing", status: "False", reason: "ReplicaSetCreateError", message });
  ctl.events.record(referenceTo(deployments, d), "Warning", "ReplicaSetCreateError", message);
}

/** Brings a ReplicaSet to `size` and refreshes its annotations; returns it as it is now. */
export async function scaleSet(
  { client, events }: SetControl, d: Deployment, set: ReplicaSet, size: number,
): Promise<ReplicaSet> {
  const before = replicasOf(set);
  const annotations = { ...set.metadata.annotations, ...scaleAnnotations(d) };
  const stale = Object.entries(annotations).some(([k, v]) => set.metadata.annotations?.[k] !== v);
  if (before === size && !stale) return set;
  const scaled = await client.update(replicaSets, {
    ...set,
    metadata: { ...set.metadata, annotations },
    spec: { ...set.spec!, replicas: size },
  });
  if (before !== size) {
    const direction = size > before ? "up" : "down";
    events.record(
      referenceTo(deployments, d),
      "Normal",
      "ScalingReplicaSet",
      `Scaled ${direction} replica set ${set.metadata.name} from ${before} to ${size}`,
    );
  }
  return scaled;
}

/** Deletes the oldest ReplicaSets beyond `revisionHistoryLimit`. */
export async function cleanUp({ client }: SetControl, d: Deployment, oldSets: readonly ReplicaSet[]): Promise<void> {
  const limit = d.spec?.revisionHistoryLimit;
  if (limit === undefined || limit === 2 ** 31 - 1) return;
  const alive = oldSets
    .filter((set) => !set.metadata.deletionTimestamp)
    .sort((a, b) => Number(revisionOf(a) - revisionOf(b)) || oldestFirst(a, b));
  for (const set of alive.slice(0, Math.max(0, alive.length - limit))) {
    const idle =
      (set.status?.replicas ?? 0) === 0 &&
      replicasOf(set) === 0 &&
      (set.metadata.generation ?? 0) <= (set.status?.observedGeneration ?? 0);
    if (!idle) continue;
    await client
      .delete(replicaSets, set.metadata.name!, {
        namespace: set.metadata.namespace,
        preconditions: { uid: set.metadata.uid },
      })
      .catch((error: unknown) => {
        if (!isNotFound(error)) throw error;
      });
  }
}
