import { expect, it } from "vitest";
import type { Pod } from "@k3s-p/plugin-api/kube";
import { podRequests } from "./resources.ts";

const resized = (asked: string, granted: string, inForce: string, reason?: string): Pod => ({
  metadata: { name: "p" },
  spec: { containers: [{ name: "c", resources: { requests: { cpu: asked } } }] },
  status: {
    containerStatuses: [{ name: "c", allocatedResources: { cpu: granted }, resources: { requests: { cpu: inForce } } }],
    ...(reason && { conditions: [{ type: "PodResizePending", status: "True", reason }] }),
  },
}) as unknown as Pod;

it.each([
  ["what is asked, before it is granted", resized("3", "1", "1"), 3000],
  ["what is asked, while it waits for room", resized("3", "1", "1", "Deferred"), 3000],
  ["what is granted, before it is in force", resized("1", "2", "1"), 2000],
  ["what is in force, before less of it is", resized("1", "1", "2"), 2000],
  ["what is in force, when what is asked can never be granted", resized("64", "1", "2", "Infeasible"), 2000],
])("counts for a resize %s", (_, pod, cpu) => expect(podRequests(pod).cpu).toBe(cpu));

it("counts for a resize of the pod as a whole what is in force, before less of it is", () => {
  const pod = {
    metadata: { name: "p" }, spec: { resources: { requests: { cpu: "1" } }, containers: [{ name: "c" }] },
    status: { resources: { requests: { cpu: "2" } }, allocatedResources: { cpu: "1" } },
  } as unknown as Pod;
  expect(podRequests(pod).cpu).toBe(2000);
});
