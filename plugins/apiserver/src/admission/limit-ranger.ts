/** LimitRanger: default requests and limits of containers, and the bounds of containers, pods and claims. */
import { compareQuantity, formatNano, parseNano } from "@k3s-p/plugin-api/kube";
import type { AdmissionPlugin } from "@k3s-p/plugin-api/points";
import type { Obj } from "../resources/types.ts";
import { type AdmissionDeps, joinErrors, refuse, toPlugin } from "./common.ts";

type Resources = Readonly<Record<string, string>>;

interface LimitItem {
  readonly type: "Container" | "Pod" | "PersistentVolumeClaim";
  readonly min?: Resources;
  readonly max?: Resources;
  readonly default?: Resources;
  readonly defaultRequest?: Resources;
  readonly maxLimitRequestRatio?: Resources;
}

export function limitRanger({ view }: Pick<AdmissionDeps, "view">): AdmissionPlugin {
  const itemsIn = (namespace: string): LimitItem[] =>
    view.list("", "limitranges", namespace).flatMap((range) => (range.spec?.limits ?? []) as LimitItem[]);
  return toPlugin({
    name: "LimitRanger", resources: ["pods", "persistentvolumeclaims"], operations: ["CREATE", "UPDATE"], subresources: ["", "resize"],
    mutate(object, { resource, operation, namespace }) {
      if (resource === "pods" && operation === "CREATE") addDefaults(object, itemsIn(namespace));
    },
    validate(object, request) {
      const { resource, operation, namespace, subresource } = request;
      // A pod's resources cannot be changed by an ordinary update.
      if (resource === "pods" && operation === "UPDATE" && subresource !== "resize") return;
      const items = itemsIn(namespace);
      const errors = items.flatMap((item) => (resource === "pods" ? podErrors(object, item) : claimErrors(object, item)));
      if (errors.length > 0) throw refuse(request, joinErrors(errors));
    },
  });
}

function addDefaults(pod: Obj, items: readonly LimitItem[]): void {
  const ofContainers = items.filter((item) => item.type === "Container");
  const limits: Resources = Object.assign({}, ...ofContainers.map((item) => item.default));
  const requests: Resources = Object.assign({}, ...ofContainers.map((item) => item.defaultRequest));
  const notes = [
    ...(pod.spec.containers ?? []).flatMap((c: Obj) => fill(c, limits, requests, "container")),
    ...(pod.spec.initContainers ?? []).flatMap((c: Obj) => fill(c, limits, requests, "init container")),
  ];
  if (notes.length === 0) return;
  pod.metadata!.annotations = {
    ...pod.metadata!.annotations, "kubernetes.io/limit-ranger": `LimitRanger plugin set: ${notes.join("; ")}`,
  };
}

function fill(container: Obj, limits: Resources, requests: Resources, what: string): string[] {
  const notes: string[] = [];
  for (const [part, defaults, word] of [["requests", requests, "request"], ["limits", limits, "limit"]] as const) {
    const missing = Object.keys(defaults).filter((name) => container.resources?.[part]?.[name] === undefined).sort();
    if (missing.length === 0) continue;
    const added = Object.fromEntries(missing.map((name) => [name, defaults[name]]));
    container.resources = { ...container.resources, [part]: { ...container.resources?.[part], ...added } };
    notes.push(`${missing.join(", ")} ${word} for ${what} ${container.name}`);
  }
  return notes;
}

function podErrors(pod: Obj, item: LimitItem): string[] {
  const { containers = [], initContainers = [] } = pod.spec;
  if (item.type === "Container") {
    return [...containers, ...initContainers].flatMap((c: Obj) => boundErrors(item, c.resources?.requests ?? {}, c.resources?.limits ?? {}));
  }
  if (item.type !== "Pod") return [];
  return boundErrors(item, podTotal(containers, initContainers, "requests"), podTotal(containers, initContainers, "limits"));
}

/** What the pod may use at once: all containers, or one init container before them. */
function podTotal(containers: readonly Obj[], initContainers: readonly Obj[], part: "requests" | "limits"): Resources {
  const total = new Map<string, bigint>();
  const entries = (c: Obj) => Object.entries<string>(c.resources?.[part] ?? {}).map(([k, v]) => [k, parseNano(v) ?? 0n] as const);
  for (const c of containers) for (const [name, value] of entries(c)) total.set(name, (total.get(name) ?? 0n) + value);
  for (const c of initContainers) {
    for (const [name, value] of entries(c)) if (value > (total.get(name) ?? 0n)) total.set(name, value);
  }
  return Object.fromEntries([...total].map(([name, value]) => [name, formatNano(value, name === "cpu" ? "decimal" : "binary")]));
}

function boundErrors(item: LimitItem, requests: Resources, limits: Resources): string[] {
  const { type } = item;
  const errors: string[] = [];
  for (const [name, bound] of sorted(item.min)) {
    const start = `minimum ${name} usage per ${type} is ${bound}`;
    const [request, limit] = [requests[name], limits[name]];
    if (request === undefined) errors.push(`${start}.  No request is specified`);
    else if (compareQuantity(request, bound) < 0) errors.push(`${start}, but request is ${request}`);
    else if (limit !== undefined && compareQuantity(limit, bound) < 0) errors.push(`${start}, but limit is ${limit}`);
  }
  for (const [name, bound] of sorted(item.max)) {
    const start = `maximum ${name} usage per ${type} is ${bound}`;
    const [request, limit] = [requests[name], limits[name]];
    if (limit === undefined) errors.push(`${start}.  No limit is specified`);
    else if (compareQuantity(limit, bound) > 0) errors.push(`${start}, but limit is ${limit}`);
    else if (request !== undefined && compareQuantity(request, bound) > 0) errors.push(`${start}, but request is ${request}`);
  }
  for (const [name, bound] of sorted(item.maxLimitRequestRatio)) errors.push(...ratioErrors(type, name, bound, requests[name], limits[name]));
  return errors;
}

function ratioErrors(type: string, name: string, bound: string, request: string | undefined, limit: string | undefined): string[] {
  const start = `${name} max limit to request ratio per ${type} is ${bound}, but`;
  const [asked, most] = [Number(parseNano(request ?? "0")), Number(parseNano(limit ?? "0"))];
  if (asked === 0) return [`${start} no request is specified or request is 0`];
  if (most === 0) return [`${start} no limit is specified or limit is 0`];
  const ratio = most / asked;
  return ratio > Number(parseNano(bound)) / 1e9 ? [`${start} provided ratio is ${ratio.toFixed(6)}`] : [];
}

function claimErrors(claim: Obj, item: LimitItem): string[] {
  if (item.type !== "PersistentVolumeClaim") return [];
  const requests: Resources = claim.spec?.resources?.requests ?? {};
  const min = boundErrors({ type: item.type, ...(item.min && { min: item.min }) }, requests, {});
  const max = sorted(item.max).flatMap(([name, bound]) => {
    const start = `maximum ${name} usage per ${item.type} is ${bound}`;
    const request = requests[name];
    if (request === undefined) return [`${start}.  No request is specified`];
    return compareQuantity(request, bound) > 0 ? [`${start}, but request is ${request}`] : [];
  });
  return [...min, ...max];
}

const sorted = (resources: Resources | undefined): [string, string][] =>
  Object.entries(resources ?? {}).sort(([a], [b]) => (a < b ? -1 : 1));
