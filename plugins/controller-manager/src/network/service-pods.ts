/** What the endpoint controllers ask about the pods behind a Service. */
import { isIP } from "node:net";
import { keyOf, matchesMap, type Informer, type Pod, type Service, type ServicePort } from "@k3s-p/plugin-api/kube";
import { isReady, isTerminal, isTerminating } from "../lib/pods.ts";

/** Services whose endpoints come from their selector. */
export const isSelecting = (service: Service): boolean =>
  service.spec?.selector !== undefined &&
  Object.keys(service.spec.selector).length > 0 &&
  service.spec.type !== "ExternalName";

export const isHeadless = (service: Service): boolean => !service.spec?.clusterIP || service.spec.clusterIP === "None";

export const podsOf = (informer: Informer<Pod>, service: Service): Pod[] =>
  informer.list(service.metadata.namespace).filter((pod) => matchesMap(service.spec!.selector, pod.metadata.labels));

/** Keys of the Services that a pod is behind. */
export const servicesOf = (informer: Informer<Service>, pod: Pod): string[] =>
  informer.list(pod.metadata.namespace)
    .filter((service) => isSelecting(service) && matchesMap(service.spec!.selector, pod.metadata.labels)).map(keyOf);

/** Keys of the Services whose endpoints a change of a pod may alter: those of its labels before, too. */
export function servicesConcerned(informer: Informer<Service>, pod: Pod, previous: Pod | undefined): string[] {
  if (!previous) return servicesOf(informer, pod);
  return endpointChanged(previous, pod) ? [...servicesOf(informer, previous), ...servicesOf(informer, pod)] : [];
}

export const addressesOf = (pod: Pod): string[] => {
  const all = (pod.status?.podIPs ?? []).map(({ ip }) => ip).filter((ip) => ip !== undefined);
  return all.length ? all : pod.status?.podIP ? [pod.status.podIP] : [];
};

export const addressOf = (pod: Pod, family: 4 | 6): string | undefined => addressesOf(pod).find((ip) => isIP(ip) === family);

/** A finished pod, or one without an address, is no endpoint. */
export const isEndpoint = (pod: Pod): boolean => !isTerminal(pod) && addressesOf(pod).length > 0;

/** The number of a Service port on this pod; undefined when the pod has no container port of that name. */
function targetPortOf(pod: Pod, port: ServicePort): number | undefined {
  const target = port.targetPort ?? port.port;
  if (typeof target === "number") return target === 0 ? port.port : target;
  const containers = [
    ...(pod.spec?.containers ?? []),
    ...(pod.spec?.initContainers ?? []).filter((c) => c.restartPolicy === "Always"),
  ];
  return containers
    .flatMap((container) => container.ports ?? [])
    .find((candidate) => candidate.name === target && (candidate.protocol ?? "TCP") === (port.protocol ?? "TCP"))
    ?.containerPort;
}

export interface PortOnPod {
  readonly name?: string;
  readonly port: number;
  readonly protocol: string;
  readonly appProtocol?: string;
}

/** Ports of the Service on this pod: without those whose name the pod does not know; undefined for a pod with none of them. */
export function portsOn(pod: Pod, service: Service): PortOnPod[] | undefined {
  const wanted = service.spec?.ports ?? [];
  const ports = wanted.flatMap((port): PortOnPod[] => {
    const number = targetPortOf(pod, port);
    if (number === undefined) return [];
    const { name, protocol = "TCP", appProtocol } = port;
    return [{ ...(name && { name }), port: number, protocol, ...(appProtocol && { appProtocol }) }];
  });
  return ports.length || (wanted.length === 0 && isHeadless(service)) ? ports : undefined;
}

/** Pods of a headless Service have a DNS name of their own when their subdomain is the Service. */
export const hostnameFor = (pod: Pod, service: Service): string | undefined =>
  pod.spec?.hostname && pod.spec.subdomain === service.metadata.name ? pod.spec.hostname : undefined;

/** Whether a change of a pod can matter to any endpoint. */
function endpointChanged(before: Pod, after: Pod): boolean {
  return (
    isReady(before) !== isReady(after) ||
    isTerminal(before) !== isTerminal(after) ||
    isTerminating(before) !== isTerminating(after) ||
    before.spec?.nodeName !== after.spec?.nodeName ||
    addressesOf(before).join() !== addressesOf(after).join() ||
    !sameLabels(before.metadata.labels, after.metadata.labels)
  );
}

function sameLabels(
  a: Readonly<Record<string, string>> = {}, b: Readonly<Record<string, string>> = {},
): boolean {
  const keys = Object.keys(a);
  return keys.length === Object.keys(b).length && keys.every((key) => a[key] === b[key]);
}
