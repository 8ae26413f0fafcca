/** Which endpoint a host and path lead to: the longest path of the best host, as the Ingress API says. */
import type { EndpointSlice, Informer, Ingress, Service } from "@k3s-p/plugin-api/kube";

export interface Target {
  readonly host: string;
  readonly port: number;
}

interface Sources {
  readonly ingresses: Informer<Ingress>;
  readonly services: Informer<Service>;
  readonly slices: Informer<EndpointSlice>;
}

type Rule = NonNullable<NonNullable<Ingress["spec"]>["rules"]>[number];
type Path = NonNullable<Rule["http"]>["paths"][number];

/** A status where there is nobody to ask: 404 without a rule, 503 without an endpoint. */
export function createRoutes({ ingresses, services, slices }: Sources, ingressClass: string): (host: string, url: string) => Target | 404 | 503 {
  let turn = 0;

  function endpointOf(namespace: string, { backend }: Path): Target | 503 {
    const { name = "", port } = backend.service ?? {};
    const named = services.get(name, namespace)?.spec?.ports?.find((p) => (port?.name ? p.name === port.name : p.port === port?.number));
    const ready = slices.list(namespace).filter((slice) => slice.metadata.labels?.["kubernetes.io/service-name"] === name).flatMap((slice) => {
      const number = slice.ports?.find((p) => (p.name ?? "") === (named?.name ?? ""))?.port;
      const up = (slice.endpoints ?? []).filter((e) => e.conditions?.ready !== false).flatMap((e) => e.addresses);
      return number === undefined ? [] : up.map((host) => ({ host, port: number }));
    });
    return ready[turn++ % ready.length] ?? 503;
  }

  return (hostHeader, url) => {
    const host = hostHeader.replace(/:\d+$/, "").toLowerCase();
    const path = url.split("?")[0]!;
    const own = ingresses.list().filter((one) => one.spec?.ingressClassName === ingressClass);
    const matches = own.flatMap((one) => entriesOf(one).map(({ host: wanted, entry }) =>
      ({ namespace: one.metadata.namespace ?? "default", entry, rank: [hostRank(wanted, host), pathRank(entry, path)] as const })));
    const [best] = matches.filter(({ rank }) => rank[0] > 0 && rank[1] > 0).sort((a, b) => b.rank[0] - a.rank[0] || b.rank[1] - a.rank[1]);
    return best ? endpointOf(best.namespace, best.entry) : 404;
  };
}

interface Entry {
  readonly host: string | undefined;
  readonly entry: Path;
}

const rest = "(whatever no rule is for)";

function entriesOf({ spec }: Ingress): Entry[] {
  const entries = (spec?.rules ?? []).flatMap(({ host, http }) => (http?.paths ?? []).map((entry): Entry => ({ host, entry })));
  return spec?.defaultBackend ? [...entries, { host: rest, entry: { backend: spec.defaultBackend, pathType: "Prefix" } }] : entries;
}

/** 4 the name itself, 3 a wildcard of one label, 2 any host, 1 the default backend, 0 another host. */
function hostRank(wanted: string | undefined, host: string): number {
  if (!wanted) return 2;
  if (wanted === rest) return 1;
  if (wanted.toLowerCase() === host) return 4;
  return wanted.startsWith("*.") && host.slice(host.indexOf(".") + 1) === wanted.slice(2).toLowerCase() && host.includes(".") ? 3 : 0;
}

/** Longer is better, and Exact best; 0 does not match. A prefix matches whole elements. */
function pathRank({ path = "/", pathType }: Path, asked: string): number {
  if (pathType === "Exact") return asked === path ? 1_000_000 : 0;
  const prefix = path.replace(/\/+$/, "");
  return asked === prefix || asked.startsWith(`${prefix}/`) ? prefix.length + 1 : 0;
}
