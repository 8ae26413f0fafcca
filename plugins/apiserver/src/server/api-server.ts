/** The API server as a library: parts in, a running server out. It knows nothing of plugins. */
import { randomUUID } from "node:crypto";
import type { Duplex } from "node:stream";
import type { Contribution } from "@k3s-p/plugin-api";
import { type KubeClient, randomSuffix } from "@k3s-p/plugin-api/kube";
import type { AdmissionPlugin, DebugPage, HealthCheck, SlotHealth } from "@k3s-p/plugin-api/points";
import type { ClusterSettings, Datastore, UserInfo } from "@k3s-p/plugin-api/slots";
import type { Audit, AuditRecord } from "../audit/index.ts";
import type { Note } from "../auth/authenticate.ts";
import { createClient } from "../client/client.ts";
import type { Sealer } from "../encryption/sealer.ts";
import { createFlowControl, type FlowControl, GROUP as FLOW_GROUP } from "../flowcontrol/index.ts";
import { createInflightLimits } from "../flowcontrol/inflight.ts";
import { builtinResources } from "../resources/index.ts";
import type { ResourceDef } from "../resources/types.ts";
import { componentStatuses } from "../subresources/component-statuses.ts";
import { createExpiry } from "../store/expiry.ts";
import { openStore, type Store } from "../store/store.ts";
import { collectionOf, type Engine, type FieldCheck, type FieldManagement } from "../verbs/engine.ts";
import { createAdmission } from "./admission.ts";
import { REQUEST_TIMEOUT } from "./deadline.ts";
import { createHandler, type Incoming, type RequestHandler, type Route, superusersOnly } from "./handler.ts";
import { healthRoutes } from "./health.ts";
import { createWatchHub } from "./http-watch.ts";
import { type Listener, listen, type ListenerOptions } from "./listener.ts";
import { createMetrics } from "./metrics.ts";
import type { ServedPath } from "./plugin-routes.ts";
import { createRegistry, type Registry } from "./registry.ts";
import type { ApiRequest, RequestInfo } from "./request.ts";
import { methodNotAllowed, type SubresourceHandler } from "./resource-handler.ts";
import { sendObject, sendText, statusOf } from "./respond.ts";
import { versionInfo } from "./version.ts";
import { upgradeWatch } from "./websocket-watch.ts";

/** What the parts around the engine add: authentication, discovery, subresources. Built once the engine runs. */
export interface Extensions {
  readonly authenticate?: (incoming: Incoming, note?: Note) => UserInfo | undefined | Promise<UserInfo | undefined>;
  readonly authorize?: (user: UserInfo, info: RequestInfo) => void | Promise<void>;
  /** The server's own rules alone, for clients in this process. */
  readonly authorizeInside?: (user: UserInfo, info: RequestInfo) => void;
  /** The whole chain, given what plugins contribute. */
  readonly admission?: (contributed: readonly Contribution<AdmissionPlugin>[]) => readonly AdmissionPlugin[];
  /** A part of `/metrics`. */
  readonly metrics?: () => string;
  readonly handlers?: ReadonlyMap<string, SubresourceHandler>;
  readonly upgrade?: (req: ApiRequest, socket: Duplex, head: Buffer) => void | Promise<void>;
  readonly routes?: (req: ApiRequest) => Route | undefined;
  readonly aggregate?: (info: RequestInfo) => Route | undefined;
  readonly checkFields?: FieldCheck;
  readonly fields?: FieldManagement;
  /** Creates the cluster's first objects, which say at which port the server listens; readiness waits for it. */
  readonly bootstrap?: (port: number) => Promise<void>;
  /** Begins what follows the cluster's objects; returns the stop function. */
  readonly start?: () => () => void;
}

export interface ExtensionDeps {
  readonly engine: Engine;
  readonly registry: Registry;
  readonly store: Store;
  /** In-process client of a user. */
  readonly client: (user: UserInfo) => KubeClient;
}

