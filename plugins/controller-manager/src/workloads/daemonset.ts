/** The daemonset controller: one pod on every node that fits. */
import {
  controllerOf, controllerRevisions, daemonSets, keyOf, matchesSelector, nodes, pods, splitKey,
  type ControllerRevision, type DaemonSet, type Node, type Pod,
} from "@k3s-p/plugin-api/kube";
import { createController, type Change, type ControllerDeps } from "../controller.ts";
import { candidatesOf, claim } from "../lib/claim.ts";
import { createExpectations } from "../lib/expectations.ts";
import { syncRevision, trimHistory } from "../lib/history.ts";
import { createPodControl, isTerminatingNamespace, referenceTo } from "../lib/pod-control.ts";
import { byCreation, isAvailable, isReady, isTerminating, nextAvailable } from "../lib/pods.ts";
import { semanticEqual, slowStart } from "../lib/values.ts";
import {
  buildDaemonPod, HASH, hashOf, isUpdated, limitsOf, placement, planRoll, targetNode, type Placement,
} from "./daemonset-pods.ts";

const BURST = 250;
/** Delay before a pod that failed on a node is replaced: doubles from 1 s to 15 min. */
const failureBackoff = (failures: number): number => Math.min(900_000, 1000 * 2 ** failures);

type Status = NonNullable<DaemonSet["status"]>;

interface Plan {
  readonly create: string[];
  readonly remove: Pod[];
  waitMs: number | undefined;
}

