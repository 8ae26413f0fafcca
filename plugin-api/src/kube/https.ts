/** The Kubernetes client of who is not in the server's process: the same interface, over HTTPS. */
import { setTimeout as sleep } from "node:timers/promises";
import type { CreateOptions, DeleteOptions, KubeClient, ListOptions, PatchOptions, PatchType, WriteOptions } from "./client.ts";
import { ApiError, apiError } from "./errors.ts";
import { createOutage } from "./outage.ts";
import { remoteInformer } from "./remote-informer.ts";
import { apiVersionOf, type Resource } from "./resources.ts";
import { createTransport, type Answer, type Call, type KubeConnection } from "./transport.ts";
import type { KubeObject, Status, WatchEvent } from "./types.ts";

export type { KubeConnection } from "./transport.ts";

export interface HttpsClientOptions {
  /** What informers meet and outlive; once for each reason until that is overcome. Calls reject and are not told of here. */
  readonly onError?: (what: string, error: Error) => void;
  /** Milliseconds in which the server must begin to answer, and go on. */
  readonly deadline?: number;
  /** Milliseconds after which a watch without a line ends; the server sends a bookmark each minute. */
  readonly silence?: number;
}

export interface HttpsClient extends KubeClient {
  /** Ends informers, watches and requests; what is asked afterwards rejects. */
  close(): void;
}

const patchTypes: Readonly<Record<PatchType, string>> = {
  json: "application/json-patch+json", merge: "application/merge-patch+json",
  strategic: "application/strategic-merge-patch+json", apply: "application/apply-patch+yaml",
};

/** As often as Kubernetes' own client. */
const MAX_RETRIES = 10;

type Query = NonNullable<Call["query"]>;

/** With a function each connection is made to what it answers by then, so that a renewed certificate is used. */
export function createHttpsClient(connection: KubeConnection | (() => Promise<KubeConnection>), options: HttpsClientOptions = {}): HttpsClient {
  const { onError, deadline = 30_000, silence = 150_000 } = options;
  const closing = new AbortController();
  const outage = createOutage(onError);
  const send = createTransport({ connection: typeof connection === "function" ? connection : () => connection, deadline, closing: closing.signal });

  async function open(call: Call): Promise<Answer> {
    const answer = await send(call);
    outage.answered();
    return answer;
  }

  /** A server that has too much to do says when to come again. */
  async function patient(call: Call): Promise<{ readonly status: number; readonly body: unknown }> {
    for (let attempt = 0; ; attempt++) {
      const answer = await open(call);
      const { status } = answer;
      const body = await bodyOf(answer);
      const seconds = Number(answer.headers["retry-after"]);
      if (attempt >= MAX_RETRIES || !(seconds >= 0) || (status !== 429 && status < 500)) return { status, body };
      await sleep(seconds * 1000, undefined, { signal: closing.signal });
    }
  }

  async function json<T>(call: Call): Promise<T> {
    const { status, body } = await patient(call);
    if (status >= 400) throw statusError(status, body);
    return body as T;
  }

  const client: HttpsClient = {
    get: (resource, name, namespace) => json({ method: "GET", path: pathOf(resource, namespace, name) }),
    list: (resource, { namespace, ...query } = {}) => json({ method: "GET", path: pathOf(resource, namespace), query: query as Query }),
    create<T extends KubeObject, R extends KubeObject = T>(resource: Resource<T>, object: R, options: CreateOptions = {}) {
      const { name, namespace = object.metadata?.namespace, subresource } = options;
      return json<R>({ method: "POST", path: pathOf(resource, namespace, name, subresource), query: writeQuery(options), body: typed(resource, object) });
    },
    update: (resource, object, options = {}) =>
      json({ method: "PUT", path: pathOf(resource, object.metadata?.namespace, object.metadata?.name, options.subresource), query: writeQuery(options), body: typed(resource, object) }),
    patch: (resource, name, patch, options: PatchOptions = {}) => json({
      method: "PATCH", path: pathOf(resource, options.namespace, name, options.subresource), body: patch,
      query: { ...writeQuery(options), force: options.force }, contentType: patchTypes[options.type ?? "merge"],
    }),
    delete: (resource, name, options = {}) => json({ method: "DELETE", path: pathOf(resource, options.namespace, name), body: deleteBody(options) }),
    async deleteCollection(resource, options = {}) {
      const { namespace, labelSelector, fieldSelector } = options;
      await json({ method: "DELETE", path: pathOf(resource, namespace), query: { labelSelector, fieldSelector }, body: deleteBody(options) });
    },
    watch: (resource, { namespace, signal, ...query }, onEvent) => watchLines(
      () => open({ method: "GET", path: pathOf(resource, namespace), query: { ...(query as Query), watch: true, allowWatchBookmarks: true }, signal, silence }),
      signal, onEvent,
    ),
    informer: (resource, wanted) => remoteInformer(client, resource, wanted, { outage, closing: closing.signal }),
    async request(method, path, body) {
      const answer = await open({ method, path, body });
      return { status: answer.status, body: await bodyOf(answer) };
    },
    close: () => closing.abort(new Error("the client is closed")),
  };
  return client;
}

