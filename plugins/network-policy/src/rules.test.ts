import { describe, expect, it, test } from "vitest";
import type { Namespace, NetworkPolicy, Pod } from "@k3s-p/plugin-api/kube";
import { rangesOf } from "./ranges.ts";
import { rulesetOf, type Ruleset } from "./rules.ts";
import { difference, fullLoad } from "./table.ts";

const space = (name: string, labels: Record<string, string> = {}): Namespace => ({ metadata: { name, labels: { "kubernetes.io/metadata.name": name, ...labels } } });

interface PodOptions {
  readonly namespace?: string;
  readonly node?: string;
  readonly phase?: string;
  readonly hostNetwork?: boolean;
  readonly ports?: readonly [name: string, port: number][];
}

const pod = (name: string, ip: string, labels: Record<string, string>, options: PodOptions = {}): Pod => ({
  metadata: { name, namespace: options.namespace ?? "default", labels },
  spec: {
    nodeName: options.node ?? "node-1", ...(options.hostNetwork && { hostNetwork: true }),
    containers: [{ name: "c", ports: (options.ports ?? []).map(([port, containerPort]) => ({ name: port, containerPort })) }],
  },
  status: { phase: options.phase ?? "Running", podIP: ip, podIPs: [{ ip }] },
});

const policy = (name: string, spec: object, namespace = "default"): NetworkPolicy =>
  ({ metadata: { name, namespace }, spec: { podSelector: {}, ...spec } }) as NetworkPolicy;

const pods = [
  pod("web", "10.42.0.2", { app: "web" }, { ports: [["http", 8080]] }),
  pod("web-2", "10.42.0.3", { app: "web" }, { ports: [["http", 9090]] }),
  pod("db", "10.42.0.4", { app: "db" }),
  pod("far", "10.42.1.2", { app: "web" }, { node: "node-2" }),
  pod("agent", "10.42.0.9", { app: "agent" }, { namespace: "monitoring" }),
  pod("host", "192.0.2.10", { app: "web" }, { hostNetwork: true }),
  pod("done", "10.42.0.8", { app: "web" }, { phase: "Succeeded" }),
];
const namespaces = [space("default"), space("monitoring", { team: "ops" })];
const rules = (...policies: NetworkPolicy[]) => rulesetOf({ nodeName: "node-1", policies, pods, namespaces });
const keys = (set: string, of: Ruleset) => [...(of.sets.get(set)?.elements.keys() ?? [])].sort();
const refusal = ["meta l4proto tcp reject with tcp reset", "reject"];
/** What the chain allows that the pod's address leads to. */
const chain = (map: "ingress" | "egress", ip: string, of: Ruleset) => {
  const rules = of.chains.get(of.sets.get(map)!.elements.get(ip)?.replace("jump ", "") ?? "")!;
  expect(rules.slice(-2)).toEqual(refusal);
  return rules.slice(0, -2);
};

describe("who is selected", () => {
  it("no pod without a policy", () => {
    const none = rules();
    expect([keys("ingress", none), keys("egress", none), none.chains.size]).toEqual([[], [], 0]);
  });

  it("pods of this node, with an address of their own, that still run", () => {
    expect(keys("ingress", rules(policy("deny", {})))).toEqual(["10.42.0.2", "10.42.0.3", "10.42.0.4"]);
    expect(keys("ingress", rules(policy("deny", { podSelector: { matchLabels: { app: "web" } } })))).toEqual(["10.42.0.2", "10.42.0.3"]);
  });

  it("the directions of policyTypes, or ingress and those that have rules", () => {
    const directions = (spec: object) => [keys("ingress", rules(policy("p", spec))).length, keys("egress", rules(policy("p", spec))).length];
    expect(directions({})).toEqual([3, 0]);
    expect(directions({ egress: [] })).toEqual([3, 3]);
    expect(directions({ policyTypes: ["Egress"] })).toEqual([0, 3]);
  });

  it("and each may reach itself", () => expect(keys("self", rules(policy("p", { podSelector: { matchLabels: { app: "db" } } })))).toEqual(["10.42.0.4 . 10.42.0.4"]));
});

