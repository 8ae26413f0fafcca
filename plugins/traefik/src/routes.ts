/** The routing table: which backend gets a request, by host and path of all Ingresses of the class. */
import { type Ingress, keyOf } from "@k3s-p/plugin-api/kube";

export type EntryPoint = "web" | "websecure";

export interface BackendRef {
  readonly namespace: string;
  readonly service: string;
  readonly port: number | string;
}

export interface Route {
  /** `namespace/name` */
  readonly ingress: string;
  /** Exact, `*.example.com`, or empty for every host. */
  readonly host: string;
  readonly path: string;
  readonly exact: boolean;
  readonly entryPoints: readonly EntryPoint[];
  /** Undefined for an Ingress that asks for what this controller cannot do: it gets 404 instead of half a route. */
  readonly backend: BackendRef | undefined;
}

export interface RouteTable {
  match(host: string, path: string, entryPoint: EntryPoint): Route | undefined;
  readonly size: number;
}

const prefix = "traefik.ingress.kubernetes.io/router.";
/** Annotations that restrict access or change requests; a route without their effect would be wrong or unsafe. */
const unsupported = ["middlewares", "tls.options"].map((name) => prefix + name);

/** The reason why an Ingress is not routed, for its Event. */
export function unsupportedAnnotation(ingress: Ingress): string | undefined {
  return unsupported.find((name) => ingress.metadata.annotations?.[name]);
}

export function compileRoutes(ingresses: readonly Ingress[]): RouteTable {
  const exact = new Map<string, Route[]>();
  const wildcard = new Map<string, Route[]>();
  const anywhere: Route[] = [];
  const defaults: Route[] = [];
  const push = (map: Map<string, Route[]>, key: string, route: Route) => void map.set(key, [...(map.get(key) ?? []), route]);
  const all = [...ingresses].sort(olderFirst).flatMap(routesOf);
  for (const route of all) {
    if (route.path === "") defaults.push(route);
    else if (!route.host) anywhere.push(route);
    else if (route.host.startsWith("*.")) push(wildcard, route.host.slice(1), route);
    else push(exact, route.host, route);
  }
  // A stable sort: of equal rules the older Ingress's stays first.
  for (const routes of [anywhere, ...exact.values(), ...wildcard.values()]) routes.sort(longerFirst);

  return {
    size: all.length,
    match(host, path, entryPoint) {
      const dot = host.indexOf(".");
      const candidates = [exact.get(host), dot > 0 ? wildcard.get(host.slice(dot)) : undefined, anywhere, defaults];
      for (const routes of candidates) {
        const found = routes?.find((route) => route.entryPoints.includes(entryPoint) && pathFits(route, path));
        if (found) return found;
      }
      return undefined;
    },
  };
}

function routesOf(ingress: Ingress): Route[] {
  const { namespace = "default" } = ingress.metadata;
  const base = { ingress: keyOf(ingress), entryPoints: entryPointsOf(ingress) };
  const blocked = unsupportedAnnotation(ingress) !== undefined;
  type Backend = NonNullable<NonNullable<Ingress["spec"]>["defaultBackend"]>;
  const backendOf = ({ service }: Backend): BackendRef | undefined =>
    blocked || !service ? undefined : { namespace, service: service.name, port: service.port?.number ?? service.port?.name ?? "" };
  const routes = (ingress.spec?.rules ?? []).flatMap((rule) => {
    const host = (rule.host ?? "").toLowerCase();
    return (rule.http?.paths ?? []).map((path): Route => ({
      ...base, host, path: path.path || "/", exact: path.pathType === "Exact", backend: backendOf(path.backend),
    }));
  });
  const fallback = ingress.spec?.defaultBackend;
  return fallback ? [...routes, { ...base, host: "", path: "", exact: false, backend: backendOf(fallback) }] : routes;
}

function entryPointsOf({ metadata }: Ingress): readonly EntryPoint[] {
  if (metadata.annotations?.[`${prefix}tls`] === "true") return ["websecure"];
  const named = metadata.annotations?.[`${prefix}entrypoints`]?.split(",").map((name) => name.trim());
  return (["web", "websecure"] as const).filter((name) => !named || named.includes(name));
}

/** Prefix by whole path elements, as the Ingress specification has it: `/foo` is no prefix of `/foobar`. */
function pathFits({ path, exact }: Route, requested: string): boolean {
  if (exact) return path === requested;
  const base = path.endsWith("/") ? path.slice(0, -1) : path;
  return requested === base || requested.startsWith(`${base}/`);
}

const longerFirst = (a: Route, b: Route): number => b.path.length - a.path.length || Number(b.exact) - Number(a.exact);

function olderFirst(a: Ingress, b: Ingress): number {
  const [x, y] = [a, b].map((i) => `${i.metadata.creationTimestamp ?? ""} ${keyOf(i)}`) as [string, string];
  return x < y ? -1 : x > y ? 1 : 0;
}

/** Host without port and final dot, lower case. */
export function normalHost(host: string | undefined): string {
  return (host ?? "").toLowerCase().replace(/:\d*$/, "").replace(/\.$/, "");
}

/**
 * The path that is matched and forwarded: dot segments and double slashes are resolved first, so that what a rule
 * admits is what the backend gets (Traefik's `sanitizePath`).
 */
export function cleanUrl(url: string): { readonly path: string; readonly url: string } {
  const start = /^https?:\/\/[^/]*/i.exec(url)?.[0].length ?? 0;
  const mark = url.indexOf("?", start);
  const raw = (mark < 0 ? url.slice(start) : url.slice(start, mark)) || "/";
  const query = mark < 0 ? "" : url.slice(mark);
  const path = /\/\/|%2e|\/\.\.?(?:\/|$)/i.test(raw) ? resolveDots(raw.replace(/%2e/gi, ".")) : raw;
  return { path, url: path + query };
}

function resolveDots(path: string): string {
  const kept: string[] = [];
  const parts = path.split("/").slice(1);
  parts.forEach((part, i) => {
    const last = i === parts.length - 1;
    if (part === "..") kept.pop();
    else if (part !== "." && part !== "") kept.push(part);
    if (last && (part === "" || part === "." || part === "..")) kept.push("");
  });
  return `/${kept.join("/")}`;
}
