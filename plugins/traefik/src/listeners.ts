/** The two entry points: plain HTTP/1.1, and TLS with HTTP/2 and HTTP/1.1. */
import { once } from "node:events";
import type { IncomingMessage, Server } from "node:http";
import { createSecureServer, type Http2SecureServer, type ServerHttp2Session } from "node:http2";
import type { Socket } from "node:net";
import type { Duplex } from "node:stream";
import { http } from "@k3s-p/plugin-api/http";
import type { CertificateStore } from "./certificates.ts";
import type { Proxy } from "./proxy.ts";

export interface Listener {
  readonly port: number;
  /** Takes no new connections, lets requests end, then closes what is left. */
  close(): Promise<void>;
}

/** As Traefik's defaults: idle connections 180 s, headers within 60 s; a body may take as long as it moves. */
const IDLE = 180_000;
const HEADERS = 60_000;
const GRACE = 3000;

export async function listenHttp(proxy: Proxy, address: string, port: number): Promise<Listener> {
  const server = http.createServer({ keepAliveTimeout: IDLE, headersTimeout: HEADERS, requestTimeout: 0, maxHeaderSize: 65_536, noDelay: true });
  server.on("request", (request, response) => proxy.handle("web", request, response));
  server.on("upgrade", (request: IncomingMessage, socket: Duplex, head: Buffer) => proxy.upgrade("web", request, socket, head));
  return open(server, address, port);
}

export interface TlsListener extends Listener {
  /** For clients that send no server name: what `certificates` has now. */
  renew(): void;
}

const oldest = { minVersion: "TLSv1.2" } as const;

export async function listenHttps(proxy: Proxy, certificates: CertificateStore, address: string, port: number): Promise<TlsListener> {
  const server = createSecureServer({
    allowHTTP1: true, ...oldest,
    SNICallback: (name, done) => {
      try {
        done(null, certificates.contextFor(name));
      } catch (error) {
        done(error as Error);
      }
    },
    // For clients that send no server name.
    ...certificates.fallback,
  });
  server.on("request", (request, response) => proxy.handle("websecure", request, response));
  server.on("upgrade", (request: IncomingMessage, socket: Duplex, head: Buffer) => proxy.upgrade("websecure", request, socket, head));
  server.on("sessionError", () => undefined).setTimeout(IDLE);
  return { ...(await open(server, address, port)), renew: () => server.setSecureContext({ ...oldest, ...certificates.fallback }) };
}

/** A port that is taken gives way to any free one: the Service's endpoint says where the listener is. */
async function open(server: Server | Http2SecureServer, address: string, port: number): Promise<Listener> {
  const sockets = new Set<Socket>();
  const sessions = new Set<ServerHttp2Session>();
  server.on("connection", (socket: Socket) => {
    sockets.add(socket);
    socket.on("error", () => undefined).once("close", () => sockets.delete(socket));
  });
  server.on("session", (session: ServerHttp2Session) => {
    sessions.add(session);
    session.on("error", () => undefined).once("close", () => sessions.delete(session));
  });
  try {
    server.listen(port, address);
    await once(server, "listening");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EADDRINUSE" || port === 0) throw error;
    server.listen(0, address);
    await once(server, "listening");
  }
  return {
    port: (server.address() as { port: number }).port,
    async close() {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      for (const session of sessions) session.close();
      if ("closeIdleConnections" in server) server.closeIdleConnections();
      const timer = setTimeout(() => {
        for (const socket of sockets) socket.destroy();
      }, GRACE);
      await closed;
      clearTimeout(timer);
    },
  };
}
