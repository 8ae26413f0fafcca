/** The Kubernetes client of a plugin in a process of its own: the same interface, over HTTPS. */
import { Agent, request as httpsRequest } from "node:https";
import type { IncomingMessage } from "node:http";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import type { CreateOptions, DeleteOptions, KubeClient, ListOptions, PatchOptions, PatchType, WriteOptions } from "./client.ts";
import { ApiError, apiError } from "./errors.ts";
import { remoteInformer } from "./remote-informer.ts";
import { apiVersionOf, type Resource } from "./resources.ts";
import type { KubeObject, Status, WatchEvent } from "./types.ts";

/** Plain data, so that it can be handed to another process. PEM. */
export interface KubeConnection {
  readonly url: string;
  readonly ca: string;
  readonly cert?: string;
  readonly key?: string;
  readonly token?: string;
}

const patchTypes: Readonly<Record<PatchType, string>> = {
  json: "application/json-patch+json", merge: "application/merge-patch+json",
  strategic: "application/strategic-merge-patch+json", apply: "application/apply-patch+yaml",
};

/** As often as Kubernetes' own client. */
const MAX_RETRIES = 10;

type Query = Readonly<Record<string, string | number | boolean | undefined>>;

interface Call {
  readonly method: string;
  readonly path: string;
  readonly query?: Query;
  readonly body?: object | undefined;
  readonly contentType?: string;
  readonly signal?: AbortSignal | undefined;
}

export function createHttpsClient(connection: KubeConnection): KubeClient {
  const { ca, cert, key, token } = connection;
  const agent = new Agent({ keepAlive: true, ca, ...(cert && { cert }), ...(key && { key }) });

  function open({ method, path, query = {}, body, contentType = "application/json", signal }: Call): Promise<IncomingMessage> {
    const text = body && JSON.stringify(body);
    const headers = {
      accept: "application/json", ...(token && { authorization: `Bearer ${token}` }),
      ...(text !== undefined && { "content-type": contentType, "content-length": Buffer.byteLength(text) }),
    };
    return new Promise((resolve, reject) => {
      const url = new URL(path, connection.url);
      for (const [name, value] of Object.entries(query)) if (value !== undefined && value !== false) url.searchParams.set(name, String(value));
      httpsRequest(url, { method, agent, headers, ...(signal && { signal }) }, resolve).on("error", reject).end(text);
    });
  }

  /** A server that has too much to do says when to come again. */
  async function patient(call: Call): Promise<IncomingMessage> {
    for (let attempt = 0; ; attempt++) {
      const response = await open(call);
      const { statusCode = 0, headers } = response;
      const seconds = Number(headers["retry-after"]);
      if (attempt >= MAX_RETRIES || !(seconds >= 0) || (statusCode !== 429 && statusCode < 500)) return response;
      response.resume();
      await sleep(seconds * 1000, undefined, { ...(call.signal && { signal: call.signal }) });
    }
  }

  async function json<T>(call: Call): Promise<T> {
    const response = await patient(call);
    const body = await bodyOf(response);
    if (response.statusCode! >= 400) throw statusError(response.statusCode!, body);
    return body as T;
  }

  const client: KubeClient = {
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
    watch: (resource, { namespace, signal, ...query }, onEvent) =>
      watchLines(() => open({ method: "GET", path: pathOf(resource, namespace), query: { ...(query as Query), watch: true, allowWatchBookmarks: true }, signal }), signal, onEvent),
    informer: (resource, options) => remoteInformer(client, resource, options),
    async request(method, path, body) {
      const response = await open({ method, path, body });
      return { status: response.statusCode!, body: await bodyOf(response) };
    },
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

async function bodyOf(response: IncomingMessage): Promise<unknown> {
  const chunks: Buffer[] = [];
  for await (const chunk of response) chunks.push(chunk as Buffer);
  const text = Buffer.concat(chunks).toString("utf8");
  return response.headers["content-type"]?.startsWith("application/json") ? (JSON.parse(text) as unknown) : text;
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
async function watchLines<T extends KubeObject>(open: () => Promise<IncomingMessage>, signal: AbortSignal | undefined, onEvent: (event: WatchEvent<T>) => void): Promise<void> {
  try {
    const response = await open();
    if (response.statusCode! >= 400) throw statusError(response.statusCode!, await bodyOf(response));
    for await (const line of createInterface({ input: response })) {
      const event = JSON.parse(line) as { type: string; object: unknown };
      if (event.type === "ERROR") throw new ApiError(event.object as Status);
      onEvent(event as WatchEvent<T>);
    }
  } catch (error) {
    if (!signal?.aborted) throw error;
  }
}

