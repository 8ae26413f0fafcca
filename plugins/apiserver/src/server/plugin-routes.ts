/** Paths that plugins serve beside the API: who may ask, what they are given, and what they may not take over. */
import type { Contribution, Contributions } from "@k3s-p/plugin-api";
import { apiError } from "@k3s-p/plugin-api/kube";
import type { RouteAnswer, RouteRequest, ServedRoute } from "@k3s-p/plugin-api/points";
import type { UserInfo } from "@k3s-p/plugin-api/slots";
import { readBody } from "./body.ts";
import { callContributed } from "./contributed.ts";
import type { ApiRequest, ApiResponse, RequestInfo } from "./request.ts";
import { sendText } from "./respond.ts";

/** A path that a plugin answers for. */
export interface ServedPath {
  /** Throws 403; the route's groups count, and not RBAC. */
  authorize(user: UserInfo, asked: Pick<RequestInfo, "verb" | "path">): void;
  answer(req: ApiRequest, res: ApiResponse): Promise<void>;
}

export interface PluginRoutesOptions {
  readonly contributions: Contributions<ServedRoute>;
  /** Told once of each route that cannot be served. */
  readonly onError: (plugin: string, path: string, why: string) => void;
}

/** Finds who serves a path; undefined where no plugin does. */
export function pluginRoutes({ contributions, onError }: PluginRoutesOptions): (path: string) => ServedPath | undefined {
  const told = new WeakSet<ServedRoute>();
  let exact: ReadonlyMap<string, ServedPath> = new Map();
  let prefixes: readonly string[] = [];
  const follow = (): void => {
    const served = new Map<string, ServedPath>();
    for (const contribution of contributions.list()) {
      const { plugin, impl } = contribution;
      const why = served.has(impl.path) ? "another plugin serves it" : problemOf(impl);
      if (!why) served.set(impl.path, servedPath(contribution));
      else if (!told.has(impl)) onError(plugin, impl.path, why);
      if (why) told.add(impl);
    }
    exact = served;
    prefixes = [...served.keys()].filter((path) => path.endsWith("/")).sort((a, b) => b.length - a.length);
  };
  follow();
  contributions.onChange(follow);
  return (path) => {
    if (exact.size === 0 || isOwn(path)) return undefined;
    const found = exact.get(path);
    if (found) return found;
    const prefix = prefixes.find((start) => path.startsWith(start));
    return prefix === undefined ? undefined : exact.get(prefix);
  };
}

/** What the API server answers for itself, and all that is below. */
const own = [
  "/api", "/apis", "/openapi", "/healthz", "/livez", "/readyz", "/metrics", "/version", "/debug", "/ping", "/cacerts", "/index.html",
  "/.well-known", "/openid", "/v1-k3s/encrypt",
];
const isOwn = (path: string): boolean => path === "/" || own.some((start) => path.startsWith(start) && (path.length === start.length || path[start.length] === "/"));

function problemOf({ path, methods, groups }: ServedRoute): string | undefined {
  if (!/^(\/[\w.~-]+)+\/?$/.test(path)) return "it is no path such as /name/part, or /name/ for all that is below";
  if (isOwn(path)) return "the API server serves it itself";
  if (!methods.every((method) => known.has(method))) return `methods are among ${[...known].join(", ")}`;
  return groups.length > 0 ? undefined : "it names no group that may ask";
}

const known = new Set(["GET", "POST", "PUT", "PATCH", "DELETE"]);

function servedPath(contribution: Contribution<ServedRoute>): ServedPath {
  const { methods, groups } = contribution.impl;
  return {
    authorize({ name, groups: held }, { verb, path }) {
      if (held.some((group) => group === SUPERUSERS || groups.includes(group))) return;
      throw apiError(403, "Forbidden", `forbidden: User ${JSON.stringify(name)} cannot ${verb} path ${JSON.stringify(path)}: members of ${groups.join(", ")} may`);
    },
    async answer(req, res) {
      if (!methods.includes(req.method)) throw apiError(405, "MethodNotAllowed", `${req.info.path} answers ${methods.join(", ")} alone`);
      const { status, contentType, body } = await ask(contribution, await requestOf(req));
      sendText(res, status, body, contentType);
    },
  };
}

const SUPERUSERS = "system:masters";
const MAX_BODY = 64 * 1024;

async function requestOf(req: ApiRequest): Promise<RouteRequest> {
  const { method, info, query, headers, user, remoteAddress } = req;
  const body = (await readBody(req.stream, MAX_BODY)).toString("utf8");
  return {
    method, path: info.path, query: Object.fromEntries(query), body, user, remoteAddress,
    headers: Object.fromEntries(Object.entries(headers).filter(([name]) => !hidden.has(name) && !name.startsWith(":"))),
  };
}

/** Who asks has been found out; the secret that proved it is nobody else's business. */
const hidden = new Set(["authorization", "cookie"]);

async function ask({ plugin, impl }: Contribution<ServedRoute>, request: RouteRequest): Promise<RouteAnswer> {
  const what = `route ${JSON.stringify(impl.path)}`;
  const answer = await callContributed({ plugin, what }, () => impl.answer(request));
  const { status, contentType, body } = answer ?? {};
  if (Number.isInteger(status) && status! >= 200 && status! <= 599 && typeof contentType === "string" && typeof body === "string") return answer;
  throw new Error(`${what} of plugin ${JSON.stringify(plugin)} answered without a status, contentType or body`);
}
