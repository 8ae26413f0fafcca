/** For tests: a fake API server that is told of Services and EndpointSlices, and short ways to write them. */
import { endpointSlices, services, type EndpointSlice, type Resource, type Service } from "@k3s-p/plugin-api/kube";
import { fakeKube, type FakeKube } from "@k3s-p/plugin-api/kube/fake";

export interface FakeCluster {
  readonly kube: FakeKube;
  put(object: Service | EndpointSlice): void;
  remove(object: Service | EndpointSlice): void;
}

const resourceOf = ({ kind }: Service | EndpointSlice): Resource<any> => (kind === "Service" ? services : endpointSlices);

export function fakeCluster(): FakeCluster {
  const kube = fakeKube();
  return {
    kube,
    put: (object) => void kube.put(resourceOf(object), object),
    remove: (object) => kube.drop(resourceOf(object), object.metadata.name!, object.metadata.namespace),
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
  readonly hints?: NonNullable<EndpointSlice["endpoints"]>[number]["hints"];
}

export function slice(serviceName: string, endpoints: readonly (string | FakeEndpoint)[], port = 80, protocol = "TCP"): EndpointSlice {
  return {
    apiVersion: "discovery.k8s.io/v1", kind: "EndpointSlice", addressType: "IPv4",
    metadata: { name: `${serviceName}-x`, namespace: "default", labels: { "kubernetes.io/service-name": serviceName } },
    ports: [{ port, protocol }],
    endpoints: endpoints.map((each) => {
      const { ip, node = "node-1", hints, ...conditions } = typeof each === "string" ? { ip: each } : each;
      return { addresses: [ip], conditions: { ready: true, ...conditions }, nodeName: node, ...(hints && { hints }) };
    }),
  };
}
