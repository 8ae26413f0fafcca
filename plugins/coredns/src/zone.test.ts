import { decode, encode, type RecordType } from "dns-packet";
import { beforeEach, describe, expect, test } from "vitest";
import { putCluster, type TestZone, testZone } from "./testing.ts";

let zone: TestZone;
beforeEach(() => {
  zone = testZone();
  putCluster(zone.kube);
});

async function ask(name: string, type: string) {
  const packet = encode({ type: "query", id: 7, flags: 256, questions: [{ name, type: type as RecordType }] });
  const reply = decode((await zone.resolver.handle(packet, "udp"))!);
  const data = (reply.answers ?? []).map((a: any) => (a.type === "SRV" ? `${a.data.port} ${a.data.target}` : a.type === "TXT" ? a.data.map(String).join() : a.data));
  return { rcode: (reply as any).rcode as string, data: data.sort(), authority: reply.authorities?.map((a) => `${a.type} ${a.name}`) ?? [], reply };
}

const found: readonly (readonly [string, string, readonly string[]])[] = [
  ["kubernetes.default.svc.cluster.local", "A", ["10.43.0.1"]],
  ["KuberNetes.default.SVC.cluster.local", "A", ["10.43.0.1"]],
  ["dual.default.svc.cluster.local", "AAAA", ["fd00:43::2"]],
  ["_https._tcp.kubernetes.default.svc.cluster.local", "SRV", ["443 kubernetes.default.svc.cluster.local"]],
  ["_dns._udp.dual.default.svc.cluster.local", "SRV", ["53 dual.default.svc.cluster.local"]],
  ["headless.default.svc.cluster.local", "A", ["10.42.0.5", "10.42.0.6"]],
  ["headless.default.svc.cluster.local", "AAAA", ["fd00:42::5"]],
  ["my-pet.headless.default.svc.cluster.local", "A", ["10.42.0.5"]],
  ["my-pet.headless.default.svc.cluster.local", "AAAA", ["fd00:42::5"]],
  ["10-42-0-6.headless.default.svc.cluster.local", "A", ["10.42.0.6"]],
  ["_http._tcp.headless.default.svc.cluster.local", "SRV", ["8080 10-42-0-6.headless.default.svc.cluster.local", "8080 my-pet.headless.default.svc.cluster.local"]],
  ["early.default.svc.cluster.local", "A", ["10.42.0.8"]],
  ["1.0.43.10.in-addr.arpa", "PTR", ["kubernetes.default.svc.cluster.local"]],
  ["5.0.42.10.in-addr.arpa", "PTR", ["my-pet.headless.default.svc.cluster.local"]],
  ["5.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.2.4.0.0.0.0.d.f.ip6.arpa", "PTR", ["my-pet.headless.default.svc.cluster.local"]],
  ["10-42-7-9.default.pod.cluster.local", "A", ["10.42.7.9"]],
  ["fd00-42--9.default.pod.cluster.local", "AAAA", ["fd00:42::9"]],
  ["dns-version.cluster.local", "TXT", ["1.1.0"]],
  ["ns.dns.cluster.local", "A", ["10.43.0.10"]],
  ["cluster.local", "NS", ["ns.dns.cluster.local"]],
  ["outside.default.svc.cluster.local", "CNAME", ["www.example.com"]],
  ["inside.default.svc.cluster.local", "A", ["10.43.0.1", "kubernetes.default.svc.cluster.local"]],
  ["node-1", "A", ["192.0.2.7"]],
  ["7.2.0.192.in-addr.arpa", "PTR", ["node-1"]],
];
const noData = [
  ["cluster.local", "A"], ["svc.cluster.local", "A"], ["pod.cluster.local", "A"], ["default.svc.cluster.local", "A"],
  ["kubernetes.default.svc.cluster.local", "AAAA"], ["kubernetes.default.svc.cluster.local", "TXT"], ["kubernetes.default.svc.cluster.local", "MX"],
  ["_tcp.kubernetes.default.svc.cluster.local", "A"], ["10-42-7-9.default.pod.cluster.local", "AAAA"], ["default.pod.cluster.local", "A"],
] as const;
const nxDomain = [
  ["nothing.default.svc.cluster.local", "A"], ["kubernetes.nowhere.svc.cluster.local", "A"], ["nowhere.svc.cluster.local", "A"],
  ["empty.default.svc.cluster.local", "A"], ["_ftp._tcp.kubernetes.default.svc.cluster.local", "SRV"], ["_https._udp.kubernetes.default.svc.cluster.local", "SRV"],
  ["his-pet.headless.default.svc.cluster.local", "A"], ["10-42-0-7.headless.default.svc.cluster.local", "A"], ["a.b.c.d.default.svc.cluster.local", "A"],
  ["example.com.svc.cluster.local", "A"], ["www.cluster.local", "A"], ["10-42-7.default.pod.cluster.local", "A"], ["10-42-7-9.nowhere.pod.cluster.local", "A"],
  ["x.outside.default.svc.cluster.local", "A"],
] as const;

describe("records of the specification", () => {
  test.each(found)("%s %s", async (name, type, data) => {
    const { rcode, data: answers } = await ask(name, type);
    expect({ rcode, answers }).toEqual({ rcode: "NOERROR", answers: data });
  });
  test.each(noData)("%s %s is NODATA", async (name, type) => {
    expect(await ask(name, type)).toMatchObject({ rcode: "NOERROR", data: [], authority: ["SOA cluster.local"] });
  });
  test.each(nxDomain)("%s %s is NXDOMAIN", async (name, type) => {
    expect(await ask(name, type)).toMatchObject({ rcode: "NXDOMAIN", data: [], authority: ["SOA cluster.local"] });
  });
});

test("answers are authoritative, echo the question's case, and SRV brings the addresses along", async () => {
  const { reply } = await ask("_HTTP._tcp.Headless.default.svc.cluster.local", "SRV");
  expect(reply.flag_aa && reply.flag_ra && reply.flag_rd).toBe(true);
  expect(reply.questions![0]!.name).toBe("_HTTP._tcp.Headless.default.svc.cluster.local");
  expect(reply.additionals!.map((a: any) => `${a.type} ${a.data}`).sort()).toEqual(["A 10.42.0.5", "A 10.42.0.6", "AAAA fd00:42::5"]);
});

test("a change of an object shows in the next answer", async () => {
  expect((await ask("kubernetes.default.svc.cluster.local", "A")).data).toEqual(["10.43.0.1"]);
  zone.kube.put((await import("@k3s-p/plugin-api/kube")).services, { metadata: { name: "kubernetes", namespace: "default" }, spec: { clusterIP: "10.43.0.99", clusterIPs: ["10.43.0.99"] } });
  expect((await ask("kubernetes.default.svc.cluster.local", "A")).data).toEqual(["10.43.0.99"]);
  zone.kube.drop((await import("@k3s-p/plugin-api/kube")).services, "kubernetes", "default");
  expect((await ask("kubernetes.default.svc.cluster.local", "A")).rcode).toBe("NXDOMAIN");
});

test("an ExternalName without upstream still gives the alias", async () => {
  expect(await ask("outside.default.svc.cluster.local", "A")).toMatchObject({ rcode: "NOERROR", data: ["www.example.com"] });
});

test("names outside the cluster are SERVFAIL when nobody else can be asked", async () => {
  expect((await ask("example.com", "A")).rcode).toBe("SERVFAIL");
});
