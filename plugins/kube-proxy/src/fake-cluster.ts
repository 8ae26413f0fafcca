/** For tests: informers over plain maps, and short ways to write Services and EndpointSlices. */
import type { EndpointSlice, Informer, InformerHandlers, InformerOptions, KubeObject, Service } from "@k3s-p/plugin-api/kube";

export interface FakeCluster {
  readonly kube: { informer(resource: { readonly kind: string }, options?: InformerOptions<any>): Informer<any> };
  put(object: Service | EndpointSlice): void;
  remove(object: Service | EndpointSlice): void;
}

export function fakeCluster(): FakeCluster {
  const kinds = new Map<string, { objects: Map<string, KubeObject>; handlers: Set<InformerHandlers<KubeObject>> }>();
  const store = (kind: string) => {
    if (!kinds.has(kind)) kinds.set(kind, { objects: new Map(), handlers: new Set() });
    return kinds.get(kind)!;
  };
  const key = (object: KubeObject) => `${object.metadata?.namespace}/${object.metadata?.name}`;
  return {
    kube: {
      informer(resource, options = {}) {
        const { objects, handlers } = store(resource.kind);
        return {
          synced: Promise.resolve(),
          get: (name, namespace) => objects.get(`${namespace}/${name}`),
          list: () => [...objects.values()],
          byIndex: (index, value) => {
            // Every slice here is named after its Service, so one look-up replaces a real index.
            const likely = objects.get(`${value}-x`);
            return likely && options.indexes?.[index]?.(likely).includes(value) ? [likely] : [];
          },
          on: (each) => {
            handlers.add(each);
            for (const object of objects.values()) each.added?.(object);
            return () => handlers.delete(each);
          },
          stop: () => undefined,
        };
      },
    },
    put(object) {
      const { objects, handlers } = store(object.kind!);
      const previous = objects.get(key(object));
      objects.set(key(object), object);
      for (const each of handlers) {
        if (previous) each.updated?.(object, previous);
        else each.added?.(object);
      }
    },
    remove(object) {
      const { objects, handlers } = store(object.kind!);
      objects.delete(key(object));
      for (const each of handlers) each.deleted?.(object);
    },
  };
}

export function service(name: string, spec: Partial<NonNullable<Service["spec"]>>, status: Service["status"] = {}): Service {
  const ports = [{ port: 80, protocol: "TCP" }];
  return { apiVersion: "v1", kind: "Service", metadata: { name, namespace: "default" }, spec: { type: "ClusterIP", ports, ...spec }, status };
}

export interface FakeEndpoint {
  readonly ip: string;
  readonly ready?: boolean;
  readonly serving?: boolean;
  readonly terminating?: boolean;
  readonly node?: string;
}

export function slice(serviceName: string, endpoints: readonly (string | FakeEndpoint)[], port = 80, protocol = "TCP"): EndpointSlice {
  return {
    apiVersion: "discovery.k8s.io/v1", kind: "EndpointSlice", addressType: "IPv4",
    metadata: { name: `${serviceName}-x`, namespace: "default", labels: { "kubernetes.io/service-name": serviceName } },
    ports: [{ port, protocol }],
    endpoints: endpoints.map((each) => {
      const { ip, node = "node-1", ...conditions } = typeof each === "string" ? { ip: each } : each;
      return { addresses: [ip], conditions: { ready: true, ...conditions }, nodeName: node };
    }),
  };
}
