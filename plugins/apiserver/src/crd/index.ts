/**
 * CustomResourceDefinitions at work: follows them in the object cache, serves what they define, states their names and
 * conditions, and clears up behind deleted ones. Everything happens on a change; nothing polls.
 */
import { customResourceDefinitions, isConflict, isNotFound, type KubeClient, timestamp } from "@k3s-p/plugin-api/kube";
import type { Obj, ResourceDef } from "../resources/types.ts";
import type { Entry } from "../store/store.ts";
import type { Engine } from "../verbs/engine.ts";
import { sameJson } from "../verbs/update.ts";
import { createWebhookClient } from "../webhook/client.ts";
import { createApiServices } from "./apiservices.ts";
import { approval } from "./approval.ts";
import { cleanUp } from "./cleanup.ts";
import { conversionTimes, type Conversions, noConversions, pluginConversion, webhookConversion } from "./convert.ts";
import { acceptNames, type Claimed, type Condition, established, type Names, notEstablished, type Verdict, withCondition } from "./names.ts";
import { type CrdSpec, type CustomDef, customRow, isCustom, type VersionProps } from "./resource.ts";
import type { SchemaProps } from "./schema.ts";

export type Crd = Obj & { readonly spec: CrdSpec; readonly status?: CrdStatus };

export interface CrdStatus {
  readonly acceptedNames?: Partial<Names>;
  readonly conditions?: readonly Condition[];
  readonly storedVersions?: readonly string[];
}

export interface CustomResourcesDeps {
  readonly engine: Engine;
  readonly client: KubeClient;
  readonly conversions?: Conversions;
}

export interface CustomResources {
  start(): () => void;
  /** A part of `/metrics`. */
  metrics(): string;
}

/** What is remembered of a definition; its schemas stay in the cache, as bytes. */
interface Known {
  readonly group: string;
  readonly accepted: Partial<Names>;
  readonly generation: number;
  /** Moves with every change of the spec. */
  readonly schemaId: string;
  /** Tells the rows that are served. */
  readonly key: string;
  readonly terminating: boolean;
  readonly rows: readonly CustomDef[];
  readonly withdraw: () => void;
}

const RETRY_DELAY = 1000;
const free: SchemaProps = { type: "object", "x-kubernetes-preserve-unknown-fields": true };

