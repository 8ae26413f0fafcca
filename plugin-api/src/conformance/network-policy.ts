/** The promises of the `network-policy` slot, after the NetworkPolicy API: who may reach whom, tried with real connections. */
import assert from "node:assert/strict";
import { namespaces, networkPolicies, pods } from "../kube/resources.ts";
import type { NetworkPolicy } from "../slots/node.ts";
import { join2, type Netns } from "../testing-netns.ts";
import { dataPlane, type DataPlane } from "./data-plane.ts";
import { startSubject, type Started, type Subject } from "./subject.ts";
import { test, type ConformanceContext, type ConformanceTest } from "./suite.ts";

interface PodPlace {
  readonly ip: string;
  readonly net: Netns;
}

interface Place extends DataPlane {
  readonly started: Started<NetworkPolicy>;
  /** Serve on 80 and 8080: `web` and `db` in the namespace `default`, `agent` in `ops`. The label `app` is the name. */
  readonly web: PodPlace;
  readonly db: PodPlace;
  readonly agent: PodPlace;
  /** Writes a policy of the namespace `default` and waits for the rules. */
  policy(name: string, spec: object): Promise<void>;
  /** Who reaches the pod at the port, in this order: web, db, agent, the node, and somebody outside of the cluster. */
  reaching(pod: PodPlace, port?: number): readonly string[];
}

const labels = (app: string) => ({ matchLabels: { app } });
const all = ["web", "db", "agent", "node", "outside"];

export function networkPolicySuite(subject: Subject): readonly ConformanceTest[] {
  const each = (name: string, run: (place: Place) => Promise<void> | void): ConformanceTest => test(name, ["netns"], async (ctx) => run(await begin(subject, ctx)));
  return [
    each("without a policy everybody reaches everybody", ({ reaching, db, agent }) => {
      assert.deepEqual([reaching(db), reaching(agent)], [all, all]);
    }),
    each("a pod that is selected for ingress is reached by nobody but itself and its node; others stay open", async ({ policy, reaching, web, db, agent }) => {
      await policy("deny", { podSelector: labels("db"), policyTypes: ["Ingress"] });
      assert.deepEqual([reaching(db), reaching(web), reaching(agent)], [["db", "node"], all, all]);
    }),
    each("from: pods of the own namespace by their labels", async ({ policy, reaching, db }) => {
      await policy("web", { podSelector: labels("db"), ingress: [{ from: [{ podSelector: labels("web") }] }] });
      assert.deepEqual(reaching(db), ["web", "db", "node"]);
      await policy("web", { podSelector: labels("db"), ingress: [{ from: [{ podSelector: labels("agent") }] }] });
      assert.deepEqual(reaching(db), ["db", "node"], "a pod of another namespace with the same label came in");
    }),
    each("from: namespaces by their labels, and pods in them", async ({ policy, reaching, db }) => {
      const ops = { matchLabels: { team: "ops" } };
      await policy("p", { podSelector: labels("db"), ingress: [{ from: [{ namespaceSelector: ops }] }] });
      assert.deepEqual(reaching(db), ["db", "agent", "node"]);
      await policy("p", { podSelector: labels("db"), ingress: [{ from: [{ namespaceSelector: ops, podSelector: labels("other") }] }] });
      assert.deepEqual(reaching(db), ["db", "node"]);
    }),
    each("from: ipBlock with an exception", async ({ policy, reaching, db }) => {
      await policy("p", { podSelector: labels("db"), ingress: [{ from: [{ ipBlock: { cidr: "192.0.2.0/24" } }] }] });
      assert.deepEqual(reaching(db), ["db", "node", "outside"]);
      await policy("p", { podSelector: labels("db"), ingress: [{ from: [{ ipBlock: { cidr: "0.0.0.0/0", except: ["192.0.2.16/28", "10.42.0.11/32"] } }] }] });
      assert.deepEqual(reaching(db), ["db", "agent", "node"]);
    }),
    each("ports: by number, range and name, and only those", ports),
    each("to: a pod that is selected for egress reaches what is allowed, and is reached by all", async ({ policy, reaching, web, db, agent }) => {
      await policy("p", { podSelector: labels("web"), policyTypes: ["Egress"], egress: [{ to: [{ podSelector: labels("db") }], ports: [{ port: "http" }] }] });
      assert.ok(reaching(db).includes("web"), "to the pod that it may reach");
      assert.ok(!reaching(db, 8080).includes("web"), "to another port of it");
      assert.ok(!reaching(agent).includes("web"), "to another pod");
      assert.deepEqual(reaching(web), all, "answers to others");
    }),
    each("to: nothing, so that neither pods nor what is outside of the cluster are reached", async ({ policy, reaching, web, db, outside }) => {
      await outside.serve(80, "outside");
      assert.match(web.net.ask("192.0.2.20", 80) ?? "no answer", /^outside /);
      await policy("p", { policyTypes: ["Egress"] });
      assert.equal(web.net.ask("192.0.2.20", 80), undefined);
      assert.deepEqual(reaching(db), ["db", "agent", "node", "outside"]);
    }),
    each("policies add up: what one allows is allowed", async ({ policy, reaching, db }) => {
      await policy("deny", {});
      await policy("web", { podSelector: labels("db"), ingress: [{ from: [{ podSelector: labels("web") }] }] });
      await policy("outside", { ingress: [{ from: [{ ipBlock: { cidr: "192.0.2.20/32" } }] }] });
      assert.deepEqual(reaching(db), ["web", "db", "node", "outside"]);
    }),
    each("pods, labels and namespaces that change are followed, and a deleted policy is gone", follows),
    each("pods stay protected when the server stops", async ({ policy, reaching, db, started }) => {
      await policy("deny", { podSelector: labels("db"), policyTypes: ["Ingress"] });
      await started.stop();
      assert.deepEqual(reaching(db), ["db", "node"]);
    }),
    each("nobody is kept out any more when it is retired", async ({ policy, reaching, db, started }) => {
      await policy("deny", { podSelector: labels("db"), policyTypes: ["Ingress"] });
      await started.stop("retired");
      assert.deepEqual(reaching(db), all);
    }),
  ];
}

