/** The sockets: DNS over UDP and TCP on one address and port. */
import { createSocket, type Socket as UdpSocket } from "node:dgram";
import { once } from "node:events";
import { createServer, isIP, type Server, type Socket } from "node:net";
import { K3spError } from "@k3s-p/plugin-api";
import type { Resolver } from "./resolver.ts";

export interface DnsServer {
  readonly port: number;
  close(): Promise<void>;
}

const TCP_IDLE = 10_000;
const TCP_CONNECTIONS = 1000;
/** Answers that one TCP client may wait for; it is not read from while it has so many. */
const TCP_PIPELINE = 64;

/** Port 0, or a `preferred` one that is taken, means any free port that both protocols can have. */
export async function listen(resolver: Resolver, address: string, port: number, preferred?: number): Promise<DnsServer> {
  const wanted = port ? [port] : [...(preferred ? [preferred] : []), ...Array.from({ length: 16 }, () => 0)];
  let last: NodeJS.ErrnoException | undefined;
  for (const candidate of wanted) {
    try {
      return await listenOn(resolver, address, candidate);
    } catch (error) {
      last = error as NodeJS.ErrnoException;
      if (last.code !== "EADDRINUSE") throw last;
    }
  }
  throw new K3spError("K3SP_PORT_IN_USE", { message: `DNS port ${port} on ${address} is in use`, fix: "choose another with plugins.coredns.config.port", cause: last });
}

async function listenOn(resolver: Resolver, address: string, port: number): Promise<DnsServer> {
  const udp = createSocket({ type: isIP(address) === 6 ? "udp6" : "udp4", recvBufferSize: 1 << 20 });
  const sockets = new Set<Socket>();
  const tcp = createServer((socket) => serveTcp(resolver, socket, sockets));
  tcp.maxConnections = TCP_CONNECTIONS;
  try {
    udp.bind(port, address);
    await once(udp, "listening");
    const bound = udp.address().port;
    tcp.listen(bound, address);
    await once(tcp, "listening");
    serveUdp(resolver, udp);
    return { port: bound, close: () => closeAll(udp, tcp, sockets) };
  } catch (error) {
    await closeAll(udp, tcp, sockets);
    throw error;
  }
}

async function closeAll(udp: UdpSocket, tcp: Server, sockets: Set<Socket>): Promise<void> {
  for (const socket of sockets) socket.destroy();
  await Promise.all([
    new Promise<void>((resolve) => (tcp.listening ? tcp.close(() => resolve()) : resolve())),
    new Promise<void>((resolve) => {
      try {
        udp.close(() => resolve());
      } catch {
        resolve();
      }
    }),
  ]);
}

function serveUdp(resolver: Resolver, udp: UdpSocket): void {
  udp.on("error", () => undefined);
  udp.on("message", (packet, from) => {
    const reply = resolver.handle(packet, "udp");
    // A client that is gone is not our failure.
    const send = (bytes: Buffer | undefined) => bytes && udp.send(bytes, from.port, from.address, () => undefined);
    if (reply instanceof Promise) void reply.then(send).catch(() => undefined);
    else send(reply);
  });
}

function serveTcp(resolver: Resolver, socket: Socket, sockets: Set<Socket>): void {
  let received: Buffer = Buffer.alloc(0);
  let waiting = 0;
  sockets.add(socket);
  socket.setNoDelay(true).setTimeout(TCP_IDLE, () => socket.destroy());
  socket.on("error", () => socket.destroy()).on("close", () => sockets.delete(socket));

  function send(bytes: Buffer | undefined): void {
    waiting--;
    if (socket.destroyed) return;
    if (!bytes) return void socket.destroy();
    const framed = Buffer.allocUnsafe(bytes.length + 2);
    framed.writeUInt16BE(bytes.length);
    bytes.copy(framed, 2);
    socket.write(framed);
    if (waiting < TCP_PIPELINE && socket.isPaused()) {
      socket.resume();
      take();
    }
  }

  function take(): void {
    while (waiting < TCP_PIPELINE && received.length >= 2 && received.length >= 2 + received.readUInt16BE(0)) {
      const end = 2 + received.readUInt16BE(0);
      const packet = received.subarray(2, end);
      received = received.subarray(end);
      waiting++;
      const reply = resolver.handle(packet, "tcp");
      if (reply instanceof Promise) void reply.then(send, () => send(undefined));
      else send(reply);
    }
    if (waiting >= TCP_PIPELINE) socket.pause();
  }

  socket.on("data", (chunk: Buffer) => {
    received = received.length ? Buffer.concat([received, chunk]) : chunk;
    take();
  });
}
