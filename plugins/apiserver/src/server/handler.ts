/** One request from the wire to its answer: authenticate, authorize, route; every failure becomes a Status. */
import type { IncomingHttpHeaders } from "node:http";
import type { Readable } from "node:stream";
import { apiError, badRequest, forbidden } from "@k3s-p/plugin-api/kube";
import type { UserInfo } from "@k3s-p/plugin-api/slots";
import type { Audit, AuditRecord } from "../audit/index.ts";
import { decodeBody, readBody } from "./body.ts";
import { handleResource, pathNotFound, type ResourceRoutes } from "./resource-handler.ts";
import { accessedBy, type ApiRequest, type ApiResponse, parseRequestInfo, type RequestInfo } from "./request.ts";
import { sendError, statusOf } from "./respond.ts";

/** What a transport hands over; HTTP/1.1 and HTTP/2 requests and calls in memory all have this form. */
export interface Incoming {
  readonly method: string;
  readonly url: string;
  readonly headers: IncomingHttpHeaders;
  readonly stream: Readable;
  readonly remoteAddress: string;
  /** The verified client certificate's subject. */
  readonly peerCertificate?: {
    readonly subject: { readonly CN?: string; readonly O?: string | string[] };
    /** Signed by an authority of front proxies, and by none of clients. */
    readonly isFrontProxy?: boolean;
  } | undefined;
  /** Set by calls in memory, whose user is known. */
  readonly user?: UserInfo;
}

export type Route = (req: ApiRequest, res: ApiResponse) => Promise<void> | void;

export interface HandlerOptions extends ResourceRoutes {
  /** Undefined = 401. */
  readonly authenticate: (incoming: Incoming) => UserInfo | undefined;
  /** Throws 403. */
  readonly authorize: (user: UserInfo, info: RequestInfo) => void;
  /** Paths that answer without authentication: `/ping`, `/cacerts`. */
  readonly open: ReadonlyMap<string, Route>;
  /** Everything that is not a resource: health, version, metrics, discovery, OpenAPI. Undefined = 404. */
  readonly routes: (req: ApiRequest) => Route | undefined;
  /** Groups that another server answers for (APIServices). Undefined = not aggregated. */
  readonly aggregate: (info: RequestInfo) => Route | undefined;
  readonly observe: (req: { readonly method: string; readonly info: RequestInfo }, status: number, seconds: number) => void;
  readonly onError: (error: unknown) => void;
  readonly audit?: Audit | undefined;
}

export interface RequestHandler {
  handle(incoming: Incoming, res: ApiResponse): Promise<void>;
  /** Authenticates and authorizes an upgrade, and makes the request that its handler gets. */
  admit(incoming: Incoming, closed: AbortSignal): ApiRequest;
}

export function createHandler(options: HandlerOptions): RequestHandler {
  function admit(incoming: Incoming, closed: AbortSignal | (() => AbortSignal), res?: ApiResponse): ApiRequest {
    const info = parseRequestInfo(incoming.method, incoming.url);
    const user = incoming.user ?? options.authenticate(incoming);
    if (!user) throw apiError(401, "Unauthorized", "Unauthorized");
    const record = options.audit?.begin(incoming, info, user, res);
    try {
      options.authorize(user, accessedBy(info, incoming.url));
    } catch (error) {
      record?.decided(false);
      record?.complete(statusOf(error).code ?? 500, statusOf(error));
      throw error;
    }
    record?.decided(true);
    return createRequest(incoming, info, user, closed, record);
  }

  async function route(req: ApiRequest, res: ApiResponse): Promise<void> {
    const { info } = req;
    if (info.isResource) {
      const def = options.engine.registry.get(info.group, info.version, info.resource);
      if (def) return handleResource(options, def, req, res);
    }
    const found = options.aggregate(info) ?? options.routes(req);
    if (!found) throw pathNotFound();
    return found(req, res);
  }

  return {
    admit,
    async handle(incoming, res) {
      const start = performance.now();
      let req: ApiRequest | undefined;
      let failure: unknown;
      try {
        const open = options.open.get(pathOf(incoming.url));
        if (open) return await open(createRequest(incoming, parseRequestInfo(incoming.method, incoming.url), anonymous, () => closedSignal(res)), res);
        if (!known.has(incoming.method)) throw apiError(405, "MethodNotAllowed", "the server does not allow this method on the requested resource", {});
        req = admit(incoming, () => closedSignal(res), res);
        if (req.audit && req.info.verb === "watch") req.audit.started(200);
        await route(req, res);
      } catch (error) {
        failure = error;
        if ((error as Error)?.name !== "ApiError") options.onError(error);
        sendError(incoming, res, error);
      } finally {
        if (req) options.observe({ method: incoming.method, info: req.info }, res.statusCode, (performance.now() - start) / 1000);
        if (req?.audit) finish(req.audit, req.info, res, failure);
      }
    },
  };
}

/** A watch is over when its connection is; all else, when it has been answered. */
function finish(record: AuditRecord, { verb }: RequestInfo, res: ApiResponse, failure: unknown): void {
  const complete = (): void => record.complete(res.statusCode, failure === undefined ? undefined : statusOf(failure));
  if (verb === "watch" && failure === undefined && !res.writableEnded) res.once("close", complete);
  else complete();
}

const known = new Set(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]);
const anonymous: UserInfo = Object.freeze({ name: "system:anonymous", groups: ["system:unauthenticated"] });

function pathOf(url: string): string {
  const mark = url.indexOf("?");
  return mark < 0 ? url : url.slice(0, mark);
}

function closedSignal(res: ApiResponse): AbortSignal {
  const controller = new AbortController();
  res.on("close", () => controller.abort());
  return controller.signal;
}

function createRequest(incoming: Incoming, info: RequestInfo, user: UserInfo, closed: AbortSignal | (() => AbortSignal), audit?: AuditRecord): ApiRequest {
  const { method, url, headers, stream, remoteAddress } = incoming;
  let query: URLSearchParams | undefined;
  let bytes: Promise<Buffer> | undefined;
  let signal: AbortSignal | undefined;
  const request: ApiRequest = {
    method, url, headers, stream, remoteAddress, info, user, audit,
    get query() {
      const mark = url.indexOf("?");
      return (query ??= new URLSearchParams(mark < 0 ? "" : url.slice(mark + 1)));
    },
    get signal() { return (signal ??= typeof closed === "function" ? closed() : closed); },
    body: () => (bytes ??= audit ? recorded(readBody(stream), audit) : readBody(stream)),
    async object<T>() {
      const body = await request.body();
      if (body.length === 0) throw badRequest("unexpected EOF");
      return (await decodeBody(body, headers["content-type"])) as T;
    },
  };
  return request;
}

async function recorded(body: Promise<Buffer>, audit: AuditRecord): Promise<Buffer> {
  const bytes = await body;
  audit.body(bytes);
  return bytes;
}

/** Until rules are at hand only superusers may do anything. */
export function superusersOnly(user: UserInfo, info: RequestInfo): void {
  if (user.groups.includes("system:masters")) return;
  throw forbidden({ group: info.group, plural: info.resource }, info.name, `User ${JSON.stringify(user.name)} cannot ${info.verb}`);
}
