/** Whether the server behind an APIService can be asked, with upstream's reasons, and what it serves. */
import type { DiscoveredResource, DiscoveredSubresource, Kind } from "../discovery/resources.ts";
import type { CacheView, Obj } from "../resources/types.ts";

export interface Availability {
  readonly available: boolean;
  readonly reason: string;
  readonly message: string;
  /** The server's APIResourceList. */
  readonly discovered?: unknown;
}

/** Groups that this server answers for have no Service. */
export const isLocal = (service: Obj): boolean => !service.spec?.service;

export async function checkAvailability(
  view: CacheView, service: Obj, probe: (service: Obj) => Promise<unknown>,
): Promise<Availability> {
  if (isLocal(service)) return { available: true, reason: "Local", message: "Local APIServices are always available" };
  const missing = missingPart(view, service.spec.service);
  if (missing) return { available: false, ...missing };
  try {
    return { available: true, reason: "Passed", message: "all checks passed", discovered: await probe(service) };
  } catch (error) {
    const { group, version } = service.spec;
    const message = `failing or missing response from https://${service.spec.service.name}.${service.spec.service.namespace}.svc/apis/${group}/${version}: ${(error as Error).message}`;
    return { available: false, reason: "FailedDiscoveryCheck", message };
  }
}

function missingPart(view: CacheView, ref: { name: string; namespace: string; port?: number }): { reason: string; message: string } | undefined {
  const { name, namespace, port = 443 } = ref;
  const service = view.get("", "services", name, namespace);
  if (!service) return { reason: "ServiceNotFound", message: `service/${name} in "${namespace}" is not present` };
  if (service.spec?.type === "ExternalName") return undefined;
  const chosen = (service.spec?.ports ?? []).find((p: Obj) => p.port === port);
  if (!chosen) return { reason: "ServicePortError", message: `service/${name} in "${namespace}" is not listening on port ${port}` };
  const slices = view.list("discovery.k8s.io", "endpointslices", namespace)
    .filter((slice) => slice.metadata?.labels?.["kubernetes.io/service-name"] === name);
  if (slices.length === 0) return { reason: "EndpointsNotFound", message: `cannot find endpointslices for service/${name} in "${namespace}"` };
  const ready = slices.some((slice) =>
    slice.ports?.some((p: Obj) => (p.name ?? "") === (chosen.name ?? "")) &&
    slice.endpoints?.some((endpoint: Obj) => endpoint.conditions?.ready !== false));
  if (ready) return undefined;
  return { reason: "MissingEndpoints", message: `endpoints for service/${name} in "${namespace}" have no addresses with port name "${chosen.name ?? ""}"` };
}

interface ApiResource {
  readonly name: string;
  readonly singularName?: string;
  readonly namespaced?: boolean;
  readonly kind: string;
  readonly group?: string;
  readonly version?: string;
  readonly verbs?: readonly string[];
  readonly shortNames?: readonly string[];
  readonly categories?: readonly string[];
}

/** The resources of an APIResourceList in the form that discovery works with. */
export function resourcesOf(list: unknown, group: string, version: string): DiscoveredResource[] {
  const entries = ((list as { resources?: ApiResource[] } | undefined)?.resources ?? []);
  const kindOf = (entry: ApiResource): Kind => ({ group: entry.group || group, version: entry.version || version, kind: entry.kind });
  return entries.filter((entry) => !entry.name.includes("/")).map((entry) => ({
    name: entry.name, singular: entry.singularName ?? "", namespaced: entry.namespaced ?? false,
    responseKind: kindOf(entry), verbs: entry.verbs ?? [],
    ...(entry.shortNames && { shortNames: entry.shortNames }), ...(entry.categories && { categories: entry.categories }),
    subresources: entries.filter((sub) => sub.name.startsWith(`${entry.name}/`)).map((sub): DiscoveredSubresource =>
      ({ name: sub.name.slice(entry.name.length + 1), responseKind: kindOf(sub), verbs: sub.verbs ?? [] })),
  }));
}
