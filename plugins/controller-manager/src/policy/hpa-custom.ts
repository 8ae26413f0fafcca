/** Metrics that adapters serve: `custom.metrics.k8s.io` for pods and other objects, `external.metrics.k8s.io` for all else. */
import { formatNano, formatSelector, parseNano, type KubeClient, type LabelSelector, type Pod } from "@k3s-p/plugin-api/kube";
import { discover } from "../lib/discovery.ts";
import { isReady } from "../lib/pods.ts";
import { averageReplicas, isNear, type MetricSpec, type MetricStatus, type PodMetrics, type Replicas, type Tolerance } from "./hpa-metrics.ts";

export interface CustomContext {
  readonly client: KubeClient;
  readonly namespace: string;
  /** Of the target's pods. */
  readonly selector: string;
  readonly pods: readonly Pod[];
  readonly current: number;
  /** The target's replicas as its status counts them. */
  readonly statusReplicas: number;
  readonly now: Date;
  readonly tolerance: Tolerance;
}

interface Metric {
  readonly name: string;
  readonly selector?: LabelSelector;
}

interface Target {
  readonly type: string;
  readonly value?: string;
  readonly averageValue?: string;
}

/** An item of `MetricValueList` (custom, v1beta1 and v1beta2) or of `ExternalMetricValueList`. */
interface MetricValue {
  readonly describedObject?: { readonly name?: string };
  readonly timestamp: string;
  readonly value: string;
}

const CUSTOM = "custom.metrics.k8s.io";
const EXTERNAL = "external.metrics.k8s.io";

export async function customReplicas(context: CustomContext, metric: MetricSpec): Promise<Replicas> {
  if (metric.type === "Pods" && metric.pods) return podsReplicas(context, metric.pods);
  if (metric.type === "Object" && metric.object) return objectReplicas(context, metric.object);
  if (metric.type === "External" && metric.external) return externalReplicas(context, metric.external);
  throw new Error(`unknown metric source type "${metric.type}"`);
}

async function podsReplicas(context: CustomContext, { metric, target }: NonNullable<MetricSpec["pods"]>): Promise<Replicas> {
  const { client, namespace, selector, pods, current, now, tolerance } = context;
  const values = await customValues(client, namespace, "pods", "*", metric, selector).catch(unable(`unable to get metric ${metric.name}`));
  const metrics = values.map(({ describedObject, timestamp, value }): PodMetrics => ({
    metadata: { name: describedObject?.name ?? "" }, timestamp, window: "", containers: [{ name: "", usage: { [metric.name]: value } }],
  }));
  const source = { resource: metric.name, container: undefined, target: { averageValue: target.averageValue ?? "0" } };
  const { count, average } = averageReplicas(source, current, pods, metrics, now, tolerance);
  return { count, name: `pods metric ${metric.name}`, status: { type: "Pods", pods: { metric, current: { averageValue: formatNano(average) } } } };
}

async function objectReplicas(context: CustomContext, { describedObject, metric, target }: NonNullable<MetricSpec["object"]>): Promise<Replicas> {
  const { client, namespace } = context;
  const resource = await resourceOf(client, describedObject.apiVersion, describedObject.kind);
  const values = await customValues(client, namespace, resource, describedObject.name, metric).catch(unable(`unable to get metric ${metric.name}`));
  const { count, current } = byTotal(context, target, sum(values));
  const status: MetricStatus = { type: "Object", object: { describedObject, metric, current } };
  return { count, name: `${describedObject.kind} metric ${metric.name}`, status };
}

async function externalReplicas(context: CustomContext, { metric, target }: NonNullable<MetricSpec["external"]>): Promise<Replicas> {
  const { client, namespace } = context;
  const failed = unable(`unable to get external metric ${namespace}/${metric.name}/${metric.selector ? formatSelector(metric.selector) : "nil"}`);
  const { count, current } = byTotal(context, target, sum(await externalValues(client, namespace, metric).catch(failed)));
  return { count, name: `external metric ${metric.name}`, status: { type: "External", external: { metric, current } } };
}

const unable = (what: string) => (error: Error): never => {
  throw new Error(`${what}: ${error.message}`, { cause: error });
};

const sum = (values: readonly MetricValue[]): bigint => values.reduce((total, { value }) => total + (parseNano(value) ?? 0n), 0n);

