/** What a handler sees of a request: the parsed path, the user, the body; the same for HTTP and for calls in memory. */
import type { IncomingHttpHeaders } from "node:http";
import type { Readable } from "node:stream";
import type { UserInfo } from "@k3s-p/plugin-api/slots";
import type { AuditRecord } from "../audit/index.ts";

/** Upstream's RequestInfo: what a path and a method mean. */
export interface RequestInfo {
  readonly isResource: boolean;
  /** Path without the query, as sent. */
  readonly path: string;
  /** `get list watch create update patch delete deletecollection`; the method in lower case when not a resource. */
  readonly verb: string;
  readonly group: string;
  readonly version: string;
  readonly resource: string;
  readonly subresource: string;
  readonly namespace: string;
  readonly name: string;
  /** Path segments after the subresource (for proxies), decoded. */
  readonly rest: readonly string[];
  /** Only where it is asked what a list or watch may see. */
  readonly fieldSelector?: string;
}

export interface ApiRequest {
  readonly method: string;
  /** Path and query as sent. */
  readonly url: string;
  readonly query: URLSearchParams;
  readonly info: RequestInfo;
  readonly headers: IncomingHttpHeaders;
  readonly user: UserInfo;
  readonly remoteAddress: string;
  /** Aborted when the client has gone or the server stops. */
  readonly signal: AbortSignal;
  /** The whole body, at most 3 MiB (rejects with 413 beyond). */
  body(): Promise<Buffer>;
  /** The body as an object, from JSON or YAML by content type; 400 and 415 as upstream. */
  object<T = Record<string, unknown>>(): Promise<T>;
  /** The unread body, for proxies that stream; do not mix with `body`. */
  readonly stream: Readable;
  /** Where the request is written down, if it is. */
  readonly audit?: AuditRecord | undefined;
}

/** The common part of HTTP/1.1, HTTP/2 and in-memory responses. */
export interface ApiResponse {
  statusCode: number;
  readonly headersSent: boolean;
  readonly writableEnded: boolean;
  /** The client has gone, or was sent away. */
  readonly destroyed?: boolean;
  /** Each write is a message of its own (WebSockets). */
  readonly isMessages?: boolean;
  /** Bytes accepted but not yet taken by the client. */
  readonly writableLength: number;
  setHeader(name: string, value: string | string[]): unknown;
  getHeader(name: string): unknown;
  /** Headers of every answer to this request, which `sendHead` adds. */
  common?: Readonly<Record<string, string>>;
  /** Id of the request, the client's own if it gave one; `sendHead` tells it. */
  auditId?: string;
  writeHead(status: number, headers?: Readonly<Record<string, string | number | readonly string[]>>): unknown;
  flushHeaders(): void;
  /** False when the caller should wait for `drain`; `sent` is called when the chunk's memory may be used again. */
  write(chunk: Uint8Array | string, sent?: () => void): boolean;
  end(chunk?: Uint8Array | string, sent?: () => void): unknown;
  destroy(error?: Error): unknown;
  on(event: "close" | "drain" | "error" | "finish", fn: (...args: never[]) => void): unknown;
  once(event: "close" | "drain" | "error" | "finish", fn: (...args: never[]) => void): unknown;
}

const methodVerbs: Readonly<Record<string, string>> = {
  GET: "get", HEAD: "get", POST: "create", PUT: "update", PATCH: "patch", DELETE: "delete",
};

/** Subresources of a Namespace; every other segment after `namespaces/<ns>` names a resource. */
const namespaceSubresources = new Set(["status", "finalize"]);

export function parseRequestInfo(method: string, url: string): RequestInfo {
  const mark = url.indexOf("?");
  const path = mark < 0 ? url : url.slice(0, mark);
  const query = mark < 0 ? "" : url.slice(mark + 1);
  const parts = split(path);
  const info = resourceInfo(method, path, parts, query);
  return info ?? { ...nothing, path, verb: method.toLowerCase() };
}

/**
 * What a request is authorized for: a list or watch of the one object that a field selector names counts as a request
 * for that name, so that a role with `resourceNames` allows it.
 */
export function accessedBy(info: RequestInfo, url: string): RequestInfo {
  if (info.name || (info.verb !== "list" && info.verb !== "watch") || !url.includes("fieldSelector=")) return info;
  return selecting(info, new URLSearchParams(url.slice(url.indexOf("?") + 1)).get("fieldSelector") ?? "");
}

/** The same for a field selector by itself; with other verbs it decides nothing. */
export function selecting(info: RequestInfo, selector: string): RequestInfo {
  if (selector === "" || (info.verb !== "list" && info.verb !== "watch")) return info;
  const name = selector.split(",").map((term) => /^metadata\.name==?([^=/%]+)$/.exec(term)?.[1]).find(Boolean);
  return { ...info, fieldSelector: selector, ...(name && name !== "." && name !== ".." && { name }) };
}

const nothing = {
  isResource: false, group: "", version: "", resource: "", subresource: "", namespace: "", name: "", rest: [],
} as const;

function resourceInfo(method: string, path: string, parts: string[], query: string): RequestInfo | undefined {
  const core = parts[0] === "api";
  if (!core && parts[0] !== "apis") return undefined;
  const group = core ? "" : (parts[1] ?? "");
  const version = core ? parts[1] : parts[2];
  let at = core ? 2 : 3;
  if (!version || parts.length <= at) return undefined;
  const legacyWatch = parts[at] === "watch";
  if (legacyWatch) at++;
  if (parts[at] === undefined) return undefined;
  let namespace = "";
  if (parts[at] === "namespaces" && parts[at + 1] !== undefined) {
    namespace = parts[at + 1]!;
    if (parts[at + 2] !== undefined && !namespaceSubresources.has(parts[at + 2]!)) at += 2;
  }
  const [resource = "", name = "", subresource = ""] = [parts[at], parts[at + 1], parts[at + 2]];
  const rest = parts.slice(at + 3);
  const verb = verbOf(method, name, query, legacyWatch);
  return { isResource: true, path, verb, group, version, resource, subresource, namespace, name, rest };
}

function verbOf(method: string, name: string, query: string, legacyWatch: boolean): string {
  const verb = methodVerbs[method] ?? method.toLowerCase();
  if (verb === "get" && (legacyWatch || !name)) return legacyWatch || isWatch(query) ? "watch" : "list";
  return verb === "delete" && !name ? "deletecollection" : verb;
}

function isWatch(query: string): boolean {
  if (!query.includes("watch=")) return false;
  const value = new URLSearchParams(query).get("watch");
  return value === "1" || value === "true" || value === "True" || value === "t";
}

function split(path: string): string[] {
  const parts: string[] = [];
  for (let from = 0; from < path.length;) {
    const slash = path.indexOf("/", from);
    const end = slash < 0 ? path.length : slash;
    if (end > from) parts.push(path.slice(from, end));
    from = end + 1;
  }
  return path.includes("%") ? parts.map(decode) : parts;
}

function decode(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}
