/** A container's environment: `env`, `envFrom`, service variables and the expansion of `$(NAME)`. */
import { quantityMilli, quantityValue, type ConfigMap, type ContainerSpec, type Pod, type Secret, type Service } from "@k3s-p/plugin-api/kube";
import { messageOf } from "@k3s-p/plugin-api";
import { envFileValue } from "./env-file.ts";
import { allContainers } from "./pod.ts";

/** Where values come from; the look-ups reject when a name that is not optional is missing. */
export interface EnvSources {
  configMap(name: string): Promise<ConfigMap | undefined>;
  secret(name: string): Promise<Secret | undefined>;
  /** Text of a file in one of the pod's emptyDir volumes. */
  file(volumeName: string, path: string): Promise<string | undefined>;
  readonly services: readonly Service[];
  readonly podIps: readonly string[];
  readonly nodeName: string;
  readonly hostIps: readonly string[];
  /** The node's allocatable `cpu` and `memory`, the limit of a container that sets none. */
  readonly allocatable: Readonly<Record<string, string>>;
}

/** A container's configuration cannot be made now; `reason` is the waiting reason. */
export class ConfigError extends Error {
  override readonly name = "CreateContainerConfigError";
}

/** Replaces `$(NAME)` where the name is known; `$$` is a literal dollar sign, unknown names stay as they are. */
export function expand(text: string, values: ReadonlyMap<string, string>): string {
  return text.replace(/\$\$|\$\(([^)]*)\)/g, (all, name?: string) =>
    name === undefined ? "$" : (values.get(name) ?? all));
}

export async function containerEnv(
  pod: Pod, spec: ContainerSpec, sources: EnvSources,
): Promise<ReadonlyMap<string, string>> {
  const service = serviceEnv(pod, sources.services);
  const result = new Map<string, string>();
  for (const from of spec.envFrom ?? []) {
    for (const [key, value] of await envFrom(pod, from, sources)) result.set(key, value);
  }
  const known = new Map([...service, ...result]);
  for (const entry of spec.env ?? []) {
    const value = entry.valueFrom
      ? await valueFrom(pod, spec, entry, sources)
      : expand(entry.value ?? "", known);
    if (value === undefined) continue;
    result.set(entry.name, value);
    known.set(entry.name, value);
  }
  for (const [key, value] of service) if (!result.has(key)) result.set(key, value);
  return result;
}

type EnvFrom = NonNullable<ContainerSpec["envFrom"]>[number];
type EnvVar = NonNullable<ContainerSpec["env"]>[number];

async function envFrom(pod: Pod, from: EnvFrom, sources: EnvSources): Promise<[string, string][]> {
  const prefix = from.prefix ?? "";
  if (from.configMapRef) {
    const name = from.configMapRef.name ?? "";
    const map = await sources.configMap(name);
    if (!map && !from.configMapRef.optional) throw new ConfigError(`configmap "${name}" not found`);
    return Object.entries(map?.data ?? {}).map(([key, value]) => [prefix + key, value]);
  }
  if (!from.secretRef) return [];
  const name = from.secretRef.name ?? "";
  const secret = await sources.secret(name);
  if (!secret && !from.secretRef.optional) throw new ConfigError(`secret "${name}" not found`);
  return Object.entries(secret?.data ?? {}).map(([key, value]) => [prefix + key, decode(value)]);
}

const decode = (base64: string): string => Buffer.from(base64, "base64").toString("utf8");

async function valueFrom(
  pod: Pod, spec: ContainerSpec, entry: EnvVar, sources: EnvSources,
): Promise<string | undefined> {
  const { fieldRef, resourceFieldRef, configMapKeyRef, secretKeyRef, fileKeyRef } = entry.valueFrom!;
  if (fieldRef) return fieldValue(pod, fieldRef.fieldPath, sources);
  if (fileKeyRef) return fileValue(fileKeyRef, sources);
  if (resourceFieldRef) return resourceFieldValue(pod, spec, resourceFieldRef, sources.allocatable);
  if (configMapKeyRef) {
    const { name = "", key, optional } = configMapKeyRef;
    const map = await sources.configMap(name);
    const value = map?.data?.[key];
    if (value !== undefined) return value;
    if (optional) return undefined;
    if (!map) throw new ConfigError(`configmap "${name}" not found`);
    throw new ConfigError(`couldn't find key ${key} in ConfigMap ${pod.metadata.namespace}/${name}`);
  }
  if (!secretKeyRef) return undefined;
  const { name = "", key, optional } = secretKeyRef;
  const secret = await sources.secret(name);
  const value = secret?.data?.[key];
  if (value !== undefined) return decode(value);
  if (optional) return undefined;
  if (!secret) throw new ConfigError(`secret "${name}" not found`);
  throw new ConfigError(`couldn't find key ${key} in Secret ${pod.metadata.namespace}/${name}`);
}

async function fileValue(
  { volumeName, path, key, optional }: NonNullable<NonNullable<EnvVar["valueFrom"]>["fileKeyRef"]>, sources: EnvSources,
): Promise<string | undefined> {
  try {
    const text = await sources.file(volumeName, path);
    const value = text === undefined ? undefined : envFileValue(text, key);
    if (value !== undefined || optional) return value;
  } catch (error) {
    throw new ConfigError(`couldn't parse env file "${path}" of volume "${volumeName}": ${messageOf(error)}`, { cause: error });
  }
  throw new ConfigError(`environment variable key "${key}" not found in file "${path}" of volume "${volumeName}"`);
}

