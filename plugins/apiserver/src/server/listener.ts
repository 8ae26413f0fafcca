/** The TLS listener: HTTP/1.1 and HTTP/2 on one port, client certificates verified against the cluster's CAs. */
import { X509Certificate } from "node:crypto";
import type { IncomingMessage } from "node:http";
import { createSecureServer, type Http2SecureServer, type Http2ServerRequest, type ServerHttp2Session } from "node:http2";
import { isIP, type AddressInfo } from "node:net";
import type { Duplex } from "node:stream";
import type { TLSSocket } from "node:tls";
import { k3spError } from "@k3s-p/plugin-api";
import type { Incoming } from "./handler.ts";
import { portHolder } from "./port-holder.ts";
import type { ApiResponse } from "./request.ts";

export interface ListenerOptions {
  readonly cert: string;
  readonly key: string;
  /** PEM of the authorities of client certificates. */
  readonly clientCas: readonly string[];
  /** PEM of the authorities of front proxies, which name the user in headers. */
  readonly requestHeaderCas?: readonly string[];
  readonly address: string;
  /** 0 = any free port. */
  readonly port: number;
  readonly onRequest: (incoming: Incoming, res: ApiResponse) => void;
  readonly onUpgrade: (incoming: Incoming, socket: Duplex, head: Buffer) => void;
  /** Milliseconds that the head of a request may take; default 32 s. */
  readonly headersTimeout?: number;
  /** Milliseconds between looks at who is too slow; default 30 s. */
  readonly connectionsCheckingInterval?: number;
  /** Milliseconds that a connection is kept on which nothing happens; default 90 s. */
  readonly idleTimeout?: number;
}

type Identity = Pick<ListenerOptions, "cert" | "key" | "clientCas" | "requestHeaderCas">;

export interface Listener {
  readonly port: number;
  /** New connections get this certificate and are verified by these authorities; those that are open stay as they are. */
  renew(identity: Partial<Identity>): void;
  /** Takes no more connections, ends idle ones at once, and the others when `drained` says that they have their answers. */
  close(drained?: Promise<void>): Promise<void>;
}

/** What has been answered gets this long to be read. */
const CLOSE_GRACE = 500;
/** Upstream's figures. */
const MAX_HEADER = 1024 * 1024;
const HEADERS_TIMEOUT = 32_000;
const CHECKING_INTERVAL = 30_000;
const IDLE_TIMEOUT = 90_000;
const MAX_STREAMS = 100;
/** Of a body, what is taken before its reader wants it: most objects are smaller. */
const STREAM_WINDOW = 256 * 1024;

export async function listen(options: ListenerOptions): Promise<Listener> {
  let identity: Identity = options;
  const peers = createPeers(identity);
  // Commands and selectors travel in the URL; beyond this HTTP/1.1 answers 431.
  const http1 = { maxHeaderSize: MAX_HEADER, connectionsCheckingInterval: options.connectionsCheckingInterval ?? CHECKING_INTERVAL };
  const server = createSecureServer({
    ...secureContext(identity), requestCert: true, rejectUnauthorized: false, allowHTTP1: true,
    ...http1,
    settings: { maxConcurrentStreams: MAX_STREAMS, initialWindowSize: STREAM_WINDOW, maxHeaderListSize: MAX_HEADER },
  });
  const { idleTimeout = IDLE_TIMEOUT } = options;
  const sockets = new Set<TLSSocket>();
  server.on("secureConnection", (socket: TLSSocket) => {
    socket.setNoDelay(true);
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket));
  });
  server.on("tlsClientError", () => {});
  server.on("sessionError", () => {});
  const idle = endIdleSessions(server, idleTimeout);
  server.on("request", (req, res) => options.onRequest(incomingOf(req, peers.of), res as unknown as ApiResponse));
  server.on("upgrade", (req: IncomingMessage, socket: Duplex, head: Buffer) => options.onUpgrade(incomingOf(req, peers.of), socket, head));
  // For HTTP/1.1: how long a request and its head may take to arrive, and how long an idle connection is kept.
  Object.assign(server, { requestTimeout: 300_000, headersTimeout: options.headersTimeout ?? HEADERS_TIMEOUT, keepAliveTimeout: idleTimeout });
  await open(server, options);
  return {
    port: (server.address() as AddressInfo).port,
    renew(changed) {
      identity = { ...identity, ...changed };
      peers.trust(identity);
      server.setSecureContext(secureContext(identity));
    },
    async close(drained) {
      clearInterval(idle);
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      await drained;
      // Node ends idle connections and sessions of HTTP/2; those that were busy would be kept for the next request.
      for (const socket of sockets) if (socket.alpnProtocol !== "h2") socket.destroySoon();
      const timer = setTimeout(() => sockets.forEach((socket) => socket.destroy()), CLOSE_GRACE);
      await closed;
      clearTimeout(timer);
    },
  };
}

/** Looks within one idle timeout. */
const LOOKS = 3;

/**
 * Ends sessions of HTTP/2 that have had no stream open for so long, and at most a third longer: a watch is a stream, with
 * events or without. Node's own timer would keep each session that has ended in memory until it fires, as it is cleared
 * only in sessions that are not destroyed.
 */
