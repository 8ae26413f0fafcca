/** Carries one request to a backend and its answer back, streaming both ways. */
import type { ClientRequest, IncomingMessage, RequestOptions, ServerResponse } from "node:http";
import type { Http2ServerRequest, Http2ServerResponse } from "node:http2";
import { Agent as TlsAgent, request as httpsRequest } from "node:https";
import type { Socket } from "node:net";
import type { Duplex } from "node:stream";
import { http } from "@k3s-p/plugin-api/http";
import type { Backends, Target } from "./backends.ts";
import { type Client, requestHeaders, responseHeaders } from "./headers.ts";
import { cleanUrl, type EntryPoint, normalHost, type RouteTable } from "./routes.ts";

export type Request = IncomingMessage | Http2ServerRequest;
export type Response = ServerResponse | Http2ServerResponse;

export interface ProxyOptions {
  readonly routes: () => RouteTable;
  readonly backends: Backends;
  readonly trusted: readonly string[];
  readonly hostname: string;
  readonly redirectToHttps: boolean;
  readonly onError: (error: Error, target: Target) => void;
}

export interface Proxy {
  handle(entryPoint: EntryPoint, request: Request, response: Response): void;
  upgrade(entryPoint: EntryPoint, request: IncomingMessage, socket: Duplex, head: Buffer): void;
  close(): void;
}

const CONNECT_TIMEOUT = 10_000;
const IDLE_BACKEND = 90_000;

export function createProxy(options: ProxyOptions): Proxy {
  const pool = { keepAlive: true, maxFreeSockets: 64, timeout: IDLE_BACKEND, scheduling: "lifo" as const };
  const agents = { http: new http.Agent(pool), https: new TlsAgent(pool) };

  function clientOf(entryPoint: EntryPoint, request: Request, host: string): Client {
    const ip = (request.socket?.remoteAddress ?? "").replace(/^::ffff:/, "");
    return { ip, secure: entryPoint === "websecure", host, trusted: options.trusted, hostname: options.hostname };
  }

  /** Where the request goes, or the error that answers it. */
  function route(entryPoint: EntryPoint, request: Request) {
    const host = String(request.headers[":authority"] ?? request.headers.host ?? "");
    const { path, url } = cleanUrl(request.url ?? "/");
    const found = options.routes().match(normalHost(host), path, entryPoint);
    const targets = found?.backend && options.backends.targets(found.backend);
    return { host, url, targets };
  }

  function open(target: Target, request: RequestOptions): ClientRequest {
    const common = { ...request, host: target.host, port: target.port, setHost: false };
    return target.tls ? httpsRequest({ ...common, servername: normalHost(target.host) }) : http.request(common);
  }

  /** Sends the request to the first target that can be reached. The body is not touched before one is. */
  function attempt(targets: readonly Target[], head: RequestOptions, request: Request, response: Response): void {
    const [target, ...others] = targets;
    if (!target) return plain(response, 502, "Bad Gateway");
    let sent = false;
    const upstream = open(target, { ...head, agent: target.tls ? agents.https : agents.http });
    onConnected(upstream, () => {
      sent = true;
      request.pipe(upstream);
    });
    upstream.on("response", (answer) => relay(answer, request, response));
    upstream.on("error", (error: Error) => {
      if (isGone(response)) return;
      if (response.headersSent) return destroyResponse(response);
      // A kept connection that the backend closed just then: nothing was answered, so what may be repeated goes again.
      const stale = upstream.reusedSocket && isBodyless(request) && idempotent.has(request.method ?? "");
      if (stale) return attempt(targets, head, request, response);
      if (!sent && others.length) return attempt(others, head, request, response);
      options.onError(error, target);
      if (sent) request.unpipe(upstream);
      plain(response, (error as NodeJS.ErrnoException).code === "ETIMEDOUT" ? 504 : 502, undefined);
    });
    let finished = false;
    response.once("finish", () => (finished = true));
    response.once("close", () => {
      if (!finished) upstream.destroy();
    });
  }

  return {
    handle(entryPoint, request, response) {
      request.on("error", () => undefined);
      response.on("error", () => undefined);
      if (options.redirectToHttps && entryPoint === "web") return redirect(request, response);
      const { host, url, targets } = route(entryPoint, request);
      if (!targets) return plain(response, 404, "404 page not found\n");
      if (!targets.length) return plain(response, 503, "no available server\n");
      const headers = requestHeaders(request.headers, clientOf(entryPoint, request, host));
      if (request.httpVersionMajor === 2 && !isBodyless(request) && !headers["content-length"]) headers["transfer-encoding"] = "chunked";
      attempt(targets, { method: request.method!, path: url, headers }, request, response);
    },

    upgrade(entryPoint, request, socket, head) {
      socket.on("error", () => socket.destroy());
      const { host, url, targets } = route(entryPoint, request);
      if (!targets?.length) return refuse(socket, targets ? 503 : 404, targets ? "no available server\n" : "404 page not found\n");
      const kind = String(request.headers.upgrade).toLowerCase();
      const headers = requestHeaders(request.headers, clientOf(entryPoint, request, host), kind);
      connectUpgrade(targets, (target) => open(target, { method: request.method!, path: url, headers, agent: false }), socket, head);
    },

    close() {
      agents.http.destroy();
      agents.https.destroy();
    },
  };
}

/** RFC 9110, 9.2.2: a proxy must not repeat any other method by itself. */
const idempotent: ReadonlySet<string> = new Set(["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"]);