describe("what is allowed", () => {
  const ingress = (...list: object[]) => chain("ingress", "10.42.0.4", rules(policy("p", { ingress: list })));

  test.each<[string, object[], string[]]>([
    ["nothing without rules", [], []],
    ["everything by an empty rule", [{}], ["return"]],
    ["ports of everybody", [{ ports: [{ port: 80 }, { port: 53, protocol: "UDP" }, { protocol: "SCTP" }, { port: 8000, endPort: 8010 }] }],
      ["tcp dport 80 return", "udp dport 53 return", "meta l4proto sctp return", "tcp dport 8000-8010 return"]],
    ["all ports of a range", [{ from: [{ ipBlock: { cidr: "10.0.0.0/8", except: ["10.128.0.0/9"] } }] }], ["ip saddr { 10.0.0.0-10.127.255.255 } return"]],
    ["everybody by the range of all", [{ from: [{ ipBlock: { cidr: "0.0.0.0/0" } }], ports: [{ port: 80 }] }], ["tcp dport 80 return"]],
    ["nobody over IPv4 by a range of IPv6", [{ from: [{ ipBlock: { cidr: "2001:db8::/32" } }] }], []],
  ])("%s", (_, list, wanted) => expect(ingress(...list)).toEqual(wanted));

  test.each<[string, object, string[]]>([
    ["pods of the policy's namespace", { podSelector: { matchLabels: { app: "web" } } }, ["10.42.0.2", "10.42.0.3", "10.42.1.2"]],
    ["all pods of namespaces", { namespaceSelector: { matchLabels: { team: "ops" } } }, ["10.42.0.9"]],
    ["some pods of namespaces", { namespaceSelector: {}, podSelector: { matchExpressions: [{ key: "app", operator: "In", values: ["agent", "db"] }] } }, ["10.42.0.4", "10.42.0.9"]],
    ["a namespace by its name", { namespaceSelector: { matchLabels: { "kubernetes.io/metadata.name": "monitoring" } } }, ["10.42.0.9"]],
  ])("%s, wherever they run", (_, peer, wanted) => {
    const of = rules(policy("p", { ingress: [{ from: [peer] }] }));
    const set = /^ip saddr @(\S+) return$/.exec(chain("ingress", "10.42.0.4", of)[0]!)![1]!;
    expect(keys(set, of)).toEqual(wanted);
  });

  it("a named port at each pod's own number", () => {
    const of = rules(policy("p", { ingress: [{ ports: [{ port: "http" }] }] }));
    const set = /@(\S+) return$/.exec(chain("ingress", "10.42.0.4", of)[0]!)![1]!;
    expect(keys(set, of)).toEqual(["10.42.0.2 . tcp . 8080", "10.42.0.3 . tcp . 9090"]);
  });

  it("what any policy of a pod allows; pods under the same policies share the chain", () => {
    const of = rules(policy("a", { ingress: [{ ports: [{ port: 80 }] }] }), policy("b", { podSelector: { matchLabels: { app: "web" } }, ingress: [{ ports: [{ port: 81 }] }] }));
    expect(chain("ingress", "10.42.0.2", of)).toEqual(["tcp dport 80 return", "tcp dport 81 return"]);
    expect(chain("ingress", "10.42.0.4", of)).toEqual(["tcp dport 80 return"]);
    expect(of.sets.get("ingress")!.elements.get("10.42.0.2")).toBe(of.sets.get("ingress")!.elements.get("10.42.0.3"));
  });

  it("egress by the destination", () => {
    const of = rules(policy("p", { egress: [{ to: [{ ipBlock: { cidr: "192.0.2.7/32" } }], ports: [{ port: 443 }] }] }));
    expect(chain("egress", "10.42.0.4", of)).toEqual(["ip daddr { 192.0.2.7 } tcp dport 443 return"]);
  });
});

test.each<[{ cidr: string; except?: string[] }[], readonly string[] | "all"]>([
  [[{ cidr: "10.0.0.0/24", except: ["10.0.0.0/24"] }], []],
  [[{ cidr: "10.0.0.0/24", except: ["10.0.0.0/25", "10.0.0.255/32"] }], ["10.0.0.128-10.0.0.254"]],
  [[{ cidr: "10.0.0.0/24", except: ["10.0.0.1/32", "172.16.0.0/12"] }], ["10.0.0.0", "10.0.0.2-10.0.0.255"]],
  [[{ cidr: "10.0.0.0/24" }, { cidr: "10.0.1.0/24" }, { cidr: "10.0.0.128/25" }], ["10.0.0.0-10.0.1.255"]],
  [[{ cidr: "10.0.0.0/8", except: ["10.1.0.0/16"] }, { cidr: "10.1.2.3/32" }], ["10.0.0.0-10.0.255.255", "10.1.2.3", "10.2.0.0-10.255.255.255"]],
  [[{ cidr: "0.0.0.0/1" }, { cidr: "128.0.0.0/1" }], "all"],
  [[{ cidr: "::/0" }], []],
])("the addresses of %j are %j", (blocks, wanted) => expect(rangesOf(blocks)).toEqual(wanted));

describe("a change", () => {
  const allowWeb = policy("p", { podSelector: { matchLabels: { app: "db" } }, ingress: [{ from: [{ podSelector: { matchLabels: { app: "web" } } }] }] });

  it("of a peer is an element, and of nothing is nothing", () => {
    const before = rules(allowWeb);
    const next = rulesetOf({ nodeName: "node-1", policies: [allowWeb], pods: [...pods, pod("web-3", "10.42.0.5", { app: "web" })], namespaces });
    expect(difference("t", before, next)).toMatch(/^add element ip t pods-\w+ \{ 10\.42\.0\.5 \}\n$/);
    expect(difference("t", next, before)).toMatch(/^delete element ip t pods-\w+ \{ 10\.42\.0\.5 \}\n$/);
    expect(difference("t", before, rules(allowWeb))).toBe("");
  });

  it("names nothing that is not there yet, and removes nothing that is still named", () => {
    const [none, some] = [rules(), rules(allowWeb)];
    const order = (text: string) => text.trim().split("\n").map((line) => line.split(" ").slice(0, 2).join(" "));
    expect(order(difference("t", none, some))).toEqual(["add set", "add chain", "flush chain", "add rule", "add rule", "add rule", "add element", "add element", "add element"]);
    expect(order(difference("t", some, none))).toEqual(["delete element", "delete element", "flush chain", "delete chain", "delete set"]);
  });

  it("of everything replaces the table in one transaction", () => {
    expect(fullLoad("t", rules()).split("\n").slice(0, 6)).toEqual([
      "add table ip t", "delete table ip t", "add table ip t",
      "add map ip t egress { type ipv4_addr : verdict; }", "add map ip t ingress { type ipv4_addr : verdict; }", "add set ip t self { type ipv4_addr . ipv4_addr; }",
    ]);
  });
});
