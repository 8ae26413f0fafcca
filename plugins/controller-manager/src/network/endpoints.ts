/** The endpoints controller: the legacy Endpoints object of each Service with a selector. */
import { isIP } from "node:net";
import {
  endpoints, isAlreadyExists, isNotFound, keyOf, pods, services, splitKey,
  type Endpoints, type Informer, type Pod, type Service,
} from "@k3s-p/plugin-api/kube";
import { createController, type ControllerDeps } from "../controller.ts";
import { isTerminatingNamespace } from "../lib/pod-control.ts";
import { isReady, isTerminating } from "../lib/pods.ts";
import { canonicalJson, semanticEqual } from "../lib/values.ts";
import {
  addressOf, hostnameFor, isEndpoint, isHeadless, isSelecting, podsOf, portsOn, servicesConcerned,
} from "./service-pods.ts";
import { label } from "./slices.ts";

type Subset = NonNullable<Endpoints["subsets"]>[number];
type Address = NonNullable<Subset["addresses"]>[number];

const MANAGED_BY = "endpoints.kubernetes.io/managed-by";
const OVER_CAPACITY = "endpoints.kubernetes.io/over-capacity";
const CAPACITY = 1000;

export function start(deps: ControllerDeps): void {
  const { client } = deps;
  const c = createController(deps, "endpoint");
  const serviceInformer = c.follow(services);
  const podInformer = c.follow(pods, (pod, { previous }) => servicesConcerned(serviceInformer, pod, previous));
  const endpointsInformer: Informer<Endpoints> = c.follow(endpoints, (object, { deleted }): string | undefined => {
    // Objects of users without a Service live on; one that was removed behind our back is made again.
    return deleted || serviceInformer.get(object.metadata.name!, object.metadata.namespace) ? keyOf(object) : undefined;
  });
  c.run(reconcile);

  async function reconcile(key: string): Promise<void> {
    const [namespace, name] = splitKey(key);
    const service = serviceInformer.get(name, namespace);
    const current = endpointsInformer.get(name, namespace);
    if (!service) return current && remove(current);
    if (!isSelecting(service)) return;
    const { subsets, truncated } = subsetsOf(service, podsOf(podInformer, service));
    const next = desired(service, subsets, truncated, current);
    if (
      current &&
      semanticEqual(current.subsets, subsets) &&
      semanticEqual(current.metadata.labels, next.metadata.labels, "labels") &&
      semanticEqual(current.metadata.annotations, next.metadata.annotations, "annotations")
    )
      return;
    try {
      if (current) await client.update(endpoints, next);
      else await client.create(endpoints, next);
    } catch (error) {
      if (!isTerminatingNamespace(error) && !isAlreadyExists(error)) throw error;
    }
  }

  async function remove(object: Endpoints): Promise<void> {
    await client
      .delete(endpoints, object.metadata.name!, {
        namespace: object.metadata.namespace,
        preconditions: { uid: object.metadata.uid },
      })
      .catch((error: unknown) => {
        if (!isNotFound(error)) throw error;
      });
  }
}

function desired(service: Service, subsets: Subset[], truncated: boolean, current: Endpoints | undefined): Endpoints {
  const labels: Record<string, string> = { ...service.metadata.labels, [MANAGED_BY]: "endpoint-controller" };
  delete labels[label.headless];
  if (isHeadless(service)) labels[label.headless] = "";
  const { [OVER_CAPACITY]: _, ...annotations } = current?.metadata.annotations ?? {};
  return {
    apiVersion: "v1", kind: "Endpoints", subsets,
    metadata: {
      ...(current?.metadata ?? { name: service.metadata.name, namespace: service.metadata.namespace }), labels,
      annotations: truncated ? { ...annotations, [OVER_CAPACITY]: "truncated" } : annotations,
    },
  };
}

/** Addresses grouped by the ports they have; the family is that of the Service's first address. */
function subsetsOf(service: Service, list: readonly Pod[]): { subsets: Subset[]; truncated: boolean } {
  const clusterIP = service.spec?.clusterIP;
  const family = isIP(clusterIP ?? "") || (service.spec?.ipFamilies?.[0] === "IPv6" ? 6 : 4);
  const tolerant = Boolean(service.spec?.publishNotReadyAddresses);
  const subsets = new Map<string, Required<Pick<Subset, "addresses" | "notReadyAddresses" | "ports">>>();
  let count = 0;
  for (const pod of list) {
    const ip = addressOf(pod, family as 4 | 6);
    if (!ip || !isEndpoint(pod) || (isTerminating(pod) && !tolerant)) continue;
    const ports = portsOn(pod, service);
    if (!ports) continue;
    if (++count > CAPACITY) continue;
    const id = canonicalJson(ports);
    if (!subsets.has(id)) subsets.set(id, { addresses: [], notReadyAddresses: [], ports });
    subsets.get(id)![tolerant || isReady(pod) ? "addresses" : "notReadyAddresses"].push(addressFor(service, pod, ip));
  }
  const byIp = (a: Address, b: Address) => (a.ip < b.ip ? -1 : 1);
  const sorted = [...subsets]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([, { addresses, notReadyAddresses, ports }]): Subset => ({
      ...(addresses.length && { addresses: addresses.sort(byIp) }),
      ...(notReadyAddresses.length && { notReadyAddresses: notReadyAddresses.sort(byIp) }),
      ...(ports.length && { ports }),
    }));
  return { subsets: sorted, truncated: count > CAPACITY };
}

function addressFor(service: Service, pod: Pod, ip: string): Address {
  const hostname = hostnameFor(pod, service);
  return {
    ip, ...(hostname && { hostname }), ...(pod.spec?.nodeName && { nodeName: pod.spec.nodeName }),
    targetRef: { kind: "Pod", namespace: pod.metadata.namespace, name: pod.metadata.name, uid: pod.metadata.uid },
  };
}
