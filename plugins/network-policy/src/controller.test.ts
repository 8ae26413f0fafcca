import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { namespaces, networkPolicies, pods } from "@k3s-p/plugin-api/kube";
import { fakeKube } from "@k3s-p/plugin-api/kube/fake";
import { flaky, seeded } from "@k3s-p/plugin-api/kube/fake-flaky";
import { silentLogger } from "@k3s-p/plugin-api/testing";
import { startController } from "./controller.ts";
import { rulesetOf } from "./rules.ts";
import { fullLoad } from "./table.ts";

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

it.each([1, 2, 3, 4, 5, 6])("comes to the same table over a bad network, with an nft that refuses now and then (seed %i)", async (seed) => {
  const random = seeded(seed);
  const kube = fakeKube();
  const loads: string[] = [];
  let refusing = 0.3;
  async function apply(transaction: string): Promise<void> {
    await new Promise((resolve) => setTimeout(resolve, random() * 3));
    if (random() < refusing) throw new Error("busy");
    loads.push(transaction);
  }
  const pod = (name: string, node: string, ip: string, app: string) =>
    kube.put(pods, { metadata: { name, namespace: "default", labels: { app } }, spec: { nodeName: node }, status: { phase: "Running", podIP: ip, podIPs: [{ ip }] } });
  kube.put(namespaces, { metadata: { name: "default" } });
  const controller = startController({ kube: flaky(kube, { random }), nodeName: "node-1", table: "t", apply, log: silentLogger });
  for (let i = 0; i < 30; i++) {
    const name = `p${Math.floor(random() * 6)}`;
    if (random() < 0.3) kube.drop(pods, name, "default");
    else pod(name, random() < 0.5 ? "node-1" : "node-2", `10.42.${i % 2}.${i + 2}`, random() < 0.5 ? "a" : "b");
    if (i % 10 === 0) kube.put(networkPolicies, { metadata: { name: `n${i}`, namespace: "default" }, spec: { podSelector: { matchLabels: { app: "a" } }, ingress: [{ from: [{ podSelector: { matchLabels: { app: "b" } } }] }] } });
    await vi.advanceTimersByTimeAsync(random() * 4);
  }
  refusing = 1;
  pod("last", "node-1", "10.42.0.99", "a");
  await vi.advanceTimersByTimeAsync(20_000);
  refusing = 0;
  await vi.advanceTimersByTimeAsync(30_000);
  await controller.stop();
  // What was refused is followed by a load of all that the controller has come to.
  const all = { nodeName: "node-1", policies: kube.all(networkPolicies), pods: kube.all(pods), namespaces: kube.all(namespaces) };
  expect(words(loads.at(-1)!)).toEqual(words(fullLoad("t", rulesetOf(all))));
});

/** The order of elements means nothing. */
const words = (text: string): string[] => text.split(/[\s,]+/).sort();
