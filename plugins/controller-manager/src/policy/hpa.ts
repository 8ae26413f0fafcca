/** The horizontal pod autoscaler: keeps the load of a workload's pods near a target by its number of replicas. */
import { messageOf } from "@k3s-p/plugin-api";
import {
  horizontalPodAutoscalers, keyOf, matches, parseLabelSelector, parseNano, pods, setCondition, splitKey, timestamp,
  type HorizontalPodAutoscaler, type Scale,
} from "@k3s-p/plugin-api/kube";
import { createController, type ControllerDeps } from "../controller.ts";
import { referenceTo } from "../lib/pod-control.ts";
import { semanticEqual } from "../lib/values.ts";
import { limit, prune, type History } from "./hpa-behavior.ts";
import { customReplicas } from "./hpa-custom.ts";
import { readPodMetrics, replicasFor, sourceOf, type MetricSpec, type MetricStatus, type Replicas, type Tolerance } from "./hpa-metrics.ts";
import { createScaleReader } from "./scale.ts";

type Status = NonNullable<HorizontalPodAutoscaler["status"]>;

/** Reason and message of `AbleToScale`, by whether earlier recommendations hold the count. */
const steadiness: Readonly<Record<"down" | "up" | "no", readonly [reason: string, message: string]>> = {
  down: ["ScaleDownStabilized", "recent recommendations were higher than current one, applying the highest recent recommendation"],
  up: ["ScaleUpStabilized", "recent recommendations were lower than current one, applying the lowest recent recommendation"],
  no: ["ReadyForNewScale", "recommended size matches current size"],
};

/** The status of one pass, collected as it goes. */
interface Draft {
  conditions: Status["conditions"];
  currentReplicas?: number;
  desiredReplicas: number;
  currentMetrics?: MetricStatus[];
  lastScaleTime?: Status["lastScaleTime"];
}

