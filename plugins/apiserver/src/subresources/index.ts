/** The subresources and virtual resources that the engine does not know: logs, streams, proxies, tokens, reviews. */
import type { Duplex } from "node:stream";
import { apiError, badRequest } from "@k3s-p/plugin-api/kube";
import type { Pki } from "@k3s-p/plugin-api/slots";
import type { TokenReviewer } from "../auth/authenticate.ts";
import type { Authorizer } from "../auth/rbac.ts";
import type { TokenKeys } from "../auth/tokens.ts";
import type { CacheView, Obj } from "../resources/types.ts";
import type { ApiRequest, ApiResponse } from "../server/request.ts";
import type { SubresourceHandler } from "../server/resource-handler.ts";
import { sendHead, sendObject } from "../server/respond.ts";
import type { AdmitConnect, AdmitToken } from "../webhook/connect.ts";
import { forwardUpgrade, type Target, wantsUpgrade } from "./forward.ts";
import {
  type Location, logLocation, nodeProxyLocation, podProxyLocation, serviceProxyLocation, streamLocation,
} from "./locations.ts";
import { logOverWebSocket, serveLog } from "./log.ts";
import { serveProxy, splitProxyPath } from "./proxy.ts";
import { reviews } from "./reviews.ts";
import { isProxyable } from "./proxyable.ts";
import { requestToken } from "./token-request.ts";
import { serveStreams, serveTunnel, socketProtocol } from "./websocket-streams.ts";

export interface SubresourceDeps {
  readonly view: CacheView;
  readonly authorizer: Authorizer;
  readonly reviewer: TokenReviewer;
  readonly tokens: TokenKeys;
  readonly pki: Pick<Pki, "ca" | "issue">;
  readonly now: () => Date;
  /** Admission of streams and proxies. */
  readonly connect?: AdmitConnect;
  readonly admitToken?: AdmitToken;
  /** Which hosts proxies may lead to; default: none that only the server itself can reach. */
  readonly mayProxyTo?: (host: string) => Promise<boolean>;
}

export interface Subresources {
  /** By `plural/subresource`, and by `plural` for virtual resources. */
  readonly handlers: ReadonlyMap<string, SubresourceHandler>;
  /** A request that asks to upgrade; rejects before anything is sent. */
  upgrade(req: ApiRequest, socket: Duplex, head: Buffer): Promise<void>;
}

export function subresourceHandlers(deps: SubresourceDeps): Subresources {
  const { view, tokens, now, connect = async () => {}, admitToken = async (_, body) => body } = deps;
  const toTarget = createTargets(deps.pki);
  const proxied = async (req: ApiRequest): Promise<Location> => {
    const location = proxyLocation(view, req);
    if (!(await (deps.mayProxyTo ?? isProxyable)(location.host))) throw badRequest("address not allowed");
    return location;
  };
  const answers = reviews({
    authorizer: deps.authorizer, audiences: tokens.audiences, now,
    reviewer: deps.reviewer,
  });
  const review = (name: string): SubresourceHandler => async (req, res) =>
    sendObject(req, res, 201, await answers[name]!(await bodyOf(req), req));

  const handlers = new Map<string, SubresourceHandler>([
    ...Object.keys(answers).map((name) => [name, review(name)] as const),
    ["serviceaccounts/token", async (req, res) => {
      const { namespace, name } = req.info;
      return sendObject(req, res, 201, requestToken(await admitToken(req, await bodyOf(req)), namespace, name, { view, tokens, now, note: req.audit?.annotate }));
    }],
    ["pods/log", async (req, res) => {
      const location = logLocation(view, req.info.namespace, req.info.name, req.query);
      if (!location) return emptyLog(res);
      return serveLog(req, res, await toTarget(location));
    }],
    ...(["exec", "attach", "portforward"] as const).map((kind) => [`pods/${kind}`, async (req: ApiRequest) => {
      streamLocation(view, kind, req.info.namespace, req.info.name, req.query);
      throw badRequest("Upgrade request required");
    }] as const),
    ...(["pods", "services", "nodes"] as const).map((plural) => [`${plural}/proxy`, async (req: ApiRequest, res: ApiResponse) => {
      await connect(req);
      return serveProxy(req, res, await toTarget(await proxied(req)));
    }] as const),
  ]);

  return {
    handlers,
    async upgrade(req, socket, head) {
      const { resource, subresource, namespace, name, group } = req.info;
      if (group !== "" || !wantsUpgrade(req.headers)) throw badRequest("upgrade request required");
      if (subresource === "proxy" && handlers.has(`${resource}/proxy`)) {
        await connect(req);
        return forwardUpgrade(req, socket, head, await toTarget(await proxied(req)));
      }
      if (resource === "pods" && subresource === "log") {
        const location = logLocation(view, namespace, name, req.query);
        return logOverWebSocket(req, socket, head, location && (await toTarget(location)));
      }
      if (resource !== "pods" || !streams.has(subresource)) throw apiError(404, "NotFound", "the server could not find the requested resource", {});
      // A WebSocket starts with GET, but what it does is what POST does.
      await deps.authorizer.check(req.user, { ...req.info, verb: "create" });
      const serve = serveOf(req);
      await connect(req);
      return serve(req, socket, head, await toTarget(streamLocation(view, subresource, namespace, name, req.query)));
    },
  };
}

