/** Leads a Service without selector to a listener in this process: one EndpointSlice, kept as long as the listener is. */
import { isIP } from "node:net";
import type { KubeClient } from "./client.ts";
import { isNotFound } from "./errors.ts";
import { endpointSlices, services } from "./resources.ts";
import type { EndpointSlice, Service } from "./types.ts";
import { workQueue } from "./workqueue.ts";

export interface ListenerEndpoint {
  readonly namespace: string;
  /** The Service, which must exist; the slice goes when it goes. */
  readonly service: string;
  readonly nodeName: string;
  readonly address: string;
  /** Names as in the Service's ports. */
  readonly ports: readonly { readonly name: string; readonly port: number; readonly protocol: "TCP" | "UDP" }[];
}

/** The slice is named after Service and node, and written again when somebody changes or deletes it. `stop` deletes it. */
export async function publishListener(client: KubeClient, endpoint: ListenerEndpoint): Promise<{ stop(): Promise<void> }> {
  const { namespace, service } = endpoint;
  const name = `${service}-${endpoint.nodeName}`.slice(0, 253);
  const owner = await client.get(services, service, namespace);
  const wanted = sliceFor(endpoint, name, owner);
  const queue = workQueue({ name: `listener ${service}`, reconcile: () => ensure(client, wanted) });
  const informer = client.informer(endpointSlices, { namespace, labelSelector: `kubernetes.io/service-name=${service}` });
  await ensure(client, wanted);
  const check = (slice: EndpointSlice) => slice.metadata.name === name && !agrees(slice, wanted) && queue.add(name);
  informer.on({
    updated: (slice) => void check(slice),
    deleted: (slice) => void (slice.metadata.name === name && queue.add(name)),
  });
  return {
    async stop() {
      informer.stop();
      await queue.stop();
      await client.delete(endpointSlices, name, { namespace }).catch((error: unknown) => {
        if (!isNotFound(error)) throw error;
      });
    },
  };
}

function sliceFor({ namespace, service, nodeName, address, ports }: ListenerEndpoint, name: string, owner: Service): EndpointSlice {
  return {
    apiVersion: "discovery.k8s.io/v1", kind: "EndpointSlice",
    metadata: {
      name, namespace,
      labels: { "kubernetes.io/service-name": service, "endpointslice.kubernetes.io/managed-by": "k3s-p" },
      ownerReferences: [{ apiVersion: "v1", kind: "Service", name: service, uid: owner.metadata.uid! }],
    },
    addressType: isIP(address) === 6 ? "IPv6" : "IPv4",
    endpoints: [{ addresses: [address], conditions: { ready: true, serving: true, terminating: false }, nodeName }],
    ports: ports.map((port) => ({ ...port })),
  };
}

const agrees = (slice: EndpointSlice, wanted: EndpointSlice): boolean =>
  slice.endpoints?.length === 1 && slice.endpoints[0]!.addresses[0] === wanted.endpoints![0]!.addresses[0] &&
  slice.ports?.length === wanted.ports!.length && wanted.ports!.every((port) =>
    slice.ports!.some((p) => p.name === port.name && p.port === port.port && p.protocol === port.protocol));

async function ensure(client: KubeClient, wanted: EndpointSlice): Promise<void> {
  const { name, namespace } = wanted.metadata;
  let existing: EndpointSlice;
  try {
    existing = await client.get(endpointSlices, name!, namespace!);
  } catch (error) {
    if (!isNotFound(error)) throw error;
    await client.create(endpointSlices, wanted, { namespace: namespace! });
    return;
  }
  if (existing.addressType !== wanted.addressType) {
    // The family cannot be changed in place.
    await client.delete(endpointSlices, name!, { namespace: namespace! });
    await client.create(endpointSlices, wanted, { namespace: namespace! });
    return;
  }
  if (!agrees(existing, wanted) || existing.metadata.ownerReferences?.[0]?.uid !== wanted.metadata.ownerReferences![0]!.uid) {
    await client.patch(endpointSlices, name!, {
      metadata: { labels: wanted.metadata.labels, ownerReferences: wanted.metadata.ownerReferences }, endpoints: wanted.endpoints, ports: wanted.ports,
    }, { namespace: namespace!, type: "merge" });
  }
}