export function start(deps: ControllerDeps): void {
  const { client, now } = deps;
  const c = createController(deps, "daemonset", { workers: 2 });
  const control = createPodControl(client, c.events, daemonSets);
  const expectations = createExpectations(now);
  const failures = new Map<string, { count: number; last: number }>();

  const setInformer = c.follow(daemonSets, (set, { deleted }) => {
    if (deleted) expectations.forget(keyOf(set));
    return keyOf(set);
  });
  const podInformer = c.follow(pods, podKeys);
  const revisionInformer = c.follow(controllerRevisions, (revision) => ownerKey(revision));
  const nodeInformer = c.follow(nodes, nodeKeys);
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
      return c.events.record(
        referenceTo(daemonSets, set),
        "Warning",
        "SelectingAll",
        "This daemon set is selecting all pods. A non-empty selector is required.",
      );
    }
    if (isTerminating(set as any)) return;
    const revisions = await claim({
      client,
      resource: controllerRevisions,
      owner: { resource: daemonSets, object: set },
      matches: (revision) => matchesSelector(set.spec?.selector, revision.metadata.labels),
      candidates: candidatesOf(revisionInformer, set),
    });
    const { revision, collisionCount } = await syncRevision(
      client,
      {
        resource: daemonSets,
        object: set,
        template: set.spec!.template,
        collisionCount: set.status?.collisionCount ?? 0,
        hashLabel: HASH,
      },
      revisions,
    );
    const hash = hashOf(revision);
    const claimed = await claim({
      client, resource: pods, owner: { resource: daemonSets, object: set },
      matches: (pod) => matchesSelector(set.spec?.selector, pod.metadata.labels), candidates: candidatesOf(podInformer, set),
    });
    let waitMs: number | undefined;
    let failure: unknown;
    if (expectations.satisfied(key)) {
      const plan = planPods(set, claimed, hash);
      waitMs = plan.waitMs;
      failure = await carryOut(key, set, plan, hash);
      const all = [...revisions.filter((r) => r.metadata.uid !== revision.metadata.uid), revision];
      await trimHistory(
        client,
        all,
        (r) => r === revision || claimed.some((pod) => isUpdated(pod, hashOf(r))),
        set.spec?.revisionHistoryLimit ?? 10,
      );
    }
    await writeStatus(set, claimed, hash, collisionCount);
    if (failure !== undefined && !isTerminatingNamespace(failure)) throw failure;
    return waitMs ?? nextAvailable(claimed, set.spec?.minReadySeconds ?? 0, now());
  }

  function podsByNode(list: readonly Pod[]): Map<string, Pod[]> {
    return Map.groupBy(list, (pod) => targetNode(pod) ?? "");
  }

  /** Pods to make and to remove so that each node has its one pod; then, when nothing is missing, a step of the rollout. */
  function planPods(set: DaemonSet, claimed: readonly Pod[], hash: string): Plan {
    const plan: Plan = { create: [], remove: [], waitMs: undefined };
    const byNode = podsByNode(claimed);
    const places = new Map(nodeInformer.list().map((node) => [node.metadata.name!, placement(set, node)]));
    const surge = rolls(set) && limitsOf(set, desiredOf(places)).surge > 0;
    for (const [node, place] of places) planNode(set, node, place, byNode.get(node) ?? [], surge ? hash : undefined, plan);
    for (const [node, list] of byNode) {
      if (!places.has(node)) plan.remove.push(...list.filter((pod) => !pod.spec?.nodeName && !isTerminating(pod)));
    }
    if (!rolls(set)) return plan;
    const gone = new Set(plan.remove);
    const left = podsByNode(claimed.filter((pod) => !gone.has(pod)));
    for (const node of plan.create) if (!left.has(node)) left.set(node, []);
    const step = planRoll(
      set,
      left,
      (node) => places.get(node)?.shouldRun ?? false,
      hash,
      limitsOf(set, desiredOf(places)),
      now(),
    );
    plan.remove.push(...step.remove);
    plan.create.push(...step.create);
    return plan;
  }

  function planNode(
    set: DaemonSet,
    node: string,
    place: Placement,
    list: readonly Pod[],
    surgeHash: string | undefined,
    plan: Plan,
  ): void {
    if (!place.mayStay) return void plan.remove.push(...list.filter((pod) => !isTerminating(pod)));
    if (list.length === 0) {
      if (place.shouldRun) plan.create.push(node);
      return;
    }
    const running: Pod[] = [];
    for (const pod of list) {
      if (isTerminating(pod)) continue;
      if (pod.status?.phase === "Failed") planFailed(set, node, pod, plan);
      else if (pod.status?.phase === "Succeeded") {
        c.events.record(
          referenceTo(daemonSets, set),
          "Normal",
          "SucceededDaemonPod",
          `Found succeeded daemon pod ${keyOf(pod)} on node ${node}, will try to delete it`,
        );
        plan.remove.push(pod);
      } else running.push(pod);
    }
    if (running.length < 2) return;
    const surplus =
      surgeHash === undefined
        ? running.sort(byCreation).slice(1)
        : [
            ...running
              .filter((pod) => isUpdated(pod, surgeHash))
              .sort(byCreation)
              .slice(1),
            ...running
              .filter((pod) => !isUpdated(pod, surgeHash))
              .sort(byCreation)
              .slice(1),
          ];
    plan.remove.push(...surplus);
  }

  function planFailed(set: DaemonSet, node: string, pod: Pod, plan: Plan): void {
    const id = `${set.metadata.uid}/${node}`;
    const before = failures.get(id);
    const at = now().getTime();
    const wait =
      before && at - before.last < 2 * failureBackoff(before.count)
        ? before.last + failureBackoff(before.count - 1) - at
        : 0;
    if (wait > 0) {
      plan.waitMs = Math.min(plan.waitMs ?? Infinity, wait);
      return;
    }
    failures.set(id, {
      count: before && at - before.last < 2 * failureBackoff(before.count) ? before.count + 1 : 1,
      last: at,
    });
    c.events.record(
      referenceTo(daemonSets, set),
      "Warning",
      "FailedDaemonPod",
      `Found failed daemon pod ${keyOf(pod)} on node ${node}, will try to kill it`,
    );
    plan.remove.push(pod);
  }

  async function carryOut(key: string, set: DaemonSet, plan: Plan, hash: string): Promise<unknown> {
    const create = plan.create.slice(0, BURST);
    const remove = plan.remove.slice(0, BURST);
    expectations.expectCreations(key, create.length);
    expectations.expectDeletions(key, remove.map((pod) => pod.metadata.uid!));
    let tried = 0;
    const created = await slowStart(create.length, async (i) => {
      tried++;
      try {
        await control.create(set, buildDaemonPod(set, create[i]!, hash));
      } catch (error) {
        expectations.creationObserved(key);
        throw error;
      }
    });
    for (let skipped = tried; skipped < create.length; skipped++) expectations.creationObserved(key);
    const removed = await Promise.allSettled(
      remove.map(async (pod) => {
        try {
          await control.remove(set, pod);
          if (!podInformer.get(pod.metadata.name!, pod.metadata.namespace))
            expectations.deletionObserved(key, pod.metadata.uid!);
        } catch (error) {
          expectations.deletionObserved(key, pod.metadata.uid!);
          throw error;
        }
      }),
    );
    return created.error ?? removed.find((result) => result.status === "rejected")?.reason;
  }

  async function writeStatus(
    set: DaemonSet, claimed: readonly Pod[], hash: string, collisionCount: number,
  ): Promise<void> {
    const counts = {
      desiredNumberScheduled: 0,
      currentNumberScheduled: 0,
      numberMisscheduled: 0,
      numberReady: 0,
      updatedNumberScheduled: 0,
      numberAvailable: 0,
    };
    const byNode = podsByNode(claimed);
    for (const node of nodeInformer.list()) {
      const list = (byNode.get(node.metadata.name!) ?? []).toSorted(byCreation);
      const { shouldRun } = placement(set, node);
      if (shouldRun) {
        counts.desiredNumberScheduled++;
        // The oldest pod speaks for the node, unless another one is ready.
        const pod = list.find((p) => isReady(p) && !isTerminating(p)) ?? list[0];
        counts.currentNumberScheduled += Number(pod !== undefined);
        counts.numberReady += Number(pod !== undefined && isReady(pod));
        counts.numberAvailable += Number(pod !== undefined && isAvailable(pod, set.spec?.minReadySeconds ?? 0, now()));
        counts.updatedNumberScheduled += Number(pod !== undefined && isUpdated(pod, hash));
      } else if (list.length) counts.numberMisscheduled++;
    }
    const status: Status = {
      ...set.status, ...counts, numberUnavailable: counts.desiredNumberScheduled - counts.numberAvailable,
      observedGeneration: set.metadata.generation, ...(collisionCount && { collisionCount }),
    };
    if (semanticEqual(status, { ...set.status, ...zeros(set.status) })) return;
    await client.update(daemonSets, { ...set, status }, { subresource: "status" });
  }
}

const rolls = (set: DaemonSet): boolean => set.spec?.updateStrategy?.type !== "OnDelete";
const desiredOf = (places: ReadonlyMap<string, Placement>): number =>
  [...places.values()].filter((place) => place.shouldRun).length;

/** Counts that a server leaves out when they are zero; a status that was never written stays different. */
function zeros(status: Status | undefined): Partial<Status> {
  if (status?.observedGeneration === undefined) return {};
  const { numberAvailable = 0, numberUnavailable = 0, updatedNumberScheduled = 0 } = status;
  return { numberAvailable, numberUnavailable, updatedNumberScheduled };
}

const selectsEverything = (set: DaemonSet): boolean =>
  !Object.keys(set.spec?.selector.matchLabels ?? {}).length && !set.spec?.selector.matchExpressions?.length;
