/** The promises of the `loadbalancer` slot: who gets an address, and who keeps none. */
import assert from "node:assert/strict";
import { services } from "../kube/resources.ts";
import type { FakeKube } from "../kube/fake.ts";
import type { LoadBalancer } from "../slots/cluster.ts";
import { startSubject, type Subject } from "./subject.ts";
import { pause, test, within, type ConformanceTest } from "./suite.ts";

const spec = { type: "LoadBalancer", clusterIP: "10.43.0.20", ports: [{ name: "http", port: 8080, nodePort: 30080, protocol: "TCP" }] };
const put = (kube: FakeKube, name: string, more: object = {}) =>
  kube.put(services, { metadata: { name, namespace: "default", creationTimestamp: "2026-01-01T00:00:00Z" }, spec: { ...spec, ...more } });
const ingressOf = (kube: FakeKube, name: string) => kube.read(services, name, "default")?.status?.loadBalancer?.ingress ?? [];

export function loadbalancerSuite(subject: Subject): readonly ConformanceTest[] {
  const each = (name: string, run: (kube: FakeKube, ownClass: string) => Promise<void>): ConformanceTest =>
    test(name, [], async (ctx) => {
      const started = await startSubject<LoadBalancer>(subject, ctx);
      ctx.defer(() => started.stop());
      await run(started.world.kube, started.impl.loadBalancerClass);
    });
  return [
    each("a Service of type LoadBalancer gets an address", async (kube) => {
      put(kube, "web");
      await within(2000, () => assert.ok(ingressOf(kube, "web")[0]?.ip ?? ingressOf(kube, "web")[0]?.hostname));
    }),
    each("its own class is served", async (kube, loadBalancerClass) => {
      put(kube, "web", { loadBalancerClass });
      await within(2000, () => assert.ok(ingressOf(kube, "web").length > 0));
    }),
    each("another class is left to others", async (kube) => {
      put(kube, "web", { loadBalancerClass: "example.com/other" });
      put(kube, "plain", { type: "ClusterIP" });
      await pause(200);
      assert.deepEqual([ingressOf(kube, "web"), ingressOf(kube, "plain")], [[], []]);
    }),
    each("a Service that is no longer of type LoadBalancer loses its address", async (kube) => {
      put(kube, "web");
      await within(2000, () => assert.ok(ingressOf(kube, "web").length > 0));
      const before = kube.read(services, "web", "default")!;
      kube.put(services, { ...before, spec: { ...before.spec, type: "ClusterIP" } });
      await within(2000, () => assert.deepEqual(ingressOf(kube, "web"), []));
    }),
  ];
}
