/** The engine behind ReplicaSets and ReplicationControllers: keep `replicas` pods that match a selector. */
import { controllerOf, keyOf, pods, splitKey, type Pod, type Resource } from "@k3s-p/plugin-api/kube";
import { createController, type Change, type ControllerDeps } from "../controller.ts";
import { candidatesOf, claim } from "../lib/claim.ts";
import { createExpectations } from "../lib/expectations.ts";
import { createPodBatches, createPodControl, isTerminatingNamespace } from "../lib/pod-control.ts";
import { isActive, isTerminal, isTerminating, nextAvailable } from "../lib/pods.ts";
import { semanticEqual } from "../lib/values.ts";
import { manage, nextStatus, type Failure, type ReplicaOwner, type ReplicaSteps } from "./replica-steps.ts";

export interface ReplicaKind<T extends ReplicaOwner> {
  readonly name: string;
  readonly component: string;
  readonly resource: Resource<T>;
  readonly matches: (owner: T, labels: Readonly<Record<string, string>> | undefined) => boolean;
  readonly countsTerminating: boolean;
}

export function startReplicas<T extends ReplicaOwner>(deps: ControllerDeps, kind: ReplicaKind<T>): void {
  const { client, now } = deps;
  const c = createController(deps, kind.name, { component: kind.component });
  const expectations = createExpectations(now);

  const owners = c.follow(kind.resource, (owner, { deleted }) => {
    if (deleted) expectations.forget(keyOf(owner));
    return keyOf(owner);
  });
  const podInformer = c.follow(pods, podKeys);
  const steps: ReplicaSteps<T> = {
    resource: kind.resource, now, related: relatedPods,
    batches: createPodBatches(createPodControl(client, c.events, kind.resource), expectations, podInformer),
  };
  c.run(reconcile);

  function podKeys(pod: Pod, { previous, deleted }: Change<Pod>): string[] {
    const key = ownerKey(pod);
    if (key && !previous && !deleted) expectations.creationObserved(key);
    if (key && (deleted || isTerminating(pod))) expectations.deletionObserved(key, pod.metadata.uid!);
    const before = previous && ownerKey(previous);
    const keys = [key, before].filter((k) => k !== undefined);
    return keys.length || deleted || controllerOf(pod) ? keys : ownersMatching(pod);
  }

  function ownerKey(pod: Pod): string | undefined {
    const ref = controllerOf(pod);
    if (ref?.kind !== kind.resource.kind) return undefined;
    return `${pod.metadata.namespace}/${ref.name}`;
  }

  const ownersMatching = (pod: Pod): string[] =>
    owners.list(pod.metadata.namespace).filter((owner) => kind.matches(owner, pod.metadata.labels)).map(keyOf);

  async function reconcile(key: string): Promise<number | void> {
    const [namespace, name] = splitKey(key);
    const owner = owners.get(name, namespace);
    if (!owner) return expectations.forget(key);
    const settled = expectations.satisfied(key);
    const claimed = await claim({
      client, resource: pods, owner: { resource: kind.resource, object: owner },
      matches: (pod) => kind.matches(owner, pod.metadata.labels),
      candidates: candidatesOf(podInformer, owner).filter((pod) => !isTerminal(pod)),
    });
    const active = claimed.filter(isActive);
    const failure = settled && !isTerminating(owner as any) ? await manage(steps, owner, active) : undefined;
    await writeStatus(owner, active, claimed.filter(isTerminating).length, failure);
    if (failure && !isTerminatingNamespace(failure.error)) throw failure.error;
    return nextAvailable(active, owner.spec?.minReadySeconds ?? 0, now());
  }

  /** Pods of all sets under the same controller (a Deployment's), so that nodes with many replicas give some up first. */
  function relatedPods(owner: T, active: readonly Pod[]): readonly Pod[] {
    const parent = controllerOf(owner);
    if (!parent) return active;
    return owners
      .byIndex("owner", parent.uid)
      .flatMap((sibling) => podInformer.byIndex("owner", sibling.metadata.uid!))
      .filter(isActive);
  }

  async function writeStatus(owner: T, active: readonly Pod[], terminating: number, failure: Failure | undefined): Promise<void> {
    const status = nextStatus(owner, active, kind.countsTerminating ? terminating : undefined, failure, now());
    if (semanticEqual(status, owner.status)) return;
    await client.update(kind.resource, { ...owner, status } as T, { subresource: "status" });
  }
}
