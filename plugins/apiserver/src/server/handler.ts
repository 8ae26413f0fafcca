/** One request from the wire to its answer: authenticate, authorize, route; every failure becomes a Status. */
import { randomUUID } from "node:crypto";
import type { IncomingHttpHeaders } from "node:http";
import type { Readable } from "node:stream";
import { apiError, badRequest, forbidden } from "@k3s-p/plugin-api/kube";
import type { UserInfo } from "@k3s-p/plugin-api/slots";
import type { Note } from "../auth/authenticate.ts";
import type { Audit, AuditRecord } from "../audit/index.ts";
import { type FlowControl, isLongRunning, type Ticket } from "../flowcontrol/index.ts";
import { decodeBody, readBody } from "./body.ts";
import { deadlineOf, withDeadline } from "./deadline.ts";
import type { Metrics } from "./metrics.ts";
import type { ServedPath } from "./plugin-routes.ts";
import { handleResource, methodNotAllowed, pathNotFound, type ResourceRoutes } from "./resource-handler.ts";
import { accessedBy, type ApiRequest, type ApiResponse, parseRequestInfo, type RequestInfo } from "./request.ts";
import { sendError, sendText, statusOf } from "./respond.ts";

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
    /** Of the certificate, in hexadecimal. */
    readonly sha256?: string;
  } | undefined;
  /** Set by calls in memory, whose user is known. */
  readonly user?: UserInfo;
}

export type Route = (req: ApiRequest, res: ApiResponse) => Promise<void> | void;

export interface HandlerOptions extends ResourceRoutes {
  /** Undefined = 401. What it notes stands in the audit log. */
  readonly authenticate: (incoming: Incoming, note?: Note) => UserInfo | undefined | Promise<UserInfo | undefined>;
  /** Throws or rejects with 403. */
  readonly authorize: (user: UserInfo, info: RequestInfo) => void | Promise<void>;
  /** Paths that answer without authentication: `/ping`, `/cacerts`. */
  readonly open: ReadonlyMap<string, Route>;
  /** Paths that plugins serve to those whom they name. */
  readonly served: (path: string) => ServedPath | undefined;
  /** Everything that is not a resource: health, version, metrics, discovery, OpenAPI. Undefined = 404. */
  readonly routes: (req: ApiRequest) => Route | undefined;
  /** Groups that another server answers for (APIServices). Undefined = not aggregated. */
  readonly aggregate: (info: RequestInfo) => Route | undefined;
  readonly observe: Pick<Metrics, "observe" | "lasting">;
  readonly onError: (error: unknown) => void;
  readonly audit?: Audit | undefined;
  readonly flow: FlowControl;
  readonly newId?: () => string;
  /** Milliseconds that a request may take, unless it is one of those that last. */
  readonly requestTimeout: number;
}

export interface RequestHandler {
  handle(incoming: Incoming, res: ApiResponse): Promise<void>;
  /** Resolves when no request is being answered, at the latest after so many milliseconds. */
  drained(limit: number): Promise<void>;
  /** Authenticates and authorizes an upgrade, and makes the request that its handler gets; a promise when others must be asked. */
  admit(incoming: Incoming, closed: AbortSignal): ApiRequest | Promise<ApiRequest>;
}

