import { createSocket } from "node:dgram";
import { Resolver as Client } from "node:dns/promises";
import { once } from "node:events";
import { connect, createServer } from "node:net";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as k from "@k3s-p/plugin-api/kube";
import { fakeKube, type FakeKube } from "@k3s-p/plugin-api/kube/fake";
import { startAlone, testNode } from "@k3s-p/plugin-api/testing";
import { decode, encode } from "dns-packet";
import { afterEach, expect, test, vi } from "vitest";
import plugin from "./plugin.ts";
import { listen } from "./server.ts";
import { corefile, putCluster, testZone } from "./testing.ts";

const cleanup: (() => unknown)[] = [];
afterEach(async () => {
  for (const step of cleanup.splice(0).reverse()) await step();
});

function clientOf(port: number): Client {
  const client = new Client({ timeout: 1000, tries: 1 });
  client.setServers([`127.0.0.1:${port}`]);
  return client;
}

async function serve() {
  const zone = testZone();
  putCluster(zone.kube);
  const server = await listen(zone.resolver, "127.0.0.1", 0);
  cleanup.push(() => server.close());
  return { ...zone, port: server.port };
}

test("answers a real resolver over UDP, and over TCP when the answer is long", async () => {
  const { kube, port } = await serve();
  const client = clientOf(port);
  expect(await client.resolve4("kubernetes.default.svc.cluster.local")).toEqual(["10.43.0.1"]);
  expect(await client.resolveSrv("_https._tcp.kubernetes.default.svc.cluster.local")).toMatchObject([{ port: 443, name: "kubernetes.default.svc.cluster.local" }]);
  await expect(client.resolve4("nothing.default.svc.cluster.local")).rejects.toMatchObject({ code: "ENOTFOUND" });
  await expect(client.resolve6("kubernetes.default.svc.cluster.local")).rejects.toMatchObject({ code: "ENODATA" });
  kube.put(k.services, { metadata: { name: "big", namespace: "default" }, spec: { clusterIP: "None" } });
  kube.put(k.endpointSlices, {
    metadata: { name: "big", namespace: "default", labels: { "kubernetes.io/service-name": "big" } }, addressType: "IPv4", ports: [],
    endpoints: Array.from({ length: 200 }, (_, i) => ({ addresses: [`10.42.1.${i}`] })),
  });
  expect(await client.resolve4("big.default.svc.cluster.local")).toHaveLength(200);
});

test("TCP takes many questions on one connection, in pieces", async () => {
  const { port } = await serve();
  const socket = connect(port, "127.0.0.1");
  cleanup.push(() => socket.destroy());
  const frame = (id: number) => {
    const packet = encode({ type: "query", id, questions: [{ name: "kubernetes.default.svc.cluster.local", type: "A" }] });
    return Buffer.concat([Buffer.from([packet.length >> 8, packet.length & 255]), packet]);
  };
  const all = Buffer.concat([1, 2, 3].map(frame));
  for (let i = 0; i < all.length; i += 7) socket.write(all.subarray(i, i + 7));
  let received = Buffer.alloc(0);
  socket.on("data", (chunk: Buffer) => (received = Buffer.concat([received, chunk])));
  await vi.waitFor(() => {
    const ids: number[] = [];
    for (let at = 0; at + 2 <= received.length; at += 2 + received.readUInt16BE(at)) ids.push(received.readUInt16BE(at + 2));
    expect(ids).toEqual([1, 2, 3]);
  });
});

test("garbage gets FORMERR or silence, and the next question its answer", async () => {
  const { port } = await serve();
  const socket = createSocket("udp4");
  cleanup.push(() => socket.close());
  socket.connect(port, "127.0.0.1");
  await once(socket, "connect");
  socket.send(Buffer.from("nonsense"));
  socket.send(Buffer.from([0, 5, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 63, 1]));
  const [reply] = (await once(socket, "message")) as [Buffer];
  expect(reply.readUInt16BE(0)).toBe(5);
  expect(reply[3]! & 15).toBe(1);
  const notImplemented = encode({ type: "query", id: 6, flags: 2 << 11, questions: [{ name: "a", type: "A" }] });
  socket.send(notImplemented);
  const [second] = (await once(socket, "message")) as [Buffer];
  expect((decode(second) as any).rcode).toBe("NOTIMP");
});

