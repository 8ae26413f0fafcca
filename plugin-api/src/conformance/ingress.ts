/** The promises of the `ingress` slot: which backend answers for which host and path, and that changes drop nobody. */
import assert from "node:assert/strict";
import { Agent, createServer, request, type RequestOptions } from "node:http";
import type { AddressInfo } from "node:net";
import { endpointSlices, ingressClasses, ingresses, services } from "../kube/resources.ts";
import type { FakeKube } from "../kube/fake.ts";
import type { Ingress } from "../slots/cluster.ts";
import { tlsTests } from "./ingress-tls.ts";
import { startSubject, type Subject } from "./subject.ts";
import { pause, test, within, type ConformanceContext, type ConformanceTest } from "./suite.ts";

export interface IngressPlace {
  readonly kube: FakeKube;
  readonly host: string;
  /** Undefined when the provider does not terminate TLS. */
  readonly httpsPort: number | undefined;
  readonly ingressClass: string;
  /** A backend that answers with its name; the Service has the same name. */
  backend(name: string): Promise<void>;
  route(name: string, host: string | undefined, paths: readonly (readonly [path: string, type: string, service: string])[], more?: object): void;
  /** `status body` */
  get(host: string, path?: string): Promise<string>;
}

export function ingressSuite(subject: Subject): readonly ConformanceTest[] {
  const each = (name: string, run: (place: IngressPlace) => Promise<void>): ConformanceTest => test(name, [], async (ctx) => run(await begin(subject, ctx)));
  const is = (place: IngressPlace, host: string, path: string, wanted: string) => within(2000, async () => assert.equal(await place.get(host, path), wanted));
  const isStatus = (place: IngressPlace, host: string, path: string, wanted: number) =>
    within(2000, async () => assert.equal(Number((await place.get(host, path)).split(" ")[0]), wanted));
  return [
    each("host: each host has its backend, and the port in the header does not matter", async (place) => {
      await Promise.all([place.backend("a"), place.backend("b")]);
      place.route("a", "a.example.com", [["/", "Prefix", "a"]]);
      place.route("b", "b.example.com", [["/", "Prefix", "b"]]);
      await is(place, "a.example.com", "/", "200 a");
      await is(place, "b.example.com:8080", "/deep/path?x=1", "200 b");
    }),
    each("host: a wildcard is for one label", async (place) => {
      await place.backend("a");
      place.route("w", "*.example.com", [["/", "Prefix", "a"]]);
      await is(place, "any.example.com", "/", "200 a");
      await isStatus(place, "two.labels.example.com", "/", 404);
    }),
    each("path: the longest prefix wins, by elements, and Exact is exact", async (place) => {
      await Promise.all(["root", "deep", "exact"].map((name) => place.backend(name)));
      place.route("p", "a.example.com", [["/", "Prefix", "root"], ["/app", "Prefix", "deep"], ["/app/one", "Exact", "exact"]]);
      await is(place, "a.example.com", "/app/two", "200 deep");
      await is(place, "a.example.com", "/app", "200 deep");
      await is(place, "a.example.com", "/application", "200 root");
      await is(place, "a.example.com", "/app/one", "200 exact");
      await is(place, "a.example.com", "/app/one/more", "200 deep");
    }),
    each("path: a slash at the end does not matter to Prefix, and does to Exact", async (place) => {
      await Promise.all(["prefix", "exact"].map((name) => place.backend(name)));
      place.route("p", "a.example.com", [["/app/", "Prefix", "prefix"], ["/one", "Exact", "exact"]]);
      await is(place, "a.example.com", "/app", "200 prefix");
      await is(place, "a.example.com", "/app/two", "200 prefix");
      await is(place, "a.example.com", "/one", "200 exact");
      await isStatus(place, "a.example.com", "/one/", 404);
    }),
    each("defaultBackend answers what no rule is for", async (place) => {
      await Promise.all(["rule", "rest"].map((name) => place.backend(name)));
      place.route("d", "a.example.com", [["/app", "Prefix", "rule"]], { defaultBackend: { service: { name: "rest", port: { name: "http" } } } });
      await is(place, "a.example.com", "/app", "200 rule");
      await is(place, "b.example.com", "/", "200 rest");
    }),
    each("404: an unknown host, and a path that no rule has", async (place) => {
      await place.backend("a");
      place.route("a", "a.example.com", [["/app", "Prefix", "a"]]);
      await is(place, "a.example.com", "/app", "200 a");
      await isStatus(place, "other.example.com", "/app", 404);
      await isStatus(place, "a.example.com", "/else", 404);
    }),
    each("a rule without a host is for all", async (place) => {
      await place.backend("a");
      place.route("any", undefined, [["/", "Prefix", "a"]]);
      await is(place, "whatever.example.com", "/", "200 a");
    }),
    each("5xx while a Service has no ready endpoint, not a hang", async (place) => {
      place.kube.put(services, { metadata: { name: "empty", namespace: "default" }, spec: { clusterIP: "10.43.0.9", ports: [{ name: "http", port: 80 }] } });
      place.route("e", "a.example.com", [["/", "Prefix", "empty"]]);
      await within(2000, async () => assert.match(await place.get("a.example.com"), /^50[023] /));
    }),
    each("an Ingress of another class is somebody else's", async (place) => {
      await place.backend("a");
      place.route("x", "a.example.com", [["/", "Prefix", "a"]], { ingressClassName: "somebody-else" });
      await pause(100);
      await isStatus(place, "a.example.com", "/", 404);
    }),
    each("a rule that is deleted is gone", async (place) => {
      await place.backend("a");
      place.route("a", "a.example.com", [["/", "Prefix", "a"]]);
      await is(place, "a.example.com", "/", "200 a");
      place.kube.drop(ingresses, "a", "default");
      await isStatus(place, "a.example.com", "/", 404);
    }),
    each("reload: 200 changes of the rules drop no request", reload),
    ...tlsTests.map(([name, run]) => each(name, run)),
  ];
}

