/** The HTTPS server behind the aggregation layer: only the front proxy, known by its client certificate, may ask. */
import { createServer } from "node:https";
import type { IncomingMessage, ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import type { TLSSocket } from "node:tls";
import { ApiError, apiError } from "@k3s-p/plugin-api/kube";
import type { Logger } from "@k3s-p/plugin-api";
import type { Api } from "./api.ts";

export interface ListenerOptions {
  readonly api: Api;
  readonly log: Logger;
  readonly host: string;
  readonly cert: string;
  readonly key: string;
  /** PEM of the CA that signs front-proxy certificates. */
  readonly requestHeaderCa: string;
  /** Common names that a front proxy may have. */
  readonly allowedNames: readonly string[];
}

export interface Listener {
  readonly port: number;
  /** New connections get this certificate. */
  renew(serving: Pick<ListenerOptions, "cert" | "key">): void;
  close(): Promise<void>;
}

const healthPaths: readonly string[] = ["/healthz", "/livez", "/readyz"];

export async function listen(options: ListenerOptions): Promise<Listener> {
  const { cert, key, requestHeaderCa, host, log } = options;
  const trust = { ca: requestHeaderCa, minVersion: "TLSv1.2" as const };
  const server = createServer(
    { cert, key, ...trust, requestCert: true, rejectUnauthorized: false },
    (request, response) => void respond(request, response, options),
  );
  server.on("tlsClientError", (error) => log.debug({ err: error }, "a TLS handshake failed"));
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  server.once("error", reject).listen(0, host, resolve);
  await promise;
  return {
    port: (server.address() as AddressInfo).port,
    renew: (serving) => server.setSecureContext({ cert: serving.cert, key: serving.key, ...trust }),
    close: () =>
      new Promise((done) => {
        server.close(() => done());
        server.closeAllConnections();
      }),
  };
}

async function respond(request: IncomingMessage, response: ServerResponse, { api, log, allowedNames }: ListenerOptions): Promise<void> {
  request.resume();
  try {
    const url = new URL(request.url ?? "/", "https://metrics-server");
    if (healthPaths.includes(url.pathname)) return void response.writeHead(200, { "content-type": "text/plain" }).end("ok");
    authenticate(request, allowedNames);
    send(response, 200, await api.answer(request.method ?? "GET", url));
  } catch (error) {
    if (!(error instanceof ApiError)) log.error({ err: error, url: request.url ?? "" }, "a request failed");
    const { status } = error instanceof ApiError ? error : apiError(500, "InternalError", "Internal error occurred");
    send(response, status.code ?? 500, status);
  }
}

/** The front proxy has authenticated and authorized the user; who reaches us past it is refused. */
function authenticate(request: IncomingMessage, allowedNames: readonly string[]): void {
  const socket = request.socket as TLSSocket;
  const name = socket.authorized ? socket.getPeerCertificate().subject?.CN : undefined;
  const isFrontProxy = typeof name === "string" && allowedNames.includes(name);
  if (!isFrontProxy || !request.headers["x-remote-user"]) throw apiError(401, "Unauthorized", "Unauthorized");
}

function send(response: ServerResponse, code: number, body: object): void {
  const text = JSON.stringify(body);
  response.writeHead(code, { "content-type": "application/json", "content-length": Buffer.byteLength(text), "cache-control": "no-cache, private" });
  response.end(text);
}
