/**
 * HorizontalPodAutoscalers between autoscaling/v1 and the stored v2. What v1 has no field for travels in annotations,
 * with upstream's names and JSON shapes.
 */
import { isObject } from "../fields.ts";
import type { Obj } from "../types.ts";

const PREFIX = "autoscaling.alpha.kubernetes.io/";
const METRICS = `${PREFIX}metrics`;
const CURRENT_METRICS = `${PREFIX}current-metrics`;
const CONDITIONS = `${PREFIX}conditions`;
const BEHAVIOR = `${PREFIX}behavior`;
const annotationNames = [METRICS, CURRENT_METRICS, CONDITIONS, BEHAVIOR];

const sourceOf: Readonly<Record<string, string>> = {
  External: "external", Pods: "pods", Object: "object", Resource: "resource", ContainerResource: "containerResource",
};

export function hpaToV2(hpa: Obj): Obj {
  if (hpa.apiVersion === "autoscaling/v2") return hpa;
  const annotations: Record<string, string> = hpa.metadata?.annotations ?? {};
  const { targetCPUUtilizationPercentage: percent, ...spec } = hpa.spec ?? {};
  const { currentCPUUtilizationPercentage: current, ...status } = hpa.status ?? {};
  const extra = parse(annotations[METRICS]);
  const cpu = percent == null ? [] : [{ type: "Resource", resource: { name: "cpu", target: { type: "Utilization", averageUtilization: percent } } }];
  const metrics = [...cpu, ...(Array.isArray(extra) ? extra.map(specToV2) : [])];
  const behavior = parse(annotations[BEHAVIOR]);
  const saved = parse(annotations[CURRENT_METRICS]);
  const currentMetrics = Array.isArray(saved) ? saved.map(statusToV2)
    : current == null ? [] : [{ type: "Resource", resource: { name: "cpu", current: { averageUtilization: current } } }];
  const conditions = parse(annotations[CONDITIONS]);
  return {
    ...hpa, apiVersion: "autoscaling/v2", metadata: withAnnotations(hpa, annotations, {}),
    spec: { ...spec, ...(metrics.length && { metrics }), ...(isObject(behavior) && { behavior }) },
    status: { ...status, ...(currentMetrics.length && { currentMetrics }), ...(Array.isArray(conditions) && { conditions }) },
  };
}

export function hpaFromV2(hpa: Obj): Obj {
  const { metrics = [], behavior, ...spec } = hpa.spec ?? {};
  const { currentMetrics = [], conditions = [], ...status } = hpa.status ?? {};
  const cpu = (metrics as Obj[]).find(isCpuUtilization);
  const others = (metrics as Obj[]).filter((m) => m !== cpu);
  const current = (currentMetrics as Obj[]).find((m) => m.type === "Resource" && m.resource?.name === "cpu" && m.resource.current?.averageUtilization != null);
  const added: Record<string, string> = {};
  if (others.length) added[METRICS] = JSON.stringify(others.map(specToV1));
  if (currentMetrics?.length) added[CURRENT_METRICS] = JSON.stringify(currentMetrics.map(statusToV1));
  if (conditions?.length) added[CONDITIONS] = JSON.stringify(conditions);
  if (behavior) added[BEHAVIOR] = JSON.stringify(behavior);
  return {
    ...hpa, apiVersion: "autoscaling/v1", metadata: withAnnotations(hpa, hpa.metadata?.annotations ?? {}, added),
    spec: { ...spec, ...(cpu && { targetCPUUtilizationPercentage: cpu.resource.target.averageUtilization }) },
    status: {
      currentReplicas: 0, desiredReplicas: 0, ...status,
      ...(current && { currentCPUUtilizationPercentage: current.resource.current.averageUtilization }),
    },
  };
}

/** What v1 shows of the status in annotations is status: a writer of the object does not change it. */
export function keepStatusAnnotations(hpa: Obj, old: Obj): void {
  const annotations: Record<string, string> = { ...hpa.metadata?.annotations };
  for (const name of [CURRENT_METRICS, CONDITIONS]) {
    delete annotations[name];
    const before = old.metadata?.annotations?.[name];
    if (before !== undefined) annotations[name] = before;
  }
  hpa.metadata = { ...hpa.metadata, annotations };
}

const isCpuUtilization = (m: Obj): boolean =>
  m.type === "Resource" && m.resource?.name === "cpu" && m.resource.target?.averageUtilization != null;

