/** The kubelet's HTTPS server: one table of routes for logs, exec, attach, port-forward, stats and metrics. */
import type { IncomingMessage, ServerResponse } from "node:http";
import https from "node:https";
import type { AddressInfo } from "node:net";
import type { Duplex } from "node:stream";
import type { SecureContextOptions } from "node:tls";
import { k3spError, messageOf } from "@k3s-p/plugin-api";
import type { KeyPair, Pki, Renewal } from "@k3s-p/plugin-api/slots";
import type { KubeletOptions } from "../options.ts";
import type { PodManager } from "../pod-manager.ts";
import type { PodServices } from "../pod-services.ts";
import { authorizer } from "./auth.ts";
import { HttpError, send, type Request } from "./http.ts";
import { containerLogs, hostLogs } from "./log-handlers.ts";
import { PROMETHEUS } from "@k3s-p/plugin-api/prometheus";
import { cadvisorMetrics } from "./cadvisor.ts";
import { kubeletMetrics, resourceMetrics } from "./metrics.ts";
import type { Stats } from "./stats.ts";
import { runCommand, streamTarget } from "./stream-handlers.ts";
import { passUpgrade, refuse } from "./streams.ts";
import { summary } from "./summary.ts";

export interface KubeletServer {
  readonly port: number;
  close(): Promise<void>;
}

export interface ServerInput {
  readonly services: PodServices;
  readonly manager: PodManager;
  readonly pki: Pki;
  readonly options: KubeletOptions;
  readonly stats: Stats;
}

type Handler = (request: Request) => Promise<void> | void;

export async function kubeletServer(input: ServerInput): Promise<KubeletServer> {
  const { services, options } = input;
  const { kube, node, clock, log } = services;
  const authorize = authorizer(kube, node.name, clock);
  const routes = routeTable(input);
  const closed = new AbortController();
  const tls = await tlsOptions(input, { signal: closed.signal, onRenewed: (pair) => server.setSecureContext(secureContext(input, pair)) });
  const server = https.createServer(tls, (req, res) => void serve(req, res));

  async function serve(req: IncomingMessage, res: ServerResponse): Promise<void> {
    try {
      const { pathname, searchParams } = new URL(req.url ?? "/", "https://kubelet");
      if (!isPublic(pathname)) {
        const auth = await authorize(req);
        if (!auth.ok) return send(res, auth.message, undefined, auth.status);
      }
      const parts = pathname.split("/").filter(Boolean).map(decodeURIComponent);
      const name = [2, 1].map((n) => parts.slice(0, n).join("/")).find((key) => key in routes) ?? "";
      const handler = routes[name];
      if (!handler) throw new HttpError(404, "404 page not found\n");
      const begun = performance.now();
      res.once("close", () => services.figures.answered(
        { long_running: String(name === "containerLogs"), method: req.method ?? "GET", path: name, server_type: "readwrite" }, (performance.now() - begun) / 1000));
      await handler({ req, res, parts: parts.slice(name.split("/").length), query: searchParams });
    } catch (error) {
      if (res.headersSent) res.destroy();
      else send(res, messageOf(error), undefined, error instanceof HttpError ? error.status : 500);
    }
  }

  server.on("upgrade", (req: IncomingMessage, socket: Duplex, head: Buffer) => void upgrade(req, socket, head));
  async function upgrade(req: IncomingMessage, socket: Duplex, head: Buffer): Promise<void> {
    socket.on("error", () => socket.destroy());
    try {
      const auth = await authorize(req);
      if (!auth.ok) return refuse(socket, auth.status, auth.message);
      const { pathname, searchParams } = new URL(req.url ?? "/", "https://kubelet");
      const parts = pathname.split("/").filter(Boolean).map(decodeURIComponent);
      passUpgrade(req, socket, head, await streamTarget(services, input.manager, parts, searchParams));
    } catch (error) {
      refuse(socket, error instanceof HttpError ? error.status : 500, messageOf(error));
    }
  }

  await listen(server, options.port);
  const { port } = server.address() as AddressInfo;
  log.info({ port }, "kubelet server listens");
  return {
    port,
    close: () => new Promise((resolve) => {
      closed.abort();
      server.close(() => resolve());
      server.closeAllConnections();
    }),
  };
}

