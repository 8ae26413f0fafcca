/** One request from the wire to its answer: authenticate, authorize, route; every failure becomes a Status. */
import type { IncomingHttpHeaders } from "node:http";
import type { Readable } from "node:stream";
import { apiError, badRequest, forbidden } from "@k3s-p/plugin-api/kube";
import type { UserInfo } from "@k3s-p/plugin-api/slots";
import { decodeBody, readBody } from "./body.ts";
import { handleResource, pathNotFound, type ResourceRoutes } from "./resource-handler.ts";
import { type ApiRequest, type ApiResponse, parseRequestInfo, type RequestInfo } from "./request.ts";
import { sendError } from "./respond.ts";

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
}

export interface RequestHandler {
  handle(incoming: Incoming, res: ApiResponse): Promise<void>;
  /** Authenticates and authorizes an upgrade, and makes the request that its handler gets. */
  admit(incoming: Incoming, closed: AbortSignal): ApiRequest;
}

export function createHandler(options: HandlerOptions): RequestHandler {
  function admit(incoming: Incoming, closed: AbortSignal | (() => AbortSignal)): ApiRequest {
    const info = parseRequestInfo(incoming.method, incoming.url);
    const user = incoming.user ?? options.authenticate(incoming);
    if (!user) throw apiError(401, "Unauthorized", "Unauthorized");
    options.authorize(user, info);
    return createRequest(incoming, info, user, closed);
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
      let info: RequestInfo | undefined;
      try {
        const open = options.open.get(pathOf(incoming.url));
        if (open) return await open(createRequest(incoming, parseRequestInfo(incoming.method, incoming.url), anonymous, () => closedSignal(res)), res);
        if (!known.has(incoming.method)) throw apiError(405, "MethodNotAllowed", "the server does not allow this method on the requested resource", {});
        const req = admit(incoming, () => closedSignal(res));
        info = req.info;
        await route(req, res);
      } catch (error) {
        if ((error as Error)?.name !== "ApiError") options.onError(error);
        sendError(incoming, res, error);
      } finally {
        if (info) options.observe({ method: incoming.method, info }, res.statusCode, (performance.now() - start) / 1000);
      }
    },
  };
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

function createRequest(incoming: Incoming, info: RequestInfo, user: UserInfo, closed: AbortSignal | (() => AbortSignal)): ApiRequest {
  const { method, url, headers, stream, remoteAddress } = incoming;
  let query: URLSearchParams | undefined;
  let bytes: Promise<Buffer> | undefined;
  let signal: AbortSignal | undefined;
  const request: ApiRequest = {
    method, url, headers, stream, remoteAddress, info, user,
    get query() {
      const mark = url.indexOf("?");
      return (query ??= new URLSearchParams(mark < 0 ? "" : url.slice(mark + 1)));
    },
    get signal() { return (signal ??= typeof closed === "function" ? closed() : closed); },
    body: () => (bytes ??= readBody(stream)),
    async object<T>() {
      const body = await request.body();
      if (body.length === 0) throw badRequest("unexpected EOF");
      return (await decodeBody(body, headers["content-type"])) as T;
    },
  };
  return request;
}

/** Until rules are at hand only superusers may do anything. */
export function superusersOnly(user: UserInfo, info: RequestInfo): void {
  if (user.groups.includes("system:masters")) return;
  throw forbidden({ group: info.group, plural: info.resource }, info.name, `User ${JSON.stringify(user.name)} cannot ${info.verb}`);
}
