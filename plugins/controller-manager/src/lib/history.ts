/** ControllerRevisions: the history of templates that DaemonSets and StatefulSets keep. */
import {
  configMaps, controllerOf, controllerRevisions, isAlreadyExists, isNotFound,
  type ControllerRevision, type KubeClient, type ObjectMeta, type PodTemplateSpec, type Resource,
} from "@k3s-p/plugin-api/kube";
import { ownerReference } from "./claim.ts";
import type { Owner } from "./pod-control.ts";
import { byCreation } from "./pods.ts";
import { canonicalJson, hashSuffix, semanticEqual, sortedKeys } from "./values.ts";

const LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration";

export interface HistoryOwner {
  readonly resource: Resource<any>;
  readonly object: Owner;
  readonly template: PodTemplateSpec;
  readonly collisionCount: number;
  /** Label that carries the hash on the revision. */
  readonly hashLabel: string;
}

export interface SyncedRevision {
  readonly revision: ControllerRevision;
  readonly collisionCount: number;
}

type Containers = NonNullable<PodTemplateSpec["spec"]>["containers"];
type RevisionData = { spec: { template: PodTemplateSpec & { $patch?: string } } };

/** The template that a revision stands for. */
export function templateOf(revision: ControllerRevision): PodTemplateSpec {
  const { $patch: _, ...template } = (revision.data as unknown as RevisionData).spec.template;
  return template;
}

export const byRevision = (a: ControllerRevision, b: ControllerRevision): number =>
  (a.revision ?? 0) - (b.revision ?? 0) || byCreation(a, b);

const sameTemplate = (revision: ControllerRevision, template: PodTemplateSpec): boolean =>
  semanticEqual(templateOf(revision), template);

/** The revision of the owner's template: an old one that is raised to the top, or a new one. */
export async function syncRevision(
  client: KubeClient, owner: HistoryOwner, revisions: readonly ControllerRevision[],
): Promise<SyncedRevision> {
  const sorted = [...revisions].sort(byRevision);
  const top = sorted.at(-1);
  const known = sorted.filter((revision) => sameTemplate(revision, owner.template)).at(-1);
  if (known && known === top) return { revision: known, collisionCount: owner.collisionCount };
  const number = (top?.revision ?? 0) + 1;
  if (known)
    return {
      revision: await client.update(controllerRevisions, { ...known, revision: number }),
      collisionCount: owner.collisionCount,
    };
  return createRevision(client, owner, number);
}

/** A name that a stranger has makes the hash change. */
async function createRevision(client: KubeClient, owner: HistoryOwner, number: number): Promise<SyncedRevision> {
  const data = revisionData(owner.template, await hasOldClients(client));
  for (let collisionCount = owner.collisionCount; ; collisionCount++) {
    const wanted = { ...newRevision(owner, number, collisionCount), data: data as any };
    try {
      return { revision: await client.create(controllerRevisions, wanted), collisionCount };
    } catch (error) {
      if (!isAlreadyExists(error)) throw error;
      const live = await client.get(controllerRevisions, wanted.metadata.name!, wanted.metadata.namespace);
      if (controllerOf(live)?.uid === owner.object.metadata.uid && sameTemplate(live, owner.template))
        return { revision: live, collisionCount };
    }
  }
}

function newRevision(
  { resource, object, template, hashLabel }: HistoryOwner, revision: number, collisionCount: number,
): Omit<ControllerRevision, "data"> {
  const hash = hashSuffix(canonicalJson(template) + (collisionCount || ""));
  const { [LAST_APPLIED]: _, ...annotations } = object.metadata.annotations ?? {};
  return {
    apiVersion: "apps/v1", kind: "ControllerRevision", revision,
    metadata: {
      name: `${object.metadata.name!.slice(0, 223)}-${hash}`, namespace: object.metadata.namespace,
      labels: { ...(template.metadata as ObjectMeta | undefined)?.labels, [hashLabel]: hash }, annotations,
      ownerReferences: [ownerReference(resource, object)],
    },
  };
}

/**
 * Clients find the revision of a template by comparing bytes with what they write themselves, in Go: keys are sorted,
 * structs are there even when empty, and before Kubernetes 1.34 a time that is not set is `null`.
 */
export function revisionData({ metadata, spec, ...rest }: PodTemplateSpec, isForOldClients: boolean): RevisionData {
  const withResources = (list: Containers): Containers => list.map((container) => ({ resources: {}, ...container }));
  const template = {
    ...rest, $patch: "replace", metadata: { ...(isForOldClients && { creationTimestamp: null }), ...metadata },
    spec: {
      ...spec, containers: withResources(spec?.containers ?? []),
      ...(spec?.initContainers && { initContainers: withResources(spec.initContainers) }),
    },
  };
  return sortedKeys({ spec: { template } }) as unknown as RevisionData;
}

/** The API server notes the first one. */
async function hasOldClients(client: KubeClient): Promise<boolean> {
  try {
    await client.get(configMaps, "legacy-clients", "kube-system");
    return true;
  } catch (error) {
    if (isNotFound(error)) return false;
    throw error;
  }
}

/** Deletes the oldest revisions beyond `limit` that nothing uses. */
export async function trimHistory(
  client: KubeClient,
  revisions: readonly ControllerRevision[],
  inUse: (revision: ControllerRevision) => boolean,
  limit: number,
): Promise<void> {
  const unused = revisions.filter((revision) => !inUse(revision)).sort(byRevision);
  for (const { metadata } of unused.slice(0, Math.max(0, unused.length - limit))) {
    await client
      .delete(controllerRevisions, metadata.name!, {
        namespace: metadata.namespace,
        preconditions: { uid: metadata.uid },
      })
      .catch((error: unknown) => {
        if (!isNotFound(error)) throw error;
      });
  }
}