export function pathOf(resource: Resource, namespace?: string, name?: string, subresource?: string): string {
  const root = resource.group ? `/apis/${apiVersionOf(resource)}` : `/api/${resource.version}`;
  const space = resource.namespaced && namespace ? ["namespaces", namespace] : [];
  return [root, ...[...space, resource.plural, ...(name ? [name] : []), ...(subresource ? [subresource] : [])].map(encodeURIComponent)].join("/");
}

const typed = (resource: Resource, object: KubeObject): KubeObject => ({ apiVersion: apiVersionOf(resource), kind: resource.kind, ...object });

const writeQuery = ({ dryRun, fieldManager }: WriteOptions): Query => ({ ...(dryRun && { dryRun: "All" }), fieldManager });

const deleteBody = ({ gracePeriodSeconds, propagationPolicy, preconditions, dryRun }: DeleteOptions & ListOptions): object => ({
  apiVersion: "v1", kind: "DeleteOptions", ...(dryRun && { dryRun: ["All"] }),
  ...(gracePeriodSeconds !== undefined && { gracePeriodSeconds }), ...(propagationPolicy && { propagationPolicy }), ...(preconditions && { preconditions }),
});

async function bodyOf({ body, headers }: Answer): Promise<unknown> {
  const parts: Buffer[] = [];
  for await (const part of body) parts.push(part);
  const text = Buffer.concat(parts).toString("utf8");
  return headers["content-type"]?.startsWith("application/json") ? (JSON.parse(text) as unknown) : text;
}

function statusError(code: number, body: unknown): ApiError {
  if ((body as Status | undefined)?.kind === "Status") return new ApiError(body as Status);
  return apiError(code, reasons[code] ?? "Unknown", String(body).trim() || `the server answered ${code}`);
}

/** For what answers without a Status: paths that the API does not know, and proxies on the way. */
const reasons: Readonly<Record<number, string>> = {
  401: "Unauthorized", 403: "Forbidden", 404: "NotFound", 409: "Conflict", 429: "TooManyRequests", 503: "ServiceUnavailable", 504: "Timeout",
};

/** Resolves when the server or the signal ends the watch; an `ERROR` event rejects with its status. */
async function watchLines<T extends KubeObject>(open: () => Promise<Answer>, signal: AbortSignal | undefined, onEvent: (event: WatchEvent<T>) => void): Promise<void> {
  try {
    const answer = await open();
    if (answer.status >= 400) throw statusError(answer.status, await bodyOf(answer));
    for await (const line of linesOf(answer.body)) {
      const event = JSON.parse(line) as { type: string; object: unknown };
      if (event.type === "ERROR") throw new ApiError(event.object as Status);
      onEvent(event as WatchEvent<T>);
    }
  } catch (error) {
    if (!signal?.aborted) throw error;
  }
}

/** Whole lines alone: what a server that dies has not ended is no event. */
async function* linesOf(parts: AsyncIterable<Buffer>): AsyncGenerator<string> {
  const decoder = new TextDecoder();
  let rest = "";
  for await (const part of parts) {
    const lines = (rest + decoder.decode(part, { stream: true })).split("\n");
    rest = lines.pop()!;
    yield* lines;
  }
}
