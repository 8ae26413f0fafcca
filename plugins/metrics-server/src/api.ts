/** The API `metrics.k8s.io/v1beta1`: discovery, NodeMetrics and PodMetrics. Answers requests, knows no transport. */
import { messageOf } from "@k3s-p/plugin-api";
import { apiError, matches, parseFieldSelector, parseLabelSelector, timestamp } from "@k3s-p/plugin-api/kube";
import type { FieldRequirement, KubeObject, Node, Pod } from "@k3s-p/plugin-api/kube";
import type { Store } from "./store.ts";
import { formatDuration, usageList, type Usage } from "./usage.ts";

export interface Api {
  /** Resolves to the body of a 200; rejects with an `ApiError`. */
  answer(method: string, url: URL): Promise<object>;
}

export interface ApiSources {
  readonly store: Store;
  readonly nodes: () => readonly Node[];
  readonly pods: (namespace?: string) => readonly Pod[];
  readonly now: () => Date;
}

const group = "metrics.k8s.io";
const groupVersion = `${group}/v1beta1`;
const verbs = ["get", "list"];
const version = { groupVersion, version: "v1beta1" };
const apiGroup = { name: group, versions: [version], preferredVersion: version };

const discovery: Readonly<Record<string, object>> = {
  "/apis": { kind: "APIGroupList", apiVersion: "v1", groups: [apiGroup] },
  [`/apis/${group}`]: { kind: "APIGroup", apiVersion: "v1", ...apiGroup },
  [`/apis/${groupVersion}`]: {
    kind: "APIResourceList", apiVersion: "v1", groupVersion,
    resources: [
      { name: "nodes", singularName: "", namespaced: false, kind: "NodeMetrics", verbs },
      { name: "pods", singularName: "", namespaced: true, kind: "PodMetrics", verbs },
    ],
  },
};

/** A pod that is younger than the last reading need not wait for the next: its node is read again after this time. */
const newPod = 1_000;

export function createApi({ store, nodes, pods, now }: ApiSources): Api {
  const nodeMetrics = (node: Node): object | undefined => {
    const usage = store.nodeUsage(node.metadata.name!);
    return usage && { kind: "NodeMetrics", ...head(node, [usage], now()), usage: usageList(usage) };
  };

  const podMetrics = (pod: Pod): object | undefined => {
    const usages = store.podUsage(pod.spec?.nodeName ?? "", `${pod.metadata.namespace}/${pod.metadata.name}`);
    if (!usages) return undefined;
    const containers = [...usages].map(([name, usage]) => ({ name, usage: usageList(usage) }));
    return { kind: "PodMetrics", ...head(pod, [...usages.values()], now()), containers };
  };

  function nodesOf(list: readonly Pod[]): readonly Node[] {
    const names = new Set(list.map((pod) => pod.spec?.nodeName));
    return nodes().filter((node) => names.has(node.metadata.name));
  }

  async function nodesAnswer(name: string | undefined, query: URLSearchParams): Promise<object> {
    const chosen = nodes().filter((node) => (name ? node.metadata.name === name : selected(node, query)));
    await store.refresh(chosen);
    const items = chosen.map(nodeMetrics).filter((item) => item !== undefined);
    return name ? one(items, "nodes", name) : list("NodeMetricsList", items);
  }

  async function podsAnswer(namespace: string | undefined, name: string | undefined, query: URLSearchParams): Promise<object> {
    const running = pods(namespace).filter((pod) => pod.status?.phase === "Running");
    const chosen = running.filter((pod) => (name ? pod.metadata.name === name : selected(pod, query)));
    await store.refresh(nodesOf(chosen));
    await store.refresh(nodesOf(chosen.filter((pod) => !podMetrics(pod))), newPod);
    const items = chosen.map(podMetrics).filter((item) => item !== undefined);
    return name ? one(items, "pods", `${namespace}/${name}`) : list("PodMetricsList", items);
  }

  return {
    async answer(method, { pathname, searchParams }) {
      const path = pathname.length > 1 ? pathname.replace(/\/$/, "") : pathname;
      const known = discovery[path];
      if (method !== "GET") throw apiError(405, "MethodNotAllowed", "the server does not allow this method on the requested resource");
      if (known) return known;
      const match = /^\/apis\/metrics\.k8s\.io\/v1beta1(?:\/namespaces\/([^/]+))?\/(nodes|pods)(?:\/([^/]+))?$/.exec(path);
      const [, namespace, resource, name] = (match ?? []).map((part) => (part === undefined ? undefined : decodeURIComponent(part)));
      const misplaced = resource === "nodes" ? namespace !== undefined : name !== undefined && namespace === undefined;
      if (!match || misplaced) throw apiError(404, "NotFound", "the server could not find the requested resource");
      if (searchParams.get("watch") === "true" || searchParams.get("watch") === "1") {
        throw apiError(405, "MethodNotAllowed", `watch is not supported on resources of kind "${resource}.${group}"`);
      }
      return resource === "nodes" ? nodesAnswer(name, searchParams) : podsAnswer(namespace, name, searchParams);
    },
  };
}

/** The oldest figure dates the whole, the longest window covers it. */
function head({ metadata }: KubeObject, usages: readonly Usage[], now: Date): object {
  const { name, namespace, labels } = metadata ?? {};
  return {
    apiVersion: groupVersion,
    metadata: { name, ...(namespace && { namespace }), creationTimestamp: timestamp(now), ...(labels && { labels }) },
    timestamp: timestamp(new Date(Math.min(...usages.map((u) => u.time)))),
    window: formatDuration(Math.max(...usages.map((u) => u.window))),
  };
}

const list = (kind: string, items: readonly object[]): object => ({ kind, apiVersion: groupVersion, metadata: {}, items });

function one(items: readonly object[], resource: string, name: string): object {
  if (items[0]) return items[0];
  const kind = `${resource.slice(0, -1)}metrics`;
  throw apiError(404, "NotFound", `${kind}.${group} "${name}" not found`, { name, group, kind: `${kind}` });
}

function selected(object: KubeObject, query: URLSearchParams): boolean {
  const fields = parsed(() => parseFieldSelector(query.get("fieldSelector") ?? ""));
  const labels = parsed(() => parseLabelSelector(query.get("labelSelector") ?? ""));
  return matches(labels, object.metadata?.labels) && fields.every((field) => matchesField(object, field));
}

function matchesField({ metadata }: KubeObject, { path, equal, value }: FieldRequirement): boolean {
  const actual = { "metadata.name": metadata?.name, "metadata.namespace": metadata?.namespace ?? "" }[path];
  if (actual === undefined) throw apiError(400, "BadRequest", `field label not supported: ${path}`);
  return (actual === value) === equal;
}

function parsed<T>(parse: () => T): T {
  try {
    return parse();
  } catch (error) {
    throw apiError(400, "BadRequest", messageOf(error));
  }
}