test("a port that is taken on TCP is not used for UDP alone", async () => {
  const zone = testZone();
  const other = createServer().listen(0, "127.0.0.1");
  await once(other, "listening");
  cleanup.push(() => other.close());
  const taken = (other.address() as { port: number }).port;
  await expect(listen(zone.resolver, "127.0.0.1", taken)).rejects.toMatchObject({ code: "K3SP_PORT_IN_USE" });
  const server = await listen(zone.resolver, "127.0.0.1", 0, taken);
  cleanup.push(() => server.close());
  expect(server.port).not.toBe(taken);
});

interface Started {
  readonly kube: FakeKube;
  readonly impl: { readonly address: string; readonly port: number };
  readonly deployed: readonly { name: string; yaml: string }[];
  stop(): Promise<void>;
}

async function startPlugin(dir: string, kube = fakeKube()): Promise<Started> {
  const deployed: { name: string; yaml: string }[] = [];
  const deployer = {
    async deploy(addon: { name: string; yaml: string }) {
      deployed.push(addon);
      kube.put(k.configMaps, { metadata: { name: "coredns", namespace: "kube-system" }, data: { Corefile: `${corefile.trimEnd().slice(0, -1)}    import /etc/coredns/custom/*.override\n}\nimport /etc/coredns/custom/*.server\n` } });
      kube.put(k.services, { metadata: { name: "kube-dns", namespace: "kube-system" }, spec: { clusterIP: "10.43.0.10", clusterIPs: ["10.43.0.10"] } });
    },
    remove: async () => undefined,
  };
  const started = await startAlone<{ address: string; port: number }>(plugin, { needs: { kube, deployer, node: testNode(dir) }, config: { port: 0 }, dir, id: "coredns" });
  cleanup.push(() => started.stop());
  return { kube, impl: started.impl, deployed, stop: started.stop };
}

test("the plugin deploys its objects, publishes its endpoint and keeps its port over a restart", async () => {
  const dir = await mkdtemp(join(tmpdir(), "coredns-"));
  cleanup.push(() => rm(dir, { recursive: true, force: true }));
  const first = await startPlugin(dir);
  expect(first.deployed.map((a) => a.name)).toEqual(["coredns"]);
  expect(first.deployed[0]!.yaml).toContain("name: kube-dns");
  const slice = () => first.kube.read(k.endpointSlices, "kube-dns-node-1", "kube-system");
  expect(slice()).toMatchObject({
    metadata: { labels: { "kubernetes.io/service-name": "kube-dns", "endpointslice.kubernetes.io/managed-by": "k3s-p" }, ownerReferences: [{ kind: "Service", name: "kube-dns" }] },
    addressType: "IPv4", endpoints: [{ addresses: ["127.0.0.1"] }],
    ports: [
      { name: "dns", port: first.impl.port, protocol: "UDP" }, { name: "dns-tcp", port: first.impl.port, protocol: "TCP" },
      { name: "metrics", port: expect.any(Number), protocol: "TCP" },
    ],
  });
  first.kube.drop(k.endpointSlices, "kube-dns-node-1", "kube-system");
  await vi.waitFor(() => expect(slice()).toBeDefined());
  await first.stop();
  expect(slice()).toBeUndefined();
  const second = await startPlugin(dir, first.kube);
  expect(second.impl.port).toBe(first.impl.port);
});