const streams = new Set(["exec", "attach", "portforward"]);

/** What runtimes themselves speak over a WebSocket. */
const passedProtocols = new Set(["v4.channel.k8s.io", "v4.base64.channel.k8s.io", "channel.k8s.io", "base64.channel.k8s.io"]);

/** Clients take a refusal as the sign to try the next protocol. */
function serveOf(req: ApiRequest): typeof forwardUpgrade {
  const protocol = socketProtocol(req);
  if (protocol) return protocol === "v5.channel.k8s.io" ? serveStreams : serveTunnel;
  if (String(req.headers.upgrade).toLowerCase() !== "websocket") return forwardUpgrade;
  const offered = String(req.headers["sec-websocket-protocol"] ?? "").split(",").map((text) => text.trim()).filter(Boolean);
  if (offered.length === 0 || offered.some((name) => passedProtocols.has(name))) return forwardUpgrade;
  throw badRequest(`unable to upgrade: no supported subprotocol among ${offered.join(", ")}`);
}

/** Under whose identity a location is asked. */
function createTargets(pki: SubresourceDeps["pki"]): (location: Location) => Promise<Target> {
  const identity = () => pki.issue({
    name: "client-kube-apiserver", ca: "client-ca", commonName: "kube-apiserver", usage: "client",
  });
  return async ({ trust, ...location }) => {
    if (trust === "none") return { ...location, tls: { rejectUnauthorized: false } };
    const { cert, key } = await identity();
    return { ...location, tls: { cert, key, ca: pki.ca("server-ca").cert } };
  };
}

function proxyLocation(view: CacheView, req: ApiRequest): Location {
  const { resource, namespace, name } = req.info;
  const { rest } = splitProxyPath(req);
  const path = rest.startsWith("/") ? rest : `/${rest}`;
  if (resource === "pods") return podProxyLocation(view, namespace, name, path);
  if (resource === "services") return serviceProxyLocation(view, namespace, name, path);
  return nodeProxyLocation(view, name, path);
}

async function bodyOf(req: ApiRequest): Promise<Obj> {
  const body = await req.object<Obj>();
  if (typeof body !== "object" || body === null || Array.isArray(body)) throw badRequest("the body must be an object");
  const { group, version, resource, subresource } = req.info;
  const kind = subresource === "token" ? "TokenRequest" : virtualKinds[resource];
  const apiVersion = subresource === "token" ? "authentication.k8s.io/v1" : `${group}/${version}`;
  if ((body.kind && body.kind !== kind) || (body.apiVersion && body.apiVersion !== apiVersion)) {
    throw badRequest(`${body.kind} in version ${JSON.stringify(body.apiVersion)} cannot be handled as a ${kind}`);
  }
  return { ...body, kind: kind!, apiVersion };
}

const virtualKinds: Readonly<Record<string, string>> = {
  tokenreviews: "TokenReview", selfsubjectaccessreviews: "SelfSubjectAccessReview", subjectaccessreviews: "SubjectAccessReview",
  localsubjectaccessreviews: "LocalSubjectAccessReview", selfsubjectrulesreviews: "SelfSubjectRulesReview",
  selfsubjectreviews: "SelfSubjectReview",
};

function emptyLog(res: ApiResponse): void {
  sendHead(res, 200, { "content-type": "text/plain", "content-length": 0 });
  res.end();
}
