/** Fakes for the tables' tests: a view over given objects, a context, and the row functions in the order of the server. */
import type { FieldError } from "@k3s-p/plugin-api/kube";
import { builtinResources } from "./index.ts";
import type { CacheView, Obj, ResourceDef, StrategyContext } from "./types.ts";

export const NOW = "2026-01-02T03:04:05Z";

export function rowOf(group: string, plural: string, version?: string): ResourceDef {
  const row = builtinResources.find((r) => r.group === group && r.plural === plural && (!version || r.version === version));
  if (!row) throw new Error(`no row ${plural}.${group}`);
  return row;
}

export function fakeView(stored: Readonly<Record<string, readonly Obj[]>> = {}): CacheView {
  const list = (group: string, plural: string, namespace?: string) =>
    (stored[`${group}/${plural}`] ?? []).filter((o) => namespace === undefined || o.metadata?.namespace === namespace);
  return {
    list,
    get: (group, plural, name, namespace) => list(group, plural, namespace).find((o) => o.metadata?.name === name),
  };
}

export function fakeContext(view: CacheView = fakeView(), cluster: Partial<StrategyContext["cluster"]> = {}): StrategyContext {
  return {
    now: NOW,
    user: { name: "alice", groups: ["dev"] },
    view,
    dryRun: false,
    cluster: {
      clusterCidr: ["10.42.0.0/16"], serviceCidr: ["10.43.0.0/16"], clusterDns: ["10.43.0.10"], clusterDomain: "cluster.local",
      serviceNodePortRange: [30000, 32767], bindAddress: "", httpsListenPort: 6443, advertiseAddress: "", tlsSan: [], disabled: [],
      kubeconfig: { path: "", mode: 0o600 }, shared: {}, nodeSlots: {}, agentPlugins: [], ...cluster,
    },
  };
}

export interface Outcome {
  readonly object: Obj;
  /** `field: message`, in order. */
  readonly errors: readonly string[];
}

const lines = (errors: readonly FieldError[] | undefined): string[] => (errors ?? []).map((e) => `${e.field}: ${e.message}`);

/** Defaults, strategy and validation of a create. */
export function created(row: ResourceDef, body: Obj, ctx = fakeContext()): Outcome {
  const object = structuredClone(body);
  object.metadata = { namespace: "default", uid: "uid-1", ...object.metadata };
  row.defaults?.(object);
  row.prepareCreate?.(object, ctx);
  return { object, errors: lines(row.validate?.(object, ctx)) };
}

/** Defaults, strategy and validation of an update of `old` (as created) to what `change` makes of it. */
export function updated(row: ResourceDef, old: Obj, change: (object: Obj) => void, ctx = fakeContext()): Outcome {
  const object = structuredClone(old);
  change(object);
  row.defaults?.(object);
  row.prepareUpdate?.(object, old, ctx);
  return { object, errors: lines(row.validateUpdate?.(object, old, ctx)) };
}

/** Findings on a write of the status alone. */
export const statusUpdated = (row: ResourceDef, old: Obj, status: Obj, ctx = fakeContext()): string[] =>
  lines(row.validateStatusUpdate?.({ ...structuredClone(old), status }, old, ctx));
