/** Writes of the statefulset controller: pods with their claims, each with the event that upstream sends. */
import { messageOf } from "@k3s-p/plugin-api";
import {
  isAlreadyExists, isNotFound, persistentVolumeClaims, pods, statefulSets,
  type EventRecorder, type Informer, type KubeClient, type PersistentVolumeClaim, type Pod, type StatefulSet,
} from "@k3s-p/plugin-api/kube";
import { isTerminatingNamespace, referenceTo } from "../lib/pod-control.ts";
import { buildClaims, claimName, claimTemplates, ordinalOf, retainedOwners } from "./statefulset-pods.ts";

export interface StatefulControl {
  create(set: StatefulSet, pod: Pod): Promise<void>;
  update(set: StatefulSet, pod: Pod): Promise<void>;
  remove(set: StatefulSet, pod: Pod): Promise<void>;
  /** Makes the claims of an ordinal that are missing. */
  ensureClaims(set: StatefulSet, pod: Pod): Promise<void>;
  /** Applies persistentVolumeClaimRetentionPolicy to the claims of a pod. */
  retainClaims(set: StatefulSet, pod: Pod, condemned: boolean): Promise<void>;
}

export function createStatefulControl(
  client: KubeClient, events: EventRecorder, claims: Informer<PersistentVolumeClaim>,
): StatefulControl {
  const record = (set: StatefulSet, verb: string, pod: Pod, error?: unknown) => {
    const reason = `${verb[0]!.toUpperCase()}${verb.slice(1)}`;
    const text = `${verb} Pod ${pod.metadata.name} in StatefulSet ${set.metadata.name}`;
    if (error === undefined)
      events.record(referenceTo(statefulSets, set), "Normal", `Successful${reason}`, `${text} successful`);
    else
      events.record(
        referenceTo(statefulSets, set),
        "Warning",
        `Failed${reason}`,
        `${text} failed error: ${messageOf(error)}`,
      );
  };

  const recordClaim = (set: StatefulSet, claim: PersistentVolumeClaim, pod: Pod, error?: unknown) => {
    const text = `create Claim ${claim.metadata.name} Pod ${pod.metadata.name} in StatefulSet ${set.metadata.name}`;
    if (error === undefined)
      events.record(referenceTo(statefulSets, set), "Normal", "SuccessfulCreate", `${text} success`);
    else
      events.record(
        referenceTo(statefulSets, set),
        "Warning",
        "FailedCreate",
        `${text} failed error: ${messageOf(error)}`,
      );
  };

  async function ensureClaims(set: StatefulSet, pod: Pod): Promise<void> {
    for (const wanted of buildClaims(set, ordinalOf(set, pod)!)) {
      const existing = claims.get(wanted.metadata.name!, wanted.metadata.namespace);
      if (existing?.metadata.deletionTimestamp) throw new Error(`pvc ${wanted.metadata.name} is being deleted`);
      if (existing) continue;
      try {
        await client.create(persistentVolumeClaims, wanted);
        recordClaim(set, wanted, pod);
      } catch (error) {
        if (isAlreadyExists(error)) continue;
        if (!isTerminatingNamespace(error)) recordClaim(set, wanted, pod, error);
        throw error;
      }
    }
  }

  return {
    ensureClaims,
    async create(set, pod) {
      await ensureClaims(set, pod);
      try {
        await client.create(pods, pod);
        record(set, "create", pod);
      } catch (error) {
        // The informer did not show it yet.
        if (isAlreadyExists(error)) return;
        if (!isTerminatingNamespace(error)) record(set, "create", pod, error);
        throw error;
      }
    },
    async update(set, pod) {
      await ensureClaims(set, pod);
      try {
        await client.update(pods, pod);
        record(set, "update", pod);
      } catch (error) {
        record(set, "update", pod, error);
        throw error;
      }
    },
    async remove(set, pod) {
      try {
        await client.delete(pods, pod.metadata.name!, {
          namespace: pod.metadata.namespace,
          preconditions: { uid: pod.metadata.uid },
        });
        record(set, "delete", pod);
      } catch (error) {
        if (isNotFound(error)) return;
        record(set, "delete", pod, error);
        throw error;
      }
    },
    async retainClaims(set, pod, condemned) {
      const ordinal = ordinalOf(set, pod)!;
      for (const template of claimTemplates(set)) {
        const claim = claims.get(claimName(set, template, ordinal), set.metadata.namespace);
        const ownerReferences =
          claim && !claim.metadata.deletionTimestamp ? retainedOwners(set, claim, pod, condemned) : undefined;
        if (!claim || !ownerReferences) continue;
        await client.update(persistentVolumeClaims, { ...claim, metadata: { ...claim.metadata, ownerReferences } });
      }
    },
  };
}
