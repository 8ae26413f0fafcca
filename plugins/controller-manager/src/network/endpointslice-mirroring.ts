/** The endpointslicemirroring controller: Endpoints that a user wrote for a Service without selector, as EndpointSlices. */
import { isIP } from "node:net";
import {
  endpoints, endpointSlices, services, splitKey,
  type EndpointSlice, type EndpointSliceEndpoint, type Endpoints,
} from "@k3s-p/plugin-api/kube";
import { createController, type Change, type ControllerDeps } from "../controller.ts";
import { ownerReference } from "../lib/claim.ts";
import { createExpectations } from "../lib/expectations.ts";
import { isTerminatingNamespace } from "../lib/pod-control.ts";
import { canonicalJson } from "../lib/values.ts";
import { isHeadless } from "./service-pods.ts";
import { applyPlan, label, planSlices, type AddressType, type EndpointGroup } from "./slices.ts";

const MANAGER = "endpointslicemirroring-controller.k8s.io";
const LEADER = "control-plane.alpha.kubernetes.io/leader";
const LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration";
const PER_SUBSET = 1000;

type Address = NonNullable<NonNullable<Endpoints["subsets"]>[number]["addresses"]>[number];

export function start(deps: ControllerDeps): void {
  const { client } = deps;
  const c = createController(deps, "endpointslice-mirroring");
  const expectations = createExpectations(deps.now);
  const endpointsInformer = c.follow(endpoints);
  const serviceInformer = c.follow(services);
  const sliceInformer = c.follow(endpointSlices, (slice, { previous, deleted }: Change<EndpointSlice>) => {
    if (slice.metadata.labels?.[label.managedBy] !== MANAGER) return undefined;
    const key = `${slice.metadata.namespace}/${slice.metadata.labels[label.serviceName]}`;
    if (!previous && !deleted) expectations.creationObserved(key);
    return key;
  });
  c.run(reconcile);

  async function reconcile(key: string): Promise<void> {
    const [namespace, name] = splitKey(key);
    const source = endpointsInformer.get(name, namespace);
    const service = serviceInformer.get(name, namespace);
    if (!expectations.satisfied(key)) return;
    const mirrored = sliceInformer.list(namespace).filter((slice) =>
      slice.metadata.labels?.[label.managedBy] === MANAGER && slice.metadata.labels[label.serviceName] === name);
    const wanted = source && service && isMirrored(source) && !Object.keys(service.spec?.selector ?? {}).length;
    const plan = wanted
      ? planSlices(
          {
            namespace,
            generateName: `${name}-`,
            owner: ownerReference(endpoints, source),
            labels: {
              ...source.metadata.labels,
              [label.serviceName]: name,
              [label.managedBy]: MANAGER,
              ...(isHeadless(service) && { [label.headless]: "" }),
            },
            annotations: annotationsOf(source),
          },
          groupsOf(source),
          mirrored,
          [],
        )
      : { create: [], update: [], delete: mirrored };
    try {
      await applyPlan(client, plan, {
        expected: (count) => expectations.expectCreations(key, count), failed: () => expectations.creationObserved(key),
      });
    } catch (error) {
      if (!isTerminatingNamespace(error)) throw error;
    }
  }
}

const isMirrored = ({ metadata }: Endpoints): boolean =>
  !metadata.deletionTimestamp &&
  metadata.labels?.[label.skipMirror] !== "true" &&
  metadata.annotations?.[LEADER] === undefined;

function annotationsOf({ metadata }: Endpoints): Record<string, string> {
  const { [LAST_APPLIED]: _, ...annotations } = metadata.annotations ?? {};
  return annotations;
}

function groupsOf(source: Endpoints): EndpointGroup[] {
  const groups = new Map<string, EndpointGroup>();
  for (const subset of source.subsets ?? []) {
    const ports = (subset.ports ?? []).map((port) => ({
      name: port.name ?? "",
      port: port.port,
      protocol: port.protocol ?? "TCP",
      ...(port.appProtocol && { appProtocol: port.appProtocol }),
    }));
    const addresses = [
      ...(subset.addresses ?? []).map((address) => [address, true] as const),
      ...(subset.notReadyAddresses ?? []).map((address) => [address, false] as const),
    ];
    for (const [address, ready] of addresses.slice(0, PER_SUBSET)) {
      const addressType: AddressType = isIP(address.ip) === 6 ? "IPv6" : "IPv4";
      const id = `${addressType} ${canonicalJson(ports)}`;
      if (!groups.has(id)) groups.set(id, { addressType, ports, endpoints: [] });
      groups.get(id)!.endpoints.push(endpointOf(address, ready));
    }
  }
  return [...groups.values()];
}

function endpointOf(address: Address, ready: boolean): EndpointSliceEndpoint {
  return {
    addresses: [address.ip], conditions: { ready },
    ...(address.hostname && { hostname: address.hostname }), ...(address.nodeName && { nodeName: address.nodeName }),
    ...(address.targetRef && { targetRef: address.targetRef }),
  };
}