async function reload(place: IngressPlace): Promise<void> {
  await Promise.all([place.backend("a"), place.backend("b")]);
  place.route("main", "a.example.com", [["/", "Prefix", "a"]]);
  await within(2000, async () => assert.equal(await place.get("a.example.com"), "200 a"));
  let changing = true;
  const answers = new Map<string, number>();
  const ask = async () => {
    while (changing) {
      const answer = await place.get("a.example.com").catch((error: Error) => error.message);
      answers.set(answer, (answers.get(answer) ?? 0) + 1);
    }
  };
  const asking = Promise.all([ask(), ask(), ask()]);
  for (let i = 0; i < 200; i++) {
    place.route("main", "a.example.com", [["/", "Prefix", i % 2 ? "a" : "b"]]);
    place.route(`other-${i % 10}`, `other-${i}.example.com`, [["/", "Prefix", "a"]]);
    if (i % 10 === 0) await pause(5);
    else await new Promise((resolve) => setImmediate(resolve));
  }
  changing = false;
  await asking;
  assert.deepEqual([...answers.keys()].filter((answer) => answer !== "200 a" && answer !== "200 b"), [], "requests got something else than an answer of a backend");
}

async function begin(subject: Subject, ctx: ConformanceContext): Promise<IngressPlace> {
  const started = await startSubject<Ingress>(subject, ctx);
  ctx.defer(() => started.stop());
  const { kube, node } = started.world;
  const { httpPort, ingressClass } = started.impl;
  if (!kube.read(ingressClasses, ingressClass)) kube.put(ingressClasses, { metadata: { name: ingressClass }, spec: { controller: "test" } });
  const agent = new Agent({ keepAlive: true });
  ctx.defer(() => agent.destroy());
  const rule = (host: string | undefined, paths: readonly (readonly [string, string, string])[]) => ({
    ...(host && { host }),
    http: { paths: paths.map(([path, pathType, service]) => ({ path, pathType, backend: { service: { name: service, port: { name: "http" } } } })) },
  });
  return {
    kube, ingressClass, host: node.ip, httpsPort: started.impl.httpsPort,
    async backend(name) {
      const server = createServer((_, response) => void response.end(name)).listen(0, "127.0.0.1");
      await new Promise((resolve) => server.once("listening", resolve));
      ctx.defer(() => (server.closeAllConnections(), void server.close()));
      const { port } = server.address() as AddressInfo;
      kube.put(services, { metadata: { name, namespace: "default" }, spec: { clusterIP: "10.43.0.5", ports: [{ name: "http", port: 80, protocol: "TCP" }] } });
      kube.put(endpointSlices, {
        metadata: { name: `${name}-1`, namespace: "default", labels: { "kubernetes.io/service-name": name } }, addressType: "IPv4",
        endpoints: [{ addresses: ["127.0.0.1"], conditions: { ready: true } }], ports: [{ name: "http", port, protocol: "TCP" }],
      });
    },
    route: (name, host, paths, more = {}) =>
      void kube.put(ingresses, { metadata: { name, namespace: "default" }, spec: { ingressClassName: ingressClass, rules: [rule(host, paths)], ...more } }),
    get: (host, path = "/") => get({ host: node.ip, port: httpPort, path, agent, headers: { host } }),
  };
}

function get(options: RequestOptions): Promise<string> {
  return new Promise((resolve, reject) => {
    const sent = request({ ...options, timeout: 5000 }, (response) => {
      let body = "";
      response.setEncoding("utf8").on("data", (chunk: string) => (body += chunk));
      response.on("end", () => resolve(`${response.statusCode} ${body}`)).on("error", reject);
    });
    sent.on("timeout", () => sent.destroy(new Error("no answer within 5 s"))).on("error", reject).end();
  });
}