/** Serves at once what is established. `start` begins to write: status, finalizers, APIServices; it returns the stop function. */
export function createCustomResources({ engine, client, conversions = noConversions }: CustomResourcesDeps): CustomResources {
  const { registry, store } = engine;
  const definitions = store.collection(customResourceDefinitions);
  const known = new Map<string, Known>();
  const apiServices = createApiServices({ client, view: store, onError: engine.onError });
  const webhooks = createWebhookClient(store);
  const times = conversionTimes();
  const stopping = new AbortController();
  let writing = false;

  function reconcile(name: string, previous?: Entry): void {
    const entry = definitions.get(name, "");
    const before = known.get(name);
    if (!entry) return forget(name, before);
    const crd = read(entry);
    const verdict = decide(name, crd);
    const isServed = hasCondition(crd, "Established") || verdict.condition.status === "True";
    const { uid, generation = 0, deletionTimestamp } = crd.metadata!;
    // Deletion moves the generation, too.
    const isSameSpec = before?.generation === generation || (previous !== undefined && sameJson(read(previous).spec, crd.spec));
    const schemaId = before && isSameSpec ? before.schemaId : `${uid}/${generation}`;
    const converter = conversions.find(crd.spec.group, crd.spec.names.kind)?.plugin ?? "";
    const key = isServed ? JSON.stringify([schemaId, verdict.accepted, converter]) : "";
    const now = { group: crd.spec.group, accepted: verdict.accepted, generation, schemaId, key, terminating: deletionTimestamp !== undefined };
    known.set(name, { ...now, rows: before?.rows ?? [], withdraw: before?.withdraw ?? (() => {}) });
    if (key !== before?.key) {
      const rows = isServed ? rowsOf(name, crd, verdict.accepted) : [];
      known.set(name, { ...now, rows, withdraw: isServed ? registry.add(rows) : () => {} });
      before?.withdraw();
      if (before && !sameJson(before.accepted, verdict.accepted)) reconsider(crd.spec.group, name);
    }
    if (writing) void settle(name);
  }

  function forget(name: string, before: Known | undefined): void {
    if (!before) return;
    known.delete(name);
    before.withdraw();
    reconsider(before.group, name);
  }

  /** Names became free: others of the group may have waited for them. */
  function reconsider(group: string, except: string): void {
    for (const [name, other] of [...known]) if (other.group === group && name !== except) reconcile(name);
  }

  function decide(name: string, { spec, status }: Crd): Verdict {
    const accepted = known.get(name)?.accepted ?? status?.acceptedNames ?? {};
    return acceptNames(spec.names, accepted, claimedBy(name, spec.group));
  }

  /** Names of other definitions and of the server's own resources in the group. */
  function claimedBy(except: string, group: string): Claimed {
    const others = [...known].filter(([name, other]) => other.group === group && name !== except).map(([, other]) => other.accepted);
    const defined = new Set<ResourceDef>([...known.values()].filter((other) => other.group === group).flatMap(({ rows }) => rows));
    const own = registry.list().filter((def) => def.group === group && !defined.has(def))
      .map((def) => ({ plural: def.plural, singular: def.singular, kind: def.kind, listKind: `${def.kind}List`, shortNames: def.shortNames ?? [] }));
    const all: readonly Partial<Names>[] = [...others, ...own];
    return {
      resources: new Set(all.flatMap(({ plural, singular, shortNames = [] }) => [plural, singular, ...shortNames]).filter((text) => text !== undefined)),
      kinds: new Set(all.flatMap(({ kind, listKind }) => [kind, listKind]).filter((text) => text !== undefined)),
    };
  }

  function rowsOf(name: string, { spec }: Crd, accepted: Partial<Names>): CustomDef[] {
    const contributed = conversions.find(spec.group, spec.names.kind);
    const convert = contributed ? pluginConversion(contributed, times) : webhookConversion(spec.conversion ?? {}, spec.names.kind, webhooks);
    const lean = { group: spec.group, scope: spec.scope, versions: spec.versions.map(({ name: version, storage }) => ({ name: version, storage })) };
    return spec.versions.filter((version) => version.served).map((version) => customRow({
      spec: lean, names: { ...spec.names, ...accepted }, version: withoutSchema(version),
      readSchema: () => schemaOf(name, version.name),
      schemaId: known.get(name)?.schemaId ?? "",
      convert,
      isTerminating: () => known.get(name)?.terminating ?? true,
    }));
  }

  function schemaOf(name: string, version: string): SchemaProps {
    const entry = definitions.get(name, "");
    const found = entry && read(entry).spec.versions.find((candidate) => candidate.name === version);
    return found?.schema?.openAPIV3Schema ?? free;
  }

  /** Brings status and finalizer up to date. A conflict needs no retry: what won the race comes as an event of its own. */
  async function settle(name: string): Promise<void> {
    const entry = definitions.get(name, "");
    if (!entry || stopping.signal.aborted) return;
    const crd = read(entry);
    try {
      const status = statusOf(crd, decide(name, crd), timestamp(engine.now()));
      if (!sameJson(status, crd.status)) {
        await client.update(customResourceDefinitions, { ...crd, status } as never, { subresource: "status", fieldManager: "kube-apiserver" });
      } else if (crd.metadata!.deletionTimestamp) await cleanUp({ engine, client, signal: stopping.signal }, crd, storageRow(name, crd));
    } catch (error) {
      if (isConflict(error) || isNotFound(error) || stopping.signal.aborted) return;
      engine.onError(error);
      setTimeout(() => void settle(name), RETRY_DELAY).unref();
    }
  }

  /** For deletions, which no conversion may hold up. */
  const storageRow = (name: string, crd: Crd): CustomDef => {
    const storage = crd.spec.versions.find((version) => version.storage)!;
    const { conversion: _, ...spec } = crd.spec;
    return rowsOf(name, { ...crd, spec: { ...spec, versions: [{ ...storage, served: true }] } } as Crd, known.get(name)?.accepted ?? {})[0]!;
  };

  /** Also of what plugins serve without a definition. */
  const followServices = (): void => apiServices.follow(new Set(registry.list().filter(isCustom).map((def) => `${def.version}.${def.group}`)));

  /** Parsed definitions are large and rarely looked at: they are let go when the work at hand is done. */
  const parsed = new Set<Entry>();
  function read(entry: Entry): Crd {
    if (parsed.size === 0) {
      setImmediate(() => {
        for (const done of parsed) done.release();
        parsed.clear();
      });
    }
    parsed.add(entry);
    return entry.object as Crd;
  }

  for (const entry of definitions.list("")) {
    const { spec, status } = read(entry);
    known.set(entry.name, { group: spec.group, accepted: status?.acceptedNames ?? {}, generation: -1, schemaId: "", key: "", terminating: false, rows: [], withdraw: () => {} });
  }
  for (const name of [...known.keys()]) reconcile(name);
  const stops = [
    definitions.subscribe((event) => reconcile(event.entry.name, event.previous)),
    conversions.onChange(() => [...known.keys()].forEach((name) => reconcile(name))),
  ];
  return {
    metrics: () => times.render(),
    start() {
      writing = true;
      followServices();
      stops.push(registry.onChange(followServices));
      for (const name of known.keys()) void settle(name);
      return () => {
        for (const stop of stops) stop();
        stopping.abort();
        webhooks.close();
      };
    },
  };
}

const withoutSchema = ({ schema: _, ...version }: VersionProps): VersionProps => version;

export const hasCondition = ({ status }: Crd, type: string): boolean =>
  status?.conditions?.some((condition) => condition.type === type && condition.status === "True") ?? false;

function statusOf(crd: Crd, { accepted, condition }: Verdict, now: string): CrdStatus {
  const { conditions = [], ...rest } = crd.status ?? {};
  const isEstablished = hasCondition(crd, "Established");
  const next: readonly Condition[] = [
    condition,
    ...(isEstablished ? [] : [condition.status === "True" ? established : notEstablished]),
    ...approval(crd),
  ];
  return { ...rest, acceptedNames: accepted, conditions: next.reduce((list, entry) => withCondition(list, entry, now), conditions) };
}
