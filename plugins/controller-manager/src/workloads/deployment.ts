/** The deployment controller: rolls a Deployment's pods from old ReplicaSets to the new one. */
import {
  controllerOf, deployments, keyOf, matchesSelector, pods, replicaSets, splitKey,
  type Deployment, type Pod, type ReplicaSet,
} from "@k3s-p/plugin-api/kube";
import { createController, type Change, type ControllerDeps } from "../controller.ts";
import { candidatesOf, claim } from "../lib/claim.ts";
import { referenceTo } from "../lib/pod-control.ts";
import { podPhase } from "../lib/pods.ts";
import { semanticEqual } from "../lib/values.ts";
import {
  activeSets, availableOf, desiredOf, isRolling, isSaturated, maxUnavailable, newSetReplicas, oldestFirst, proportional,
  replicasOf, scaledDown, sumReplicas, withoutUnhealthy,
} from "./deployment-math.ts";
import { cleanUp, findNewSet, scaleSet, syncNewSet, type SetControl } from "./deployment-sets.ts";
import {
  conditionOf, countsOf, deadlineIn, hasDeadline, isComplete, rolloutStatus, withCondition,
  type DeploymentStatus,
} from "./deployment-status.ts";

export function start(deps: ControllerDeps): void {
  const { client, now } = deps;
  const c = createController(deps, "deployment");
  const ctl: SetControl = { client, events: c.events, now };
  const deploymentInformer = c.follow(deployments);
  const setInformer = c.follow(replicaSets, setKeys);
  const podInformer = c.follow(pods, podKeys);
  c.run(reconcile);

  function setKeys(set: ReplicaSet, { previous }: Change<ReplicaSet>): string[] {
    const owners = [controllerOf(set), previous && controllerOf(previous)].filter((ref) => ref?.kind === "Deployment");
    if (owners.length) return owners.map((ref) => `${set.metadata.namespace}/${ref!.name}`);
    if (controllerOf(set)) return [];
    return deploymentInformer
      .list(set.metadata.namespace)
      .filter((d) => matchesSelector(d.spec?.selector, set.metadata.labels))
      .map(keyOf);
  }

  /** A Recreate Deployment goes on when the last of its old pods is gone. */
  function podKeys(pod: Pod, { deleted }: Change<Pod>): string | undefined {
    const ref = deleted ? controllerOf(pod) : undefined;
    const set = ref?.kind === "ReplicaSet" ? setInformer.get(ref.name, pod.metadata.namespace) : undefined;
    const parent = set && controllerOf(set);
    const d = parent?.kind === "Deployment" ? deploymentInformer.get(parent.name, pod.metadata.namespace) : undefined;
    return d && !isRolling(d) ? keyOf(d) : undefined;
  }

  async function reconcile(key: string): Promise<number | void> {
    const [namespace, name] = splitKey(key);
    const d = deploymentInformer.get(name, namespace);
    if (!d) return;
    if (selectsEverything(d)) return rejectSelector(d);
    const sets = await claim({
      client, resource: replicaSets, owner: { resource: deployments, object: d },
      matches: (set) => matchesSelector(d.spec!.selector, set.metadata.labels), candidates: candidatesOf(setInformer, d),
    });
    if (d.metadata.deletionTimestamp) return writeStatus(d, countsOf(d, sets, findNewSet(d, sets), now()));
    const checked = await notePause(d);
    if (checked.spec?.paused || isScaling(checked, sets)) return scaleOnly(checked, sets);
    return isRolling(checked) ? rollingUpdate(checked, sets) : recreate(checked, sets);
  }

  async function rejectSelector(d: Deployment): Promise<void> {
    c.events.record(
      referenceTo(deployments, d),
      "Warning",
      "SelectingAll",
      "This deployment is selecting all pods. A non-empty selector is required.",
    );
    if ((d.status?.observedGeneration ?? 0) < (d.metadata.generation ?? 0)) {
      await writeStatus(d, { ...d.status, observedGeneration: d.metadata.generation });
    }
  }

  /** A pause stops the progress deadline; a resume starts it anew. */
  async function notePause(d: Deployment): Promise<Deployment> {
    const condition = conditionOf(d.status?.conditions, "Progressing");
    if (!hasDeadline(d) || condition?.reason === "ProgressDeadlineExceeded") return d;
    const wasPaused = condition?.reason === "DeploymentPaused";
    if (Boolean(d.spec?.paused) === wasPaused) return d;
    const next = d.spec?.paused
      ? { type: "Progressing", status: "Unknown", reason: "DeploymentPaused", message: "Deployment is paused" }
      : { type: "Progressing", status: "Unknown", reason: "DeploymentResumed", message: "Deployment is resumed" };
    return client.update(
      deployments,
      { ...d, status: { ...d.status, conditions: withCondition(d.status?.conditions, next, now()) } },
      { subresource: "status" },
    );
  }

  async function scaleOnly(before: Deployment, sets: readonly ReplicaSet[]): Promise<number | void> {
    const { deployment: d, newSet } = await syncNewSet(ctl, before, sets, false);
    const current = replace(sets, newSet);
    const scaled = await scale(d, current, newSet);
    if (d.spec?.paused) await cleanUp(ctl, d, scaled.filter((set) => set.metadata.uid !== newSet?.metadata.uid));
    await writeStatus(d, countsOf(d, scaled, find(scaled, newSet), now()));
  }

  async function scale(
    d: Deployment, sets: readonly ReplicaSet[], newSet: ReplicaSet | undefined,
  ): Promise<readonly ReplicaSet[]> {
    const active = activeSets(sets);
    const only =
      active.length === 1
        ? active[0]
        : active.length === 0
          ? (newSet ?? [...sets].sort(oldestFirst).at(-1))
          : undefined;
    if (only) return replace(sets, await resize(d, only, replicasOf(d)));
    if (isSaturated(d, newSet))
      return resizeAll(d, sets, new Map(active.filter((set) => set !== newSet).map((set) => [set, 0])));
    return isRolling(d) ? resizeAll(d, sets, proportional(d, sets)) : sets;
  }

  const resize = (d: Deployment, set: ReplicaSet, size: number): Promise<ReplicaSet> | ReplicaSet =>
    replicasOf(set) === size && desiredOf(set) === replicasOf(d) ? set : scaleSet(ctl, d, set, size);

  async function resizeAll(
    d: Deployment, sets: readonly ReplicaSet[], sizes: ReadonlyMap<ReplicaSet, number>,
  ): Promise<readonly ReplicaSet[]> {
    let current = sets;
    for (const [set, size] of sizes) current = replace(current, await scaleSet(ctl, d, set, size));
    return current;
  }

  async function rollingUpdate(before: Deployment, sets: readonly ReplicaSet[]): Promise<number | void> {
    const { deployment: d, newSet } = await syncNewSet(ctl, before, sets, true);
    const current = replace(sets, newSet);
    const oldSets = current.filter((set) => set.metadata.uid !== newSet!.metadata.uid);
    const size = newSetReplicas(d, current, newSet);
    const target = replicasOf(newSet!) > replicasOf(d) ? replicasOf(d) : size;
    if (target !== replicasOf(newSet!)) return finish(d, replace(current, await scaleSet(ctl, d, newSet!, target)), newSet);
    const shrunk = await shrinkOld(d, current, oldSets, newSet!);
    if (shrunk) return finish(d, shrunk, newSet);
    if (isComplete(d, d.status ?? {})) await cleanUp(ctl, d, oldSets);
    return finish(d, current, newSet);
  }

  /** Scales old ReplicaSets down as far as availability allows; undefined when there was nothing to do. */
  async function shrinkOld(
    d: Deployment, sets: readonly ReplicaSet[], oldSets: readonly ReplicaSet[], newSet: ReplicaSet,
  ): Promise<readonly ReplicaSet[] | undefined> {
    if (sumReplicas(oldSets) === 0) return undefined;
    const minAvailable = replicasOf(d) - maxUnavailable(d);
    const limit = sumReplicas(sets) - minAvailable - (replicasOf(newSet) - availableOf(newSet));
    if (limit <= 0) return undefined;
    const healthy = withoutUnhealthy(oldSets, limit);
    const sizes = new Map([...healthy, ...scaledDown(d, sets, oldSets, (set) => healthy.get(set) ?? replicasOf(set))]);
    return sizes.size ? resizeAll(d, sets, sizes) : undefined;
  }

  async function recreate(before: Deployment, sets: readonly ReplicaSet[]): Promise<number | void> {
    const found = await syncNewSet(ctl, before, sets, false);
    const current = replace(sets, found.newSet);
    const oldSets = current.filter((set) => set.metadata.uid !== found.newSet?.metadata.uid);
    const active = activeSets(oldSets);
    if (active.length)
      return finish(
        found.deployment,
        await resizeAll(found.deployment, current, new Map(active.map((set) => [set, 0]))),
        found.newSet,
      );
    if (oldPodsRun(oldSets)) return finish(found.deployment, current, found.newSet);
    const { deployment: d, newSet } = found.newSet ? found : await syncNewSet(ctl, found.deployment, current, true);
    const scaled = replace(replace(current, newSet), await scaleSet(ctl, d, newSet!, replicasOf(d)));
    if (isComplete(d, d.status ?? {})) await cleanUp(ctl, d, oldSets);
    return finish(d, scaled, newSet);
  }

  const oldPodsRun = (oldSets: readonly ReplicaSet[]): boolean =>
    oldSets.some(
      (set) =>
        (set.status?.replicas ?? 0) > 0 ||
        podInformer
          .byIndex("owner", set.metadata.uid!)
          .some((pod) => podPhase(pod) !== "Failed" && podPhase(pod) !== "Succeeded"),
    );

  async function finish(
    d: Deployment, sets: readonly ReplicaSet[], newSet: ReplicaSet | undefined,
  ): Promise<number | void> {
    const status = rolloutStatus(d, sets, find(sets, newSet), now());
    await writeStatus(d, status);
    return deadlineIn(d, status, now());
  }

  async function writeStatus(d: Deployment, status: DeploymentStatus): Promise<void> {
    if (semanticEqual(withoutZero(status), withoutZero(d.status ?? {}))) return;
    await client.update(deployments, { ...d, status }, { subresource: "status" });
  }
}

const selectsEverything = (d: Deployment): boolean => {
  const selector = d.spec?.selector;
  return !Object.keys(selector?.matchLabels ?? {}).length && !selector?.matchExpressions?.length;
};

/** The Deployment's size differs from the one that its active ReplicaSets were last scaled for. */
const isScaling = (d: Deployment, sets: readonly ReplicaSet[]): boolean =>
  activeSets(sets).some((set) => desiredOf(set) !== undefined && desiredOf(set) !== replicasOf(d));

const find = (sets: readonly ReplicaSet[], set: ReplicaSet | undefined): ReplicaSet | undefined =>
  set && sets.find((other) => other.metadata.uid === set.metadata.uid);

function replace(sets: readonly ReplicaSet[], set: ReplicaSet | undefined): readonly ReplicaSet[] {
  if (!set) return sets;
  return find(sets, set) ? sets.map((other) => (other.metadata.uid === set.metadata.uid ? set : other)) : [...sets, set];
}

/** The server may leave zero counts out. */
const withoutZero = (status: DeploymentStatus): object =>
  Object.fromEntries(Object.entries(status).filter(([, value]) => value !== 0));