export interface ApiServerOptions {
  readonly datastore: Datastore;
  readonly cluster: ClusterSettings;
  /** Rows to serve; default: every built-in resource. */
  readonly defs?: readonly ResourceDef[];
  readonly extend?: (deps: ExtensionDeps) => Extensions;
  readonly open?: ReadonlyMap<string, Route>;
  /** What the server's owner answers itself, to those whom RBAC lets have the path. */
  readonly routes?: (path: string, method: string) => Route | undefined;
  /** What plugins answer, to those whom they name. */
  readonly served?: (path: string) => ServedPath | undefined;
  /** How values are stored; default: as they are. */
  readonly sealer?: Sealer;
  /** Checks that plugins contribute. */
  /** What plugins add to `/metrics`. */
  readonly metrics?: () => string;
  readonly checks?: () => readonly HealthCheck[];
  /** How the provider of a slot is; default: there is none. */
  readonly slotHealth?: SlotHealth["read"] | undefined;
  /** Of `/debug/NAME`. */
  readonly pages?: () => readonly DebugPage[];
  readonly now?: () => Date;
  readonly random?: () => number;
  readonly newUid?: () => string;
  readonly onError?: (error: unknown) => void;
  readonly audit?: Audit | undefined;
  readonly limits?: ServerLimits | undefined;
}

export interface ServerLimits {
  /** Requests at the same time that read; default 400. */
  readonly readOnly?: number;
  /** Those that write; default 200. */
  readonly mutating?: number;
  /** Shares both among flows by priority, instead of refusing what is beyond them; default true. */
  readonly fair?: boolean;
  /** Milliseconds that a request may take; default 60 s. */
  readonly requestTimeout?: number;
  /** Milliseconds between the failure of `/readyz` and the end of service; default 0. */
  readonly shutdownDelay?: number;
}

export interface RunningApiServer {
  readonly registry: Registry;
  readonly engine: Engine;
  readonly handler: RequestHandler;
  client(user: UserInfo): KubeClient;
  /** Admission plugins of others, after the built-in ones and before webhooks and the quota. */
  setAdmission(contributed: readonly Contribution<AdmissionPlugin>[]): void;
  /** Bootstrap objects, then readiness. */
  bootstrap(): Promise<void>;
  listen(options: Omit<ListenerOptions, "onRequest" | "onUpgrade">): Promise<Listener>;
  /** Fails `/readyz`, then ends watches and streams, and stops when what runs has been answered. */
  close(): Promise<void>;
}

/** History older than this is dropped, as upstream compacts etcd. */
const HOUSEKEEPING_INTERVAL = 5 * 60_000;
/** Requests that run when the server stops get this long. */
const DRAIN_LIMIT = 4000;

/** The identity under which the server itself writes. */
export const loopbackUser: UserInfo = Object.freeze({ name: "system:apiserver", groups: ["system:masters", "system:authenticated"] });

