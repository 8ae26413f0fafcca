/** The ingress TEMPLATE_NAME: sends HTTP requests to the endpoints of the Services that Ingresses name. */
import { createServer, request, Agent, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { definePlugin } from "@k3s-p/plugin-api";
import { endpointSlices, ingresses, services } from "@k3s-p/plugin-api/kube";
import { ingress, kube, node } from "@k3s-p/plugin-api/slots";
import { createRoutes } from "./ingress-routes.ts";

interface Config {
  readonly port: number;
}

const ingressClass = "TEMPLATE_NAME";
const needs = { kube, node };

export default definePlugin<typeof ingress, typeof needs, {}, Config>({
  provides: ingress,
  needs,
  async start(ctx) {
    const client = ctx.needs.kube;
    const informers = { ingresses: client.informer(ingresses), services: client.informer(services), slices: client.informer(endpointSlices) };
    ctx.defer(() => Object.values(informers).forEach((informer) => informer.stop()));
    await Promise.all(Object.values(informers).map((informer) => informer.synced));
    const route = createRoutes(informers, ingressClass);
    const agent = new Agent({ keepAlive: true });
    ctx.defer(() => agent.destroy());

    const server = createServer((asked, response) => {
      const target = route(asked.headers.host ?? "", asked.url ?? "/");
      if (typeof target === "number") return void response.writeHead(target).end();
      forward(asked, response, target, agent);
    });
    // Upgrades (WebSocket) need a handler for "upgrade" that joins the two sockets.
    await new Promise<void>((resolve, reject) => server.once("error", reject).listen(ctx.config.port, ctx.needs.node.ip, resolve));
    ctx.defer(() => {
      server.close();
      server.closeAllConnections();
    });
    const { port: httpPort } = server.address() as AddressInfo;
    ctx.log.info(`ingress class ${ingressClass} answers at ${ctx.needs.node.ip}:${httpPort}`);
    return { httpPort, ingressClass };
  },
});

interface Target {
  readonly host: string;
  readonly port: number;
}

function forward(asked: IncomingMessage, response: ServerResponse, target: Target, agent: Agent): void {
  const headers = { ...asked.headers, "x-forwarded-for": asked.socket.remoteAddress ?? "", "x-forwarded-proto": "http" };
  const sent = request({ ...target, agent, method: asked.method, path: asked.url, headers }, (answer) => {
    response.writeHead(answer.statusCode ?? 502, answer.headers);
    answer.pipe(response);
  });
  sent.on("error", () => (response.headersSent ? response.destroy() : response.writeHead(502).end()));
  asked.pipe(sent);
}
