/** The disruption controller: how many pods under a PodDisruptionBudget may be evicted now. */
import { messageOf } from "@k3s-p/plugin-api";
import {
  controllerOf,
  isNotFound,
  keyOf,
  matchesSelector,
  podDisruptionBudgets,
  pods,
  replicaSets,
  setCondition,
  splitKey,
  timestamp,
  type Pod,
  type PodDisruptionBudget,
} from "@k3s-p/plugin-api/kube";
import { createController, type Change, type ControllerDeps } from "../controller.ts";
import { referenceTo } from "../lib/pod-control.ts";
import { isReady } from "../lib/pods.ts";
import { resolveIntOrPercent, semanticEqual } from "../lib/values.ts";
import { createScaleReader } from "./scale.ts";

type Status = NonNullable<PodDisruptionBudget["status"]>;

/** An eviction that was granted counts as disruption this long, while the pod's deletion is not seen. */
const DISRUPTION_MS = 120_000;
/** A pod that was to be disrupted and was not loses its DisruptionTarget condition after this. */
const STALE_TARGET_MS = 120_000;

export function start(deps: ControllerDeps): void {
  const { client, now } = deps;
  const c = createController(deps, "disruption", { component: "controllermanager" });
  const scales = createScaleReader(client);
  const budgets = c.follow(podDisruptionBudgets);
  const sets = c.read(replicaSets);
  const podInformer = c.follow(pods, podKeys);
  c.run(reconcile);
  startStaleTargets(deps);

  function podKeys(pod: Pod, { previous, deleted }: Change<Pod>): string[] {
    const relevant =
      !previous ||
      deleted ||
      isReady(previous) !== isReady(pod) ||
      previous.metadata.deletionTimestamp !== pod.metadata.deletionTimestamp ||
      !semanticEqual(previous.metadata.labels, pod.metadata.labels) ||
      !semanticEqual(previous.metadata.ownerReferences, pod.metadata.ownerReferences);
    return relevant ? [...budgetsOf(pod), ...(previous ? budgetsOf(previous) : [])] : [];
  }

  const budgetsOf = (pod: Pod): string[] =>
    budgets
      .list(pod.metadata.namespace)
      .filter((budget) => matchesSelector(budget.spec?.selector, pod.metadata.labels))
      .map(keyOf);

  async function reconcile(key: string): Promise<number | void> {
    const [namespace, name] = splitKey(key);
    const budget = budgets.get(name, namespace);
    if (!budget) return;
    const covered = podInformer
      .list(namespace)
      .filter((pod) => matchesSelector(budget.spec?.selector, pod.metadata.labels));
    if (covered.length === 0)
      c.events.record(referenceTo(podDisruptionBudgets, budget), "Normal", "NoPods", "No matching pods found");
    try {
      const { status, waitMs } = await statusOf(budget, covered);
      await write(budget, status);
      return waitMs;
    } catch (error) {
      await reportFailure(budget, messageOf(error));
      throw error;
    }
  }

  async function statusOf(budget: PodDisruptionBudget, covered: readonly Pod[]): Promise<{ status: Status; waitMs: number | undefined }> {
    const { expected, desired } = await expectation(budget, covered);
    const { disrupted, waitMs } = disruptedPods(budget, covered);
    const healthy = covered.filter(
      (pod) => !pod.metadata.deletionTimestamp && !Object.hasOwn(disrupted, pod.metadata.name!) && isReady(pod),
    ).length;
    const allowed = expected > 0 ? Math.max(0, healthy - desired) : 0;
    const status: Status = {
      ...budget.status, currentHealthy: healthy, desiredHealthy: desired, expectedPods: expected, disruptionsAllowed: allowed,
      disruptedPods: disrupted as any, observedGeneration: budget.metadata.generation,
      conditions: conditions(budget, allowed > 0 ? "SufficientPods" : "InsufficientPods", allowed > 0, ""),
    };
    return { status, waitMs };
  }

  /** Nothing may be evicted while it is not known how many pods there should be. */
  async function reportFailure(budget: PodDisruptionBudget, problem: string): Promise<void> {
    const message = `Failed to calculate the number of expected pods: ${problem}`;
    c.events.record(referenceTo(podDisruptionBudgets, budget), "Warning", "CalculateExpectedPodCountFailed", message);
    await write(budget, {
      ...(budget.status ?? { currentHealthy: 0, desiredHealthy: 0, expectedPods: 0 }),
      disruptionsAllowed: 0, observedGeneration: budget.metadata.generation, conditions: conditions(budget, "SyncFailed", false, problem),
    });
  }

  const conditions = (budget: PodDisruptionBudget, reason: string, allowed: boolean, message: string) =>
    setCondition(
      budget.status?.conditions,
      {
        type: "DisruptionAllowed",
        status: allowed ? "True" : "False",
        reason,
        message,
        observedGeneration: budget.metadata.generation,
      } as any,
      timestamp(now()),
    );

  /** How many pods there should be, and how many of them healthy. */
  async function expectation(
    budget: PodDisruptionBudget, covered: readonly Pod[],
  ): Promise<{ expected: number; desired: number }> {
    const { minAvailable, maxUnavailable } = budget.spec ?? {};
    if (maxUnavailable !== undefined) {
      const expected = await expectedScale(budget, covered);
      return { expected, desired: Math.max(0, expected - resolveIntOrPercent(maxUnavailable, expected, "up")) };
    }
    if (typeof minAvailable === "string") {
      const expected = await expectedScale(budget, covered);
      return { expected, desired: resolveIntOrPercent(minAvailable, expected, "up") };
    }
    return { expected: covered.length, desired: minAvailable ?? 1 };
  }

  /** The sum of the scales of all controllers of the pods, each counted once. */
  async function expectedScale(budget: PodDisruptionBudget, covered: readonly Pod[]): Promise<number> {
    const found = new Map<string, number>();
    for (const pod of covered) {
      const ref = controllerOf(pod);
      if (!ref) continue;
      const set = ref.kind === "ReplicaSet" ? sets.get(ref.name, pod.metadata.namespace) : undefined;
      const top = (set && controllerOf(set)) ?? ref;
      if (found.has(top.uid)) continue;
      try {
        found.set(top.uid, (await scales.read(top, budget.metadata.namespace!)).spec?.replicas ?? 0);
      } catch (error) {
        if (!isNotFound(error)) throw error;
      }
    }
    return [...found.values()].reduce((sum, n) => sum + n, 0);
  }

  /** Granted evictions that still count; those of pods that are gone or terminating, or too old, are dropped. */
  function disruptedPods(
    budget: PodDisruptionBudget, covered: readonly Pod[],
  ): { disrupted: Record<string, string>; waitMs: number | undefined } {
    const disrupted: Record<string, string> = {};
    let waitMs: number | undefined;
    for (const [name, at] of Object.entries((budget.status?.disruptedPods ?? {}) as unknown as Record<string, string>)) {
      const pod = covered.find((p) => p.metadata.name === name);
      const left = Date.parse(at) + DISRUPTION_MS - now().getTime();
      if (!pod || pod.metadata.deletionTimestamp || left <= 0) continue;
      disrupted[name] = at;
      waitMs = Math.min(waitMs ?? Infinity, left);
    }
    return { disrupted, waitMs };
  }

  async function write(budget: PodDisruptionBudget, status: Status): Promise<void> {
    if (
      semanticEqual({ ...status, disruptedPods: undefined }, { ...budget.status, disruptedPods: undefined }) &&
      semanticEqual(
        Object.keys(status.disruptedPods ?? {}).sort(),
        Object.keys(budget.status?.disruptedPods ?? {}).sort(),
      )
    )
      return;
    await client.update(podDisruptionBudgets, { ...budget, status }, { subresource: "status" });
  }
}

