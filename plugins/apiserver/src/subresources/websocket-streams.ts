/**
 * exec, attach and port-forward for clients that come over a WebSocket. Kubelets and runtimes speak SPDY, so `exec` and
 * `attach` are translated stream by stream (v5.channel.k8s.io), and a port-forward's bytes are taken out of their messages.
 */
import type { IncomingMessage } from "node:http";
import { request as httpsRequest } from "node:https";
import type { Duplex } from "node:stream";
import { http } from "@k3s-p/plugin-api/http";
import { apiError, type Status } from "@k3s-p/plugin-api/kube";
import type { WebSocket } from "ws";
import type { ApiRequest } from "../server/request.ts";
import { hostHeader, type Target, unreachable } from "./forward.ts";
import { type SpdySession, type SpdyStream, startSession } from "./spdy.ts";

const STREAMS = "v5.channel.k8s.io";
const TUNNEL = "SPDY/3.1+portforward.k8s.io";

/** The first byte of each message. */
const channels = { stdin: 0, stdout: 1, stderr: 2, error: 3, resize: 4 } as const;
type Channel = keyof typeof channels;
/** `[255, channel]`: the client has no more for that channel. */
const CLOSE = 255;
/** Unsent bytes from which the other side waits. */
const MAX_UNSENT = 1024 * 1024;
const MAX_MESSAGE = 16 * 1024 * 1024;

/** Which of the two the client offers, if any. */
export function socketProtocol({ headers, info }: Pick<ApiRequest, "headers" | "info">): typeof STREAMS | typeof TUNNEL | undefined {
  if (String(headers.upgrade).toLowerCase() !== "websocket") return undefined;
  const wanted = info.subresource === "portforward" ? TUNNEL : STREAMS;
  const offered = String(headers["sec-websocket-protocol"] ?? "").split(",").map((text) => text.trim());
  return offered.includes(wanted) ? wanted : undefined;
}

/** A refusal of the kubelet reaches the client as the command's Status, for the WebSocket is open by then. */
export async function serveStreams(req: ApiRequest, socket: Duplex, head: Buffer, target: Target): Promise<void> {
  const client = await accept(req, socket, head, STREAMS);
  client.pause();
  try {
    const { socket: kubelet, head: first } = await switchProtocol(target, "v4.channel.k8s.io", req.signal);
    translate(client, startSession(kubelet, first), req.query);
  } catch (error) {
    report(client, internal((error as Error).message));
    client.close(1000);
  } finally {
    client.resume();
  }
}

/** Joins the client to the kubelet's port-forward. */
export async function serveTunnel(req: ApiRequest, socket: Duplex, head: Buffer, target: Target): Promise<void> {
  const { socket: kubelet, head: first } = await switchProtocol(target, "portforward.k8s.io", req.signal);
  const client = await accept(req, socket, head, TUNNEL);
  const toClient = sender(client, () => {
    kubelet.pause();
    return () => kubelet.resume();
  });
  if (first.length > 0) toClient(first);
  kubelet.on("data", toClient);
  kubelet.on("error", () => {});
  kubelet.on("close", () => client.close(1000));
  client.on("message", (data: Buffer) => {
    if (!kubelet.write(data)) waitFor(client, (fn) => kubelet.once("drain", fn));
  });
  client.on("close", () => kubelet.destroy());
}

async function accept(req: ApiRequest, socket: Duplex, head: Buffer, protocol: string): Promise<WebSocket> {
  const { WebSocketServer } = await import("ws");
  const server = new WebSocketServer({ noServer: true, maxPayload: MAX_MESSAGE });
  // The library takes no protocol with a slash in its name: the tunnel's is agreed on past it.
  server.on("headers", (lines) => lines.push(`Sec-WebSocket-Protocol: ${protocol}`));
  const request = { method: req.method, url: req.url, headers: { ...req.headers, "sec-websocket-protocol": undefined } } as unknown as IncomingMessage;
  return new Promise((resolve) => server.handleUpgrade(request, socket, head, (client) => {
    client.on("error", () => client.terminate());
    resolve(client);
  }));
}

