/**
 * ResourceQuota: a request that would pass the limits of its namespace is refused; what passes is written into the
 * quota's status first. Requests of one namespace take turns, so that two of them cannot share the last place.
 */
import { formatNano, isConflict, parseNano, resourceQuotas } from "@k3s-p/plugin-api/kube";
import type { AdmissionPlugin, AdmissionRequest } from "@k3s-p/plugin-api/points";
import type { Obj } from "../resources/types.ts";
import { type AdmissionDeps, refuse } from "./common.ts";
import { inScope, type Usage, unstated, usageOf } from "./quota-usage.ts";

/** As upstream: another writer of the status may be faster a few times. */
const TRIES = 5;

export function resourceQuota({ view, client }: Pick<AdmissionDeps, "view" | "client">): AdmissionPlugin {
  const turns = new Map<string, Promise<void>>();

  const inTurn = (namespace: string, run: () => Promise<void>): Promise<void> => {
    const done = (turns.get(namespace) ?? Promise.resolve()).then(run, run);
    const tail = done.catch(() => {}).finally(() => {
      if (turns.get(namespace) === tail) turns.delete(namespace);
    });
    turns.set(namespace, tail);
    return done;
  };

  const charge = async (request: AdmissionRequest): Promise<void> => {
    for (let attempt = 1; ; attempt++) {
      const quotas = view.list("", "resourcequotas", request.namespace);
      const bills = quotas.flatMap((quota) => bill(request, quota));
      if (request.dryRun) return;
      const results = await Promise.allSettled(bills.map((quota) => client.update(resourceQuotas, quota as never, { subresource: "status" })));
      const failed = results.find((result) => result.status === "rejected");
      if (!failed) return;
      // A retry after a partial success counts twice until the controller recounts; upstream accepts the same.
      if (!isConflict(failed.reason) || attempt === TRIES) throw failed.reason;
    }
  };

  return {
    name: "ResourceQuota",
    validate(request) {
      const { operation, subresource, namespace, resource } = request;
      if (!namespace || (operation !== "CREATE" && operation !== "UPDATE") || resource === "events") return undefined;
      const isResize = resource === "pods" && subresource === "resize";
      if ((subresource && !isResize) || (operation === "UPDATE" && !isResize && !updatable.has(resource))) return undefined;
      if (view.list("", "resourcequotas", namespace).length === 0) return undefined;
      return inTurn(namespace, () => charge(request));
    },
  };
}

/** Kinds whose usage can grow after creation. */
const updatable = new Set(["services", "persistentvolumeclaims"]);

/** What the request adds; an update of what the quota counted before adds the difference. */
function addedUsage({ group, resource, object, oldObject, operation }: AdmissionRequest, quota: Obj): Usage {
  const next = usageOf(group, resource, object as Obj);
  if (operation !== "UPDATE" || !inScope(quota, group, resource, oldObject as Obj)) return next;
  const before = usageOf(group, resource, oldObject as Obj);
  return new Map([...next].map(([name, value]) => [name, value - (before.get(name) ?? 0n)]));
}

/** The quota with the new usage, if the request touches it; throws when it does not fit. */
function bill(request: AdmissionRequest, quota: Obj): Obj[] {
  if (!inScope(quota, request.group, request.resource, request.object as Obj)) return [];
  const added = addedUsage(request, quota);
  const hard: Record<string, string> = quota.status?.hard ?? {};
  const limited = Object.keys(quota.spec?.hard ?? {}).sort();
  const name = quota.metadata!.name!;
  if (request.resource === "pods") {
    const missing = Object.entries(unstated(request.object as Obj, limited));
    if (missing.length > 0) {
      const list = missing.map(([resource, containers]) => `${resource} for: ${containers.join(",")}`).join("; ");
      throw refuse(request, `failed quota: ${name}: must specify ${list}`);
    }
  }
  const touched = limited.filter((resource) => (added.get(resource) ?? 0n) !== 0n);
  if (touched.length === 0) return [];
  const used: Record<string, string> = quota.status?.used ?? {};
  const unknown = touched.filter((resource) => used[resource] === undefined || hard[resource] === undefined);
  if (unknown.length > 0) throw refuse(request, `status unknown for quota: ${name}, resources: ${unknown.join(",")}`);
  const next = Object.fromEntries(touched.map((resource) =>
    [resource, (parseNano(used[resource]!) ?? 0n) + added.get(resource)!]));
  const exceeded = touched.filter((resource) => added.get(resource)! > 0n && next[resource]! > (parseNano(hard[resource]!) ?? 0n));
  if (exceeded.length > 0) {
    const show = (value: (resource: string) => string) => exceeded.map((resource) => `${resource}=${value(resource)}`).join(",");
    throw refuse(request, `exceeded quota: ${name}, requested: ${show((r) => format(r, added.get(r)!))}, ` +
      `used: ${show((r) => used[r]!)}, limited: ${show((r) => hard[r]!)}`);
  }
  const changed = Object.fromEntries(touched.map((resource) => [resource, format(resource, next[resource]!)]));
  return [{ ...quota, status: { ...quota.status, used: { ...used, ...changed } } }];
}

const format = (resource: string, value: bigint): string =>
  formatNano(value, /memory|storage$|hugepages/.test(resource) ? "binary" : "decimal");
