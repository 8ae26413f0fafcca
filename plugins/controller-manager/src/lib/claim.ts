/** Adoption and release: which objects an owner controls, decided by its selector and by their controller reference. */
import {
  apiVersionOf, controllerOf, isInvalid, isNotFound,
  type Informer, type KubeClient, type KubeObject, type ObjectMeta, type OwnerReference, type Resource,
} from "@k3s-p/plugin-api/kube";

export interface Claim<T extends KubeObject> {
  readonly client: KubeClient;
  readonly resource: Resource<T>;
  readonly owner: { readonly resource: Resource<any>; readonly object: KubeObject & { metadata: ObjectMeta } };
  readonly matches: (object: T) => boolean;
  readonly candidates: readonly T[];
  /** Finalizers that an adopted object gets. */
  readonly finalizers?: readonly string[];
  /** Called for an object that was just adopted or released. */
  readonly onPatched?: (object: T) => void;
}

/** Objects that the owner controls already, and those of its namespace that nobody controls. */
export function candidatesOf<T extends KubeObject>(informer: Informer<T>, owner: { metadata: ObjectMeta }): T[] {
  return [...informer.byIndex("owner", owner.metadata.uid!), ...informer.byIndex("orphan", owner.metadata.namespace!)];
}

export function ownerReference(resource: Resource<any>, owner: { metadata: ObjectMeta }): OwnerReference {
  return {
    apiVersion: apiVersionOf(resource), kind: resource.kind, name: owner.metadata.name!, uid: owner.metadata.uid!,
    controller: true, blockOwnerDeletion: true,
  };
}

/** The objects that the owner controls after matching orphans were adopted and strangers released. */
export async function claim<T extends KubeObject>(options: Claim<T>): Promise<T[]> {
  const { owner, matches, candidates } = options;
  const claimed: T[] = [];
  const mayAdopt = once(() => isFresh(options));
  for (const object of candidates) {
    const ref = controllerOf(object);
    if (ref && ref.uid !== owner.object.metadata.uid) continue;
    if (ref && matches(object)) claimed.push(object);
    else if (ref) {
      if (!owner.object.metadata.deletionTimestamp) await release(options, object);
    } else if (matches(object) && !object.metadata!.deletionTimestamp && !owner.object.metadata.deletionTimestamp) {
      if (!(await mayAdopt())) continue;
      const adopted = await adopt(options, object);
      if (adopted) claimed.push(adopted);
    }
  }
  return claimed;
}

const once = <R>(fn: () => Promise<R>): (() => Promise<R>) => {
  let result: Promise<R> | undefined;
  return () => (result ??= fn());
};

/** The informer may lag: an owner that is being deleted, or was made anew, must not adopt. */
async function isFresh({ client, owner }: Claim<any>): Promise<boolean> {
  const { name, namespace, uid } = owner.object.metadata;
  const live = await client.get(owner.resource, name!, namespace);
  return live.metadata!.uid === uid && !live.metadata!.deletionTimestamp;
}

async function adopt<T extends KubeObject>(options: Claim<T>, object: T): Promise<T | undefined> {
  const { client, resource, owner, finalizers } = options;
  const metadata = {
    ownerReferences: [ownerReference(owner.resource, owner.object)], uid: object.metadata!.uid,
    ...(finalizers?.length && { finalizers }),
  };
  return ignoreGone(async () => {
    const patched = await client.patch(resource, object.metadata!.name!, { metadata }, {
      type: "strategic", namespace: object.metadata!.namespace,
    });
    options.onPatched?.(patched);
    return patched;
  });
}

async function release<T extends KubeObject>(options: Claim<T>, object: T): Promise<void> {
  const { client, resource, owner, finalizers } = options;
  const metadata: Record<string, unknown> = {
    ownerReferences: [{ $patch: "delete", uid: owner.object.metadata.uid }], uid: object.metadata!.uid,
  };
  if (finalizers?.length) metadata["$deleteFromPrimitiveList/finalizers"] = finalizers;
  await ignoreGone(async () => {
    const patched = await client.patch(resource, object.metadata!.name!, { metadata }, {
      type: "strategic", namespace: object.metadata!.namespace,
    });
    options.onPatched?.(patched);
  });
}

/** Gone, or replaced by one of the same name (the patch carries the uid): nothing left to claim. */
async function ignoreGone<R>(fn: () => Promise<R>): Promise<R | undefined> {
  try {
    return await fn();
  } catch (error) {
    if (isNotFound(error) || isInvalid(error)) return undefined;
    throw error;
  }
}
