/** Where requests on pods, services and nodes go: the kubelet, the pod itself, or an endpoint of the service. */
import { apiError, badRequest, notFound } from "@k3s-p/plugin-api/kube";
import type { CacheView, Obj } from "../resources/types.ts";

export interface Location {
  readonly protocol: "http:" | "https:";
  readonly host: string;
  readonly port: number;
  /** Whose certificate answers; `none` is not verified. */
  readonly trust: "kubelet" | "none";
  /** Path and query. */
  readonly path: string;
}

const KUBELET_PORT = 10250;
/** K3s's `--kubelet-preferred-address-types`. */
const addressTypes = ["InternalIP", "ExternalIP", "Hostname"] as const;

export function kubeletLocation(view: CacheView, nodeName: string, path: string): Location {
  const node = view.get("", "nodes", nodeName);
  if (!node) throw notFound({ group: "", plural: "nodes" }, nodeName);
  const addresses: { type: string; address: string }[] = node.status?.addresses ?? [];
  const host = addressTypes.map((type) => addresses.find((a) => a.type === type)?.address).find(Boolean);
  if (!host) throw apiError(500, "InternalError", `Internal error occurred: no preferred addresses found; known addresses: []`);
  return { protocol: "https:", host, port: node.status?.daemonEndpoints?.kubeletEndpoint?.Port || KUBELET_PORT, trust: "kubelet", path };
}

export function findPod(view: CacheView, namespace: string, name: string): Obj {
  const pod = view.get("", "pods", name, namespace);
  if (!pod) throw notFound({ group: "", plural: "pods" }, name);
  return pod;
}

/** The container that a request means; upstream's answers when it cannot be told. */
export function chooseContainer(pod: Obj, wanted: string): string {
  const names = (list: readonly Obj[] | undefined): string[] => (list ?? []).map((container) => container.name);
  const { containers, initContainers, ephemeralContainers } = pod.spec;
  const podName = pod.metadata!.name!;
  if (wanted) {
    if ([...names(containers), ...names(initContainers), ...names(ephemeralContainers)].includes(wanted)) return wanted;
    throw badRequest(`container ${wanted} is not valid for pod ${podName}`);
  }
  const main = names(containers);
  if (main.length === 1) return main[0]!;
  const init = names(initContainers);
  const choice = main.length > 0 ? `, choose one of: [${main.join(" ")}]` : "";
  throw badRequest(`a container name must be specified for pod ${podName}${choice}` +
    (init.length > 0 && main.length > 0 ? ` or one of the init containers: [${init.join(" ")}]` : ""));
}

const logOptions = ["follow", "previous", "timestamps", "sinceSeconds", "sinceTime", "limitBytes", "tailLines", "stream"] as const;

/** Undefined while the pod has no node, and so nothing to say. */
export function logLocation(view: CacheView, namespace: string, name: string, query: URLSearchParams): Location | undefined {
  const pod = findPod(view, namespace, name);
  const container = chooseContainer(pod, query.get("container") ?? "");
  if (!pod.spec.nodeName) return undefined;
  checkLogOptions(query);
  const passed = new URLSearchParams();
  for (const option of logOptions) {
    const value = query.get(option);
    if (value) passed.set(option, value);
  }
  return kubeletLocation(view, pod.spec.nodeName, `/containerLogs/${namespace}/${name}/${container}${withQuery(passed)}`);
}

function checkLogOptions(query: URLSearchParams): void {
  const minimums = { tailLines: 0, sinceSeconds: 1, limitBytes: 1 };
  for (const [option, minimum] of Object.entries(minimums)) {
    const text = query.get(option);
    if (text === null || Number(text) >= minimum) continue;
    const must = minimum === 0 ? "must be greater than or equal to 0" : "must be greater than 0";
    throw apiError(422, "Invalid", `PodLogOptions "" is invalid: ${option}: Invalid value: ${text}: ${must}`, {
      kind: "PodLogOptions", causes: [{ reason: "FieldValueInvalid", field: option, message: `Invalid value: ${text}: ${must}` }],
    });
  }
  if (query.has("sinceSeconds") && query.has("sinceTime")) {
    throw apiError(422, "Invalid", "PodLogOptions \"\" is invalid: sinceSeconds: Forbidden: at most one of `sinceTime` or `sinceSeconds` may be specified", { kind: "PodLogOptions" });
  }
}

const withQuery = (query: URLSearchParams): string => (query.size > 0 ? `?${query}` : "");

/** The kubelet's names for what upstream's PodExecOptions ask. */
const streamFlags = [["stdin", "input"], ["stdout", "output"], ["stderr", "error"], ["tty", "tty"]] as const;