const isBodyless = (request: Request): boolean =>
  request.httpVersionMajor === 2
    ? (request as Http2ServerRequest).stream.endAfterHeaders
    : !request.headers["transfer-encoding"] && !Number(request.headers["content-length"] ?? 0);

/** Runs when the socket is usable; a connect that takes too long fails like one that was refused. */
function onConnected(upstream: ClientRequest, start: () => void): void {
  upstream.once("socket", (socket: Socket) => {
    const isTls = "encrypted" in socket;
    if (upstream.reusedSocket || (!socket.connecting && !isTls)) return start();
    const timer = setTimeout(() => upstream.destroy(Object.assign(new Error("connect timed out"), { code: "ETIMEDOUT" })), CONNECT_TIMEOUT);
    upstream.once("close", () => clearTimeout(timer));
    socket.once(isTls ? "secureConnect" : "connect", () => {
      clearTimeout(timer);
      start();
    });
  });
}

function relay(answer: IncomingMessage, request: Request, response: Response): void {
  const status = answer.statusCode ?? 502;
  const raw = responseHeaders(answer.rawHeaders, answer.headers);
  if (request.httpVersionMajor === 2) {
    const fields: Record<string, string | string[]> = {};
    for (let i = 0; i < raw.length; i += 2) {
      const name = raw[i]!.toLowerCase();
      const before = fields[name];
      fields[name] = before === undefined ? raw[i + 1]! : [...(Array.isArray(before) ? before : [before]), raw[i + 1]!];
    }
    (response as Http2ServerResponse).writeHead(status, fields);
  } else {
    (response as ServerResponse).writeHead(status, answer.statusMessage ?? "", raw);
  }
  answer.pipe(response as ServerResponse, { end: false });
  answer.on("end", () => {
    if (Object.keys(answer.trailers).length) (response as ServerResponse).addTrailers(answer.trailers as Record<string, string>);
    response.end();
  });
  // The client must not take half an answer for a whole one.
  answer.on("error", () => destroyResponse(response));
  answer.on("aborted", () => destroyResponse(response));
}

const isGone = (response: Response): boolean =>
  "stream" in response ? !response.stream || response.stream.destroyed : response.destroyed;

function destroyResponse(response: Response): void {
  if ("stream" in response && response.stream) response.stream.close(2);
  else response.destroy();
}

function plain(response: Response, status: number, text: string | undefined): void {
  if (response.headersSent || isGone(response)) return;
  const body = text ?? (status === 504 ? "Gateway Timeout" : "Bad Gateway");
  const close = status >= 500 ? { connection: "close" } : {};
  const headers = { "content-type": "text/plain; charset=utf-8", "x-content-type-options": "nosniff", "content-length": Buffer.byteLength(body) };
  (response as ServerResponse).writeHead(status, "stream" in response ? headers : { ...headers, ...close });
  response.end(body);
}

function redirect(request: Request, response: Response): void {
  const location = `https://${normalHost(request.headers.host)}${cleanUrl(request.url ?? "/").url}`;
  const status = request.method === "GET" || request.method === "HEAD" ? 301 : 308;
  (response as ServerResponse).writeHead(status, { location, "content-length": 0 });
  response.end();
}

const reasons: Readonly<Record<number, string>> = { 404: "Not Found", 502: "Bad Gateway", 503: "Service Unavailable" };

function refuse(socket: Duplex, status: number, text: string): void {
  const headers = ["Content-Type: text/plain; charset=utf-8", `Content-Length: ${text.length}`, "Connection: close"];
  socket.end(`HTTP/1.1 ${status} ${reasons[status]}\r\n${headers.join("\r\n")}\r\n\r\n${text}`);
}

/** WebSocket and every other protocol that HTTP/1.1 is left for: after the backend's 101 the bytes go through. */
function connectUpgrade(targets: readonly Target[], open: (target: Target) => ClientRequest, socket: Duplex, head: Buffer): void {
  const [target, ...others] = targets;
  if (!target) return refuse(socket, 502, "Bad Gateway");
  const upstream = open(target);
  let connected = false;
  let answered = false;
  onConnected(upstream, () => {
    connected = true;
    upstream.end();
  });
  upstream.on("upgrade", (answer, backend, first) => {
    answered = true;
    socket.write(statusLines(answer, ["Connection", "Upgrade", "Upgrade", String(answer.headers.upgrade ?? "")]));
    if (first.length) socket.write(first);
    if (head.length) backend.write(head);
    (socket as Socket).setTimeout?.(0);
    backend.setTimeout(0);
    backend.setNoDelay(true);
    backend.on("error", () => socket.destroy()).on("close", () => socket.destroy());
    socket.on("close", () => backend.destroy());
    backend.pipe(socket);
    socket.pipe(backend);
  });
  upstream.on("response", (answer) => {
    answered = true;
    socket.write(statusLines(answer, ["Connection", "close"]));
    answer.pipe(socket);
  });
  upstream.on("error", () => {
    if (!connected && others.length) return connectUpgrade(others, open, socket, head);
    if (answered) socket.destroy();
    else refuse(socket, 502, "Bad Gateway");
  });
  socket.once("close", () => upstream.destroy());
}

function statusLines(answer: IncomingMessage, more: readonly string[]): string {
  const pairs = [...responseHeaders(answer.rawHeaders, answer.headers), ...more];
  const lines = [`HTTP/1.1 ${answer.statusCode} ${answer.statusMessage}`];
  for (let i = 0; i < pairs.length; i += 2) lines.push(`${pairs[i]}: ${pairs[i + 1]}`);
  return `${lines.join("\r\n")}\r\n\r\n`;
}
