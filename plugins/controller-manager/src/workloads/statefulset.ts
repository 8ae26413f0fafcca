/** The statefulset controller: pods with a stable identity, one after the other. */
import {
  controllerOf, controllerRevisions, keyOf, matchesSelector, persistentVolumeClaims, pods, splitKey, statefulSets,
  type ControllerRevision, type KubeClient, type Pod, type StatefulSet,
} from "@k3s-p/plugin-api/kube";
import { createController, type Change, type ControllerDeps } from "../controller.ts";
import { candidatesOf, claim } from "../lib/claim.ts";
import { byRevision, syncRevision, templateOf, trimHistory } from "../lib/history.ts";
import { isTerminatingNamespace } from "../lib/pod-control.ts";
import { isTerminating, nextAvailable } from "../lib/pods.ts";
import { semanticEqual } from "../lib/values.ts";
import { createStatefulControl } from "./statefulset-control.ts";
import { isRunningAndReady, ordinalOf, replicasOf, revisionHash, type Revision } from "./statefulset-pods.ts";
import { isUp, movePods, type Pass, type PodSteps } from "./statefulset-steps.ts";

type Status = NonNullable<StatefulSet["status"]>;

interface Prepared {
  readonly pass: Pass;
  /** All of the set, oldest first. */
  readonly revisions: readonly ControllerRevision[];
  readonly collisionCount: number;
}

export function start(deps: ControllerDeps): void {
  const { client, now } = deps;
  const c = createController(deps, "statefulset");
  const setInformer = c.follow(statefulSets);
  const podInformer = c.follow(pods, podKeys);
  const revisionInformer = c.follow(controllerRevisions, (revision) => ownerKey(revision));
  const steps: PodSteps = { control: createStatefulControl(client, c.events, c.read(persistentVolumeClaims)), events: c.events, now };
  c.run(reconcile);

  function ownerKey(object: Pod | ControllerRevision): string | undefined {
    const ref = controllerOf(object);
    return ref?.kind === "StatefulSet" ? `${object.metadata.namespace}/${ref.name}` : undefined;
  }

  function podKeys(pod: Pod, { previous, deleted }: Change<Pod>): string[] {
    const keys = [ownerKey(pod), previous && ownerKey(previous)].filter((k) => k !== undefined);
    if (keys.length || deleted || controllerOf(pod)) return keys;
    return setInformer
      .list(pod.metadata.namespace)
      .filter((set) => matchesSelector(set.spec?.selector, pod.metadata.labels) && ordinalOf(set, pod) !== undefined)
      .map(keyOf);
  }

  async function reconcile(key: string): Promise<number | void> {
    const [namespace, name] = splitKey(key);
    const set = setInformer.get(name, namespace);
    if (!set) return;
    const { pass, revisions, collisionCount } = await prepare(set);
    const failure = set.metadata.deletionTimestamp ? undefined : await movePods(steps, pass).then(() => undefined, (error: unknown) => error);
    await writeStatus(pass, collisionCount);
    await trim(client, pass, revisions);
    if (failure !== undefined && !isTerminatingNamespace(failure)) throw failure;
    return nextAvailable(pass.claimed, set.spec?.minReadySeconds ?? 0, now());
  }

  /** Adopts pods and revisions, and makes the revision of the template if it is new. */
  async function prepare(set: StatefulSet): Promise<Prepared> {
    const owner = { resource: statefulSets, object: set };
    const before = await claim({
      client, resource: controllerRevisions, owner, candidates: candidatesOf(revisionInformer, set),
      matches: (revision) => matchesSelector(set.spec?.selector, revision.metadata.labels),
    });
    const claimed = await claim({
      client, resource: pods, owner, candidates: candidatesOf(podInformer, set),
      matches: (pod) => matchesSelector(set.spec?.selector, pod.metadata.labels) && ordinalOf(set, pod) !== undefined,
    });
    const { revision: update, collisionCount } = await syncRevision(client, {
      ...owner, template: set.spec!.template, collisionCount: set.status?.collisionCount ?? 0, hashLabel: "controller.kubernetes.io/hash",
    }, before);
    const revisions = [...before.filter((r) => r.metadata.uid !== update.metadata.uid), update].sort(byRevision);
    const current = revisions.find((revision) => revision.metadata.name === set.status?.currentRevision) ?? update;
    return { pass: { set, claimed, current: asRevision(current), update: asRevision(update) }, revisions, collisionCount };
  }

  async function writeStatus(pass: Pass, collisionCount: number): Promise<void> {
    const { set, claimed } = pass;
    // What this pass did shows in the informer by now; what does not yet, comes with the next pass.
    const list = claimed
      .map((pod) => podInformer.get(pod.metadata.name!, pod.metadata.namespace))
      .filter((pod) => pod !== undefined);
    const extra = podInformer
      .byIndex("owner", set.metadata.uid!)
      .filter((pod) => !claimed.some((p) => p.metadata.name === pod.metadata.name));
    const live = [...list, ...extra];
    const status = statusOf(pass, live, live.filter((pod) => isUp(steps, set, pod)).length, collisionCount);
    const before = withCounts(set.status);
    if (semanticEqual(status, before)) return;
    await client.update(statefulSets, { ...set, status }, { subresource: "status" });
  }
}

const asRevision = (revision: ControllerRevision): Revision => ({ name: revision.metadata.name!, template: templateOf(revision) });

/** Removes revisions that no pod has, beyond those that the set wants to keep. */
async function trim(client: KubeClient, { set, current, update, claimed }: Pass, revisions: readonly ControllerRevision[]): Promise<void> {
  const live = new Set([current.name, update.name, ...claimed.map(revisionHash)]);
  await trimHistory(client, revisions, (revision) => live.has(revision.metadata.name), set.spec?.revisionHistoryLimit ?? 10);
}

/** The status of a set with these pods, of which so many are available. */
function statusOf({ set, current, update }: Pass, live: readonly Pod[], availableReplicas: number, collisionCount: number): Status {
  const steady = live.filter((pod) => !isTerminating(pod));
  const of = (revision: Revision) => steady.filter((pod) => revisionHash(pod) === revision.name).length;
  const counts = {
    replicas: live.length, readyReplicas: live.filter(isRunningAndReady).length, availableReplicas,
    currentReplicas: of(current), updatedReplicas: of(update),
  };
  const done = set.spec?.updateStrategy?.type !== "OnDelete" && counts.updatedReplicas === counts.replicas &&
    counts.readyReplicas === counts.replicas && counts.replicas === replicasOf(set);
  return {
    ...set.status, ...counts, observedGeneration: set.metadata.generation, updateRevision: update.name, collisionCount,
    currentRevision: done ? update.name : current.name, ...(done && { currentReplicas: counts.updatedReplicas }),
  };
}

/** A server leaves out counts that are zero. */
function withCounts(status: Status | undefined): Partial<Status> {
  const { availableReplicas = 0, readyReplicas = 0, currentReplicas = 0, updatedReplicas = 0, collisionCount = 0 } = status ?? {};
  return { ...status, availableReplicas, readyReplicas, currentReplicas, updatedReplicas, collisionCount };
}