type FieldSources = Pick<EnvSources, "podIps" | "nodeName" | "hostIps">;

/** Value of a downward API field. */
export function fieldValue(pod: Pod, path: string, sources: FieldSources): string {
  const keyed = /^metadata\.(labels|annotations)\['(.*)'\]$/.exec(path);
  if (keyed) return pod.metadata[keyed[1] as "labels" | "annotations"]?.[keyed[2]!] ?? "";
  switch (path) {
    case "metadata.name": return pod.metadata.name ?? "";
    case "metadata.namespace": return pod.metadata.namespace ?? "";
    case "metadata.uid": return pod.metadata.uid ?? "";
    case "metadata.labels": return formatMap(pod.metadata.labels);
    case "metadata.annotations": return formatMap(pod.metadata.annotations);
    case "spec.nodeName": return sources.nodeName;
    case "spec.serviceAccountName": return pod.spec?.serviceAccountName ?? "";
    case "status.podIP": return sources.podIps[0] ?? "";
    case "status.podIPs": return sources.podIps.join(",");
    case "status.hostIP": return sources.hostIps[0] ?? "";
    case "status.hostIPs": return sources.hostIps.join(",");
    default: throw new ConfigError(`unsupported fieldPath: ${path}`);
  }
}

/** `key="value"` lines, sorted, values quoted as Go's %q does. */
export const formatMap = (map: Readonly<Record<string, string>> | undefined): string =>
  Object.keys(map ?? {}).sort().map((key) => `${key}=${JSON.stringify(map![key])}`).join("\n");

interface ResourceField {
  readonly containerName?: string;
  readonly resource: string;
  readonly divisor?: string;
}

/** Value of `limits.cpu`, `requests.memory`, ... in units of the divisor, rounded up. */
export function resourceFieldValue(
  pod: Pod, own: ContainerSpec | undefined, ref: ResourceField, allocatable: Readonly<Record<string, string>>,
): string {
  const spec = ref.containerName ? allContainers(pod).find((c) => c.spec.name === ref.containerName)?.spec : own;
  if (!spec) throw new ConfigError(`container ${ref.containerName} not found`);
  const [which, name] = split(ref.resource);
  const limit = spec.resources?.limits?.[name];
  const amount = which === "limits"
    ? (limit ?? allocatable[name])
    : (spec.resources?.requests?.[name] ?? limit);
  if (amount === undefined) return "0";
  const divisor = ref.divisor && ref.divisor !== "0" ? ref.divisor : "1";
  if (name === "cpu") return String(Math.ceil(quantityMilli(amount) / Math.max(1, quantityMilli(divisor))));
  return String(Math.ceil(quantityValue(amount) / Math.max(1, quantityValue(divisor))));
}

function split(resource: string): [string, string] {
  const dot = resource.indexOf(".");
  const which = resource.slice(0, dot);
  if (which !== "limits" && which !== "requests") throw new ConfigError(`unsupported container resource : ${resource}`);
  return [which, resource.slice(dot + 1)];
}

/** Docker-link style variables of the namespace's Services; without links only those of the API server. */
export function serviceEnv(pod: Pod, services: readonly Service[]): Map<string, string> {
  const result = new Map<string, string>();
  const links = pod.spec?.enableServiceLinks !== false;
  const wanted = services.filter((s) => {
    const api = s.metadata.namespace === "default" && s.metadata.name === "kubernetes";
    return api || (links && s.metadata.namespace === pod.metadata.namespace);
  });
  // The namespace's own `kubernetes` Service wins over the one in `default`.
  const own = (s: Service): number => (s.metadata.namespace === pod.metadata.namespace ? 1 : 0);
  for (const service of wanted.sort((a, b) => own(a) - own(b))) addService(result, service);
  return result;
}

function addService(into: Map<string, string>, service: Service): void {
  const ip = service.spec?.clusterIP;
  const ports = service.spec?.ports ?? [];
  if (!ip || ip === "None" || !ports[0]) return;
  const name = service.metadata.name!.toUpperCase().replaceAll("-", "_");
  const host = ip.includes(":") ? `[${ip}]` : ip;
  into.set(`${name}_SERVICE_HOST`, ip);
  into.set(`${name}_SERVICE_PORT`, String(ports[0].port));
  for (const port of ports) {
    if (port.name) into.set(`${name}_SERVICE_PORT_${port.name.toUpperCase().replaceAll("-", "_")}`, String(port.port));
  }
  ports.forEach((port, i) => {
    const protocol = (port.protocol ?? "TCP").toLowerCase();
    const url = `${protocol}://${host}:${port.port}`;
    if (i === 0) into.set(`${name}_PORT`, url);
    const prefix = `${name}_PORT_${port.port}_${protocol.toUpperCase()}`;
    into.set(prefix, url);
    into.set(`${prefix}_PROTO`, protocol);
    into.set(`${prefix}_PORT`, String(port.port));
    into.set(`${prefix}_ADDR`, ip);
  });
}
