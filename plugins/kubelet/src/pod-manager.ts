/** Which pods belong on this node, each with its worker: from the API, from files, and left over from before. */
import { messageOf } from "@k3s-p/plugin-api";
import { pods, type Informer, type Pod } from "@k3s-p/plugin-api/kube";
import { containerNameOf, isMirror, isStatic, isTerminalPhase, labelsOf, nameOf, namespaceOf, uidOf } from "./pod.ts";
import type { PodServices } from "./pod-services.ts";
import { podWorker, type PodWorker } from "./pod-worker.ts";
import { staticPods } from "./static-pods.ts";

export interface PodManager {
  start(): Promise<void>;
  worker(uid: string): PodWorker | undefined;
  byName(namespace: string, name: string): PodWorker | undefined;
  pods(): readonly Pod[];
  /** Pods that use resources of the node. */
  active(): readonly Pod[];
  /** The API's object for a pod: the pod itself, or the mirror of a static pod. */
  apiObject(pod: Pod): Pod | undefined;
  wakeAll(): void;
  /** Pods whose resize waits for room ask again, the most important first. */
  roomMade(): void;
  stop(): void;
}

export function podManager(services: PodServices, manifests: string): PodManager {
  const { kube, node, log, view } = services;
  const workers = new Map<string, PodWorker>();
  const mirrors = new Map<string, Pod>();
  let informer: Informer<Pod> | undefined;

  const statics = staticPods(services, manifests, {
    added: (pod) => open(pod),
    removed: (pod) => workers.get(uidOf(pod))?.remove(),
  });

  function open(pod: Pod): PodWorker {
    const uid = uidOf(pod);
    const worker = podWorker(services, pod, (gone) => {
      workers.delete(gone);
      services.forget(gone);
    });
    workers.set(uid, worker);
    worker.wake();
    return worker;
  }

  function seen(pod: Pod): void {
    if (isMirror(pod)) return mirrorSeen(pod);
    const worker = workers.get(uidOf(pod));
    if (worker) worker.update(pod);
    else if (!isGone(pod)) open(pod);
  }

  /** An ended pod of which nothing is left needs no worker: after a restart there may be many. */
  const isGone = (pod: Pod): boolean => {
    const left = view.pod(uidOf(pod));
    return isTerminalPhase(pod.status?.phase) && !pod.metadata.deletionTimestamp && left.sandboxes.length + left.containers.length === 0;
  };

  function mirrorSeen(mirror: Pod): void {
    const uid = uidOf(mirror);
    mirrors.set(uid, mirror);
    statics.mirrorSeen(`${namespaceOf(mirror)}/${nameOf(mirror)}`, mirror);
    const worker = workers.get(uid);
    if (worker) worker.update({ ...worker.pod, ...(mirror.status && { status: mirror.status }) });
  }

  function gone(pod: Pod): void {
    if (!isMirror(pod)) return workers.get(uidOf(pod))?.remove();
    mirrors.delete(uidOf(pod));
    statics.mirrorSeen(`${namespaceOf(pod)}/${nameOf(pod)}`, undefined);
  }

  /** What runs, or lies on disk, for pods that no longer exist. */
  async function removeOrphans(): Promise<void> {
    for (const uid of view.uids()) if (!workers.has(uid)) open(orphan(uid)).remove();
    for (const uid of await services.volumes.uids()) {
      if (workers.has(uid) || view.uids().includes(uid)) continue;
      await services.cgroups.removePod(uid);
      await services.volumes.remove(uid).catch((error: unknown) => log.warn({ err: messageOf(error) }, "orphaned pod folder not removed"));
    }
  }

  /** Just enough of a pod to end it, from the runtime's labels. */
  function orphan(uid: string): Pod {
    const { sandboxes, containers } = view.pod(uid);
    const labels = (sandboxes[0] ?? containers[0])!.labels;
    return {
      apiVersion: "v1", kind: "Pod",
      metadata: { name: labels[labelsOf.podName] ?? uid, namespace: labels[labelsOf.podNamespace] ?? "default", uid },
      spec: { containers: [...new Set(containers.map(containerNameOf))].map((name) => ({ name })), terminationGracePeriodSeconds: 1 },
    } as unknown as Pod;
  }

  return {
    async start() {
      informer = kube.informer(pods, { fieldSelector: `spec.nodeName=${node.name}` });
      await informer.synced;
      await statics.start();
      informer.on({ added: seen, updated: seen, deleted: gone });
      await removeOrphans();
    },
    worker: (uid) => workers.get(uid),
    byName: (namespace, name) => [...workers.values()].find(({ pod }) => nameOf(pod) === name && namespaceOf(pod) === namespace),
    pods: () => [...workers.values()].map((worker) => worker.pod),
    active: () => [...workers.values()].filter((worker) => worker.active && !isTerminalPhase(worker.pod.status?.phase)).map((worker) => worker.pod),
    apiObject: (pod) => (isStatic(pod) ? mirrors.get(uidOf(pod)) : pod),
    roomMade() {
      const waiting = [...workers.values()].filter((worker) => worker.deferred);
      waiting.sort((a, b) => (b.pod.spec?.priority ?? 0) - (a.pod.spec?.priority ?? 0));
      for (const worker of waiting) worker.retry();
    },
    wakeAll: () => workers.forEach((worker) => worker.retry()),
    stop() {
      informer?.stop();
      statics.stop();
      for (const worker of workers.values()) worker.stop();
    },
  };
}