function withAnnotations(hpa: Obj, annotations: Readonly<Record<string, string>>, added: Readonly<Record<string, string>>): NonNullable<Obj["metadata"]> {
  const rest = Object.entries(annotations).filter(([key]) => !annotationNames.includes(key));
  const all = { ...Object.fromEntries(rest), ...added };
  const { annotations: _, ...metadata } = hpa.metadata ?? {};
  return Object.keys(all).length ? { ...metadata, annotations: all } : metadata;
}

function parse(text: string | undefined): unknown {
  try {
    return text === undefined ? undefined : JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** A v1 metric names its target's value by field; v2 by type. */
function specToV2(metric: Obj): Obj {
  const field = sourceOf[metric.type] ?? "";
  const source: Obj = metric[field] ?? {};
  switch (metric.type) {
    case "Resource": case "ContainerResource":
      return { type: metric.type, [field]: {
        name: source.name, ...(source.container && { container: source.container }),
        target: source.targetAverageUtilization != null
          ? { type: "Utilization", averageUtilization: source.targetAverageUtilization }
          : { type: "AverageValue", averageValue: source.targetAverageValue },
      } };
    case "Pods":
      return { type: "Pods", pods: { metric: identifier(source.metricName, source.selector), target: { type: "AverageValue", averageValue: source.targetAverageValue } } };
    case "Object":
      return { type: "Object", object: {
        describedObject: source.target, metric: identifier(source.metricName, source.selector),
        target: source.averageValue != null ? { type: "AverageValue", averageValue: source.averageValue } : { type: "Value", value: source.targetValue },
      } };
    default:
      return { type: metric.type, [field]: {
        metric: identifier(source.metricName, source.metricSelector),
        target: source.targetAverageValue != null
          ? { type: "AverageValue", averageValue: source.targetAverageValue } : { type: "Value", value: source.targetValue },
      } };
  }
}

function specToV1(metric: Obj): Obj {
  const field = sourceOf[metric.type] ?? "";
  const source: Obj = metric[field] ?? {};
  const target: Obj = source.target ?? {};
  const named = { metricName: source.metric?.name };
  switch (metric.type) {
    case "Resource": case "ContainerResource":
      return { type: metric.type, [field]: defined({
        name: source.name, targetAverageUtilization: target.averageUtilization, targetAverageValue: target.averageValue, container: source.container,
      }) };
    case "Pods":
      return { type: "Pods", pods: defined({ ...named, targetAverageValue: target.averageValue, selector: source.metric?.selector }) };
    case "Object":
      return { type: "Object", object: defined({
        target: source.describedObject, ...named, targetValue: target.value ?? "0", selector: source.metric?.selector, averageValue: target.averageValue,
      }) };
    default:
      return { type: metric.type, [field]: defined({
        ...named, metricSelector: source.metric?.selector, targetValue: target.value, targetAverageValue: target.averageValue,
      }) };
  }
}

function statusToV2(metric: Obj): Obj {
  const field = sourceOf[metric.type] ?? "";
  const source: Obj = metric[field] ?? {};
  const current = defined({
    value: metric.type === "Object" || metric.type === "External" ? source.currentValue : undefined,
    averageValue: source.currentAverageValue ?? source.averageValue,
    averageUtilization: source.currentAverageUtilization,
  });
  return { type: metric.type, [field]: defined({
    name: source.name, container: source.container, describedObject: source.target,
    metric: source.metricName === undefined ? undefined : identifier(source.metricName, source.selector ?? source.metricSelector),
    current,
  }) };
}

function statusToV1(metric: Obj): Obj {
  const field = sourceOf[metric.type] ?? "";
  const source: Obj = metric[field] ?? {};
  const current: Obj = source.current ?? {};
  const isObjectMetric = metric.type === "Object";
  return { type: metric.type, [field]: defined({
    name: source.name, container: source.container, target: source.describedObject, metricName: source.metric?.name,
    currentAverageUtilization: current.averageUtilization,
    currentAverageValue: isObjectMetric ? undefined : current.averageValue,
    averageValue: isObjectMetric ? current.averageValue : undefined,
    currentValue: current.value,
    ...(metric.type === "External" ? { metricSelector: source.metric?.selector } : { selector: source.metric?.selector }),
  }) };
}

const identifier = (name: string, selector: unknown): Obj => defined({ name, selector });
const defined = (object: Obj): Obj => Object.fromEntries(Object.entries(object).filter(([, value]) => value !== undefined));
