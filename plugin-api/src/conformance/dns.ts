/** The promises of the `dns` slot, after the Kubernetes DNS specification 1.1: what a pod's resolver gets for which name. */
import assert from "node:assert/strict";
import { Resolver } from "node:dns/promises";
import { endpointSlices, services } from "../kube/resources.ts";
import type { FakeKube } from "../kube/fake.ts";
import type { Dns } from "../slots/cluster.ts";
import { startSubject, type Subject } from "./subject.ts";
import { test, within, type ConformanceContext, type ConformanceTest } from "./suite.ts";

interface Ask {
  readonly kube: FakeKube;
  readonly resolver: Resolver;
}

const zone = "cluster.local";
/** The search list of a pod in the namespace `default`. */
const search = [`default.svc.${zone}`, `svc.${zone}`, zone];

export function dnsSuite(subject: Subject): readonly ConformanceTest[] {
  const each = (name: string, run: (ask: Ask) => Promise<void>): ConformanceTest => test(name, [], async (ctx) => run(await begin(subject, ctx)));
  return [
    each("A: a Service's name leads to its ClusterIP", async ({ resolver }) => {
      assert.deepEqual(await resolver.resolve4(`web.default.svc.${zone}`), ["10.43.0.20"]);
    }),
    each("A: a headless Service's name leads to its ready endpoints, and an endpoint's host name to that one", async ({ resolver }) => {
      assert.deepEqual((await resolver.resolve4(`pets.default.svc.${zone}`)).sort(), ["10.42.0.5", "10.42.0.6"]);
      assert.deepEqual(await resolver.resolve4(`pet-0.pets.default.svc.${zone}`), ["10.42.0.5"]);
    }),
    each("SRV: a named port of a Service", async ({ resolver }) => {
      const [record] = await resolver.resolveSrv(`_http._tcp.web.default.svc.${zone}`);
      assert.deepEqual([record?.name, record?.port], [`web.default.svc.${zone}`, 80]);
    }),
    each("SRV: a headless Service names each endpoint", async ({ resolver }) => {
      const records = await resolver.resolveSrv(`_http._tcp.pets.default.svc.${zone}`);
      assert.equal(records.length, 2);
      assert.ok(records.some(({ name, port }) => name === `pet-0.pets.default.svc.${zone}` && port === 8080), JSON.stringify(records));
    }),
    each("PTR: a ClusterIP leads back to its Service", async ({ resolver }) => {
      assert.deepEqual(await resolver.reverse("10.43.0.20"), [`web.default.svc.${zone}`]);
    }),
    each("CNAME: an ExternalName Service", async ({ resolver }) => {
      assert.deepEqual(await resolver.resolveCname(`outside.default.svc.${zone}`), ["www.example.com"]);
    }),
    each("NXDOMAIN: a Service that does not exist", async ({ resolver }) => {
      await assert.rejects(resolver.resolve4(`nothing.default.svc.${zone}`), { code: "ENOTFOUND" });
    }),
    each("NODATA: a type that an existing name does not have", async ({ resolver }) => {
      await assert.rejects(resolver.resolve6(`web.default.svc.${zone}`), { code: "ENODATA" });
    }),
    each("search path: short names are found, and misses on the way are NXDOMAIN", searchPath),
    each("names are found whatever their case", async ({ resolver }) => {
      assert.deepEqual(await resolver.resolve4(`WEB.Default.svc.${zone.toUpperCase()}`), ["10.43.0.20"]);
    }),
    each("an answer too long for UDP is had over TCP", async ({ kube, resolver }) => {
      putHeadless(kube, "big", Array.from({ length: 200 }, (_, i) => ({ addresses: [`10.42.1.${i}`] })));
      await within(1000, async () => assert.equal((await resolver.resolve4(`big.default.svc.${zone}`)).length, 200));
    }),
    each("a new Service is found within a second, and a deleted one is not", follows),
  ];
}

async function begin(subject: Subject, ctx: ConformanceContext): Promise<Ask> {
  const started = await startSubject<Dns>(subject, ctx);
  ctx.defer(() => started.stop());
  const { kube } = started.world;
  putService(kube, "web", { clusterIP: "10.43.0.20", clusterIPs: ["10.43.0.20"], ports: [{ name: "http", port: 80, protocol: "TCP" }] });
  putService(kube, "outside", { type: "ExternalName", externalName: "www.example.com" });
  putHeadless(kube, "pets", [{ addresses: ["10.42.0.5"], hostname: "pet-0" }, { addresses: ["10.42.0.6"] }, { addresses: ["10.42.0.7"], conditions: { ready: false } }]);
  const resolver = new Resolver({ timeout: 1000, tries: 1 });
  resolver.setServers([`${started.impl.address}:${started.impl.port}`]);
  ctx.defer(() => resolver.cancel());
  // A provider in another process hears of objects a moment later, and of each kind at a time of its own.
  const all = () => Promise.all([resolver.resolve4(`web.default.svc.${zone}`), resolver.resolve4(`pets.default.svc.${zone}`), resolver.resolveCname(`outside.default.svc.${zone}`)]);
  await within(500, all).catch(() => undefined);
  return { kube, resolver };
}

const putService = (kube: FakeKube, name: string, spec: object, namespace = "default") => kube.put(services, { metadata: { name, namespace }, spec });

function putHeadless(kube: FakeKube, name: string, endpoints: readonly object[]): void {
  const ports = [{ name: "http", port: 8080, protocol: "TCP" }];
  putService(kube, name, { clusterIP: "None", clusterIPs: ["None"], ports: [{ name: "http", port: 80, protocol: "TCP" }] });
  kube.put(endpointSlices, {
    metadata: { name: `${name}-1`, namespace: "default", labels: { "kubernetes.io/service-name": name } }, addressType: "IPv4", ports,
    endpoints: endpoints.map((endpoint) => ({ conditions: { ready: true }, ...endpoint })),
  });
}

/** As the C library does with `ndots:5`: one candidate after the other until one is there. */
async function searchPath({ kube, resolver }: Ask): Promise<void> {
  putService(kube, "db", { clusterIP: "10.43.0.30", clusterIPs: ["10.43.0.30"], ports: [] }, "kube-system");
  for (const [short, wanted, misses] of [["web", "10.43.0.20", 0], ["db.kube-system", "10.43.0.30", 1], ["db.kube-system.svc", "10.43.0.30", 2]] as const) {
    for (const suffix of search.slice(0, misses)) {
      await assert.rejects(resolver.resolve4(`${short}.${suffix}`), { code: "ENOTFOUND" }, `${short}.${suffix}`);
    }
    const name = `${short}.${search[misses]}`;
    await within(500, async () => assert.deepEqual(await resolver.resolve4(name), [wanted], name));
  }
}

async function follows({ kube, resolver }: Ask): Promise<void> {
  const name = `late.default.svc.${zone}`;
  await assert.rejects(resolver.resolve4(name), { code: "ENOTFOUND" });
  putService(kube, "late", { clusterIP: "10.43.0.40", clusterIPs: ["10.43.0.40"], ports: [] });
  await within(1000, async () => assert.deepEqual(await resolver.resolve4(name), ["10.43.0.40"]));
  kube.drop(services, "late", "default");
  await within(1000, () => assert.rejects(resolver.resolve4(name), { code: "ENOTFOUND" }));
}