export function start(deps: ControllerDeps): void {
  const { client, now } = deps;
  const c = createController(deps, "horizontal-pod-autoscaler", { component: "horizontal-pod-autoscaler" });
  const scales = createScaleReader(client);
  const histories = new Map<string, History>();
  /** As upstream, which looks at each for the first time a period after its start: what serves metrics may have just started, too. */
  const settled = now().getTime() + deps.tuning.hpaPeriod;
  const informer = c.follow(horizontalPodAutoscalers, (hpa, { previous, deleted }) => {
    if (deleted) histories.delete(keyOf(hpa));
    return previous && semanticEqual(previous.spec, hpa.spec) ? undefined : keyOf(hpa);
  });
  const podInformer = c.read(pods);
  c.run(reconcile);

  async function reconcile(key: string): Promise<number | void> {
    const [namespace, name] = splitKey(key);
    const hpa = informer.get(name, namespace);
    if (!hpa) return void histories.delete(key);
    const wait = settled - now().getTime();
    if (wait > 0 && hpa.status?.conditions?.length) return wait;
    const draft: Draft = {
      conditions: hpa.status?.conditions ?? [], desiredReplicas: hpa.status?.desiredReplicas ?? 0,
      ...(hpa.status?.lastScaleTime && { lastScaleTime: hpa.status.lastScaleTime }),
    };
    await scaleOnce(key, hpa, draft);
    const status = { ...draft, observedGeneration: hpa.metadata.generation } as Status;
    if (
      !semanticEqual(
        { ...status, desiredReplicas: status.desiredReplicas || undefined },
        { ...hpa.status, desiredReplicas: hpa.status?.desiredReplicas || undefined },
      )
    ) {
      await client.update(horizontalPodAutoscalers, { ...hpa, status }, { subresource: "status" });
    }
    return deps.tuning.hpaPeriod;
  }

  const event = (hpa: HorizontalPodAutoscaler, type: "Normal" | "Warning", reason: string, message: string) =>
    c.events.record(referenceTo(horizontalPodAutoscalers, hpa), type, reason, message);

  function note(draft: Draft, type: string, status: "True" | "False", reason: string, message: string): void {
    draft.conditions = setCondition(
      draft.conditions,
      { type, status, reason, message } as any,
      timestamp(now()),
    ) as Status["conditions"];
  }

  async function scaleOnce(key: string, hpa: HorizontalPodAutoscaler, draft: Draft): Promise<void> {
    let scale: Scale;
    try {
      scale = await scales.read(targetOf(hpa), hpa.metadata.namespace!);
    } catch (error) {
      event(hpa, "Warning", "FailedGetScale", messageOf(error));
      note(draft, "AbleToScale", "False", "FailedGetScale", `the HPA controller was unable to get the target's current scale: ${messageOf(error)}`);
      return;
    }
    note(draft, "AbleToScale", "True", "SucceededGetScale", "the HPA controller was able to get the target's current scale");
    const current = scale.spec?.replicas ?? 0;
    draft.currentReplicas = scale.status?.replicas ?? current;
    const wanted = await wantedReplicas(key, hpa, scale, current, draft);
    if (!wanted) return;
    draft.desiredReplicas = wanted.count;
    if (wanted.count === current) return;
    await rescale(key, hpa, scale, current, wanted, draft);
  }

  interface Wanted {
    readonly count: number;
    readonly reason: string;
  }

  async function wantedReplicas(
    key: string, hpa: HorizontalPodAutoscaler, scale: Scale, current: number, draft: Draft,
  ): Promise<Wanted | undefined> {
    const { minReplicas = 1, maxReplicas } = hpa.spec!;
    if (current === 0 && minReplicas !== 0) {
      note(draft, "ScalingActive", "False", "ScalingDisabled", "scaling is disabled since the replica count of the target is zero");
      draft.desiredReplicas = 0;
      return undefined;
    }
    if (current > maxReplicas) return { count: maxReplicas, reason: "Current number of replicas above Spec.MaxReplicas" };
    if (current < minReplicas) return { count: minReplicas, reason: "Current number of replicas below Spec.MinReplicas" };
    const found = await measure(hpa, scale, current, draft);
    if (!found) return undefined;
    return limited(key, hpa, current, found, draft);
  }

  /** The largest count that any metric asks for. A metric that fails blocks the way down, not the way up. */
  async function measure(
    hpa: HorizontalPodAutoscaler, scale: Scale, current: number, draft: Draft,
  ): Promise<Replicas | undefined> {
    const found: Replicas[] = [];
    const failures: Failure[] = [];
    for (const metric of hpa.spec!.metrics ?? []) {
      try {
        found.push(await askedBy(metric, hpa, scale, current));
      } catch (error) {
        failures.push({ reason: `FailedGet${metric.type}Metric`, message: messageOf(error), metric: nameOfMetric(metric) });
      }
    }
    draft.currentMetrics = found.map(({ status }) => status);
    const best = found.sort((a, b) => b.count - a.count)[0];
    if (failures.length > 0 && (!best || best.count <= current)) {
      reportFailures(hpa, draft, failures);
      return undefined;
    }
    if (best) note(draft, "ScalingActive", "True", "ValidMetricFound", `the HPA was able to successfully calculate a replica count from ${best.name}`);
    return best;
  }

  interface Failure {
    readonly reason: string;
    readonly message: string;
    readonly metric: string;
  }

  function reportFailures(hpa: HorizontalPodAutoscaler, draft: Draft, failures: readonly Failure[]): void {
    for (const { reason, message } of failures) event(hpa, "Warning", reason, message);
    const { reason, message, metric } = failures[0]!;
    const invalid = `invalid metrics (${failures.length} invalid out of ${hpa.spec!.metrics?.length ?? 0})`;
    event(hpa, "Warning", "FailedComputeMetricsReplicas", `${invalid}, first error is: failed to get ${metric} metric value: ${message}`);
    note(draft, "ScalingActive", "False", reason, `the HPA was unable to compute the replica count: ${message}`);
  }

  /** The count that one metric asks for. */
  async function askedBy(metric: MetricSpec, hpa: HorizontalPodAutoscaler, scale: Scale, current: number): Promise<Replicas> {
    const selector = scale.status?.selector as unknown as string | undefined;
    if (!selector) throw new Error("selector is required");
    const namespace = hpa.metadata.namespace!;
    const tolerance = toleranceOf(hpa);
    const source = sourceOf(metric);
    try {
      const requirements = parseLabelSelector(selector);
      const list = podInformer.list(namespace).filter((pod) => matches(requirements, pod.metadata.labels));
      if (list.length === 0) throw new Error("no pods returned by selector while calculating replica count");
      if (source) return replicasFor(source, current, list, await readPodMetrics(client, namespace, selector, source.resource), now(), tolerance);
      return await customReplicas({ client, namespace, selector, pods: list, current, statusReplicas: scale.status?.replicas ?? current, now: now(), tolerance }, metric);
    } catch (error) {
      if (!source) throw error;
      const figure = source.target.averageUtilization === undefined ? "usage" : "utilization";
      throw new Error(`failed to get ${source.resource} ${figure}: ${messageOf(error)}`, { cause: error });
    }
  }

  /** An autoscaler may have its own for each direction (KEP-4951). */
  function toleranceOf({ spec }: HorizontalPodAutoscaler): Tolerance {
    const own = (rules: { tolerance?: string } | undefined): number =>
      rules?.tolerance === undefined ? deps.tuning.hpaTolerance : Number(parseNano(rules.tolerance) ?? 0n) / 1e9;
    return { up: own(spec!.behavior?.scaleUp), down: own(spec!.behavior?.scaleDown) };
  }

  function limited(key: string, hpa: HorizontalPodAutoscaler, current: number, found: Replicas, draft: Draft): Wanted {
    const at = now().getTime();
    const before = histories.get(key) ?? { recommendations: [{ at, count: current }], changes: [] };
    const history = prune(hpa.spec!, before, at);
    const result = limit(hpa.spec!, current, found.count, history, at);
    histories.set(key, { ...history, recommendations: [...history.recommendations, { at, count: found.count }] });
    note(draft, "AbleToScale", "True", ...steadiness[result.stabilized ?? "no"]);
    if (result.limit) note(draft, "ScalingLimited", "True", result.limit.reason, result.limit.message);
    else
      note(draft, "ScalingLimited", "False", "DesiredWithinRange", "the desired count is within the acceptable range");
    return {
      count: result.count,
      reason: result.count > current ? `${found.name} above target` : "All metrics below target",
    };
  }

  async function rescale(
    key: string, hpa: HorizontalPodAutoscaler, scale: Scale, current: number, wanted: Wanted, draft: Draft,
  ): Promise<void> {
    const path = await scales.path(targetOf(hpa), hpa.metadata.namespace!);
    const { status, body } = await client.request("PUT", path!, { ...scale, spec: { ...scale.spec, replicas: wanted.count } });
    if (status >= 300) {
      const message = (body as { message?: string } | undefined)?.message ?? `status ${status}`;
      event(hpa, "Warning", "FailedRescale", `New size: ${wanted.count}; reason: ${wanted.reason}; error: ${message}`);
      note(draft, "AbleToScale", "False", "FailedUpdateScale", `the HPA controller was unable to update the target scale: ${message}`);
      return;
    }
    event(hpa, "Normal", "SuccessfulRescale", `New size: ${wanted.count}; reason: ${wanted.reason}`);
    note(draft, "AbleToScale", "True", "SucceededRescale", `the HPA controller was able to update the target scale to ${wanted.count}`);
    draft.lastScaleTime = timestamp(now()) as unknown as Status["lastScaleTime"];
    const history = histories.get(key);
    if (history)
      histories.set(key, {
        ...history,
        changes: [...history.changes, { at: now().getTime(), change: wanted.count - current }],
      });
  }
}

function targetOf({ spec }: HorizontalPodAutoscaler): { readonly apiVersion: string; readonly kind: string; readonly name: string } {
  const { apiVersion = "v1", kind, name } = spec!.scaleTargetRef;
  return { apiVersion, kind, name };
}

/** As the messages about its value name a metric. */
function nameOfMetric({ type, resource, containerResource, external }: MetricSpec): string {
  if (type === "Resource") return `${resource?.name} resource`;
  if (type === "ContainerResource") return `${containerResource?.name} container`;
  return type === "External" ? `${external?.metric.name} external` : type.toLowerCase();
}
