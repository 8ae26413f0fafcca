import type { Pod } from "@k3s-p/plugin-api/kube";
import { expect, test } from "vitest";
import { gracePeriod, type ContainerRef } from "./pod.ts";
import { probeGrace } from "./probes/probes.ts";

const pod = (terminationGracePeriodSeconds?: number, deletionGracePeriodSeconds?: number): Pod =>
  ({ metadata: { name: "a", ...(deletionGracePeriodSeconds !== undefined && { deletionGracePeriodSeconds }) }, spec: { containers: [], ...(terminationGracePeriodSeconds !== undefined && { terminationGracePeriodSeconds }) } }) as Pod;
const probed = { spec: { name: "c", livenessProbe: {} } } as ContainerRef;

test.each([
  ["nothing is said", pod(), 30, 30],
  ["the spec says so", pod(5), 5, 5],
  ["the spec says nothing is to be waited for", pod(0), 0, 0],
  ["the spec is negative", pod(-1), 1, 1],
  ["whoever deleted the pod said so", pod(60, 2), 2, 60],
  ["whoever deleted the pod was in a hurry", pod(-1, 0), 0, 1],
])("the seconds that a pod and a container with a failed probe have, when %s", (_, one, deleted, failed) => {
  expect([gracePeriod(one), probeGrace(one, probed, "liveness")]).toEqual([deleted, failed]);
});