const isPublic = (path: string): boolean => path === "/healthz" || path === "/healthz/ping";

async function tlsOptions(input: ServerInput, renewal: Renewal): Promise<https.ServerOptions> {
  const { node } = input.services;
  const sans = [...new Set([node.name, "localhost", "127.0.0.1", node.ip, ...(node.externalIp ? [node.externalIp] : [])])];
  const pair = await input.pki.issue({
    name: "serving-kubelet", ca: "server-ca", commonName: node.name, usage: "server", sans, dir: node.paths.agent,
  }, renewal);
  return { ...secureContext(input, pair), requestCert: true, rejectUnauthorized: false };
}

const secureContext = ({ pki }: ServerInput, { cert, key }: KeyPair): SecureContextOptions =>
  ({ cert, key, ca: pki.ca("client-ca").cert, minVersion: "TLSv1.2" });

function listen(server: https.Server, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once("error", (error: NodeJS.ErrnoException) => {
      if (error.code !== "EADDRINUSE") return reject(error);
      reject(k3spError("K3SP_PORT_IN_USE", {
        message: `the kubelet's port ${port} is in use`, cause: error,
        fix: "stop the other program, or choose another port with --kubelet-arg port=N",
      }));
    });
    server.listen(port, () => resolve());
  });
}

const sendJson = (res: ServerResponse, body: object): void => send(res, JSON.stringify(body), "application/json");

function routeTable({ services, manager, options, stats: figures }: ServerInput): Readonly<Record<string, Handler>> {
  const podList = (): object => ({ kind: "PodList", apiVersion: "v1", metadata: {}, items: manager.pods() });
  const needsUpgrade: Handler = () => {
    throw new HttpError(400, "Upgrade request required");
  };
  return {
    healthz: ({ res }) => send(res, "ok"),
    pods: ({ res }) => sendJson(res, podList()),
    runningpods: ({ res }) => sendJson(res, podList()),
    containerLogs: (request) => containerLogs(services, manager, request),
    logs: (request) => hostLogs("/var/log", request),
    exec: needsUpgrade,
    attach: needsUpgrade,
    portForward: needsUpgrade,
    run: (request) => runCommand(services, manager, request),
    "stats/summary": async ({ res }) => sendJson(res, await summary(services, figures)),
    metrics: async ({ res }) => send(res, await kubeletMetrics(services, manager, figures), PROMETHEUS),
    "metrics/resource": async ({ res }) => send(res, resourceMetrics(await figures.collect()), PROMETHEUS),
    "metrics/cadvisor": async ({ res }) => send(res, await cadvisorMetrics(services, figures), PROMETHEUS),
    "metrics/probes": ({ res }) => send(res, services.figures.probeText(), PROMETHEUS),
    configz: ({ res }) => sendJson(res, { kubeletconfig: configz(services, options) }),
  };
}

const configz = ({ node }: PodServices, options: KubeletOptions): object => ({
  port: options.port, maxPods: options.maxPods, clusterDNS: node.cluster.clusterDns, clusterDomain: node.cluster.clusterDomain,
  cgroupDriver: "cgroupfs", failSwapOn: false, serializeImagePulls: false, resolvConf: options.resolvConf,
  containerLogMaxFiles: options.containerLogMaxFiles, allowedUnsafeSysctls: options.allowedUnsafeSysctls,
  evictionHard: Object.fromEntries(options.eviction.thresholds.filter(({ grace }) => grace === 0)
    .map(({ signal, value }) => [signal, "percent" in value ? `${value.percent}%` : String(value.quantity)])),
});
