/** The endpointslice controller: the pods behind each Service, in slices of up to 100. */
import {
  endpointSlices, nodes, pods, services, splitKey,
  type EndpointSlice, type EndpointSliceEndpoint, type Node, type Pod, type Service,
} from "@k3s-p/plugin-api/kube";
import { createController, type Change, type ControllerDeps } from "../controller.ts";
import { ownerReference } from "../lib/claim.ts";
import { createExpectations } from "../lib/expectations.ts";
import { isTerminatingNamespace } from "../lib/pod-control.ts";
import { isReady, isTerminating } from "../lib/pods.ts";
import { canonicalJson } from "../lib/values.ts";
import {
  addressOf, hostnameFor, isEndpoint, isHeadless, isSelecting, podsOf, portsOn, servicesConcerned, servicesOf,
} from "./service-pods.ts";
import { applyPlan, label, planSlices, type AddressType, type EndpointGroup, type EndpointPort } from "./slices.ts";

const MANAGER = "endpointslice-controller.k8s.io";
const ZONE = "topology.kubernetes.io/zone";

export function start(deps: ControllerDeps): void {
  const { client } = deps;
  const c = createController(deps, "endpointslice");
  const expectations = createExpectations(deps.now);
  const serviceInformer = c.follow(services);
  const podInformer = c.follow(pods, (pod, { previous }) => servicesConcerned(serviceInformer, pod, previous));
  const sliceInformer = c.follow(endpointSlices, sliceKeys);
  const nodeInformer = c.follow(nodes, (node, { previous, deleted }) => {
    const moved = previous && zoneOf(previous) !== zoneOf(node);
    return moved || deleted ? podInformer.byIndex("node", node.metadata.name!).flatMap((pod) => servicesOf(serviceInformer, pod)) : undefined;
  });
  c.run(reconcile);

  /** Slices that someone else changed or removed are put right again. */
  function sliceKeys(slice: EndpointSlice, { previous, deleted }: Change<EndpointSlice>): string | undefined {
    const owner = [slice, previous].find((s) => s?.metadata.labels?.[label.managedBy] === MANAGER)?.metadata.labels?.[
      label.serviceName
    ];
    if (owner === undefined) return undefined;
    const key = `${slice.metadata.namespace}/${owner}`;
    if (!previous && !deleted) expectations.creationObserved(key);
    return key;
  }

  async function reconcile(key: string): Promise<void> {
    const [namespace, name] = splitKey(key);
    const service = serviceInformer.get(name, namespace);
    if (!service) return expectations.forget(key);
    if (!isSelecting(service) || service.metadata.deletionTimestamp || !expectations.satisfied(key)) return;
    const existing = sliceInformer.byIndex("owner", service.metadata.uid!).filter((slice) =>
      slice.metadata.labels?.[label.managedBy] === MANAGER && !slice.metadata.deletionTimestamp);
    const families = familiesOf(service);
    const plan = planSlices({
      namespace, generateName: `${name}-`, labels: labelsOf(service), owner: ownerReference(services, service),
    }, groupsOf(service, families), existing, families);
    try {
      await applyPlan(client, plan, {
        expected: (count) => expectations.expectCreations(key, count), failed: () => expectations.creationObserved(key),
      });
    } catch (error) {
      if (!isTerminatingNamespace(error)) throw error;
    }
  }

  function groupsOf(service: Service, families: readonly AddressType[]): EndpointGroup[] {
    const groups = new Map<string, EndpointGroup>();
    for (const pod of podsOf(podInformer, service).filter(isEndpoint)) {
      const ports = portsOn(pod, service)?.map((port): EndpointPort => ({ name: "", ...port }));
      if (!ports) continue;
      for (const addressType of families) {
        const address = addressOf(pod, addressType === "IPv4" ? 4 : 6);
        if (!address) continue;
        const id = `${addressType} ${canonicalJson(ports)}`;
        if (!groups.has(id)) groups.set(id, { addressType, ports, endpoints: [] });
        groups.get(id)!.endpoints.push(endpointOf(service, pod, address));
      }
    }
    return [...groups.values()];
  }

  function endpointOf(service: Service, pod: Pod, address: string): EndpointSliceEndpoint {
    const serving = isReady(pod);
    const terminating = isTerminating(pod);
    const ready = service.spec?.publishNotReadyAddresses || (serving && !terminating);
    const node = pod.spec?.nodeName ? nodeInformer.get(pod.spec.nodeName) : undefined;
    const hostname = hostnameFor(pod, service);
    const zone = node && zoneOf(node);
    return {
      addresses: [address], conditions: { ready: Boolean(ready), serving, terminating },
      targetRef: { kind: "Pod", namespace: pod.metadata.namespace, name: pod.metadata.name, uid: pod.metadata.uid },
      ...(pod.spec?.nodeName && { nodeName: pod.spec.nodeName }), ...(zone && { zone }), ...(hostname && { hostname }),
      ...(ready && hintsOf(service, pod.spec?.nodeName, zone)),
    };
  }
}

const zoneOf = (node: Node): string | undefined => node.metadata.labels?.[ZONE];

/** Whom a ready endpoint is meant for; for all when its Service does not say, or its node has no zone. */
function hintsOf(service: Service, node: string | undefined, zone: string | undefined): Pick<EndpointSliceEndpoint, "hints"> {
  const { trafficDistribution } = service.spec ?? {};
  if (!trafficDistribution) return {};
  const forNodes = trafficDistribution === "PreferSameNode" && node ? [{ name: node }] : undefined;
  const forZones = zone ? [{ name: zone }] : undefined;
  return forNodes || forZones ? { hints: { ...(forNodes && { forNodes }), ...(forZones && { forZones }) } } : {};
}

function familiesOf(service: Service): AddressType[] {
  const families = service.spec?.ipFamilies?.length ? service.spec.ipFamilies : ["IPv4"];
  return families as AddressType[];
}

function labelsOf(service: Service): Record<string, string> {
  const labels: Record<string, string> = {};
  for (const [key, value] of Object.entries(service.metadata.labels ?? {})) {
    if (key !== label.serviceName && key !== label.managedBy && key !== label.headless) labels[key] = value;
  }
  if (isHeadless(service)) labels[label.headless] = "";
  return { ...labels, [label.serviceName]: service.metadata.name!, [label.managedBy]: MANAGER };
}
