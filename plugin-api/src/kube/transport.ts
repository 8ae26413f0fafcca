/** Requests to one API server over HTTPS: none waits for ever, and each connection is made with the newest certificate. */
import type { IncomingHttpHeaders, IncomingMessage } from "node:http";
import { Agent, request as httpsRequest } from "node:https";

/** Plain data, so that it can be handed to another process. PEM. */
export interface KubeConnection {
  readonly url: string;
  readonly ca: string;
  readonly cert?: string;
  readonly key?: string;
  readonly token?: string;
}

export interface Call {
  readonly method: string;
  readonly path: string;
  readonly query?: Readonly<Record<string, string | number | boolean | undefined>>;
  readonly body?: object | undefined;
  readonly contentType?: string;
  readonly signal?: AbortSignal | undefined;
  /** Milliseconds in which more of the answer must come; the deadline of the transport by default. */
  readonly silence?: number;
}

export interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  /** Must be read to its end, or left early. */
  readonly body: AsyncIterable<Buffer>;
}

export interface TransportOptions {
  /** Asked before each request; another object than last time is another certificate, which new connections are made with. */
  readonly connection: () => KubeConnection | Promise<KubeConnection>;
  /** Milliseconds in which an answer must begin. */
  readonly deadline: number;
  /** Ends what is under way, and refuses more. */
  readonly closing: AbortSignal;
}

interface Way {
  readonly connection: KubeConnection;
  readonly agent: Agent;
}

/** Milliseconds in which the server's machine must take a connection. The system asks ever more seldom, and would notice late that a network is back. */
const REACHED_WITHIN = 10_000;
/** How long a connection may be idle before the system looks whether the other end is still there. */
const PROBE_AFTER = 30_000;

export function createTransport({ connection: ask, deadline, closing }: TransportOptions): (call: Call) => Promise<Answer> {
  let way: Way | undefined;
  closing.addEventListener("abort", () => way?.agent.destroy(), { once: true });

  async function newestWay(): Promise<Way> {
    const connection = await ask();
    if (way?.connection === connection) return way;
    // Requests under way end on the connections that they have.
    if (way) closeIdle(way.agent);
    return (way = { connection, agent: agentOf(connection) });
  }

  return async (call) => {
    const { connection, agent } = await newestWay();
    for (const signal of [closing, call.signal]) if (signal?.aborted) throw endOf(signal);
    const { method, body, signal, contentType = "application/json", silence = deadline } = call;
    const text = body && JSON.stringify(body);
    const request = httpsRequest(urlOf(connection.url, call), { method, agent, headers: {
      accept: "application/json", ...(connection.token && { authorization: `Bearer ${connection.token}` }),
      ...(text !== undefined && { "content-type": contentType, "content-length": Buffer.byteLength(text) }),
    } });
    const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>();
    const guard = createGuard([closing, signal], (limit) => {
      // What the server does not hear on this connection it does not hear on those that are as old.
      closeIdle(agent);
      return silent(connection.url, limit);
    });
    guard.watch(request, deadline);
    request.on("socket", (socket) => {
      if (!socket.connecting) return;
      guard.watch(request, Math.min(REACHED_WITHIN, deadline));
      socket.once("connect", () => guard.watch(request, deadline));
    });
    request.on("response", resolve).on("error", reject).end(text);
    try {
      const response = await promise;
      guard.watch(response, silence);
      return { status: response.statusCode!, headers: response.headers, body: partsOf(response, guard, connection.url) };
    } catch (error) {
      guard.end();
      throw explained(error, connection.url);
    }
  };
}

function agentOf({ ca, cert, key }: KubeConnection): Agent {
  return new Agent({ keepAlive: true, keepAliveMsecs: PROBE_AFTER, ca, ...(cert && { cert }), ...(key && { key }) });
}

function closeIdle({ freeSockets }: Agent): void {
  for (const sockets of Object.values(freeSockets)) for (const socket of sockets ?? []) socket.destroy();
}

function urlOf(base: string, { path, query = {} }: Call): URL {
  const url = new URL(path, base);
  for (const [name, value] of Object.entries(query)) if (value !== undefined && value !== false) url.searchParams.set(name, String(value));
  return url;
}

const silent = (url: string, limit: number): Error => Object.assign(new Error(`${url} was silent for ${limit / 1000} s`), { code: "ETIMEDOUT" });

/** What people read: of a name with several addresses what was wrong with the first, and in place of "aborted" and "socket hang up" what that means. */
function explained(error: unknown, url: string): unknown {
  const { code, message } = error as NodeJS.ErrnoException;
  if (error instanceof AggregateError) return error.errors[0];
  return code === "ECONNRESET" && !message.includes(code) ? Object.assign(new Error(`the connection to ${url} was lost`, { cause: error }), { code }) : error;
}

const endOf = ({ reason }: AbortSignal): Error => (reason instanceof Error ? reason : new Error(String(reason)));

interface Guard {
  /** From now on this must be heard of so often. */
  watch(stream: { destroy(error: Error): unknown }, limit: number): void;
  heard(): void;
  end(): void;
}

/** Destroys a stream that is silent for too long, or when one of the signals says so. */
function createGuard(signals: readonly (AbortSignal | undefined)[], onSilent: (limit: number) => Error): Guard {
  let destroy = (_: Error): void => {};
  let timer: NodeJS.Timeout | undefined;
  const abort = (event: Event): void => destroy(endOf(event.target as AbortSignal));
  for (const signal of signals) signal?.addEventListener("abort", abort);
  return {
    watch(stream, limit) {
      destroy = (error) => void stream.destroy(error);
      clearTimeout(timer);
      timer = setTimeout(() => destroy(onSilent(limit)), limit);
    },
    heard: () => void timer?.refresh(),
    end() {
      clearTimeout(timer);
      for (const signal of signals) signal?.removeEventListener("abort", abort);
    },
  };
}

async function* partsOf(response: IncomingMessage, guard: Guard, url: string): AsyncGenerator<Buffer> {
  try {
    for await (const part of response) {
      guard.heard();
      yield part as Buffer;
    }
  } catch (error) {
    throw explained(error, url);
  } finally {
    guard.end();
  }
}