export function createHandler(options: HandlerOptions): RequestHandler {
  const { newId = randomUUID } = options;
  let running = 0;
  let onDrained: (() => void) | undefined;

  function admit(incoming: Incoming, closed: Closed, res?: ApiResponse): ApiRequest | Promise<ApiRequest> {
    const notes = options.audit && new Map<string, string>();
    const asked: Asked = { incoming, info: parseRequestInfo(incoming.method, incoming.url), closed, res, notes };
    const user = incoming.user ?? options.authenticate(incoming, notes && ((key, value) => void notes.set(key, value)));
    return user instanceof Promise ? user.then((found) => permit(asked, found)) : permit(asked, user);
  }

  function permit({ incoming, info, closed, res, notes }: Asked, user: UserInfo | undefined): ApiRequest | Promise<ApiRequest> {
    if (!user) throw apiError(401, "Unauthorized", "Unauthorized");
    if (res) options.flow.mark(user, info, res);
    const record = options.audit?.begin(incoming, info, user, res, notes);
    const refused = (error: unknown): never => {
      record?.decided(false);
      record?.complete(statusOf(error).code ?? 500, statusOf(error));
      throw error;
    };
    const allowed = (): ApiRequest => {
      record?.decided(true);
      return new HandledRequest(incoming, info, user, closed, record);
    };
    let pending: void | Promise<void>;
    try {
      const served = info.isResource ? undefined : options.served(info.path);
      pending = served ? served.authorize(user, info) : options.authorize(user, accessedBy(info, incoming.url));
    } catch (error) {
      return refused(error);
    }
    return pending instanceof Promise ? pending.then(allowed, refused) : allowed();
  }

  function route(req: ApiRequest, res: ApiResponse): void | Promise<void> {
    const { info } = req;
    if (hasEmptyPart(info.path)) return notFound(info, res);
    if (info.isResource) {
      const def = options.engine.registry.get(info.group, info.version, info.resource);
      if (def) return handleResource(options, def, req, res);
    }
    const found = options.aggregate(info) ?? options.served(info.path)?.answer ?? options.routes(req);
    return found ? found(req, res) : notFound(info, res);
  }

  /** The API answers for its own paths, and nobody for others. */
  function notFound({ path }: RequestInfo, res: ApiResponse): void {
    const [, root, group] = path.split("/");
    if (root === "api" || (root === "apis" && group && options.engine.registry.list().some((def) => def.group === group))) throw pathNotFound();
    sendText(res, 404, "404 page not found\n");
  }

  /** With a seat and a deadline, unless the request lasts as long as its client likes. */
  function serve(req: ApiRequest, res: ApiResponse): void | Promise<void> {
    const { info } = req;
    const lasts = isLongRunning(info);
    if (lasts && info.verb !== "watch") return last(req, res);
    const limit = lasts ? 0 : deadlineOf(req, options.requestTimeout);
    const seated = (ticket: Ticket): void | Promise<void> => {
      if (!lasts) return answer(req, res, ticket, limit);
      // To begin, a watch waits its turn like any other.
      ticket.leave();
      return last(req, res);
    };
    const entered = options.flow.enter(req);
    return entered instanceof Promise ? entered.then(seated) : seated(entered);
  }

  function answer(req: ApiRequest, res: ApiResponse, ticket: Ticket, limit: number): void | Promise<void> {
    let work: void | Promise<void>;
    try {
      work = route(req, res);
    } catch (error) {
      ticket.leave();
      throw error;
    }
    const answered = (): void => {
      if (res.writableLength > LARGE) endUnread(res, options.requestTimeout);
    };
    if (work instanceof Promise) return withDeadline(work, limit).then(answered).finally(() => ticket.leave());
    ticket.leave();
    answered();
  }

  async function last(req: ApiRequest, res: ApiResponse): Promise<void> {
    options.observe.lasting(req.info, 1);
    try {
      await route(req, res);
    } finally {
      options.observe.lasting(req.info, -1);
    }
  }

  return {
    admit,
    async handle(incoming, res) {
      const start = performance.now();
      running++;
      res.auditId = String(incoming.headers["audit-id"] || newId());
      let req: ApiRequest | undefined;
      let failure: unknown;
      try {
        const open = options.open.get(pathOf(incoming.url));
        if (open) return await open(new HandledRequest(incoming, parseRequestInfo(incoming.method, incoming.url), anonymous, () => closedSignal(res)), res);
        if (!known.has(incoming.method)) throw methodNotAllowed();
        const admitted = admit(incoming, () => closedSignal(res), res);
        req = admitted instanceof Promise ? await admitted : admitted;
        if (req.audit && req.info.verb === "watch") req.audit.started(200);
        const served = serve(req, res);
        if (served instanceof Promise) await served;
      } catch (error) {
        failure = error;
        if ((error as Error)?.name !== "ApiError") options.onError(error);
        sendError(incoming, res, error);
      } finally {
        if (req) options.observe.observe(req.info, res.statusCode, (performance.now() - start) / 1000);
        if (req?.audit) finish(req.audit, req.info, res, failure);
        if (--running === 0) onDrained?.();
      }
    },
    drained(limit) {
      if (running === 0) return Promise.resolve();
      return new Promise((resolve) => {
        const timer = setTimeout(resolve, limit);
        onDrained = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    },
  };
}

/** Beyond what sockets hold by themselves. */
const LARGE = 256 * 1024;

/** A client that does not take its answer does not keep it for ever. */
function endUnread(res: ApiResponse, milliseconds: number): void {
  const timer = setTimeout(() => res.destroy(), milliseconds);
  res.once("close", () => clearTimeout(timer));
}

/** `//` names nothing, but in what a proxy passes on. */
function hasEmptyPart(path: string): boolean {
  const at = path.indexOf("//");
  return at >= 0 && !path.slice(0, at + 1).includes("/proxy/");
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

interface Asked {
  readonly incoming: Incoming;
  readonly info: RequestInfo;
  readonly closed: Closed;
  readonly res: ApiResponse | undefined;
  /** Annotations from before there was a record to take them. */
  readonly notes: ReadonlyMap<string, string> | undefined;
}

type Closed = AbortSignal | (() => AbortSignal);

/** A class, not a literal: getters in a literal give every request a hidden class of its own, which outlives it. */
class HandledRequest implements ApiRequest {
  readonly method: string;
  readonly url: string;
  readonly headers: IncomingHttpHeaders;
  readonly stream: Readable;
  readonly remoteAddress: string;
  readonly info: RequestInfo;
  readonly user: UserInfo;
  readonly audit: AuditRecord | undefined;
  readonly #closed: Closed;
  #query: URLSearchParams | undefined;
  #signal: AbortSignal | undefined;
  #bytes: Promise<Buffer> | undefined;

  constructor(incoming: Incoming, info: RequestInfo, user: UserInfo, closed: Closed, audit?: AuditRecord) {
    this.method = incoming.method;
    this.url = incoming.url;
    this.headers = incoming.headers;
    this.stream = incoming.stream;
    this.remoteAddress = incoming.remoteAddress;
    this.info = info;
    this.user = user;
    this.audit = audit;
    this.#closed = closed;
  }

  get query(): URLSearchParams {
    const mark = this.url.indexOf("?");
    return (this.#query ??= new URLSearchParams(mark < 0 ? "" : this.url.slice(mark + 1)));
  }

  get signal(): AbortSignal {
    return (this.#signal ??= typeof this.#closed === "function" ? this.#closed() : this.#closed);
  }

  body(): Promise<Buffer> {
    return (this.#bytes ??= this.audit ? recorded(readBody(this.stream), this.audit) : readBody(this.stream));
  }

  async object<T>(): Promise<T> {
    const body = await this.body();
    if (body.length === 0) throw badRequest("unexpected EOF");
    return (await decodeBody(body, this.headers["content-type"])) as T;
  }
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
