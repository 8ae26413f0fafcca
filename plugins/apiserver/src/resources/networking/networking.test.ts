import { describe, expect, it } from "vitest";
import { validateMetadata } from "../../verbs/metadata.ts";
import { created, rowOf, statusUpdated, updated } from "../testing.ts";
import type { Obj } from "../types.ts";

const GROUP = "networking.k8s.io";
const ingresses = rowOf(GROUP, "ingresses");
const classes = rowOf(GROUP, "ingressclasses");
const policies = rowOf(GROUP, "networkpolicies");
const backend = (service: Obj = {}): Obj => ({ service: { name: "s", port: { number: 80 }, ...service } });
const rule = (path: Obj, host = "a.example.com"): Obj => ({ rules: [{ host, http: { paths: [{ path: "/", pathType: "Prefix", backend: backend(), ...path }] } }] });
const ingress = (spec: Obj, annotations?: Obj): Obj => ({ metadata: { name: "i", ...(annotations && { annotations }) } as Obj["metadata"], spec });
const PATH = "spec.rules[0].http.paths[0]";
const subdomain = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character " +
  "(e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";

describe("an Ingress", () => {
  it.each<[Obj, ...string[]]>([
    [rule({ backend: {} }), `${PATH}.backend: Invalid value: "": resource or service backend is required`],
    [rule({ backend: { ...backend(), resource: { kind: "K", name: "n" } } }), `${PATH}.backend: Invalid value: "": cannot set both resource and service backends`],
    [rule({ backend: { resource: {} } }), `${PATH}.backend.resource.kind: Required value: kind is required`, `${PATH}.backend.resource.name: Required value: name is required`],
    [rule({ backend: { resource: { apiGroup: "A", kind: "a/b", name: "n" } } }), `${PATH}.backend.resource.apiGroup: Invalid value: "A": ${subdomain}`, `${PATH}.backend.resource.kind: Invalid value: "a/b": may not contain '/'`],
    [rule({ backend: backend({ name: "1s" }) })],
    [rule({ backend: backend({ port: {} }) }), `${PATH}.backend: Required value: port name or number is required`],
    [rule({ path: "/a//b/.." }), `${PATH}.path: Invalid value: "/a//b/..": must not contain '//'`, `${PATH}.path: Invalid value: "/a//b/..": cannot end with '/..'`],
    [rule({ path: "a", pathType: "ImplementationSpecific" }), `${PATH}.path: Invalid value: "a": must be an absolute path`],
    [rule({ path: "", pathType: "ImplementationSpecific" })],
    [rule({}, "::1"), 'spec.rules[0].host: Invalid value: "::1": must be a DNS name, not an IP address', `spec.rules[0].host: Invalid value: "::1": ${subdomain}`],
    [
      { ...rule({ path: "a" }), tls: [{ hosts: ["A"] }], defaultBackend: {} }, 'spec.defaultBackend: Invalid value: "": resource or service backend is required',
      `${PATH}.path: Invalid value: "a": must be an absolute path`, `spec.tls[0].hosts[0]: Invalid value: "A": ${subdomain}`,
    ],
  ])("with %j is judged", (spec, ...errors) => expect(created(ingresses, ingress(spec)).errors).toEqual(errors));

  it("names its class in one way", () => {
    const spec = { ...rule({}), ingressClassName: "a" };
    const both = ingress(spec, { "kubernetes.io/ingress.class": "b" });
    expect(created(ingresses, both).errors).toEqual(['annotations.kubernetes.io/ingress.class: Invalid value: "b": must match `ingressClassName` when both are specified']);
    const old = ingress(rule({}), { "kubernetes.io/ingress.class": "a" });
    expect(ingresses.warnings!(old)).toEqual([`annotation "kubernetes.io/ingress.class" is deprecated, please use 'spec.ingressClassName' instead`]);
    expect(ingresses.warnings!(ingress(spec, { "kubernetes.io/ingress.class": "a" }))).toEqual([]);
    expect(ingresses.warnings!(old, old)).toEqual([]);
  });

  it("keeps what was once accepted of secrets and of wildcard hosts", () => {
    const old = ingress({ ...rule({ path: "a" }, "*.example.com"), tls: [{ secretName: "A" }] });
    expect(created(ingresses, old).errors).toHaveLength(2);
    expect(updated(ingresses, created(ingresses, old).object, (o) => (o.spec.tls[0].hosts = ["a.b"])).errors).toEqual([]);
  });

  it.each<[Obj, ...string[]]>([
    [{ ip: "10.0.0.1", hostname: "a.b" }],
    [{ ip: "x" }, 'status.loadBalancer.ingress[0].ip: Invalid value: "x": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)'],
    [{ hostname: "10.0.0.1" }, 'status.loadBalancer.ingress[0].hostname: Invalid value: "10.0.0.1": must be a DNS name, not an IP address'],
  ])("is reached at %j", (entry, ...errors) => expect(statusUpdated(ingresses, ingress(rule({})), { loadBalancer: { ingress: [entry] } })).toEqual(errors));
});

