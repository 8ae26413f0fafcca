/** Passes requests on: ordinary ones by streaming both bodies, upgrades as raw bytes between the two sockets. */
import type { IncomingMessage, RequestOptions } from "node:http";
import { Agent as HttpsAgent, request as httpsRequest } from "node:https";
import { connect as connectTcp, isIP } from "node:net";
import type { Duplex, Writable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { connect as connectTls } from "node:tls";
import { http } from "@k3s-p/plugin-api/http";
import { apiError } from "@k3s-p/plugin-api/kube";
import type { ApiRequest, ApiResponse } from "../server/request.ts";
import { sendHead } from "../server/respond.ts";

export interface TlsIdentity {
  readonly ca?: string | undefined;
  readonly cert?: string;
  readonly key?: string;
  /** Name in the server's certificate, when it is not the host. */
  readonly servername?: string;
  readonly rejectUnauthorized?: boolean;
}

export interface Target {
  readonly protocol: "http:" | "https:";
  readonly host: string;
  readonly port: number;
  /** Path and query. */
  readonly path: string;
  readonly tls?: TlsIdentity;
  /** Headers instead of the client's credentials. */
  readonly headers?: Readonly<Record<string, string | readonly string[]>>;
}

/** Headers of one hop, and what names the client to this server alone. */
const withheld = new Set([
  "connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailer", "transfer-encoding", "upgrade",
  "host", "http2-settings", "authorization",
]);
const isOwn = (name: string): boolean => withheld.has(name) || name.startsWith(":") || name.startsWith("impersonate-") || name.startsWith("x-remote-");

const agents = new Map<string, HttpsAgent>();
const MAX_AGENTS = 64;

/** Connections are kept for a target and identity. */
function agentOf(target: Target): HttpsAgent {
  const { ca, cert, key, servername, rejectUnauthorized } = target.tls ?? {};
  const name = JSON.stringify([target.host, target.port, ca, cert, servername, rejectUnauthorized]);
  const known = agents.get(name);
  if (known) return known;
  if (agents.size >= MAX_AGENTS) {
    const [oldest, agent] = agents.entries().next().value!;
    agents.delete(oldest);
    agent.destroy();
  }
  const made = new HttpsAgent({ keepAlive: true, ...(ca && { ca }), ...(cert && { cert, key }), ...(servername && { servername }), rejectUnauthorized: rejectUnauthorized ?? true });
  agents.set(name, made);
  return made;
}

export interface OpenRequest {
  readonly method: string;
  readonly headers: ApiRequest["headers"];
  readonly body?: NodeJS.ReadableStream;
  readonly signal?: AbortSignal;
}

/** Sends a request and resolves with the answer's head. Rejects when the target cannot be reached. */
export function open(target: Target, { method, headers, body, signal }: OpenRequest): Promise<IncomingMessage> {
  const passed: Record<string, string | readonly string[]> = {};
  for (const [name, value] of Object.entries(headers)) if (value !== undefined && !isOwn(name)) passed[name] = value;
  const options: RequestOptions = {
    host: target.host, port: target.port, path: target.path, method,
    headers: { ...passed, ...target.headers, host: hostHeader(target) } as NonNullable<RequestOptions["headers"]>,
    ...(signal && { signal }),
    // Connections to pods are not kept: they come and go.
    agent: target.protocol === "https:" ? agentOf(target) : false,
  };
  return new Promise((resolve, reject) => {
    const request = (target.protocol === "https:" ? httpsRequest : http.request)(options, resolve);
    request.on("error", reject);
    if (body && method !== "GET" && method !== "HEAD") body.pipe(request);
    else request.end();
  });
}

export const hostHeader = ({ host, port }: Target): string => `${isIP(host) === 6 ? `[${host}]` : host}:${port}`;

export interface ForwardHooks {
  /** Changes headers of the answer in place; may return a replacement of the body. */
  readonly answer?: (answer: IncomingMessage, headers: Record<string, string | string[]>) => NodeJS.ReadableStream | undefined;
  /** Accept-Encoding of the client is passed on (default true). */
  readonly encodings?: boolean;
}

/** The whole exchange. A target that cannot be reached is 503 in upstream's words. */
export async function forward(req: ApiRequest, res: ApiResponse, target: Target, hooks: ForwardHooks = {}): Promise<void> {
  const headers = { ...req.headers, "audit-id": res.auditId, ...(hooks.encodings === false && { "accept-encoding": undefined }) };
  let answer: IncomingMessage;
  try {
    answer = await open(target, { method: req.method, headers, body: req.stream, signal: req.signal });
  } catch (error) {
    throw unreachable(target, error as Error);
  }
  const passed: Record<string, string | string[]> = {};
  for (const [name, value] of Object.entries(answer.headers)) if (value !== undefined && !withheld.has(name) && name !== "audit-id") passed[name] = value;
  const body = hooks.answer?.(answer, passed) ?? answer;
  sendHead(res, answer.statusCode ?? 502, passed);
  res.flushHeaders();
  // A client that goes away or a target that breaks off ends the exchange; there is nobody left to tell.
  await pipeline(body, res as unknown as Writable).catch(() => res.destroy());
}

export function unreachable(target: Target, error: Error) {
  const cause = (error as NodeJS.ErrnoException).code === "ECONNREFUSED"
    ? `dial tcp ${hostHeader(target)}: connect: connection refused` : error.message;
  return apiError(503, "ServiceUnavailable", `error trying to reach service: ${cause}`);
}

/** Joins the client's socket to a new one to the target, from the request's head on. Resolves when they are joined. */
export async function forwardUpgrade(req: ApiRequest, socket: Duplex, head: Buffer, target: Target): Promise<void> {
  const upstream = await dial(target, req.signal);
  upstream.write(upgradeHead(req, target));
  if (head.length > 0) upstream.write(head);
  const end = () => {
    socket.destroy();
    upstream.destroy();
  };
  for (const side of [socket, upstream]) {
    side.on("error", end);
    side.on("close", end);
  }
  socket.pipe(upstream).pipe(socket);
}

function dial(target: Target, signal: AbortSignal): Promise<Duplex> {
  const { host, port, tls = {} } = target;
  return new Promise((resolve, reject) => {
    const secure = target.protocol === "https:";
    const socket = secure
      ? connectTls({
        host, port, ALPNProtocols: ["http/1.1"], rejectUnauthorized: tls.rejectUnauthorized ?? true,
        ...(tls.ca && { ca: tls.ca }), ...(tls.cert && { cert: tls.cert, key: tls.key }), ...(tls.servername && { servername: tls.servername }),
      })
      : connectTcp({ host, port });
    const abort = () => socket.destroy(new Error("the client has gone"));
    signal.addEventListener("abort", abort, { once: true });
    socket.once("error", (error) => reject(unreachable(target, error)));
    socket.once(secure ? "secureConnect" : "connect", () => {
      socket.setNoDelay(true);
      socket.removeAllListeners("error");
      resolve(socket);
    });
  });
}

function upgradeHead(req: ApiRequest, target: Target): string {
  const lines = [`${req.method} ${target.path} HTTP/1.1`, `Host: ${hostHeader(target)}`];
  for (const [name, value] of Object.entries(req.headers)) {
    if (value === undefined || (isOwn(name) && name !== "connection" && name !== "upgrade")) continue;
    // Older servers read only one protocol a line.
    const values = name === "x-stream-protocol-version" ? String(value).split(/,\s*/) : [value].flat();
    for (const text of values) lines.push(`${name}: ${text}`);
  }
  for (const [name, value] of Object.entries(target.headers ?? {})) for (const text of [value].flat()) lines.push(`${name}: ${text}`);
  return `${lines.join("\r\n")}\r\n\r\n`;
}

/** Whether the request asks for another protocol on the same connection. */
export const wantsUpgrade = (headers: ApiRequest["headers"]): boolean =>
  /\bupgrade\b/i.test(String(headers.connection ?? "")) && headers.upgrade !== undefined;
