/** The daemonset controller: one pod on every node that fits. */
import {
  controllerOf, controllerRevisions, daemonSets, keyOf, matchesSelector, nodes, pods, splitKey,
  type ControllerRevision, type DaemonSet, type Node, type Pod,
} from "@k3s-p/plugin-api/kube";
import { createController, type Change, type ControllerDeps } from "../controller.ts";
import { candidatesOf, claim } from "../lib/claim.ts";
import { createExpectations } from "../lib/expectations.ts";
import { syncRevision, trimHistory } from "../lib/history.ts";
import { createPodBatches, createPodControl, isTerminatingNamespace, referenceTo } from "../lib/pod-control.ts";
import { byCreation, isAvailable, isReady, isTerminating, nextAvailable } from "../lib/pods.ts";
import { semanticEqual } from "../lib/values.ts";
import { createPlanner, podsByNode, type Plan } from "./daemonset-plan.ts";
import { buildDaemonPod, HASH, hashOf, isUpdated, placement } from "./daemonset-pods.ts";

const BURST = 250;
type Status = NonNullable<DaemonSet["status"]>;

interface Prepared {
  readonly claimed: readonly Pod[];
  /** Of the template. */
  readonly revision: ControllerRevision;
  /** All of the set, the template's last. */
  readonly revisions: readonly ControllerRevision[];
  readonly collisionCount: number;
}

export function start(deps: ControllerDeps): void {
  const { client, now } = deps;
  const c = createController(deps, "daemonset", { workers: 2 });
  const expectations = createExpectations(now);

  const setInformer = c.follow(daemonSets, (set, { deleted }) => {
    if (deleted) expectations.forget(keyOf(set));
    return keyOf(set);
  });
  const podInformer = c.follow(pods, podKeys);
  const batches = createPodBatches(createPodControl(client, c.events, daemonSets), expectations, podInformer);
  const revisionInformer = c.follow(controllerRevisions, (revision) => ownerKey(revision));
  const nodeInformer = c.follow(nodes, nodeKeys);
  const planPods = createPlanner({
    nodes: () => nodeInformer.list(), now,
    record: (set, type, reason, message) => c.events.record(referenceTo(daemonSets, set), type, reason, message),
  });
  c.run(reconcile);

  function ownerKey(object: Pod | ControllerRevision): string | undefined {
    const ref = controllerOf(object);
    return ref?.kind === "DaemonSet" ? `${object.metadata.namespace}/${ref.name}` : undefined;
  }

  function podKeys(pod: Pod, { previous, deleted }: Change<Pod>): string[] {
    const key = ownerKey(pod);
    if (key && !previous && !deleted) expectations.creationObserved(key);
    if (key && (deleted || isTerminating(pod))) expectations.deletionObserved(key, pod.metadata.uid!);
    const keys = [key, previous && ownerKey(previous)].filter((k) => k !== undefined);
    if (keys.length || deleted || controllerOf(pod)) return keys;
    return setInformer
      .list(pod.metadata.namespace)
      .filter((set) => matchesSelector(set.spec?.selector, pod.metadata.labels))
      .map(keyOf);
  }

  function nodeKeys(node: Node, { previous }: Change<Node>): string[] {
    const same =
      previous &&
      semanticEqual(previous.metadata.labels, node.metadata.labels) &&
      semanticEqual(previous.spec?.taints, node.spec?.taints);
    return same ? [] : setInformer.list().map(keyOf);
  }

  async function reconcile(key: string): Promise<number | void> {
    const [namespace, name] = splitKey(key);
    const set = setInformer.get(name, namespace);
    if (!set) return expectations.forget(key);
    if (selectsEverything(set)) {
      const message = "This daemon set is selecting all pods. A non-empty selector is required.";
      return c.events.record(referenceTo(daemonSets, set), "Warning", "SelectingAll", message);
    }
    if (isTerminating(set as any)) return;
    const { claimed, revisions, revision, collisionCount } = await prepare(set);
    const hash = hashOf(revision);
    let waitMs: number | undefined;
    let failure: unknown;
    if (expectations.satisfied(key)) {
      const plan = planPods(set, claimed, hash);
      waitMs = plan.waitMs;
      failure = await carryOut(set, plan, hash);
      const isLive = (r: ControllerRevision) => r === revision || claimed.some((pod) => isUpdated(pod, hashOf(r)));
      await trimHistory(client, revisions, isLive, set.spec?.revisionHistoryLimit ?? 10);
    }
    await writeStatus(set, claimed, hash, collisionCount);
    if (failure !== undefined && !isTerminatingNamespace(failure)) throw failure;
    return waitMs ?? nextAvailable(claimed, set.spec?.minReadySeconds ?? 0, now());
  }

  /** Adopts pods and revisions, and makes the revision of the template if it is new. */
  async function prepare(set: DaemonSet): Promise<Prepared> {
    const owner = { resource: daemonSets, object: set };
    const matches = (object: Pod | ControllerRevision) => matchesSelector(set.spec?.selector, object.metadata.labels);
    const before = await claim({ client, resource: controllerRevisions, owner, matches, candidates: candidatesOf(revisionInformer, set) });
    const { revision, collisionCount } = await syncRevision(client, {
      ...owner, template: set.spec!.template, collisionCount: set.status?.collisionCount ?? 0, hashLabel: HASH,
    }, before);
    const claimed = await claim({ client, resource: pods, owner, matches, candidates: candidatesOf(podInformer, set) });
    return { claimed, revision, collisionCount, revisions: [...before.filter((r) => r.metadata.uid !== revision.metadata.uid), revision] };
  }

  async function carryOut(set: DaemonSet, plan: Plan, hash: string): Promise<unknown> {
    const created = await batches.create(set, plan.create.slice(0, BURST).map((one) => buildDaemonPod(set, one, hash)));
    const removed = await batches.remove(set, plan.remove.slice(0, BURST));
    return created.error ?? removed.error;
  }

  async function writeStatus(
    set: DaemonSet, claimed: readonly Pod[], hash: string, collisionCount: number,
  ): Promise<void> {
    const counts = countsOf(set, claimed, hash, nodeInformer.list(), now());
    const status: Status = {
      ...set.status, ...counts, numberUnavailable: counts.desiredNumberScheduled - counts.numberAvailable,
      observedGeneration: set.metadata.generation, ...(collisionCount && { collisionCount }),
    };
    if (semanticEqual(status, { ...set.status, ...zeros(set.status) })) return;
    await client.update(daemonSets, { ...set, status }, { subresource: "status" });
  }
}

