/** Answers: objects, lists and errors in the negotiated form, compressed when large. */
import { promisify } from "node:util";
import { gzip } from "node:zlib";
import { apiError, type Status } from "@k3s-p/plugin-api/kube";
import type { ResourceDef } from "../resources/types.ts";
import type { Entry } from "../store/entry.ts";
import { type IncludeObject, partialText, tableShape } from "../table/table.ts";
import { apiVersion } from "../verbs/engine.ts";
import type { Page } from "../verbs/list.ts";
import { type Format, notAcceptable } from "./negotiate.ts";
import type { ApiRequest, ApiResponse } from "./request.ts";

/** Size from which upstream compresses. */
const GZIP_MIN = 128 * 1024;
const gzipAsync = promisify(gzip);

/** Every answer begins here: what they all have is said together with its own headers, which is much cheaper than one by one. */
export function sendHead(res: ApiResponse, status: number, headers: Headers): void {
  res.writeHead(status, { "Audit-Id": shownId(res.auditId), ...res.common, ...headers });
}

/** Of a client's own id, so many characters go back to it, as upstream. */
const shownId = (id = ""): string => (id.length > 64 ? id.slice(0, 64) : id);

type Headers = Readonly<Record<string, string | number | readonly string[]>>;
/** What is at hand is sent at once; a promise is for what has to be encoded or compressed first. */
type Sent = void | Promise<void>;

/** Sends a body that is already JSON, in the wanted encoding. */
export function sendJson(req: ApiRequest, res: ApiResponse, status: number, json: Buffer, encoding: Format["encoding"] = "json"): Sent {
  if (encoding === "yaml") return toYaml(json).then((body) => sendBody(req, res, status, body, "application/yaml"));
  if (encoding === "protobuf") return toProtobuf(json).then((body) => sendBody(req, res, status, body, PROTOBUF));
  const body = wantsPretty(req) ? Buffer.from(`${JSON.stringify(JSON.parse(json.toString("utf8")), null, 2)}\n`) : json;
  return sendBody(req, res, status, body, "application/json");
}

function sendBody(req: ApiRequest, res: ApiResponse, status: number, body: Buffer, type: string): Sent {
  if (body.length > GZIP_MIN && wantsGzip(req)) return sendCompressed(req, res, status, body, type);
  sendHead(res, status, { "content-type": type, "cache-control": NO_CACHE, "content-length": body.length });
  res.end(req.method === "HEAD" ? undefined : body);
}

async function sendCompressed(req: ApiRequest, res: ApiResponse, status: number, plain: Buffer, type: string): Promise<void> {
  const body = await gzipAsync(plain, { level: 1 });
  sendHead(res, status, { "content-type": type, "cache-control": NO_CACHE, "content-encoding": "gzip", vary: "Accept-Encoding", "content-length": body.length });
  res.end(req.method === "HEAD" ? undefined : body);
}

const NO_CACHE = "no-cache, private";

/** As Go writes it: sorted, and text in quotes that a reader of YAML 1.1 would take for a time, a number or a boolean. */
async function toYaml(json: Buffer): Promise<Buffer> {
  const { stringify } = await import("yaml");
  return Buffer.from(stringify(JSON.parse(json.toString("utf8")), { compat: "yaml-1.1", indentSeq: false, lineWidth: 0, sortMapEntries: true }));
}

const PROTOBUF = "application/vnd.kubernetes.protobuf";

async function protobufList(def: ResourceDef, metadata: object, entries: readonly Entry[]): Promise<Buffer> {
  const { encodeProtobufList, hasProtobuf } = await import("../protobuf/index.ts");
  if (!hasProtobuf(apiVersion(def), `${def.kind}List`)) throw notAcceptable();
  return encodeProtobufList(apiVersion(def), def.kind, metadata, entries);
}

