/** The namespace controller: empties a namespace that is being deleted, then lets it go. */
import { messageOf } from "@k3s-p/plugin-api";
import {
  isNotFound, namespaces, pods, timestamp,
  type Informer, type KubeObject, type Namespace, type ObjectMeta, type Pod, type Resource,
} from "@k3s-p/plugin-api/kube";
import { createController, type ControllerDeps } from "../controller.ts";
import { discover, type DiscoveredResource } from "../lib/discovery.ts";

type Status = NonNullable<Namespace["status"]>;
type Condition = NonNullable<Status["conditions"]>[number];

/** What one pass over a namespace's content found. */
interface Sweep {
  readonly discovery: readonly string[];
  readonly failures: string[];
  /** Instances left, by resource (`pods.`, `deployments.apps`). */
  readonly remaining: Map<string, number>;
  readonly finalizers: Map<string, number>;
}

/** Delays between looks at content that others must remove first, milliseconds. */
const waits = [100, 250, 500, 1000, 2000, 4000, 8000, 15_000] as const;

export function start(deps: ControllerDeps): void {
  const { client, now } = deps;
  const c = createController(deps, "namespace", { workers: 10 });
  const attempts = new Map<string, number>();
  const informer = c.follow(namespaces, (namespace, { deleted }) => {
    if (deleted) attempts.delete(namespace.metadata.name!);
    return namespace.metadata.deletionTimestamp && !deleted ? namespace.metadata.name : undefined;
  });
  const podInformer: Informer<Pod> = c.follow(pods, ({ metadata: { namespace } }, { deleted }) =>
    deleted && attempts.has(namespace!) && podInformer.list(namespace).length === 0 ? namespace : undefined);
  c.run(reconcile);

  async function reconcile(name: string): Promise<number | void> {
    const listed = informer.get(name);
    if (!listed?.metadata.deletionTimestamp) return;
    const namespace = await setPhase(listed);
    if (!namespace.spec?.finalizers?.includes("kubernetes")) return;
    const sweep = await empty(name);
    const current = await writeConditions(namespace, sweep);
    if (sweep.discovery.length || sweep.failures.length || sweep.remaining.size) {
      const attempt = attempts.get(name) ?? 0;
      attempts.set(name, attempt + 1);
      return waits[Math.min(attempt, waits.length - 1)];
    }
    attempts.delete(name);
    await finalize(current);
  }

  async function setPhase(namespace: Namespace): Promise<Namespace> {
    if (namespace.status?.phase === "Terminating") return namespace;
    return client.update(
      namespaces,
      { ...namespace, status: { ...namespace.status, phase: "Terminating" } },
      { subresource: "status" },
    );
  }

  /** Pods go first; the rest only when no pod is left, so that nothing they use disappears under them. */
  async function empty(name: string): Promise<Sweep> {
    const { resources, failures } = await discover(client);
    const sweep: Sweep = { discovery: failures, failures: [], remaining: new Map(), finalizers: new Map() };
    const deletable = resources.filter(
      ({ resource, verbs }) => resource.namespaced && verbs.includes("delete") && verbs.includes("list"),
    );
    const podKind = deletable.filter(({ resource }) => resource.group === "" && resource.plural === "pods");
    for (const found of podKind) await emptyResource(name, found, sweep);
    if (sweep.remaining.size) return sweep;
    await Promise.all(
      deletable.filter((found) => !podKind.includes(found)).map((found) => emptyResource(name, found, sweep)),
    );
    return sweep;
  }

  async function emptyResource(
    namespace: string, { resource, verbs }: DiscoveredResource, sweep: Sweep,
  ): Promise<void> {
    try {
      if ((await client.list(resource, { namespace })).items.length === 0) return;
      await removeAll(namespace, resource, verbs.includes("deletecollection"));
      const left = (await client.list(resource, { namespace })).items;
      if (left.length === 0) return;
      sweep.remaining.set(`${resource.plural}.${resource.group}`, left.length);
      for (const finalizer of left.flatMap((object) => object.metadata?.finalizers ?? [])) {
        sweep.finalizers.set(finalizer, (sweep.finalizers.get(finalizer) ?? 0) + 1);
      }
    } catch (error) {
      if (!isNotFound(error)) sweep.failures.push(messageOf(error));
    }
  }

  async function removeAll(namespace: string, resource: Resource, collection: boolean): Promise<void> {
    if (collection) return client.deleteCollection(resource, { namespace, propagationPolicy: "Background" });
    for (const object of (await client.list(resource, { namespace })).items as readonly (KubeObject & {
      metadata: ObjectMeta;
    })[]) {
      await client
        .delete(resource, object.metadata.name!, { namespace, propagationPolicy: "Background" })
        .catch((error: unknown) => {
          if (!isNotFound(error)) throw error;
        });
    }
  }

  async function writeConditions(namespace: Namespace, sweep: Sweep): Promise<Namespace> {
    const conditions = nextConditions(namespace.status?.conditions, sweep, timestamp(now()));
    if (conditions === namespace.status?.conditions) return namespace;
    // A quick deletion that met no obstacle is not worth a write.
    if (!namespace.status?.conditions?.length && conditions.every((condition) => condition.status === "False"))
      return namespace;
    return client.update(
      namespaces,
      { ...namespace, status: { ...namespace.status, conditions } },
      { subresource: "status" },
    );
  }

  async function finalize(namespace: Namespace): Promise<void> {
    const finalizers = (namespace.spec?.finalizers ?? []).filter((finalizer) => finalizer !== "kubernetes");
    const path = `/api/v1/namespaces/${namespace.metadata.name}/finalize`;
    const { status, body } = await client.request("PUT", path, {
      apiVersion: "v1",
      kind: "Namespace",
      ...namespace,
      spec: { ...namespace.spec, finalizers },
    });
    if (status >= 300 && status !== 404)
      throw new Error((body as { message?: string } | undefined)?.message ?? `finalize answered ${status}`);
  }
}

