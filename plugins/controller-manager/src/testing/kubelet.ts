/** A pretended kubelet: pods become ready when they appear, and vanish when they are deleted. */
import { pods, type Pod } from "@k3s-p/plugin-api/kube";
import type { FakeKube } from "@k3s-p/plugin-api/kube/fake";

export interface FakeKubelet {
  /** Pods for which this returns false stay pending. */
  accepts: (pod: Pod) => boolean;
}

export function runKubelet(client: FakeKube, node = "n1"): FakeKubelet {
  const kubelet: FakeKubelet = { accepts: () => true };
  const settle = (pod: Pod) => {
    const { name, namespace, deletionTimestamp, finalizers } = pod.metadata;
    queueMicrotask(() => {
      const live = client.all(pods, namespace).find((p) => p.metadata.uid === pod.metadata.uid);
      if (!live) return;
      if (deletionTimestamp) return finalizers?.length ? undefined : client.drop(pods, name!, namespace);
      if (live.status?.phase || !kubelet.accepts(live)) return;
      markReady(client, name!, namespace!, node);
    });
  };
  client.informer(pods).on({ added: settle, updated: settle });
  return kubelet;
}

export function markReady(client: FakeKube, name: string, namespace: string, node = "n1"): void {
  client.edit(pods, name, namespace, (p) => {
    p.spec.nodeName ??= node;
    p.status = {
      ...p.status, phase: "Running", podIP: p.status?.podIP ?? "10.42.0.9",
      conditions: [{ type: "Ready", status: "True", lastTransitionTime: new Date().toISOString() }],
    };
  });
}

export function endPod(
  client: FakeKube,
  name: string,
  namespace: string,
  phase: "Succeeded" | "Failed",
  exitCode = phase === "Failed" ? 1 : 0,
): void {
  client.edit(pods, name, namespace, (p) => {
    p.status = {
      ...p.status,
      phase,
      conditions: [{ type: "Ready", status: "False" }],
      containerStatuses: [
        {
          name: p.spec.containers[0].name,
          restartCount: 0,
          state: { terminated: { exitCode, finishedAt: new Date().toISOString() } },
        },
      ],
    };
  });
}
