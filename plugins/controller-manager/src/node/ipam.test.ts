import { afterEach, beforeEach, expect, it } from "vitest";
import { nodes } from "@k3s-p/plugin-api/kube";
import { createHarness, type Harness } from "../testing/harness.ts";
import { start } from "./ipam.ts";

let h: Harness;
beforeEach(() => void (h = createHarness()));
afterEach(() => h.stop());
const cidr = (name: string) => h.client.all(nodes).find((n) => n.metadata.name === name)?.spec;

it("gives every node a /24 and reuses the block of a deleted one", async () => {
  h.client.put(nodes, { metadata: { name: "old" }, spec: { podCIDR: "10.42.1.0/24", podCIDRs: ["10.42.1.0/24"] } });
  h.client.put(nodes, { metadata: { name: "a" }, spec: {} });
  h.client.put(nodes, { metadata: { name: "b" }, spec: {} });
  await h.start(start);
  expect(cidr("a")).toEqual({ podCIDR: "10.42.0.0/24", podCIDRs: ["10.42.0.0/24"] });
  expect(cidr("b")).toEqual({ podCIDR: "10.42.2.0/24", podCIDRs: ["10.42.2.0/24"] });
  await h.client.delete(nodes, "old");
  h.client.put(nodes, { metadata: { name: "c" }, spec: {} });
  await h.settle();
  expect(cidr("c").podCIDR).toBe("10.42.1.0/24");
});

it("gives one block a family on a dual-stack cluster", async () => {
  const dual = createHarness(undefined, { clusterCidr: ["10.42.0.0/16", "fd00:42::/56"] });
  dual.client.put(nodes, { metadata: { name: "a" }, spec: {} });
  await dual.start(start);
  expect(dual.client.all(nodes)[0].spec.podCIDRs).toEqual(["10.42.0.0/24", "fd00:42::/64"]);
  await dual.stop();
});

it("says so when no block is free", async () => {
  const small = createHarness(undefined, { clusterCidr: ["10.42.0.0/24"] });
  small.client.put(nodes, { metadata: { name: "a" }, spec: {} });
  small.client.put(nodes, { metadata: { name: "b" }, spec: {} });
  await small.start(start);
  expect(small.events()).toContain("CIDRNotAvailable Node b status is now: CIDRNotAvailable");
  await small.stop();
});
