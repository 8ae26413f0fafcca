/** The cluster's objects as the zone asks for them: informers with indexes, nothing copied. */
import {
  type EndpointSlice, endpointSlices, type Informer, type KubeClient, namespaces, type Pod, pods, type Service, services,
} from "@k3s-p/plugin-api/kube";
import { canonicalIp } from "./records.ts";
import type { ClusterView } from "./zone.ts";

const SERVICE_LABEL = "kubernetes.io/service-name";

export interface LiveView extends ClusterView {
  readonly synced: Promise<void>;
  onChange(fn: () => void): void;
  stop(): void;
}

export function createView(client: KubeClient): LiveView {
  const serviceInformer = client.informer(services, { indexes: { ip: serviceIps } });
  const sliceInformer = client.informer(endpointSlices, { indexes: { service: sliceService, ip: sliceIps } });
  const namespaceInformer = client.informer(namespaces);
  // Only `pods verified` asks for Pods; nobody pays for it otherwise.
  let podInformer: Informer<Pod> | undefined;
  const listeners: (() => void)[] = [];
  let generation = Math.floor(Date.now() / 1000);
  const changed = () => {
    generation++;
    for (const listener of listeners) listener();
  };
  const handlers = { added: changed, updated: changed, deleted: changed };
  serviceInformer.on(handlers);
  sliceInformer.on(handlers);
  namespaceInformer.on({ added: changed, deleted: changed });

  function podView(): Informer<Pod> {
    if (podInformer) return podInformer;
    podInformer = client.informer(pods, { indexes: { ip: (pod) => (pod.status?.podIPs ?? []).map(({ ip }) => `${pod.metadata.namespace}/${canonicalIp(ip!)}`) } });
    podInformer.on(handlers);
    return podInformer;
  }

  return {
    get generation() {
      return generation;
    },
    synced: Promise.all([serviceInformer.synced, sliceInformer.synced, namespaceInformer.synced]).then(() => undefined),
    onChange: (fn) => void listeners.push(fn),
    service: (namespace, name) => serviceInformer.get(name, namespace),
    slices: (namespace, service) => sliceInformer.byIndex("service", `${namespace}/${service}`),
    servicesByIp: (ip) => serviceInformer.byIndex("ip", ip),
    slicesByIp: (ip) => sliceInformer.byIndex("ip", ip),
    namespaceExists: (name) => namespaceInformer.get(name) !== undefined,
    podExists: (namespace, ip) => podView().byIndex("ip", `${namespace}/${ip}`).length > 0,
    stop() {
      for (const informer of [serviceInformer, sliceInformer, namespaceInformer, podInformer]) informer?.stop();
    },
  };
}

const serviceIps = (service: Service): readonly string[] =>
  (service.spec?.clusterIPs ?? [service.spec?.clusterIP ?? ""]).filter((ip) => ip && ip !== "None").map(canonicalIp);

function sliceService(slice: EndpointSlice): readonly string[] {
  const name = slice.metadata.labels?.[SERVICE_LABEL];
  return name ? [`${slice.metadata.namespace}/${name}`] : [];
}

const sliceIps = (slice: EndpointSlice): readonly string[] =>
  slice.addressType === "FQDN" ? [] : (slice.endpoints ?? []).flatMap((endpoint) => endpoint.addresses.map(canonicalIp));
