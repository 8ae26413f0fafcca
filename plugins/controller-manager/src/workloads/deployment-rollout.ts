/** What one pass does for a Deployment: scales its ReplicaSets, rolls from the old ones to the new one, and writes the status. */
import { deployments, type Deployment, type Pod, type ReplicaSet } from "@k3s-p/plugin-api/kube";
import { podPhase } from "../lib/pods.ts";
import { semanticEqual } from "../lib/values.ts";
import {
  activeSets, availableOf, desiredOf, isRolling, isSaturated, maxUnavailable, newSetReplicas, oldestFirst, proportional,
  replicasOf, scaledDown, sumReplicas, withoutUnhealthy,
} from "./deployment-math.ts";
import { cleanUp, scaleSet, syncNewSet, type SetControl } from "./deployment-sets.ts";
import { countsOf, deadlineIn, isComplete, rolloutStatus, type DeploymentStatus } from "./deployment-status.ts";

export interface RolloutControl extends SetControl {
  /** Pods of a ReplicaSet. */
  readonly podsOf: (set: ReplicaSet) => readonly Pod[];
}

export async function scaleOnly(ctl: RolloutControl, before: Deployment, sets: readonly ReplicaSet[]): Promise<number | void> {
  const { deployment: d, newSet } = await syncNewSet(ctl, before, sets, false);
  const current = replace(sets, newSet);
  const scaled = await scale(ctl, d, current, newSet);
  if (d.spec?.paused) await cleanUp(ctl, d, scaled.filter((set) => set.metadata.uid !== newSet?.metadata.uid));
  await writeStatus(ctl, d, countsOf(d, scaled, find(scaled, newSet), ctl.now()));
}

async function scale(
  ctl: RolloutControl, d: Deployment, sets: readonly ReplicaSet[], newSet: ReplicaSet | undefined,
): Promise<readonly ReplicaSet[]> {
  const active = activeSets(sets);
  const only =
    active.length === 1
      ? active[0]
      : active.length === 0
        ? (newSet ?? [...sets].sort(oldestFirst).at(-1))
        : undefined;
  if (only) return replace(sets, await resize(ctl, d, only, replicasOf(d)));
  if (isSaturated(d, newSet))
    return resizeAll(ctl, d, sets, new Map(active.filter((set) => set !== newSet).map((set) => [set, 0])));
  return isRolling(d) ? resizeAll(ctl, d, sets, proportional(d, sets)) : sets;
}

const resize = (ctl: RolloutControl, d: Deployment, set: ReplicaSet, size: number): Promise<ReplicaSet> | ReplicaSet =>
  replicasOf(set) === size && desiredOf(set) === replicasOf(d) ? set : scaleSet(ctl, d, set, size);

async function resizeAll(
  ctl: RolloutControl, d: Deployment, sets: readonly ReplicaSet[], sizes: ReadonlyMap<ReplicaSet, number>,
): Promise<readonly ReplicaSet[]> {
  let current = sets;
  for (const [set, size] of sizes) current = replace(current, await scaleSet(ctl, d, set, size));
  return current;
}

export async function rollingUpdate(ctl: RolloutControl, before: Deployment, sets: readonly ReplicaSet[]): Promise<number | void> {
  const { deployment: d, newSet } = await syncNewSet(ctl, before, sets, true);
  const current = replace(sets, newSet);
  const oldSets = current.filter((set) => set.metadata.uid !== newSet!.metadata.uid);
  const size = newSetReplicas(d, current, newSet);
  const target = replicasOf(newSet!) > replicasOf(d) ? replicasOf(d) : size;
  if (target !== replicasOf(newSet!)) return finish(ctl, d, replace(current, await scaleSet(ctl, d, newSet!, target)), newSet);
  const shrunk = await shrinkOld(ctl, d, current, oldSets, newSet!);
  if (shrunk) return finish(ctl, d, shrunk, newSet);
  if (isComplete(d, d.status ?? {})) await cleanUp(ctl, d, oldSets);
  return finish(ctl, d, current, newSet);
}

/** Scales old ReplicaSets down as far as availability allows; undefined when there was nothing to do. */
async function shrinkOld(
  ctl: RolloutControl, d: Deployment, sets: readonly ReplicaSet[], oldSets: readonly ReplicaSet[], newSet: ReplicaSet,
): Promise<readonly ReplicaSet[] | undefined> {
  if (sumReplicas(oldSets) === 0) return undefined;
  const minAvailable = replicasOf(d) - maxUnavailable(d);
  const limit = sumReplicas(sets) - minAvailable - (replicasOf(newSet) - availableOf(newSet));
  if (limit <= 0) return undefined;
  const healthy = withoutUnhealthy(oldSets, limit);
  const sizes = new Map([...healthy, ...scaledDown(d, sets, oldSets, (set) => healthy.get(set) ?? replicasOf(set))]);
  return sizes.size ? resizeAll(ctl, d, sets, sizes) : undefined;
}

export async function recreate(ctl: RolloutControl, before: Deployment, sets: readonly ReplicaSet[]): Promise<number | void> {
  const found = await syncNewSet(ctl, before, sets, false);
  const current = replace(sets, found.newSet);
  const oldSets = current.filter((set) => set.metadata.uid !== found.newSet?.metadata.uid);
  const active = activeSets(oldSets);
  if (active.length) {
    return finish(ctl, found.deployment, await resizeAll(ctl, found.deployment, current, new Map(active.map((set) => [set, 0]))), found.newSet);
  }
  if (oldPodsRun(ctl, oldSets)) return finish(ctl, found.deployment, current, found.newSet);
  const { deployment: d, newSet } = found.newSet ? found : await syncNewSet(ctl, found.deployment, current, true);
  const scaled = replace(replace(current, newSet), await scaleSet(ctl, d, newSet!, replicasOf(d)));
  if (isComplete(d, d.status ?? {})) await cleanUp(ctl, d, oldSets);
  return finish(ctl, d, scaled, newSet);
}

const oldPodsRun = ({ podsOf }: RolloutControl, oldSets: readonly ReplicaSet[]): boolean =>
  oldSets.some(
    (set) =>
      (set.status?.replicas ?? 0) > 0 ||
      podsOf(set).some((pod) => podPhase(pod) !== "Failed" && podPhase(pod) !== "Succeeded"),
  );

async function finish(
  ctl: RolloutControl, d: Deployment, sets: readonly ReplicaSet[], newSet: ReplicaSet | undefined,
): Promise<number | void> {
  const status = rolloutStatus(d, sets, find(sets, newSet), ctl.now());
  await writeStatus(ctl, d, status);
  return deadlineIn(d, status, ctl.now());
}

export async function writeStatus(ctl: RolloutControl, d: Deployment, status: DeploymentStatus): Promise<void> {
  if (semanticEqual(withoutZero(status), withoutZero(d.status ?? {}))) return;
  await ctl.client.update(deployments, { ...d, status }, { subresource: "status" });
}

const find = (sets: readonly ReplicaSet[], set: ReplicaSet | undefined): ReplicaSet | undefined =>
  set && sets.find((other) => other.metadata.uid === set.metadata.uid);

function replace(sets: readonly ReplicaSet[], set: ReplicaSet | undefined): readonly ReplicaSet[] {
  if (!set) return sets;
  return find(sets, set) ? sets.map((other) => (other.metadata.uid === set.metadata.uid ? set : other)) : [...sets, set];
}

/** The server may leave zero counts out. */
const withoutZero = (status: DeploymentStatus): object =>
  Object.fromEntries(Object.entries(status).filter(([, value]) => value !== 0));
