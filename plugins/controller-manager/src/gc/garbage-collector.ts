/** The garbage collector: deletes objects whose owners are gone, in the foreground, in the background, or not at all. */
import {
  customResourceDefinitions, defineResource, isConflict, isNotFound, splitKey,
  type CustomResourceDefinition, type Informer, type KubeObject, type ObjectMeta, type OwnerReference, type Resource,
} from "@k3s-p/plugin-api/kube";
import { createController, type ControllerDeps } from "../controller.ts";
import { discover } from "../lib/discovery.ts";
import { referenceTo } from "../lib/pod-control.ts";
import { createOwnerLookup } from "./owners.ts";

type Obj = KubeObject & { metadata: ObjectMeta };
export interface Tracked {
  readonly resource: Resource;
  readonly informer: Informer<Obj>;
}

const FOREGROUND = "foregroundDeletion";
const ORPHAN = "orphan";
/** Nobody owns through events, and there are many of them. */
const ignored: ReadonlySet<string> = new Set(["/events", "events.k8s.io/events"]);

const has = (object: Obj, finalizer: string): boolean => object.metadata.finalizers?.includes(finalizer) ?? false;
/** An owner that waits until its dependents are gone. */
const waits = (object: Obj): boolean => object.metadata.deletionTimestamp !== undefined && has(object, FOREGROUND);
const idOf = (resource: Resource): string => `${resource.group}/${resource.plural}`;

