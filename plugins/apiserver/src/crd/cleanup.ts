/** The end of a CustomResourceDefinition: its objects are deleted, and when the last one is gone it may go. */
import { customResourceDefinitions, type KubeClient, timestamp } from "@k3s-p/plugin-api/kube";
import type { Obj, ResourceDef } from "../resources/types.ts";
import type { Collection } from "../store/store.ts";
import { removeAll } from "../verbs/delete.ts";
import { type Call, collectionOf, type Engine } from "../verbs/engine.ts";
import { type Condition, withCondition } from "./names.ts";

export const CLEANUP_FINALIZER = "customresourcecleanup.apiextensions.k8s.io";
const superuser = { name: "system:apiserver", groups: ["system:masters"] } as const;

const terminating = (status: "True" | "False", reason: string, message: string): Condition => ({ type: "Terminating", status, reason, message });
const conditions = {
  pending: terminating("True", "InstanceDeletionPending", "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon"),
  progress: terminating("True", "InstanceDeletionInProgress", "CustomResource deletion is in progress"),
  completed: terminating("False", "InstanceDeletionCompleted", "removed all instances"),
  never: terminating("False", "NeverEstablished", "resource was never established"),
} as const;

/** Strategy of a first deletion: the definition waits for its objects. */
export function holdForCleanup(crd: Obj, now: string): void {
  const finalizers = crd.metadata!.finalizers ?? [];
  crd.metadata!.finalizers = [...finalizers.filter((name) => name !== CLEANUP_FINALIZER), CLEANUP_FINALIZER];
  crd.status = { ...crd.status, conditions: withCondition(crd.status?.conditions ?? [], conditions.pending, now) };
}

export interface CleanupDeps {
  readonly engine: Engine;
  readonly client: KubeClient;
  readonly signal: AbortSignal;
}

/** Rejects with a conflict when the definition has changed meanwhile; its next state brings the next try. */
export async function cleanUp({ engine, client, signal }: CleanupDeps, crd: Obj, row: ResourceDef): Promise<void> {
  if (!crd.metadata!.finalizers?.includes(CLEANUP_FINALIZER)) return;
  const list: readonly Condition[] = crd.status?.conditions ?? [];
  const is = (type: string, reason: string): boolean => list.some((c) => c.type === type && (c.reason === reason || c.status === reason));
  const write = (condition: Condition, finalizers: readonly string[]): Promise<unknown> => {
    const status = { ...crd.status, conditions: withCondition(list, condition, timestamp(engine.now())) };
    const next = { ...crd, metadata: { ...crd.metadata, finalizers }, status };
    return client.update(customResourceDefinitions, next as never, { subresource: "status", fieldManager: "kube-apiserver" });
  };
  const rest = crd.metadata!.finalizers.filter((name: string) => name !== CLEANUP_FINALIZER);
  if (!is("Established", "True")) return void (await write(conditions.never, rest));
  // The event of this write leads back here.
  if (!is("Terminating", conditions.progress.reason)) return void (await write(conditions.progress, crd.metadata!.finalizers));

  const collection = collectionOf(engine, row);
  const call: Call = { user: superuser, def: row, subresource: "", namespace: "", name: "", dryRun: false, manager: "kube-apiserver" };
  await removeAll(engine, call, collection.list(""), {});
  await emptied(collection, signal);
  if (!signal.aborted) await write(conditions.completed, rest);
}

/** Objects with finalizers of their own go when these are done. */
function emptied(collection: Collection, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const look = (): void => {
      if (collection.count > 0 && !signal.aborted) return;
      unsubscribe();
      signal.removeEventListener("abort", look);
      resolve();
    };
    const unsubscribe = collection.subscribe(look);
    signal.addEventListener("abort", look);
    look();
  });
}
