/** The statefulset controller: pods with a stable identity, one after the other. */
import {
  controllerOf, controllerRevisions, keyOf, matchesSelector, persistentVolumeClaims, pods, splitKey, statefulSets,
  type ControllerRevision, type Pod, type StatefulSet,
} from "@k3s-p/plugin-api/kube";
import { createController, type Change, type ControllerDeps } from "../controller.ts";
import { candidatesOf, claim } from "../lib/claim.ts";
import { byRevision, syncRevision, templateOf, trimHistory } from "../lib/history.ts";
import { isTerminatingNamespace, referenceTo } from "../lib/pod-control.ts";
import { isAvailable, isTerminal, isTerminating, nextAvailable } from "../lib/pods.ts";
import { resolveIntOrPercent, semanticEqual, slowStart } from "../lib/values.ts";
import { createStatefulControl } from "./statefulset-control.ts";
import {
  buildPod, endOf, isCreated, isHealthy, isOrdered, isRunningAndReady, ordinalOf, partitionOf, podName, repairedPod,
  replicasOf, revisionHash, startOf, type Revision,
} from "./statefulset-pods.ts";

type Status = NonNullable<StatefulSet["status"]>;

interface Pass {
  readonly set: StatefulSet;
  readonly current: Revision;
  readonly update: Revision;
  readonly claimed: readonly Pod[];
}