describe("an IngressClass", () => {
  const of = (spec: Obj): Obj => ({ metadata: { name: "c" }, spec: { controller: "a.io/b", ...spec } });
  const parameters = (given: Obj): Obj => ({ parameters: { kind: "K", name: "n", ...given } });
  it.each<[Obj, ...string[]]>([
    [{ controller: "" }, "spec.controller: Required value"],
    [{ controller: "A/b" }, `spec.controller: Invalid value: "A": ${subdomain}`],
    [{ controller: "a/ b" }, `spec.controller: Invalid value: " b": Invalid path (regex used for validation is '[A-Za-z0-9/\\-._~%!$&'()*+,;=:]+')`],
    [{ controller: `a/${"b".repeat(249)}` }, "spec.controller: Too long: may not be more than 250 bytes"],
    [parameters({ kind: "" }), "spec.parameters.kind: Required value: kind is required"],
    [parameters({ scope: "x" }), 'spec.parameters.scope: Unsupported value: "x": supported values: "Cluster", "Namespace"'],
    [parameters({ namespace: "n" }), "spec.parameters.namespace: Forbidden: `parameters.scope` is set to 'Cluster'"],
    [parameters({ scope: "Namespace" }), "spec.parameters.namespace: Required value: `parameters.scope` is set to 'Namespace'"],
  ])("with %j is judged", (spec, ...errors) => expect(created(classes, of(spec)).errors).toEqual(errors));
});

describe("a NetworkPolicy", () => {
  const policy = (egress: Obj): Obj => ({ metadata: { name: "p" }, spec: { podSelector: {}, egress: [egress] } });
  const port = (given: Obj): Obj => ({ ports: [given] });
  const block = (given: Obj): Obj => ({ to: [{ ipBlock: given }] });
  const PORT = "spec.egress[0].ports[0]";
  const BLOCK = "spec.egress[0].to[0].ipBlock";
  it.each<[Obj, ...string[]]>([
    [port({ protocol: "x" }), `${PORT}.protocol: Unsupported value: "x": supported values: "TCP", "UDP", "SCTP"`],
    [port({ endPort: 5 }), `${PORT}.endPort: Invalid value: 5: may not be specified when \`port\` is not specified`],
    [port({ port: "http", endPort: 5 }), `${PORT}.endPort: Invalid value: 5: may not be specified when \`port\` is non-numeric`],
    [port({ port: 80, endPort: 5 }), `${PORT}.endPort: Invalid value: 80: must be greater than or equal to \`port\``],
    [port({ port: 0 }), `${PORT}.port: Invalid value: 0: must be between 1 and 65535, inclusive`],
    [block({}), `${BLOCK}.cidr: Required value`],
    [block({ cidr: "10.0.0.0" }), `${BLOCK}.cidr: Invalid value: "10.0.0.0": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)`],
    [block({ cidr: "10.0.0.1/8" }), `${BLOCK}.cidr: Invalid value: "10.0.0.1/8": must not have bits set beyond the prefix length`],
    [block({ cidr: "010.0.0.0/8" }), `${BLOCK}.cidr: Invalid value: "010.0.0.0/8": must not have leading 0s in IP or prefix length`],
    [block({ cidr: "::ffff:10.0.0.0/104" }), `${BLOCK}.cidr: Invalid value: "::ffff:10.0.0.0/104": must not have an IPv4-mapped IPv6 address`],
    [block({ cidr: "10.0.0.0/8", except: ["10.0.0.0/8"] }), `${BLOCK}.except[0]: Invalid value: "10.0.0.0/8": must be a strict subset of \`cidr\``],
    [{ to: [{ podSelector: {}, ipBlock: { cidr: "10.0.0.0/8" } }] }, "spec.egress[0].to[0]: Forbidden: may not specify both ipBlock and another peer"],
  ])("with the rule %j is judged", (egress, ...errors) => expect(created(policies, policy(egress)).errors).toEqual(errors));

  it("keeps a range that is not strictly one", () => {
    const old = created(policies, policy(block({ cidr: "10.0.0.1/8" }))).object;
    expect(updated(policies, old, (o) => (o.spec.policyTypes = ["Egress"])).errors).toEqual([]);
  });
});

describe("service addresses", () => {
  it.each<[string, Obj, ...string[]]>([
    ["servicecidrs", { cidrs: [] }, "spec.cidrs: Required value: at least one CIDR required"],
    ["servicecidrs", { cidrs: ["10.0.0.0/8", "11.0.0.0/8"] }, 'spec.cidrs: Invalid value: {"cidrs":["10.0.0.0/8","11.0.0.0/8"]}: may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64'],
    ["ipaddresses", { parentRef: { group: "A", resource: "services", name: "n" } }, `spec.parentRef.group: Invalid value: "A": ${subdomain}`],
    ["ipaddresses", { parentRef: { resource: "a/b" } }, `spec.parentRef.resource: Invalid value: "a/b": may not contain '/'`, "spec.parentRef.name: Required value"],
  ])("of %s with %j are judged", (plural, spec, ...errors) => expect(created(rowOf(GROUP, plural), { metadata: { name: "10.0.0.1" }, spec }).errors).toEqual(errors));

  it("are named in their shortest form", () => {
    const errors = (name: string) => created(rowOf(GROUP, "ipaddresses"), { metadata: { name }, spec: { parentRef: { resource: "services", name: "n" } } }).errors;
    expect(errors("2001:db8::1")).toEqual([]);
    expect(validateMetadata({ metadata: { name: "2001:db8::1" } } as never, rowOf(GROUP, "ipaddresses"))).toEqual([]);
    expect(errors("no-address")).toEqual([expect.stringContaining('metadata.name: Invalid value: "no-address": must be a valid IP address')]);
    expect(errors("2001:db8:0::1")).toEqual(['metadata.name: Invalid value: "2001:db8:0::1": must be in canonical form ("2001:db8::1")']);
  });
});