export async function start(deps: ControllerDeps): Promise<void> {
  const { client, log } = deps;
  const c = createController(deps, "garbage-collector", { workers: 20, component: "garbage-collector-controller" });
  const tracked = new Map<string, Tracked>();
  const owners = createOwnerLookup(client, tracked);

  const { resources, failures } = await discover(client);
  for (const failure of failures) log.debug({ controller: "garbage-collector", err: failure }, "a group is not watched");
  for (const { resource, verbs } of resources) {
    if (["list", "watch", "delete"].every((verb) => verbs.includes(verb))) track(resource);
  }
  c.follow(customResourceDefinitions, (crd, { deleted }) => followDefinition(crd, deleted));
  c.run(reconcile);

  function track(resource: Resource<any>): void {
    const id = idOf(resource);
    if (tracked.has(id) || ignored.has(id)) return;
    const informer = c.follow(resource, (object: Obj, { previous, deleted }) =>
      changed(resource, object, previous, deleted),
    );
    tracked.set(id, { resource, informer });
  }

  /** Objects of a CustomResourceDefinition own and are owned as the built-in ones are. */
  function followDefinition(crd: CustomResourceDefinition, deleted: boolean): void {
    const { group, names, scope, versions } = crd.spec;
    const version = versions.find((v) => v.storage && v.served) ?? versions.find((v) => v.served);
    const established = crd.status?.conditions?.some(
      (condition) => condition.type === "Established" && condition.status === "True",
    );
    const resource =
      version &&
      defineResource(group, version.name, names.plural, names.kind, scope === "Namespaced" ? "namespaced" : "cluster");
    if (resource && established && !deleted) track(resource);
  }

  const keyFor = (resource: Resource, object: Obj): string =>
    `${idOf(resource)}|${object.metadata.namespace ?? ""}/${object.metadata.name}`;

  /** What a change makes worth looking at: the object itself, its dependents, its owners. */
  function* changed(resource: Resource, object: Obj, previous: Obj | undefined, deleted: boolean): Iterable<string> {
    if (deleted) {
      for (const dependent of dependentsOf(object)) yield dependent.key;
      for (const ref of object.metadata.ownerReferences ?? []) yield* waitingOwner(object, ref);
      return;
    }
    const refs = object.metadata.ownerReferences;
    for (const ref of previous?.metadata.ownerReferences ?? []) {
      const now = refs?.find((other) => other.uid === ref.uid);
      if (!now || (ref.blockOwnerDeletion && !now.blockOwnerDeletion)) yield* waitingOwner(object, ref);
    }
    if (object.metadata.deletionTimestamp && (has(object, ORPHAN) || has(object, FOREGROUND))) {
      yield keyFor(resource, object);
      if (!previous || !waits(previous)) for (const dependent of dependentsOf(object)) yield dependent.key;
    } else if (
      refs?.length &&
      refs !== previous?.metadata.ownerReferences &&
      refs.some((ref) => !owners.isPresent(object, ref))
    ) {
      yield keyFor(resource, object);
    }
  }

  function* waitingOwner(dependent: Obj, ref: OwnerReference): Iterable<string> {
    const owner = owners.cached(dependent, ref);
    if (owner && waits(owner.object)) yield keyFor(owner.resource, owner.object);
  }

  function dependentsOf(owner: Obj): { key: string; resource: Resource; object: Obj }[] {
    return [...tracked.values()].flatMap(({ resource, informer }) =>
      informer.byIndex("owner", owner.metadata.uid!).map((object) => ({ key: keyFor(resource, object), resource, object })));
  }

  async function reconcile(key: string): Promise<void> {
    const bar = key.indexOf("|");
    const kind = tracked.get(key.slice(0, bar));
    const [namespace, name] = splitKey(key.slice(bar + 1));
    const object = kind?.informer.get(name, namespace || undefined);
    if (!kind || !object) return;
    try {
      if (object.metadata.deletionTimestamp) await finishDeletion(kind.resource, object);
      else if (object.metadata.ownerReferences?.length) await collect(kind.resource, object);
    } catch (error) {
      if (!isNotFound(error)) throw error;
    }
  }

  /** Carries out the finalizers `orphan` and `foregroundDeletion`. */
  async function finishDeletion(resource: Resource, object: Obj): Promise<void> {
    const dependents = dependentsOf(object);
    if (has(object, ORPHAN)) {
      await Promise.all(
        dependents.map((dependent) => dropOwners(dependent.resource, dependent.object, [object.metadata.uid!])),
      );
      return removeFinalizer(resource, object, ORPHAN);
    }
    if (!has(object, FOREGROUND)) return;
    const blocking = dependents.filter((dependent) =>
      dependent.object.metadata.ownerReferences!.some((ref) => ref.uid === object.metadata.uid && ref.blockOwnerDeletion));
    if (blocking.length === 0) return removeFinalizer(resource, object, FOREGROUND);
    for (const dependent of blocking) if (!waits(dependent.object)) c.enqueue(dependent.key);
  }

  /** Decides by the state of all its owners whether an object goes. */
  async function collect(resource: Resource, listed: Obj): Promise<void> {
    const object = (await client.get(resource, listed.metadata.name!, listed.metadata.namespace)) as Obj;
    if (object.metadata.uid !== listed.metadata.uid || object.metadata.deletionTimestamp) return;
    const solid: OwnerReference[] = [];
    const gone: OwnerReference[] = [];
    const waiting: OwnerReference[] = [];
    for (const ref of object.metadata.ownerReferences ?? []) {
      const owner = await owners.find(resource, object, ref);
      if (owner === "unresolvable") return;
      if (owner === "misplaced") warnMisplaced(resource, object, ref);
      if (owner === "absent" || owner === "misplaced") gone.push(ref);
      else if (waits(owner)) waiting.push(ref);
      else solid.push(ref);
    }
    if (solid.length) {
      const dropped = [...gone, ...waiting].map((ref) => ref.uid);
      return dropped.length ? dropOwners(resource, object, dropped) : undefined;
    }
    if (gone.length + waiting.length === 0) return;
    const dependents = waiting.length ? dependentsOf(object) : [];
    if (dependents.length === 0) return remove(resource, object, inheritedPolicy(object));
    // A circle would wait for itself for ever: this object no longer blocks its owners.
    if (dependents.some((dependent) => waits(dependent.object))) await unblock(resource, object);
    return remove(resource, object, "Foreground");
  }

  function warnMisplaced(resource: Resource, object: Obj, ref: OwnerReference): void {
    c.events.record(
      referenceTo(resource, object),
      "Warning",
      "OwnerRefInvalidNamespace",
      `ownerRef [${ref.apiVersion}/${ref.kind}, namespace: ${object.metadata.namespace ?? ""}, name: ${ref.name}, uid: ${ref.uid}] does not exist in namespace "${object.metadata.namespace ?? ""}"`,
    );
  }

  const inheritedPolicy = (object: Obj) =>
    has(object, ORPHAN) ? "Orphan" : has(object, FOREGROUND) ? "Foreground" : "Background";

  async function remove(
    resource: Resource, object: Obj, propagationPolicy: "Orphan" | "Foreground" | "Background",
  ): Promise<void> {
    await client.delete(resource, object.metadata.name!, {
      namespace: object.metadata.namespace, propagationPolicy, preconditions: { uid: object.metadata.uid },
    }).catch((error: unknown) => {
      // Another object has the name by now: what had to go is gone.
      if (!isConflict(error)) throw error;
    });
  }

  const write = (resource: Resource, object: Obj, metadata: object): Promise<unknown> =>
    client.patch(
      resource,
      object.metadata.name!,
      { metadata: { uid: object.metadata.uid, ...metadata } },
      { namespace: object.metadata.namespace },
    );

  async function dropOwners(resource: Resource, object: Obj, uids: readonly string[]): Promise<void> {
    const ownerReferences = object.metadata.ownerReferences!.filter((ref) => !uids.includes(ref.uid));
    await write(resource, object, { ownerReferences, resourceVersion: object.metadata.resourceVersion }).catch(
      (error: unknown) => {
        if (!isNotFound(error)) throw error;
      },
    );
  }

  async function unblock(resource: Resource, object: Obj): Promise<void> {
    const ownerReferences = object.metadata.ownerReferences!.map((ref) => ({ ...ref, blockOwnerDeletion: false }));
    await write(resource, object, { ownerReferences, resourceVersion: object.metadata.resourceVersion });
  }

  async function removeFinalizer(resource: Resource, object: Obj, finalizer: string): Promise<void> {
    const finalizers = object.metadata.finalizers!.filter((other) => other !== finalizer);
    await write(resource, object, { finalizers, resourceVersion: object.metadata.resourceVersion });
  }
}
