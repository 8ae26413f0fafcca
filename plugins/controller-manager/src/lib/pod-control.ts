/** Making pods from templates and removing them, with the events that upstream's controllers write. */
import { messageOf } from "@k3s-p/plugin-api";
import {
  pods,
  toReference,
  type EventRecorder,
  type KubeClient,
  type KubeObject,
  type ObjectMeta,
  type OwnerReference,
  type Pod,
  type PodTemplateSpec,
  type Resource,
} from "@k3s-p/plugin-api/kube";
import { apiVersionOf, isNotFound } from "@k3s-p/plugin-api/kube";

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

/** The namespace is being deleted: there is no point in trying again. */
export function isTerminatingNamespace(error: unknown): boolean {
  const causes = (error as { status?: { details?: { causes?: { reason?: string }[] } } })?.status?.details?.causes;
  return causes?.some((cause) => cause.reason === "NamespaceTerminating") ?? false;
}