/** `exec`, `attach` and `portforward`. */
export function streamLocation(view: CacheView, kind: string, namespace: string, name: string, query: URLSearchParams): Location {
  const pod = findPod(view, namespace, name);
  const container = kind === "portforward" ? "" : chooseContainer(pod, query.get("container") ?? "");
  if (!pod.spec.nodeName) throw badRequest(`pod ${name} does not have a host assigned`);
  const passed = new URLSearchParams();
  if (kind === "portforward") {
    for (const port of query.getAll("ports")) passed.append("port", port);
    return kubeletLocation(view, pod.spec.nodeName, `/portForward/${namespace}/${name}${withQuery(passed)}`);
  }
  for (const [option, kubelets] of streamFlags) {
    if (isTrue(query.get(option))) passed.set(kubelets, "1");
  }
  if (passed.size === 0) throw badRequest("you must specify at least one of stdin, stdout, stderr");
  if (kind === "exec") {
    const command = query.getAll("command");
    if (command.length === 0) throw badRequest("you must specify a command");
    for (const word of command) passed.append("command", word);
  }
  return kubeletLocation(view, pod.spec.nodeName, `/${kind}/${namespace}/${name}/${container}${withQuery(passed)}`);
}

const isTrue = (value: string | null): boolean => value === "1" || value === "true";

/** `[scheme:]name[:port]`, as the path of a proxy names its target. */
export function parseProxyName(text: string): { readonly scheme: string; readonly name: string; readonly port: string } {
  const parts = text.split(":");
  const [scheme, name, port] = parts.length === 3 ? parts : parts.length === 2 ? ["", ...parts] : ["", text, ""];
  if (parts.length > 3 || !name || (scheme !== "" && scheme !== "http" && scheme !== "https")) {
    throw badRequest(`invalid ${"proxy"} request ${JSON.stringify(text)}`);
  }
  return { scheme: scheme ?? "", name, port: port ?? "" };
}

const protocolOf = (scheme: string): Location["protocol"] => (scheme === "https" ? "https:" : "http:");

export function podProxyLocation(view: CacheView, namespace: string, target: string, path: string): Location {
  const { scheme, name, port } = parseProxyName(target);
  const pod = findPod(view, namespace, name);
  const host = pod.status?.podIP;
  if (!host) throw badRequest("address not allowed");
  const first = (pod.spec.containers as Obj[]).flatMap((container) => container.ports ?? [])[0]?.containerPort;
  const number = port ? Number(port) : (first ?? (scheme === "https" ? 443 : 80));
  if (!Number.isInteger(number)) throw badRequest(`invalid port ${JSON.stringify(port)}`);
  return { protocol: protocolOf(scheme), host, port: number, trust: "none", path };
}

export function serviceProxyLocation(
  view: CacheView, namespace: string, target: string, path: string, random: () => number = Math.random,
): Location {
  const { scheme, name, port } = parseProxyName(target);
  const { host, port: number } = serviceEndpoint(view, namespace, name, port, random);
  return { protocol: protocolOf(scheme), host, port: number, trust: "none", path };
}

/** A ready endpoint behind a service's port, given by name or number; without one the service's only port. */
export function serviceEndpoint(
  view: CacheView, namespace: string, name: string, port: string, random: () => number = Math.random,
): { readonly host: string; readonly port: number } {
  const service = view.get("", "services", name, namespace);
  if (!service) throw notFound({ group: "", plural: "services" }, name);
  const ports: Obj[] = service.spec?.ports ?? [];
  const chosen = port === "" ? (ports.length === 1 ? ports[0] : ports.find((p) => !p.name))
    : ports.find((p) => p.name === port) ?? ports.find((p) => String(p.port) === port);
  if (!chosen) throw apiError(503, "ServiceUnavailable", `no service port ${JSON.stringify(port)} found for service ${JSON.stringify(name)}`);
  const found = view.list("discovery.k8s.io", "endpointslices", namespace)
    .filter((slice) => slice.metadata?.labels?.["kubernetes.io/service-name"] === name && slice.addressType !== "FQDN")
    .flatMap((slice) => {
      const number = slice.ports?.find((p: Obj) => (p.name ?? "") === (chosen.name ?? ""))?.port;
      const ready = (slice.endpoints ?? []).filter((endpoint: Obj) => endpoint.conditions?.ready !== false);
      return number ? ready.map((endpoint: Obj) => ({ host: endpoint.addresses[0] as string, port: number as number })) : [];
    });
  if (found.length === 0) throw apiError(503, "ServiceUnavailable", `no endpoints available for service ${JSON.stringify(name)}`);
  return found[Math.floor(random() * found.length)]!;
}

export function nodeProxyLocation(view: CacheView, target: string, path: string): Location {
  const { name, port } = parseProxyName(target);
  const kubelet = kubeletLocation(view, name, path);
  if (!port || Number(port) === kubelet.port) return kubelet;
  return { ...kubelet, protocol: "http:", port: Number(port), trust: "none" };
}
