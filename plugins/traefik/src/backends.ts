/** From a Service and port to the addresses that can take a request, in turns. */
import type { EndpointSlice, Informer, KubeClient, Service, ServicePort } from "@k3s-p/plugin-api/kube";
import { endpointSlices, services } from "@k3s-p/plugin-api/kube";
import type { BackendRef } from "./routes.ts";

export interface Target {
  readonly host: string;
  readonly port: number;
  readonly tls: boolean;
}

export interface Backends {
  /**
   * The targets in the order to try them, another one first each time. Undefined: the Service or its port does not
   * exist. Empty: nothing is ready.
   */
  targets(ref: BackendRef): readonly Target[] | undefined;
  readonly synced: Promise<void>;
  stop(): void;
}

interface Cached {
  readonly list: readonly Target[] | undefined;
  next: number;
}

const SERVICE_LABEL = "kubernetes.io/service-name";
const serviceOf = (slice: EndpointSlice): string => `${slice.metadata.namespace}/${slice.metadata.labels?.[SERVICE_LABEL] ?? ""}`;

export function createBackends(client: KubeClient): Backends {
  const serviceInformer = client.informer(services);
  const sliceInformer = client.informer(endpointSlices, { indexes: { service: (slice) => [serviceOf(slice)] } });
  /** By Service, then by port: cleared when one of the Service's objects changes. */
  const cache = new Map<string, Map<string, Cached>>();
  const turns = new Map<string, number>();
  const forgetSlice = (slice: EndpointSlice) => void cache.delete(serviceOf(slice));
  const forgetService = (service: Service) => void cache.delete(`${service.metadata.namespace}/${service.metadata.name}`);
  serviceInformer.on({ added: forgetService, updated: forgetService, deleted(service) {
    forgetService(service);
    turns.delete(`${service.metadata.namespace}/${service.metadata.name}`);
  } });
  sliceInformer.on({ added: forgetSlice, updated: forgetSlice, deleted: forgetSlice });

  function lookup(ref: BackendRef): Cached {
    const key = `${ref.namespace}/${ref.service}`;
    if (!cache.has(key)) cache.set(key, new Map());
    const ports = cache.get(key)!;
    const known = ports.get(String(ref.port));
    if (known) return known;
    const fresh = { list: resolve(ref, serviceInformer.get(ref.service, ref.namespace), sliceInformer), next: turns.get(key) ?? 0 };
    ports.set(String(ref.port), fresh);
    return fresh;
  }

  return {
    synced: Promise.all([serviceInformer.synced, sliceInformer.synced]).then(() => undefined),
    targets(ref) {
      const entry = lookup(ref);
      const { list } = entry;
      if (!list || list.length < 2) return list;
      const start = entry.next++ % list.length;
      turns.set(`${ref.namespace}/${ref.service}`, entry.next);
      return start ? [...list.slice(start), ...list.slice(0, start)] : list;
    },
    stop() {
      serviceInformer.stop();
      sliceInformer.stop();
    },
  };
}

function resolve(ref: BackendRef, service: Service | undefined, slices: Informer<EndpointSlice>): readonly Target[] | undefined {
  if (!service) return undefined;
  const port = (service.spec?.ports ?? []).find((p) => p.port === ref.port || (p.name !== undefined && p.name === ref.port));
  if (service.spec?.type === "ExternalName") {
    const number = port?.port ?? (typeof ref.port === "number" ? ref.port : undefined);
    return number && service.spec.externalName ? [{ host: service.spec.externalName, port: number, tls: speaksTls(service, port, number) }] : undefined;
  }
  if (!port) return undefined;
  const tls = speaksTls(service, port, port.port);
  const found = new Map<string, Target>();
  for (const slice of slices.byIndex("service", `${ref.namespace}/${ref.service}`)) {
    if (slice.addressType === "FQDN") continue;
    const number = slice.ports?.find((p) => (p.name ?? "") === (port.name ?? "") && (p.protocol ?? "TCP") === "TCP")?.port;
    if (!number) continue;
    for (const endpoint of slice.endpoints ?? []) {
      if (endpoint.conditions?.ready === false) continue;
      for (const host of endpoint.addresses) found.set(`${host} ${number}`, { host, port: number, tls });
    }
  }
  return [...found.values()];
}

/** As Traefik: by annotation, else by the port's number or name. */
function speaksTls(service: Service, port: ServicePort | undefined, number: number): boolean {
  const scheme = service.metadata.annotations?.["traefik.ingress.kubernetes.io/service.serversscheme"];
  return scheme ? scheme === "https" : number === 443 || (port?.name?.startsWith("https") ?? false);
}