async function toProtobuf(json: Buffer): Promise<Buffer> {
  const { encodeProtobuf, hasProtobuf } = await import("../protobuf/index.ts");
  const object = JSON.parse(json.toString("utf8")) as { apiVersion: string; kind: string };
  if (!hasProtobuf(object.apiVersion, object.kind)) throw notAcceptable();
  return encodeProtobuf(object);
}

const wantsGzip = (req: ApiRequest): boolean => /\bgzip\b/.test(String(req.headers["accept-encoding"] ?? ""));

const people = /^(curl|Wget|Mozilla\/5\.0)/;
const yes = new Set(["1", "t", "T", "TRUE", "true", "True"]);

/** Asked for, or when a person with a simple tool reads it. */
function wantsPretty(req: ApiRequest): boolean {
  const asked = req.url.includes("pretty=") && req.query.get("pretty");
  return asked ? yes.has(asked) : people.test(String(req.headers["user-agent"] ?? ""));
}

/** What is meant for people and machines that read no JSON. */
export function sendText(res: ApiResponse, status: number, text: string, type = "text/plain; charset=utf-8"): void {
  sendHead(res, status, {
    "content-type": type, "cache-control": NO_CACHE, "x-content-type-options": "nosniff", "content-length": Buffer.byteLength(text),
  });
  res.end(text);
}

export const sendObject = (req: ApiRequest, res: ApiResponse, status: number, object: object, encoding?: Format["encoding"]): Sent =>
  sendJson(req, res, status, Buffer.from(JSON.stringify(object)), encoding);

export function sendEntry(req: ApiRequest, res: ApiResponse, status: number, def: ResourceDef, entry: Entry, format: Format): Sent {
  if (format.as === "object") return sendJson(req, res, status, entry.bytes, format.encoding);
  if (format.as === "partial") return sendJson(req, res, status, Buffer.from(partialText(entry, `meta.k8s.io/${format.version}`)), format.encoding);
  const shape = tableShape(def, includeOf(req), format.version);
  const text = `${shape.head({ resourceVersion: String(entry.revision) }, true)}${shape.row(entry, Date.now())}]}`;
  return sendJson(req, res, status, Buffer.from(text), format.encoding);
}

export async function sendList(req: ApiRequest, res: ApiResponse, def: ResourceDef, page: Page, format: Format): Promise<void> {
  const metadata = listMeta(page);
  if (format.as === "object" && format.encoding === "protobuf") return sendBody(req, res, 200, await protobufList(def, metadata, page.entries), PROTOBUF);
  if (format.as === "object") return sendEntries(req, res, def, metadata, page.entries, format);
  if (format.as === "partial") {
    const items = page.entries.map((entry) => partialText(entry, `meta.k8s.io/${format.version}`)).join(",");
    const text = `{"kind":"PartialObjectMetadataList","apiVersion":"meta.k8s.io/${format.version}","metadata":${JSON.stringify(metadata)},"items":[${items}]}`;
    return sendJson(req, res, 200, Buffer.from(text), format.encoding);
  }
  const shape = tableShape(def, includeOf(req), format.version);
  const now = Date.now();
  const rows = page.entries.map((entry) => shape.row(entry, now)).join(",");
  return sendJson(req, res, 200, Buffer.from(`${shape.head(metadata, true)}${rows}]}`), format.encoding);
}

export function includeOf(req: ApiRequest): IncludeObject {
  const value = req.query.get("includeObject") || "Metadata";
  if (value === "None" || value === "Metadata" || value === "Object") return value;
  throw apiError(400, "BadRequest", `unrecognized includeObject value: ${JSON.stringify(value)}`);
}

const listMeta = (page: Page): Record<string, unknown> => ({
  resourceVersion: String(page.revision),
  ...(page.continue && { continue: page.continue }),
  ...(page.remainingItemCount !== undefined && { remainingItemCount: page.remainingItemCount }),
});