interface Finding {
  readonly type: string;
  readonly bad: boolean;
  readonly reason: string;
  readonly message: string;
}

function findingsOf({ discovery, failures, remaining, finalizers }: Sweep): readonly Finding[] {
  const either = (type: string, problem: readonly [string, string] | false, fine: readonly [string, string]): Finding => {
    const [reason, message] = problem || fine;
    return { type, bad: problem !== false, reason, message };
  };
  return [
    either("NamespaceDeletionDiscoveryFailure",
      discovery.length > 0 && ["DiscoveryFailed", `Discovery failed for some groups, ${discovery.length} failing: ${discovery.join("; ")}`],
      ["ResourcesDiscovered", "All resources successfully discovered"]),
    either("NamespaceDeletionGroupVersionParsingFailure", false, ["ParsedGroupVersions", "All legacy kube types successfully parsed"]),
    either("NamespaceDeletionContentFailure",
      failures.length > 0 && ["ContentDeletionFailed", `Failed to delete all resource types, ${failures.length} remaining: ${[...failures].sort().join(", ")}`],
      ["ContentDeleted", "All content successfully deleted, may be waiting on finalization"]),
    either("NamespaceContentRemaining",
      remaining.size > 0 && ["SomeResourcesRemain", `Some resources are remaining: ${instances(remaining, "has")}`],
      ["ContentRemoved", "All content successfully removed"]),
    either("NamespaceFinalizersRemaining",
      finalizers.size > 0 && ["SomeFinalizersRemain", `Some content in the namespace has finalizers remaining: ${instances(finalizers, "in")}`],
      ["ContentHasNoFinalizers", "All content-preserving finalizers finished"]),
  ];
}

const instances = (counts: ReadonlyMap<string, number>, word: string): string =>
  [...counts].sort(([a], [b]) => (a < b ? -1 : 1)).map(([name, n]) => `${name} ${word} ${n} resource instances`).join(", ");

/** The same list when nothing has changed. */
function nextConditions(before: Condition[] | undefined, sweep: Sweep, at: string): Condition[] {
  const next = findingsOf(sweep).map(({ type, bad, reason, message }): Condition => {
    const old = before?.find((condition) => condition.type === type);
    const status = bad ? "True" : "False";
    if (old?.status === status && old.reason === reason && old.message === message) return old;
    return { type, status, reason, message, lastTransitionTime: old?.status === status ? old.lastTransitionTime : at };
  });
  const others = (before ?? []).filter((condition) => !next.some(({ type }) => type === condition.type));
  const same = others.length === 0 && before?.length === next.length && next.every((condition, i) => condition === before[i]);
  return same ? before! : [...others, ...next];
}