async function ports({ policy, reaching, db }: Place): Promise<void> {
  const allowed = async (port: object) => {
    await policy("p", { podSelector: labels("db"), ingress: [{ ports: [port] }] });
    return [reaching(db, 80).includes("web"), reaching(db, 8080).includes("web")];
  };
  assert.deepEqual(await allowed({ port: 80 }), [true, false], "80");
  assert.deepEqual(await allowed({ port: 8000, endPort: 8100 }), [false, true], "8000-8100");
  assert.deepEqual(await allowed({ port: "http" }), [true, false], "http");
  assert.deepEqual(await allowed({ port: "nobody-has-it" }), [false, false], "a name that no container has");
  assert.deepEqual(await allowed({ port: 80, protocol: "UDP" }), [false, false], "80/UDP");
  assert.deepEqual(await allowed({ protocol: "TCP" }), [true, true], "all of TCP");
}

async function follows({ started, policy, reaching, db }: Place): Promise<void> {
  const { kube } = started.world;
  const synced = (change: () => unknown) => (change(), started.impl.synced());
  await policy("p", { podSelector: labels("db"), ingress: [{ from: [{ podSelector: labels("web") }, { namespaceSelector: { matchLabels: { team: "ops" } } }] }] });
  await synced(() => kube.edit(pods, "web", "default", (pod) => void (pod.metadata.labels.app = "other")));
  await synced(() => kube.edit(namespaces, "ops", undefined, (each) => void (each.metadata.labels.team = "other")));
  assert.deepEqual(reaching(db), ["db", "node"]);
  await synced(() => kube.edit(pods, "web", "default", (pod) => void (pod.metadata.labels.app = "web")));
  assert.deepEqual(reaching(db), ["web", "db", "node"]);
  await synced(() => kube.edit(pods, "db", "default", (pod) => void (pod.metadata.labels.app = "free")));
  assert.deepEqual(reaching(db), all, "the pod is no longer selected");
  await synced(() => kube.edit(pods, "db", "default", (pod) => void (pod.metadata.labels.app = "db")));
  assert.deepEqual(reaching(db), ["web", "db", "node"]);
  await synced(() => kube.drop(networkPolicies, "p", "default"));
  assert.deepEqual(reaching(db), all);
}

async function begin(subject: Subject, ctx: ConformanceContext): Promise<Place> {
  const plane = dataPlane(ctx);
  plane.node.run("sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward");
  const started = await startSubject<NetworkPolicy>(subject, ctx, plane.place);
  ctx.defer(() => started.stop());
  const { kube, node } = started.world;
  kube.put(namespaces, { metadata: { name: "ops", labels: { team: "ops" } } });
  const pod = async (name: string, namespace: string, ip: string): Promise<PodPlace> => {
    const net = plane.add();
    join2(plane.node, `v${name}`, "10.42.0.1/32", net, "eth0", `${ip}/24`);
    plane.node.run("ip", "route", "add", `${ip}/32`, "dev", `v${name}`);
    // Every other pod is behind the node, as with most networks.
    net.run("ip", "route", "replace", "10.42.0.0/24", "via", "10.42.0.1", "dev", "eth0", "onlink");
    net.run("ip", "route", "add", "default", "via", "10.42.0.1", "dev", "eth0", "onlink");
    await Promise.all([net.serve(80, name), net.serve(8080, name)]);
    kube.put(pods, {
      metadata: { name, namespace, labels: { app: name } },
      spec: { nodeName: node.name, containers: [{ name: "c", ports: [{ name: "http", containerPort: 80 }, { name: "admin", containerPort: 8080 }] }] },
      status: { phase: "Running", podIP: ip, podIPs: [{ ip }] },
    });
    return { ip, net };
  };
  const [web, db, agent] = await Promise.all([pod("web", "default", "10.42.0.11"), pod("db", "default", "10.42.0.12"), pod("agent", "ops", "10.42.0.13")]);
  await started.impl.synced();
  const clients = { web: web.net, db: db.net, agent: agent.net, node: plane.node, outside: plane.outside };
  return {
    ...plane, started, web, db, agent,
    async policy(name, spec) {
      kube.put(networkPolicies, { metadata: { name, namespace: "default" }, spec: { podSelector: {}, ...spec } });
      await started.impl.synced();
    },
    reaching: ({ ip }, port = 80) => Object.entries(clients).filter(([, net]) => net.ask(ip, port) !== undefined).map(([name]) => name),
  };
}
