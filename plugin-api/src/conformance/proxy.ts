/** The promises of the `proxy` slot: Service addresses and node ports lead to ready endpoints, and to nothing else. */
import assert from "node:assert/strict";
import { endpointSlices, services } from "../kube/resources.ts";
import type { Proxy } from "../slots/node.ts";
import { join2, type Netns } from "../testing-netns.ts";
import { dataPlane, type DataPlane } from "./data-plane.ts";
import { startSubject, type Started, type Subject } from "./subject.ts";
import { test, within, type ConformanceContext, type ConformanceTest } from "./suite.ts";

interface Place extends DataPlane {
  readonly started: Started<Proxy>;
  /** Addresses are 10.42.0.N. */
  endpoints(name: string, addresses: readonly string[]): Promise<void>;
  service(name: string, spec: object): Promise<void>;
}

const vip = "10.43.0.20";
const web = { clusterIP: vip, clusterIPs: [vip], ports: [{ name: "http", port: 80, targetPort: 8080, protocol: "TCP" }] };

export function proxySuite(subject: Subject): readonly ConformanceTest[] {
  const each = (name: string, run: (place: Place) => Promise<void>): ConformanceTest => test(name, ["netns"], async (ctx) => run(await begin(subject, ctx)));
  const answers = (from: Netns, host: string, port: number) => new Set(Array.from({ length: 12 }, () => from.ask(host, port)?.split(" ")[0] ?? "none"));
  const both = ["10.42.0.11", "10.42.0.12"];
  return [
    each("a ClusterIP leads to every ready endpoint", async (place) => {
      await place.service("web", web);
      await place.endpoints("web", both);
      await within(2000, () => assert.deepEqual([...answers(place.node, vip, 80)].sort(), ["a", "b"]));
    }),
    each("an endpoint that is gone gets no new connection", async (place) => {
      await place.service("web", web);
      await place.endpoints("web", both);
      await place.endpoints("web", both.slice(0, 1));
      assert.deepEqual([...answers(place.node, vip, 80)], ["a"]);
    }),
    each("a Service without endpoints, and one that was deleted, do not answer", async (place) => {
      await place.service("web", web);
      await place.endpoints("web", []);
      assert.equal(place.node.ask(vip, 80), undefined);
      await place.endpoints("web", both);
      place.started.world.kube.drop(services, "web", "default");
      await place.started.impl.synced();
      assert.equal(place.node.ask(vip, 80), undefined);
    }),
    each("a NodePort answers on the node's address for those outside", async (place) => {
      await place.service("web", { ...web, type: "NodePort", ports: [{ ...web.ports[0], nodePort: 30080 }] });
      await place.endpoints("web", both);
      await within(2000, () => assert.deepEqual([...answers(place.outside, "192.0.2.10", 30080)].sort(), ["a", "b"]));
    }),
    each("ClientIP affinity keeps a client at one endpoint", async (place) => {
      await place.service("web", { ...web, sessionAffinity: "ClientIP", sessionAffinityConfig: { clientIP: { timeoutSeconds: 60 } } });
      await place.endpoints("web", both);
      assert.equal(answers(place.node, vip, 80).size, 1);
    }),
    each("rules stay on stop, so that running connections do", async (place) => {
      await place.service("web", web);
      await place.endpoints("web", both.slice(0, 1));
      await place.started.stop();
      assert.deepEqual([...answers(place.node, vip, 80)], ["a"]);
    }),
    each("rules go when it is retired, so that they do not outlive their endpoints", async (place) => {
      const ruleset = () => place.node.run("nft", "list", "ruleset");
      await place.service("web", web);
      await place.endpoints("web", both);
      assert.match(ruleset(), /10\.42\.0\.11/);
      await place.started.stop("retired");
      assert.doesNotMatch(ruleset(), /10\.42\.0\.11/);
    }),
  ];
}

async function begin(subject: Subject, ctx: ConformanceContext): Promise<Place> {
  const plane = dataPlane(ctx);
  const { node } = plane;
  node.run("sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward");
  for (const [i, name] of ["a", "b"].entries()) {
    const pod = plane.add();
    join2(node, `v${name}`, `10.42.0.1/32`, pod, "eth0", `10.42.0.1${i + 1}/24`);
    node.run("ip", "route", "add", `10.42.0.1${i + 1}/32`, "dev", `v${name}`);
    pod.run("ip", "route", "add", "default", "via", "10.42.0.1");
    await pod.serve(8080, name);
  }
  const started = await startSubject<Proxy>(subject, ctx, plane.place);
  ctx.defer(() => started.stop());
  const { kube } = started.world;
  return {
    ...plane, started,
    async service(name, spec) {
      kube.put(services, { metadata: { name, namespace: "default" }, spec });
      await started.impl.synced();
    },
    async endpoints(name, addresses) {
      kube.put(endpointSlices, {
        metadata: { name: `${name}-1`, namespace: "default", labels: { "kubernetes.io/service-name": name } }, addressType: "IPv4",
        endpoints: addresses.map((address) => ({ addresses: [address], conditions: { ready: true, serving: true, terminating: false } })),
        ports: [{ name: "http", port: 8080, protocol: "TCP" }],
      });
      await started.impl.synced();
    },
  };
}