export async function createApiServer(options: ApiServerOptions): Promise<RunningApiServer> {
  const { datastore, cluster, defs = builtinResources, onError = () => {} } = options;
  const registry = createRegistry(defs);
  const store = await openStore(datastore, onError, options.sealer);
  const admission = createAdmission();
  const engine: { -readonly [K in keyof Engine]: Engine[K] } = {
    registry, store, cluster, admission, onError,
    now: options.now ?? (() => new Date()),
    newUid: options.newUid ?? randomUUID,
    suffix: () => randomSuffix(5, options.random),
  };
  const clients = new Map<string, KubeClient>();
  const client = (user: UserInfo): KubeClient => {
    const key = JSON.stringify(user);
    let found = clients.get(key);
    if (!found) clients.set(key, (found = createClient({ engine, handler: late, authorize: authorizeInside }, user)));
    return found;
  };
  const authorizeInside = (user: UserInfo, info: RequestInfo): void => (extensions.authorizeInside ?? superusersOnly)(user, info);
  const late: RequestHandler = {
    handle: (incoming, res) => handler.handle(incoming, res),
    admit: (incoming, closed) => handler.admit(incoming, closed),
    drained: (limit) => handler.drained(limit),
  };
  const extensions: Extensions = options.extend?.({ engine, registry, store, client }) ?? {};
  if (extensions.fields) engine.fields = extensions.fields;
  if (extensions.checkFields) engine.checkFields = extensions.checkFields;
  const chain = extensions.admission ?? ((contributed) => contributed.map(({ impl }) => impl));
  admission.set(chain([]));

  let ready = false;
  let isClosing = false;
  let stopExtensions: (() => void) | undefined;
  const metrics = createMetrics(store);
  const stopped = new AbortController();
  const hub = createWatchHub();
  const flow = createLimits(options.limits ?? {}, engine);
  const builtin = routesOf({
    extensions, registry, datastore, ready: () => ready, isClosing: () => isClosing, metrics: () => metrics.render() + flow.render() + (extensions.metrics?.() ?? "") + (options.metrics?.() ?? ""), contributed: options.checks, pages: options.pages ?? (() => []), flow,
  });
  const slotHealth = options.slotHealth ?? (async () => ({ ok: false, message: "not running" }));
  const statuses = componentStatuses(registry, {
    "controller-manager": () => slotHealth("controller-manager"), "etcd-0": () => datastore.health(), scheduler: () => slotHealth("scheduler"),
  });
  const handler = createHandler({
    engine, hub, flow, requestTimeout: options.limits?.requestTimeout ?? REQUEST_TIMEOUT, handlers: new Map([...(extensions.handlers ?? []), ["componentstatuses", statuses]]),
    authenticate: extensions.authenticate ?? (() => undefined), authorize: extensions.authorize ?? superusersOnly, open: options.open ?? new Map(),
    served: options.served ?? (() => undefined),
    routes: (req) => options.routes?.(req.info.path, req.method) ?? builtin(req),
    aggregate: extensions.aggregate ?? (() => undefined),
    observe: metrics,
    onError, audit: options.audit,
  });
  const housekeeping = startHousekeeping(engine, onError);
  const listeners = new Set<Listener>();

  return {
    registry, engine, handler, client,
    setAdmission: (contributed) => admission.set(chain(contributed)),
    async bootstrap() {
      await extensions.bootstrap?.([...listeners][0]?.port ?? cluster.httpsListenPort);
      stopExtensions = extensions.start?.();
      ready = true;
    },
    async listen(where) {
      const listener = await listen({
        ...where,
        onRequest: (incoming, res) => void handler.handle(incoming, res),
        onUpgrade: (incoming, socket, head) => upgrade(handler, extensions, stopped.signal, incoming, socket, head),
      });
      listeners.add(listener);
      return listener;
    },
    async close() {
      isClosing = true;
      const { shutdownDelay = 0 } = options.limits ?? {};
      if (shutdownDelay > 0) await new Promise((resolve) => setTimeout(resolve, shutdownDelay));
      clearInterval(housekeeping);
      stopExtensions?.();
      stopped.abort();
      hub.close();
      const drained = handler.drained(DRAIN_LIMIT);
      await Promise.all([drained, ...[...listeners].map((listener) => listener.close(drained))]);
      store.close();
    },
  };
}

/** Upstream's `--max-requests-inflight` and `--max-mutating-requests-inflight`, together the seats of priority and fairness. */
function createLimits({ readOnly = 400, mutating = 200, fair = true }: ServerLimits, { registry, store }: Engine): FlowControl {
  if (!fair || readOnly + mutating === 0) return createInflightLimits({ readOnly, mutating });
  return createFlowControl({
    view: store, seats: readOnly + mutating,
    follow: (changed) => ["flowschemas", "prioritylevelconfigurations"].forEach((plural) => store.collection({ group: FLOW_GROUP, plural }).subscribe(changed)),
    sizeOf({ group, version, resource }) {
      const def = registry.get(group, version, resource);
      return def ? collectionOf({ registry, store }, def).count : 0;
    },
  });
}

interface RouteSources {
  readonly extensions: Extensions;
  readonly registry: Registry;
  readonly datastore: Datastore;
  readonly ready: () => boolean;
  readonly isClosing: () => boolean;
  readonly metrics: () => string;
  readonly contributed: ApiServerOptions["checks"];
  readonly pages: NonNullable<ApiServerOptions["pages"]>;
  readonly flow: Pick<FlowControl, "dump">;
}

