/** Objects and a resolver for the tests of this plugin. */
import * as k from "@k3s-p/plugin-api/kube";
import { fakeKube, type FakeKube } from "@k3s-p/plugin-api/kube/fake";
import { compileCorefile, type CompileContext } from "./compile.ts";
import { createResolver, type Resolver } from "./resolver.ts";
import { createView } from "./view.ts";

export const corefile = `.:53 {
    errors
    kubernetes cluster.local in-addr.arpa ip6.arpa {
      pods insecure
      fallthrough in-addr.arpa ip6.arpa
    }
    hosts /etc/coredns/NodeHosts {
      ttl 60
      fallthrough
    }
    cache 30
    loop
    loadbalance
}
`;

export interface TestZone {
  readonly kube: FakeKube;
  readonly resolver: Resolver;
  readonly warnings: readonly string[];
}

export function testZone(text = corefile, context: Partial<CompileContext> = {}): TestZone {
  const kube = fakeKube();
  const view = createView(kube);
  const resolver = createResolver((error) => {
    throw error;
  });
  const compiled = compileCorefile(text, {
    view, dnsIps: ["10.43.0.10"], resolvConf: () => [], file: () => "192.0.2.7 node-1\n", imports: () => [], onLoop: () => undefined, ...context,
  });
  resolver.use(compiled);
  view.onChange(() => resolver.invalidate());
  return { kube, resolver, warnings: compiled.warnings };
}

/** The Services and endpoints that the specification's examples speak of. */
export function putCluster(kube: FakeKube): void {
  for (const name of ["default", "kube-system"]) kube.put(k.namespaces, { metadata: { name } });
  const service = (name: string, spec: object) => kube.put(k.services, { metadata: { name, namespace: "default" }, spec });
  const slice = (name: string, of: string, addressType: string, endpoints: object[], ports: object[]) =>
    kube.put(k.endpointSlices, { metadata: { name, namespace: "default", labels: { "kubernetes.io/service-name": of } }, addressType, endpoints, ports });
  service("kubernetes", { clusterIP: "10.43.0.1", clusterIPs: ["10.43.0.1"], ports: [{ name: "https", port: 443, protocol: "TCP" }] });
  service("dual", { clusterIP: "10.43.0.2", clusterIPs: ["10.43.0.2", "fd00:43::2"], ports: [{ name: "dns", port: 53, protocol: "UDP" }, { port: 80 }] });
  service("headless", { clusterIP: "None", ports: [{ name: "http", port: 80, protocol: "TCP" }] });
  service("empty", { clusterIP: "None" });
  service("early", { clusterIP: "None", publishNotReadyAddresses: true });
  service("outside", { type: "ExternalName", externalName: "www.example.com" });
  service("inside", { type: "ExternalName", externalName: "kubernetes.default.svc.cluster.local" });
  const http = [{ name: "http", port: 8080, protocol: "TCP" }];
  slice("h-1", "headless", "IPv4", [
    { addresses: ["10.42.0.5"], hostname: "my-pet", conditions: { ready: true } },
    { addresses: ["10.42.0.6"], conditions: {} },
    { addresses: ["10.42.0.7"], conditions: { ready: false } },
  ], http);
  slice("h-2", "headless", "IPv6", [{ addresses: ["fd00:42:0:0::5"], hostname: "my-pet", conditions: { ready: true } }], http);
  slice("e-1", "early", "IPv4", [{ addresses: ["10.42.0.8"], conditions: { ready: false } }], http);
  slice("e-2", "empty", "IPv4", [{ addresses: ["10.42.0.9"], conditions: { ready: false } }], http);
}