/** The part of the controller that takes back DisruptionTarget conditions of pods that live on. */
function startStaleTargets(deps: ControllerDeps): void {
  const { client, now } = deps;
  const c = createController(deps, "stale-pod-disruption", { component: "controllermanager" });
  const target = (pod: Pod) =>
    pod.status?.conditions?.find(
      (condition) =>
        condition.type === "DisruptionTarget" &&
        condition.status === "True" &&
        condition.reason !== "PreemptionByScheduler",
    );
  const informer = c.follow(pods, (pod, { deleted }) =>
    !deleted && !pod.metadata.deletionTimestamp && target(pod) ? keyOf(pod) : undefined,
  );
  c.run(async (key) => {
    const [namespace, name] = splitKey(key);
    const pod = informer.get(name, namespace);
    const condition = pod && target(pod);
    if (!condition || pod.metadata.deletionTimestamp) return;
    const left = Date.parse(condition.lastTransitionTime!) + STALE_TARGET_MS - now().getTime();
    if (left > 0) return left;
    const conditions = setCondition(pod.status?.conditions, { ...condition, status: "False" }, timestamp(now()));
    await client.patch(
      pods,
      name,
      { metadata: { resourceVersion: pod.metadata.resourceVersion }, status: { conditions } },
      { namespace, subresource: "status" },
    );
  });
}