test("its figures are served while the Corefile says prometheus", async () => {
  const dir = await mkdtemp(join(tmpdir(), "coredns-"));
  cleanup.push(() => rm(dir, { recursive: true, force: true }));
  const { kube, impl } = await startPlugin(dir);
  putCluster(kube);
  const { port } = kube.read(k.endpointSlices, "kube-dns-node-1", "kube-system")!.ports!.find(({ name }) => name === "metrics")!;
  const figures = async (path = "/metrics") => fetch(`http://127.0.0.1:${port}${path}`).then(async (r) => [r.status, await r.text()] as const);
  const client = clientOf(impl.port);
  for (let i = 0; i < 2; i++) await client.resolve4("kubernetes.default.svc.cluster.local");
  await expect(client.resolve6("nothing.default.svc.cluster.local")).rejects.toThrow();
  const set = async (change: (text: string) => string) => {
    const map = kube.read(k.configMaps, "coredns", "kube-system")!;
    kube.put(k.configMaps, { ...map, data: { ...map.data, Corefile: change(map.data!.Corefile!) } });
  };
  await set((text) => text.replace(/^ *prometheus.*\n/m, ""));
  await vi.waitFor(async () => expect((await figures())[0]).toBe(404));
  await set((text) => text.replace("loadbalance", "loadbalance\n    prometheus :9153"));
  await vi.waitFor(async () => expect((await figures())[0]).toBe(200));
  const [, text] = await figures();
  expect(text).toContain('coredns_dns_requests_total{server="dns://:53",zone=".",view="",proto="udp",family="1",type="A"} 2\n');
  expect(text).toContain('coredns_dns_responses_total{server="dns://:53",zone=".",view="",rcode="NOERROR"} 2\n');
  expect(text).toContain('coredns_dns_responses_total{server="dns://:53",zone=".",view="",rcode="NXDOMAIN"} 1\n');
  expect(text).toContain('coredns_dns_request_duration_seconds_bucket{server="dns://:53",zone=".",view="",le="+Inf"} 3\n');
  expect((await figures("/other"))[0]).toBe(404);
});

test("nodes, custom files and a broken Corefile take effect while it runs", async () => {
  const dir = await mkdtemp(join(tmpdir(), "coredns-"));
  cleanup.push(() => rm(dir, { recursive: true, force: true }));
  const { kube, impl } = await startPlugin(dir);
  const client = clientOf(impl.port);
  kube.put(k.nodes, { metadata: { name: "edge-1" }, status: { addresses: [{ type: "InternalIP", address: "192.0.2.9" }] } });
  await vi.waitFor(async () => expect(await client.resolve4("edge-1")).toEqual(["192.0.2.9"]));
  expect(kube.read(k.configMaps, "coredns", "kube-system")!.data!["NodeHosts"]).toBe("192.0.2.9 edge-1\n");

  kube.put(k.configMaps, { metadata: { name: "coredns-custom", namespace: "kube-system" }, data: {
    "a.server": "example.org {\n  hosts {\n    192.0.2.1 a.example.org\n  }\n}\n", "b.override": "rewrite name exact api.local kubernetes.default.svc.cluster.local\ndnstap /x\n",
  } });
  kube.put(k.services, { metadata: { name: "kubernetes", namespace: "default" }, spec: { clusterIP: "10.43.0.1", clusterIPs: ["10.43.0.1"] } });
  expect(await client.resolve4("a.example.org")).toEqual(["192.0.2.1"]);
  expect(await client.resolve4("api.local")).toEqual(["10.43.0.1"]);
  await vi.waitFor(() => expect(kube.all(k.events).map((e) => `${e.reason}: ${e.message}`)).toEqual([expect.stringMatching(/^UnsupportedDirective: line \d+: directive "dnstap" is not supported/)]));

  const map = kube.read(k.configMaps, "coredns", "kube-system")!;
  kube.put(k.configMaps, { ...map, data: { ...map.data, Corefile: ".:53 {\n kubernetes {" } });
  expect(await client.resolve4("kubernetes.default.svc.cluster.local")).toEqual(["10.43.0.1"]);
  await vi.waitFor(() => expect(kube.all(k.events).some((e) => e.reason === "InvalidCorefile")).toBe(true));
  kube.drop(k.nodes, "edge-1");
  await vi.waitFor(() => expect(kube.read(k.configMaps, "coredns", "kube-system")!.data!["NodeHosts"]).toBe(""));
});