export function start(deps: ControllerDeps): void {
  const { client, now } = deps;
  const c = createController(deps, "statefulset");
  const setInformer = c.follow(statefulSets);
  const podInformer = c.follow(pods, podKeys);
  const revisionInformer = c.follow(controllerRevisions, (revision) => ownerKey(revision));
  const control = createStatefulControl(client, c.events, c.read(persistentVolumeClaims));
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
    const owner = { resource: statefulSets, object: set };
    const revisions = await claim({
      client,
      resource: controllerRevisions,
      owner,
      matches: (revision) => matchesSelector(set.spec?.selector, revision.metadata.labels),
      candidates: candidatesOf(revisionInformer, set),
    });
    const claimed = await claim({
      client, resource: pods, owner, candidates: candidatesOf(podInformer, set),
      matches: (pod) => matchesSelector(set.spec?.selector, pod.metadata.labels) && ordinalOf(set, pod) !== undefined,
    });
    const synced = await syncRevision(
      client,
      {
        resource: statefulSets,
        object: set,
        template: set.spec!.template,
        collisionCount: set.status?.collisionCount ?? 0,
        hashLabel: "controller.kubernetes.io/hash",
      },
      revisions,
    );
    const all = [...revisions.filter((r) => r.metadata.uid !== synced.revision.metadata.uid), synced.revision].sort(
      byRevision,
    );
    const current = all.find((revision) => revision.metadata.name === set.status?.currentRevision) ?? synced.revision;
    const pass: Pass = { set, claimed, current: asRevision(current), update: asRevision(synced.revision) };
    const failure = set.metadata.deletionTimestamp
      ? undefined
      : await movePods(pass).then(
          () => undefined,
          (error: unknown) => error,
        );
    await writeStatus(pass, synced.collisionCount);
    await trim(pass, all);
    if (failure !== undefined && !isTerminatingNamespace(failure)) throw failure;
    return nextAvailable(claimed, set.spec?.minReadySeconds ?? 0, now());
  }

  const asRevision = (revision: ControllerRevision): Revision => ({
    name: revision.metadata.name!,
    template: templateOf(revision),
  });
  const available = (set: StatefulSet, pod: Pod): boolean =>
    isRunningAndReady(pod) && isAvailable(pod, set.spec?.minReadySeconds ?? 0, now());

  /** One step towards the wanted pods: replicas in order, then surplus ones, then those of an old revision. */
  async function movePods(pass: Pass): Promise<void> {
    const { set, claimed } = pass;
    const replicas = Array.from({ length: replicasOf(set) }, (_, i) => {
      const ordinal = startOf(set) + i;
      return (
        claimed.find((pod) => pod.metadata.name === podName(set, ordinal)) ??
        buildPod(set, ordinal, revisionFor(pass, ordinal))
      );
    });
    const condemned = claimed
      .filter((pod) => isOutside(set, pod))
      .sort((a, b) => ordinalOf(set, b)! - ordinalOf(set, a)!);
    if (!(await bringUp(set, replicas))) return;
    if (!(await takeDown(set, condemned, [...replicas, ...condemned.toReversed()].find((pod) => !isHealthy(pod))))) return;
    if (set.spec?.updateStrategy?.type !== "OnDelete") await roll(pass, replicas);
  }

  const isOutside = (set: StatefulSet, pod: Pod): boolean => {
    const ordinal = ordinalOf(set, pod)!;
    return ordinal < startOf(set) || ordinal > endOf(set);
  };

  /** Pods below the partition are made anew from the revision that is current. */
  function revisionFor({ set, current, update }: Pass, ordinal: number): Revision {
    const rolling = set.spec?.updateStrategy?.type !== "OnDelete";
    return rolling && ordinal < startOf(set) + partitionOf(set) ? current : update;
  }

  /** False when a pod must come up, or go, before anything else may happen. */
  async function bringUp(set: StatefulSet, replicas: readonly Pod[]): Promise<boolean> {
    if (isOrdered(set)) {
      for (const pod of replicas) if (!(await bringUpOne(set, pod))) return false;
      return true;
    }
    const { error } = await slowStart(replicas.length, async (i) => void (await bringUpOne(set, replicas[i]!)));
    if (error !== undefined) throw error;
    return true;
  }

  async function bringUpOne(set: StatefulSet, pod: Pod): Promise<boolean> {
    const ordered = isOrdered(set);
    if (!isCreated(pod)) {
      await control.create(set, pod);
      return !ordered;
    }
    if (isTerminal(pod)) {
      if (!isTerminating(pod)) {
        c.events.record(
          referenceTo(statefulSets, set),
          "Warning",
          "RecreatingFailedPod",
          `StatefulSet ${keyOf(set)} is recreating failed Pod ${pod.metadata.name}`,
        );
        await control.remove(set, pod);
      }
      return !ordered;
    }
    if (pod.status?.phase === "Pending" && !isTerminating(pod)) await control.ensureClaims(set, pod);
    if (isTerminating(pod) && ordered) return false;
    await control.retainClaims(set, pod, false);
    const repaired = isTerminating(pod) ? undefined : repairedPod(set, ordinalOf(set, pod)!, pod);
    if (repaired) await control.update(set, repaired);
    return !ordered || available(set, pod);
  }

  /** Removes surplus pods, the highest ordinal first; false when one has to be waited for. */
  async function takeDown(
    set: StatefulSet, condemned: readonly Pod[], firstUnhealthy: Pod | undefined,
  ): Promise<boolean> {
    const ordered = isOrdered(set);
    for (const pod of condemned) {
      if (isTerminating(pod)) {
        if (ordered) return false;
        continue;
      }
      if (ordered && !available(set, pod) && pod !== firstUnhealthy) return false;
      await control.retainClaims(set, pod, true);
      await control.remove(set, pod);
      if (ordered) return false;
    }
    return true;
  }

  /** Replaces pods of another revision, the highest ordinal first, while the ones above are healthy. */
  async function roll({ set, update }: Pass, replicas: readonly Pod[]): Promise<void> {
    const limit = Math.max(
      1,
      resolveIntOrPercent(set.spec?.updateStrategy?.rollingUpdate?.maxUnavailable ?? 1, replicasOf(set), "up"),
    );
    let unavailable = limit > 1 ? replicas.filter((pod) => !isHealthy(pod)).length : 0;
    for (const pod of replicas.slice(Math.max(0, partitionOf(set))).toReversed()) {
      const healthy = isHealthy(pod);
      if (isCreated(pod) && revisionHash(pod) !== update.name && !isTerminating(pod)) {
        if (limit > 1 && healthy && unavailable >= limit) return;
        await control.remove(set, pod);
        unavailable += Number(healthy);
        if (limit === 1) return;
      } else if (!healthy && limit === 1) return;
    }
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
    const status = statusOf(pass, live, live.filter((pod) => available(set, pod)).length, collisionCount);
    const before = withCounts(set.status);
    if (semanticEqual(status, before)) return;
    await client.update(statefulSets, { ...set, status }, { subresource: "status" });
  }

  async function trim(
    { set, current, update, claimed }: Pass, revisions: readonly ControllerRevision[],
  ): Promise<void> {
    const live = new Set([current.name, update.name, ...claimed.map(revisionHash)]);
    await trimHistory(
      client,
      revisions,
      (revision) => live.has(revision.metadata.name),
      set.spec?.revisionHistoryLimit ?? 10,
    );
  }
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
