/** What an object costs beyond its JSON, measured after a collection of garbage. */
import { getHeapStatistics, setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { expect, test } from "vitest";
import { createCollection } from "./collection.ts";
import { canonicalize, rawToEntry } from "./entry.ts";

setFlagsFromString("--expose-gc");
const collectGarbage = runInNewContext("gc") as () => void;

function used(): number {
  collectGarbage();
  const { used_heap_size: heap, external_memory: external } = getHeapStatistics();
  return heap + external;
}

/** About 3 KB, as real pods are. */
const pod = (i: number): any => ({
  apiVersion: "v1", kind: "Pod",
  metadata: {
    name: `web-${i}`, namespace: `ns-${i % 20}`, uid: `00000000-0000-4000-8000-${String(i).padStart(12, "0")}`, creationTimestamp: "2026-01-01T00:00:00Z",
    labels: { app: "web", "pod-template-hash": "5d4f8c7b9" }, ownerReferences: [{ apiVersion: "apps/v1", kind: "ReplicaSet", name: "web-5d4f8c7b9", uid: "x", controller: true }],
  },
  spec: {
    nodeName: `node-${i % 50}`, serviceAccountName: "default", restartPolicy: "Always", dnsPolicy: "ClusterFirst", schedulerName: "default-scheduler",
    containers: [{
      name: "c", image: "registry.example.com/app/server:1.2.3", env: Array.from({ length: 12 }, (_, j) => ({ name: `VARIABLE_${j}`, value: `the value of variable ${j} in pod ${i}` })),
      resources: { requests: { cpu: "100m", memory: "128Mi" } }, ports: [{ containerPort: 8080, protocol: "TCP" }],
      volumeMounts: [{ name: "kube-api-access", readOnly: true, mountPath: "/var/run/secrets/kubernetes.io/serviceaccount" }],
    }],
    tolerations: ["not-ready", "unreachable"].map((what) => ({ key: `node.kubernetes.io/${what}`, operator: "Exists", effect: "NoExecute", tolerationSeconds: 300 })),
  },
  status: {
    phase: "Running", podIP: `10.42.0.${i % 250}`, hostIP: "10.0.0.1", startTime: "2026-01-01T00:00:00Z", qosClass: "Burstable",
    conditions: ["Initialized", "Ready", "ContainersReady", "PodScheduled"].map((type) => ({ type, status: "True", lastProbeTime: null, lastTransitionTime: "2026-01-01T00:00:00Z" })),
    containerStatuses: [{ name: "c", ready: true, restartCount: 0, started: true, image: "registry.example.com/app/server:1.2.3", imageID: `sha256:${"0".repeat(64)}`, containerID: `containerd://${"0".repeat(64)}`, state: { running: { startedAt: "2026-01-01T00:00:00Z" } } }],
  },
});

test("an object costs little more than its JSON, and less than three times that once somebody has read it", () => {
  const pods = createCollection("", "pods", { since: 0, onError: () => {} });
  const before = used();
  let json = 0;
  for (let i = 1; i <= 5000; i++) {
    const entry = rawToEntry(`ns-${i % 20}`, `web-${i}`, i, canonicalize(pod(i)).raw);
    json += entry.bytes.length;
    pods.load(entry);
  }
  expect(json / 5000).toBeGreaterThan(2500);
  expect((used() - before) / json).toBeLessThan(1.4);
  for (const entry of pods.list("")) expect(entry.object.kind).toBe("Pod");
  expect((used() - before) / json).toBeLessThan(3);
  expect(pods.count).toBe(5000);
});