/** Opens the streams that the query asks for, and ends with the last of those that the kubelet writes. */
function translate(client: WebSocket, kubelet: SpdySession, query: URLSearchParams): void {
  const asked = (name: string): boolean => query.get(name) === "1" || query.get(name) === "true";
  const running = new Set<Channel>();
  let isReported = false;
  const finish = (): void => {
    if (client.readyState !== client.OPEN) return;
    if (!isReported) report(client, internal("the connection to the container broke off"));
    client.close(1000);
  };
  const toClient = sender(client, kubelet.pause);
  const open = (name: Channel): SpdyStream => {
    if (name === "stdin" || name === "resize") return kubelet.open({ streamtype: name }, {});
    running.add(name);
    return kubelet.open({ streamtype: name }, {
      data(chunk) {
        isReported ||= name === "error";
        toClient(Buffer.concat([Buffer.from([channels[name]]), chunk]));
      },
      end() {
        isReported ||= name === "error";
        running.delete(name);
        if (running.size > 0) return;
        finish();
        kubelet.close();
      },
    });
  };
  const isTty = asked("tty");
  open("error").end();
  const input: Partial<Record<Channel, SpdyStream>> = { ...(asked("stdin") && { stdin: open("stdin") }) };
  if (asked("stdout")) open("stdout").end();
  if (asked("stderr") && !isTty) open("stderr").end();
  if (isTty) input.resize = open("resize");
  client.on("message", (data: Buffer) => receive(data, input, client, kubelet));
  client.on("close", () => kubelet.close());
  void kubelet.closed.then(finish);
}

function receive(message: Buffer, input: Partial<Record<Channel, SpdyStream>>, client: WebSocket, kubelet: SpdySession): void {
  const [channel, closing] = message;
  const stream = (at: number | undefined): SpdyStream | undefined =>
    at === channels.stdin ? input.stdin : at === channels.resize ? input.resize : undefined;
  if (channel === CLOSE) return stream(closing)?.end();
  if (message.length > 1 && stream(channel)?.write(message.subarray(1)) === false) waitFor(client, kubelet.drained);
}

function waitFor(client: WebSocket, drained: (fn: () => void) => void): void {
  client.pause();
  drained(() => client.resume());
}

/** Sends messages; a client that reads slowly makes the kubelet wait. */
function sender(client: WebSocket, pause: () => () => void): (message: Buffer) => void {
  let resume: (() => void) | undefined;
  return (message) => {
    client.send(message, () => {
      if (!resume || client.bufferedAmount > MAX_UNSENT / 2) return;
      resume();
      resume = undefined;
    });
    if (client.bufferedAmount > MAX_UNSENT) resume ??= pause();
  };
}

function report(client: WebSocket, status: Status): void {
  client.send(Buffer.concat([Buffer.from([channels.error]), Buffer.from(JSON.stringify(status))]));
}

const internal = (text: string): Status =>
  apiError(500, "InternalError", `Internal error occurred: ${text}`, { causes: [{ message: text }] }).status;

interface Switched {
  readonly socket: Duplex;
  readonly head: Buffer;
}

const MAX_REFUSAL = 4096;

/** Asks the target for SPDY; rejects with the words of its refusal. */
function switchProtocol(target: Target, protocol: string, signal: AbortSignal): Promise<Switched> {
  const { ca, cert, key, servername, rejectUnauthorized = true } = target.tls ?? {};
  return new Promise((resolve, reject) => {
    const request = (target.protocol === "https:" ? httpsRequest : http.request)({
      host: target.host, port: target.port, path: target.path, method: "POST", agent: false, signal,
      headers: {
        ...(target.headers as Record<string, string>), host: hostHeader(target),
        connection: "Upgrade", upgrade: "SPDY/3.1", "x-stream-protocol-version": protocol,
      },
      ...(target.protocol === "https:" && { ca, cert, key, rejectUnauthorized, ...(servername && { servername }) }),
    });
    request.on("error", (error) => reject(unreachable(target, error)));
    request.on("upgrade", (_answer, socket, head) => resolve({ socket, head }));
    request.on("response", (answer) => void refusalOf(answer).then(reject, reject));
    request.end();
  });
}

async function refusalOf(answer: IncomingMessage): Promise<Error> {
  let text = "";
  for await (const chunk of answer.setEncoding("utf8") as AsyncIterable<string>) if (text.length < MAX_REFUSAL) text += chunk;
  const code = answer.statusCode ?? 500;
  return apiError(code < 400 ? 500 : code, "InternalError", `unable to upgrade connection: ${text.slice(0, MAX_REFUSAL).trim()}`);
}
