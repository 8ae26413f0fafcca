/** The deployment controller: rolls a Deployment's pods from old ReplicaSets to the new one. */
import {
  controllerOf, deployments, keyOf, matchesSelector, pods, replicaSets, splitKey,
  type Deployment, type Pod, type ReplicaSet,
} from "@k3s-p/plugin-api/kube";
import { createController, type Change, type ControllerDeps } from "../controller.ts";
import { candidatesOf, claim } from "../lib/claim.ts";
import { referenceTo } from "../lib/pod-control.ts";
import { activeSets, desiredOf, isRolling, replicasOf } from "./deployment-math.ts";
import { recreate, rollingUpdate, scaleOnly, writeStatus, type RolloutControl } from "./deployment-rollout.ts";
import { findNewSet } from "./deployment-sets.ts";
import { conditionOf, countsOf, hasDeadline, withCondition } from "./deployment-status.ts";

export function start(deps: ControllerDeps): void {
  const { client, now } = deps;
  const c = createController(deps, "deployment");
  const deploymentInformer = c.follow(deployments);
  const setInformer = c.follow(replicaSets, setKeys);
  const podInformer = c.follow(pods, podKeys);
  const ctl: RolloutControl = { client, events: c.events, now, podsOf: (set) => podInformer.byIndex("owner", set.metadata.uid!) };
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
    if (selectsEverything(d)) return rejectSelector(ctl, d);
    const sets = await claim({
      client, resource: replicaSets, owner: { resource: deployments, object: d },
      matches: (set) => matchesSelector(d.spec!.selector, set.metadata.labels), candidates: candidatesOf(setInformer, d),
    });
    if (d.metadata.deletionTimestamp) return writeStatus(ctl, d, countsOf(d, sets, findNewSet(d, sets), now()));
    const checked = await notePause(ctl, d);
    if (checked.spec?.paused || isScaling(checked, sets)) return scaleOnly(ctl, checked, sets);
    return isRolling(checked) ? rollingUpdate(ctl, checked, sets) : recreate(ctl, checked, sets);
  }
}

const selectsEverything = (d: Deployment): boolean => {
  const selector = d.spec?.selector;
  return !Object.keys(selector?.matchLabels ?? {}).length && !selector?.matchExpressions?.length;
};

/** The Deployment's size differs from the one that its active ReplicaSets were last scaled for. */
const isScaling = (d: Deployment, sets: readonly ReplicaSet[]): boolean =>
  activeSets(sets).some((set) => desiredOf(set) !== undefined && desiredOf(set) !== replicasOf(d));

async function rejectSelector(ctl: RolloutControl, d: Deployment): Promise<void> {
  ctl.events.record(
    referenceTo(deployments, d),
    "Warning",
    "SelectingAll",
    "This deployment is selecting all pods. A non-empty selector is required.",
  );
  if ((d.status?.observedGeneration ?? 0) < (d.metadata.generation ?? 0)) {
    await writeStatus(ctl, d, { ...d.status, observedGeneration: d.metadata.generation });
  }
}

/** A pause stops the progress deadline; a resume starts it anew. */
async function notePause({ client, now }: RolloutControl, d: Deployment): Promise<Deployment> {
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