function endIdleSessions(server: Http2SecureServer, idleTimeout: number): NodeJS.Timeout {
  const sessions = new Map<ServerHttp2Session, { streams: number; looks: number }>();
  server.on("session", (session) => {
    const seen = { streams: 0, looks: 0 };
    const ended = () => {
      seen.streams--;
      seen.looks = 0;
    };
    sessions.set(session, seen);
    session.on("close", () => sessions.delete(session));
    session.on("stream", (stream) => {
      seen.streams++;
      stream.on("close", ended);
    });
  });
  return setInterval(() => {
    for (const [session, seen] of sessions) {
      if (seen.streams === 0 && !session.destroyed && ++seen.looks > LOOKS) session.close();
    }
  }, idleTimeout / LOOKS).unref();
}

const secureContext = ({ cert, key, clientCas, requestHeaderCas = [] }: Identity) =>
  ({ cert, key, ca: [...clientCas, ...requestHeaderCas], minVersion: "TLSv1.2" as const });

function open(server: Http2SecureServer, { address, port }: ListenerOptions): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once("error", (error: NodeJS.ErrnoException) => reject(notListening(error, address, port)));
    server.listen(port, address, () => {
      server.removeAllListeners("error");
      server.on("error", () => {});
      resolve();
    });
  });
}

function notListening(cause: NodeJS.ErrnoException, address: string, port: number): Error {
  const where = isIP(address) === 6 ? `[${address}]:${port}` : `${address}:${port}`;
  switch (cause.code) {
    case "EADDRINUSE": {
      const holder = portHolder(port);
      return k3spError("K3SP_PORT_IN_USE", {
        message: `${where} is in use${holder ? ` by ${holder.command} (process ${holder.pid})` : ""}`, cause,
        fix: `stop the program that listens there${holder ? "" : ` (ss -ltnp 'sport = :${port}')`}, or choose another port with --https-listen-port`,
      });
    }
    case "EACCES":
      return k3spError("K3SP_PERMISSION_DENIED", { message: `not allowed to listen on ${where}`, cause, fix: "choose a port above 1023 with --https-listen-port" });
    // The address has a form that is right, and no interface has it; ENODEV and EINVAL = link-local without its interface.
    case "EADDRNOTAVAIL": case "ENODEV": case "EINVAL":
      return k3spError("K3SP_CONFIG_INVALID", {
        message: `bind-address: ${address} is not an address of this machine`, cause,
        fix: "give --bind-address one that ip address shows, or leave it out to listen on all of them",
      });
    default:
      return cause;
  }
}

type AnyRequest = IncomingMessage | Http2ServerRequest;

type PeerCertificate = NonNullable<Incoming["peerCertificate"]>;
type PeerOf = (req: AnyRequest) => Incoming["peerCertificate"];

function incomingOf(req: AnyRequest, peerOf: PeerOf): Incoming {
  const socket = req.socket as TLSSocket;
  return {
    method: req.method!, url: req.url!, headers: req.headers, stream: req,
    remoteAddress: socket.remoteAddress ?? "", peerCertificate: peerOf(req),
  };
}

type Trusted = Pick<Identity, "clientCas" | "requestHeaderCas">;

/** The verified certificate of a connection; read once, as decoding it costs more than a request. */
function createPeers(trusted: Trusted): { readonly of: PeerOf; trust(next: Trusted): void } {
  const peers = new WeakMap<object, PeerCertificate | null>();
  const authoritiesOf = ({ clientCas, requestHeaderCas = [] }: Trusted) =>
    ({ clients: requestHeaderCas.length > 0 ? certificates(clientCas) : [], proxies: certificates(requestHeaderCas) });
  let authorities = authoritiesOf(trusted);

  const read = (socket: TLSSocket): PeerCertificate | null => {
    const { subject, fingerprint256 = "" } = socket.authorized ? socket.getPeerCertificate() : {};
    if (!subject) return null;
    const known = { subject: subject as PeerCertificate["subject"], sha256: fingerprint256.replaceAll(":", "").toLowerCase() };
    const { clients, proxies } = authorities;
    if (proxies.length === 0) return known;
    const leaf = socket.getPeerX509Certificate();
    if (leaf && isSignedBy(leaf, proxies)) return { ...known, isFrontProxy: true };
    return leaf && isSignedBy(leaf, clients) ? known : null;
  };

  return {
    of(req) {
      const holder = "stream" in req && "session" in req.stream ? (req.stream.session as object | undefined) ?? req.socket : req.socket;
      let peer = peers.get(holder);
      if (peer === undefined) peers.set(holder, (peer = read(req.socket as TLSSocket)));
      return peer ?? undefined;
    },
    trust: (next) => void (authorities = authoritiesOf(next)),
  };
}

const certificates = (pems: readonly string[]): X509Certificate[] =>
  pems.flatMap((pem) => pem.match(/-----BEGIN CERTIFICATE-----[^]+?-----END CERTIFICATE-----/g) ?? []).map((pem) => new X509Certificate(pem));

const MAX_CHAIN = 8;

/** Names prove nothing where several authorities are trusted: every signature up to one of `authorities` is checked. */
function isSignedBy(leaf: X509Certificate, authorities: readonly X509Certificate[]): boolean {
  let certificate: X509Certificate | undefined = leaf;
  for (let i = 0; certificate && i < MAX_CHAIN; i++) {
    const current: X509Certificate = certificate;
    if (authorities.some((ca) => current.checkIssued(ca) && current.verify(ca.publicKey))) return true;
    const issuer: X509Certificate | undefined = current.issuerCertificate;
    certificate = issuer && issuer.ca && current.verify(issuer.publicKey) ? issuer : undefined;
  }
  return false;
}
