/** Making pods from templates and removing them, with the events that upstream's controllers write. */
import { messageOf } from "@k3s-p/plugin-api";
import {
  apiVersionOf, isNotFound, keyOf, pods, toReference,
  type EventRecorder, type Informer, type KubeClient, type KubeObject, type ObjectMeta, type OwnerReference, type Pod,
  type PodTemplateSpec, type Resource,
} from "@k3s-p/plugin-api/kube";
import type { Expectations } from "./expectations.ts";
import { batchResult, slowStart, type BatchResult } from "./values.ts";

export type Owner = KubeObject & { metadata: ObjectMeta };

/** Reference for events; list items may come without kind and apiVersion. */
export const referenceTo = (resource: Resource<any>, object: Owner) =>
  ({ ...toReference(object), kind: resource.kind, apiVersion: apiVersionOf(resource) });

export function podFromTemplate(template: PodTemplateSpec, owner: Owner, reference: OwnerReference): Pod {
  const meta = template.metadata as ObjectMeta | undefined;
  return {
    apiVersion: "v1", kind: "Pod",
    metadata: {
      generateName: `${owner.metadata.name}-`, namespace: owner.metadata.namespace,
      labels: { ...meta?.labels }, annotations: { ...meta?.annotations },
      ...(meta?.finalizers?.length && { finalizers: [...meta.finalizers] }),
      ownerReferences: [reference],
    },
    spec: template.spec,
  } as Pod;
}

export interface PodControl {
  create(owner: Owner, pod: Pod): Promise<Pod>;
  /** A pod that is gone already counts as deleted. */
  remove(owner: Owner, pod: Pod): Promise<void>;
}

export function createPodControl(
  client: KubeClient, events: EventRecorder, ownerResource: Resource<any>,
): PodControl {
  return {
    async create(owner, pod) {
      const ref = referenceTo(ownerResource, owner);
      try {
        const created = await client.create(pods, pod);
        events.record(ref, "Normal", "SuccessfulCreate", `Created pod: ${created.metadata.name}`);
        return created;
      } catch (error) {
        if (!isTerminatingNamespace(error))
          events.record(ref, "Warning", "FailedCreate", `Error creating: ${messageOf(error)}`);
        throw error;
      }
    },
    async remove(owner, pod) {
      const ref = referenceTo(ownerResource, owner);
      try {
        await client.delete(pods, pod.metadata.name!, {
          namespace: pod.metadata.namespace,
          preconditions: { uid: pod.metadata.uid },
        });
        events.record(ref, "Normal", "SuccessfulDelete", `Deleted pod: ${pod.metadata.name}`);
      } catch (error) {
        if (isNotFound(error)) return;
        events.record(ref, "Warning", "FailedDelete", `Error deleting: ${messageOf(error)}`);
        throw error;
      }
    },
  };
}

/** Many pods at once; what the controller expects to see of them holds whatever fails. */
export interface PodBatches {
  create(owner: Owner, wanted: readonly Pod[]): Promise<BatchResult>;
  remove(owner: Owner, doomed: readonly Pod[]): Promise<BatchResult>;
}

export function createPodBatches(control: PodControl, expectations: Expectations, cache: Informer<Pod>): PodBatches {
  async function removeOne(owner: Owner, pod: Pod): Promise<void> {
    const observed = () => expectations.deletionObserved(keyOf(owner), pod.metadata.uid!);
    try {
      await control.remove(owner, pod);
    } catch (error) {
      observed();
      throw error;
    }
    // The cache saw it go before it was expected to: it will not tell again.
    if (!cache.get(pod.metadata.name!, pod.metadata.namespace)) observed();
  }

  return {
    async create(owner, wanted) {
      const key = keyOf(owner);
      expectations.expectCreations(key, wanted.length);
      const result = await slowStart(wanted.length, async (i) => void (await control.create(owner, wanted[i]!)));
      for (let lacking = wanted.length - result.done; lacking > 0; lacking--) expectations.creationObserved(key);
      return result;
    },
    async remove(owner, doomed) {
      expectations.expectDeletions(keyOf(owner), doomed.map((pod) => pod.metadata.uid!));
      return batchResult(await Promise.allSettled(doomed.map((pod) => removeOne(owner, pod))));
    },
  };
}

/** The namespace is being deleted: there is no point in trying again. */
export function isTerminatingNamespace(error: unknown): boolean {
  const causes = (error as { status?: { details?: { causes?: { reason?: string }[] } } })?.status?.details?.causes;
  return causes?.some((cause) => cause.reason === "NamespaceTerminating") ?? false;
}