interface Total {
  readonly count: number;
  readonly current: { value?: string; averageValue?: string };
}

/** A figure of the whole: a value for all replicas together, or one for each. */
function byTotal({ pods, current, statusReplicas, tolerance }: CustomContext, target: Target, total: bigint): Total {
  const near = (ratio: number) => isNear(ratio, tolerance);
  if (target.type === "AverageValue") {
    const wanted = Number(parseNano(target.averageValue ?? "0") || 1n);
    const ratio = Number(total) / (wanted * statusReplicas);
    const average = statusReplicas ? total / BigInt(statusReplicas) : total;
    return { count: near(ratio) ? statusReplicas : Math.ceil(Number(total) / wanted), current: { averageValue: formatNano(average) } };
  }
  const ratio = Number(total) / Number(parseNano(target.value ?? "0") || 1n);
  const ready = pods.filter((pod) => pod.status?.phase === "Running" && isReady(pod)).length;
  const count = current === 0 ? Math.ceil(ratio) : near(ratio) ? current : Math.ceil(ratio * ready);
  return { count, current: { value: formatNano(total) } };
}

async function customValues(
  client: KubeClient, namespace: string, resource: string, name: string, metric: Metric, podSelector?: string,
): Promise<readonly MetricValue[]> {
  const version = await versionOf(client, CUSTOM);
  if (!version) throw new Error(`unable to fetch metrics from custom metrics API: no custom metrics API (${CUSTOM}) registered`);
  const query = queryOf({ labelSelector: podSelector, metricLabelSelector: metric.selector && formatSelector(metric.selector) });
  // A namespace is described by itself, everything else lies in one.
  const object = resource === "namespaces" ? `${name}/metrics` : `${namespace}/${resource}/${name}`;
  const path = `/apis/${CUSTOM}/${version}/namespaces/${object}/${metric.name}${query}`;
  const values = await read(client, path, "custom metrics API");
  if (!values.length) throw new Error("no metrics returned from custom metrics API");
  return values;
}

async function externalValues(client: KubeClient, namespace: string, { name, selector }: Metric): Promise<readonly MetricValue[]> {
  const version = (await versionOf(client, EXTERNAL)) ?? "v1beta1";
  const query = queryOf({ labelSelector: selector && formatSelector(selector) });
  const values = await read(client, `/apis/${EXTERNAL}/${version}/namespaces/${namespace}/${name}${query}`, "external metrics API", `get ${name}.${EXTERNAL}`);
  if (!values.length) throw new Error("no metrics returned from external metrics API");
  return values;
}

async function read(client: KubeClient, path: string, api: string, asked?: string): Promise<readonly MetricValue[]> {
  const { status, body } = await client.request("GET", path);
  if (status === 200) return (body as { items?: readonly MetricValue[] }).items ?? [];
  const message = status === 404 && asked ? `the server could not find the requested resource (${asked})` : ((body as { message?: string } | undefined)?.message ?? `status ${status}`);
  throw new Error(`unable to fetch metrics from ${api}: ${message}`);
}

/** The group's preferred version; undefined when nobody serves the group. */
async function versionOf(client: KubeClient, group: string): Promise<string | undefined> {
  const { status, body } = await client.request("GET", `/apis/${group}`);
  return status === 200 ? (body as { preferredVersion?: { version: string } }).preferredVersion?.version : undefined;
}

/** `services`, `ingresses.networking.k8s.io`: as the custom metrics API names the kinds of objects. */
async function resourceOf(client: KubeClient, apiVersion = "v1", kind: string): Promise<string> {
  const group = apiVersion.includes("/") ? apiVersion.split("/")[0]! : "";
  const found = (await discover(client)).resources.find(({ resource }) => resource.group === group && resource.kind === kind);
  if (!found) throw new Error(`no matches for kind "${kind}" in version "${apiVersion}"`);
  return group ? `${found.resource.plural}.${group}` : found.resource.plural;
}

function queryOf(parameters: Readonly<Record<string, string | undefined>>): string {
  const given = Object.entries(parameters).filter((entry): entry is [string, string] => Boolean(entry[1]));
  return given.length ? `?${new URLSearchParams(given)}` : "";
}