type Counts = Record<
  "desiredNumberScheduled" | "currentNumberScheduled" | "numberMisscheduled" | "numberReady" | "updatedNumberScheduled" | "numberAvailable", number
>;

function countsOf(set: DaemonSet, claimed: readonly Pod[], hash: string, all: readonly Node[], at: Date): Counts {
  const counts: Counts = {
    desiredNumberScheduled: 0, currentNumberScheduled: 0, numberMisscheduled: 0, numberReady: 0, updatedNumberScheduled: 0, numberAvailable: 0,
  };
  const byNode = podsByNode(claimed);
  for (const node of all) {
    const list = (byNode.get(node.metadata.name!) ?? []).toSorted(byCreation);
    const { shouldRun } = placement(set, node);
    if (shouldRun) {
      counts.desiredNumberScheduled++;
      // The oldest pod speaks for the node, unless another one is ready.
      const pod = list.find((p) => isReady(p) && !isTerminating(p)) ?? list[0];
      counts.currentNumberScheduled += Number(pod !== undefined);
      counts.numberReady += Number(pod !== undefined && isReady(pod));
      counts.numberAvailable += Number(pod !== undefined && isAvailable(pod, set.spec?.minReadySeconds ?? 0, at));
      counts.updatedNumberScheduled += Number(pod !== undefined && isUpdated(pod, hash));
    } else if (list.length) counts.numberMisscheduled++;
  }
  return counts;
}

/** Counts that a server leaves out when they are zero; a status that was never written stays different. */
function zeros(status: Status | undefined): Partial<Status> {
  if (status?.observedGeneration === undefined) return {};
  const { numberAvailable = 0, numberUnavailable = 0, updatedNumberScheduled = 0 } = status;
  return { numberAvailable, numberUnavailable, updatedNumberScheduled };
}

const selectsEverything = (set: DaemonSet): boolean =>
  !Object.keys(set.spec?.selector.matchLabels ?? {}).length && !set.spec?.selector.matchExpressions?.length;