/**
 * Lists go out in pieces of this size, each when the one before has gone: a list is never in memory as a whole, and a
 * piece is still in the processor's cache when it is encrypted.
 */
const PIECE = 32 * 1024;
/** Pieces that have been sent are filled again: new ones for each list would keep the garbage collector busy. */
const free: Buffer[] = [];
const MAX_FREE = 16;

async function sendEntries(req: ApiRequest, res: ApiResponse, def: ResourceDef, metadata: object, entries: readonly Entry[], format: Format): Promise<void> {
  const head = Buffer.from(`{"kind":"${def.kind}List","apiVersion":"${apiVersion(def)}","metadata":${JSON.stringify(metadata)},"items":[`);
  let size = head.length + 2 + Math.max(0, entries.length - 1);
  for (const entry of entries) size += entry.bytes.length;
  const isPlain = format.encoding === "json" && req.method !== "HEAD" && !wantsPretty(req);
  if (size <= PIECE || !isPlain || wantsGzip(req)) return sendJson(req, res, 200, Buffer.concat([...partsOf(head, entries)], size), format.encoding);
  sendHead(res, 200, { "content-type": "application/json", "cache-control": NO_CACHE, "content-length": size });
  res.flushHeaders();
  const send = oneByOne(res);
  const piece = free.pop() ?? Buffer.allocUnsafeSlow(PIECE);
  let at = 0;
  for (const part of partsOf(head, entries)) {
    for (let from = 0; from < part.length;) {
      const taken = part.copy(piece, at, from);
      from += taken;
      at += taken;
      if (at < PIECE) continue;
      if (!(await send(piece))) return;
      at = 0;
    }
  }
  if (at > 0 && !(await send(piece.subarray(0, at)))) return;
  if (free.length < MAX_FREE) free.push(piece);
  res.end();
}

function* partsOf(head: Buffer, entries: readonly Entry[]): Generator<Buffer> {
  yield head;
  for (let i = 0; i < entries.length; i++) {
    if (i > 0) yield COMMA;
    yield entries[i]!.bytes;
  }
  yield END;
}

const COMMA = Buffer.from(",");
const END = Buffer.from("]}");

/** Writes a piece and waits until its memory may be used again; false when the client has gone. */
function oneByOne(res: ApiResponse): (piece: Buffer) => Promise<boolean> {
  let settle: (isThere: boolean) => void = () => {};
  res.once("close", () => settle(false));
  return (piece) => new Promise((resolve) => {
    settle = resolve;
    res.write(piece, () => resolve(!res.destroyed));
  });
}

/** Any error as a Status; what is not an ApiError is a bug and answers 500. */
export function statusOf(error: unknown): Status {
  if (error instanceof Error && error.name === "ApiError") return (error as Error & { status: Status }).status;
  const text = error instanceof Error ? error.message : String(error);
  return apiError(500, "InternalError", `Internal error occurred: ${text}`, { causes: [{ message: text }] }).status;
}

export function sendError(req: Pick<ApiRequest, "method" | "headers">, res: ApiResponse, error: unknown): void {
  if (res.headersSent) return void res.destroy();
  const status = statusOf(error);
  const code = status.code ?? 500;
  const body = Buffer.from(`${JSON.stringify(status)}\n`);
  const retry = status.details?.retryAfterSeconds;
  // Nothing more is read: HTTP/1.1 ends the connection with the answer, HTTP/2 the stream.
  const isLast = unread.has(code);
  const { stream } = res as { readonly stream?: { close(): void } };
  sendHead(res, code, {
    "content-type": "application/json", "cache-control": NO_CACHE, "content-length": body.length,
    ...(retry && { "retry-after": retry }),
    ...(isLast && !stream && { connection: "close" }),
  });
  res.end(req.method === "HEAD" ? undefined : body);
  if (isLast) stream?.close();
}

/** Codes after which more of the body may come, which nobody wants: too large, too slow. */
const unread = new Set([413, 504]);