/** Everything that is not a resource. */
function routesOf({ extensions, registry, datastore, ready, isClosing, metrics, contributed, pages, flow }: RouteSources): (req: ApiRequest) => Route | undefined {
  const ping: HealthCheck = { name: "ping", check: async () => ({ ok: true }) };
  const database: HealthCheck = { name: "etcd", check: () => datastore.health() };
  const started: HealthCheck = {
    name: "poststarthook/bootstrap", check: async () => (ready() ? { ok: true } : { ok: false, message: "not finished" }),
  };
  const shutdown: HealthCheck = {
    name: "shutdown", check: async () => (isClosing() ? { ok: false, message: "process is shutting down" } : { ok: true }),
  };
  const health = healthRoutes({
    checks: (endpoint) => [ping, database, started, ...(endpoint === "livez" ? [] : (contributed?.() ?? [])), ...(endpoint === "readyz" ? [shutdown] : [])],
  });
  const index: Route = (req, res) => sendObject(req, res, 200, { paths: rootPaths(registry) });
  // As upstream: its router knows methods, and the paths beside it do not.
  const anyMethod: Readonly<Record<string, Route>> = {
    "/": index, "/index.html": index,
    "/metrics": (_req, res) => sendText(res, 200, metrics(), "text/plain; version=0.0.4; charset=utf-8"),
  };
  const version: Route = (req, res) => sendObject(req, res, 200, versionInfo);
  const debug = (path: string): Route | undefined => {
    if (path.startsWith(FLOW_DUMPS)) return (req, res) => sendText(res, ...textOr404(flow.dump(path.slice(FLOW_DUMPS.length), req.query.has("includeRequestDetails"))));
    const page = path.startsWith("/debug/") ? pages().find(({ name }) => path === `/debug/${name}`) : undefined;
    return page && ((req, res) => sendObject(req, res, 200, page.read() as object));
  };
  return (req) => {
    const path = req.info.path.length > 1 ? req.info.path.replace(/\/$/, "") : req.info.path;
    const found = anyMethod[path] ?? health(path);
    if (found) return found;
    const document = path === "/version" ? version : (debug(path) ?? extensions.routes?.(req));
    if (!document || req.method === "GET" || path.startsWith("/openapi/")) return document;
    throw methodNotAllowed();
  };
}

const FLOW_DUMPS = "/debug/api_priority_and_fairness/";
const textOr404 = (text: string | undefined): [status: number, text: string] => (text === undefined ? [404, "404 page not found\n"] : [200, text]);

function rootPaths(registry: Registry): string[] {
  const groups = registry.list().filter((def) => def.group).flatMap(({ group, version }) => [`/apis/${group}`, `/apis/${group}/${version}`]);
  const others = ["/api", "/api/v1", "/apis", "/healthz", "/livez", "/metrics", "/openapi/v2", "/openapi/v3", "/readyz", "/version"];
  return [...new Set([...others, ...groups])].sort();
}

/** Drops what was already history one interval ago, and objects whose time is over (Events). */
function startHousekeeping(engine: Engine, onError: (error: unknown) => void): NodeJS.Timeout {
  const removeExpired = createExpiry(engine);
  let before = engine.store.revision;
  return setInterval(() => {
    const upTo = before;
    before = engine.store.revision;
    engine.store.compact(upTo).catch(onError);
    removeExpired().catch(onError);
  }, HOUSEKEEPING_INTERVAL).unref();
}

const SWITCHED = 101;

function upgrade(handler: RequestHandler, extensions: Extensions, stopped: AbortSignal, incoming: Incoming, socket: Duplex, head: Buffer): void {
  let record: AuditRecord | undefined;
  const over = (...how: Parameters<AuditRecord["complete"]>): void => {
    record?.complete(...how);
    record = undefined;
  };
  const refuse = (error: unknown): void => {
    const status = statusOf(error);
    over(status.code ?? 500, status);
    const body = JSON.stringify(status);
    socket.end(`HTTP/1.1 ${status.code ?? 500} ${status.reason ?? "Error"}\r\nContent-Type: application/json\r\n` +
      `Content-Length: ${Buffer.byteLength(body)}\r\nConnection: close\r\n\r\n${body}`);
  };
  const proceed = (req: ApiRequest): void => {
    record = req.audit;
    if (req.info.isResource && req.info.verb === "watch") return void upgradeWatch(handler, incoming, socket, head).catch(refuse);
    const result = extensions.upgrade?.(req, socket, head);
    if (result instanceof Promise) result.catch(refuse);
    else if (!extensions.upgrade) socket.destroy();
  };
  socket.on("error", () => {});
  try {
    const closed = new AbortController();
    socket.on("close", () => {
      closed.abort();
      over(SWITCHED);
    });
    const admitted = handler.admit(incoming, AbortSignal.any([closed.signal, stopped]));
    if (admitted instanceof Promise) admitted.then(proceed).catch(refuse);
    else proceed(admitted);
  } catch (error) {
    refuse(error);
  }
}
