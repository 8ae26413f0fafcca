/** The cluster DNS TEMPLATE_NAME: answers from the Services and EndpointSlices of the cluster, over UDP and TCP. */
import { createSocket } from "node:dgram";
import { createServer, type AddressInfo } from "node:net";
import { definePlugin } from "@k3s-p/plugin-api";
import { endpointSlices, services } from "@k3s-p/plugin-api/kube";
import { publishListener } from "@k3s-p/plugin-api/kube/service-endpoint";
import { deployer, dns, kube, node } from "@k3s-p/plugin-api/slots";
import { createZone } from "./dns-zone.ts";
import { answer } from "./dns-wire.ts";

interface Config {
  readonly ttl: number;
}

const needs = { kube, node, deployer };
/** Pods ask the ClusterIP of this Service. */
const yaml = `apiVersion: v1
kind: Service
metadata: {name: kube-dns, namespace: kube-system}
spec:
  clusterIP: "%{CLUSTER_DNS}%"
  ports: [{name: dns, port: 53, protocol: UDP}, {name: dns-tcp, port: 53, protocol: TCP}]
`;

export default definePlugin<typeof dns, typeof needs, {}, Config>({
  provides: dns,
  needs,
  async start(ctx) {
    const { kube: client, node: self } = ctx.needs;
    const informers = { services: client.informer(services), slices: client.informer(endpointSlices) };
    ctx.defer(() => (informers.services.stop(), informers.slices.stop()));
    await Promise.all([informers.services.synced, informers.slices.synced, ctx.needs.deployer.deploy({ name: "TEMPLATE_NAME", yaml })]);
    const zone = createZone(informers, self.cluster.clusterDomain, ctx.config.ttl);

    const tcp = createServer((socket) => {
      let received = Buffer.alloc(0);
      socket.setTimeout(10_000, () => socket.destroy()).on("error", () => socket.destroy());
      socket.on("data", (chunk: Buffer) => {
        received = Buffer.concat([received, chunk]);
        for (let size = 0; received.length >= 2 && received.length >= 2 + (size = received.readUInt16BE(0)); received = received.subarray(2 + size)) {
          const reply = answer(received.subarray(2, 2 + size), zone, 65_535);
          if (reply) socket.write(Buffer.concat([Buffer.from([reply.length >> 8, reply.length & 255]), reply]));
        }
      });
    });
    await new Promise<void>((resolve, reject) => tcp.once("error", reject).listen(0, self.ip, resolve));
    ctx.defer(() => void tcp.close());
    const { port } = tcp.address() as AddressInfo;
    const udp = createSocket(self.ip.includes(":") ? "udp6" : "udp4");
    await new Promise<void>((resolve, reject) => udp.once("error", reject).bind(port, self.ip, resolve));
    ctx.defer(() => void udp.close());
    udp.on("message", (query, from) => udp.send(answer(query, zone, 512) ?? Buffer.alloc(0), from.port, from.address));
    const ports = [{ name: "dns", port, protocol: "UDP" }, { name: "dns-tcp", port, protocol: "TCP" }] as const;
    const endpoint = await publishListener(client, { namespace: "kube-system", service: "kube-dns", nodeName: self.name, address: self.ip, ports });
    ctx.defer(() => endpoint.stop());
    return { address: self.ip, port };
  },
});
