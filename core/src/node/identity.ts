/** Who this machine is: node name and address, as K3s finds them, and the cluster's settings. */
import { readFileSync } from "node:fs";
import { hostname, networkInterfaces } from "node:os";
import { join } from "node:path";
import { addressAt, cidrContains, k3spError, parseCidr, type Role } from "@k3s-p/plugin-api";
import type { ClusterSettings, NodeInfo, Paths } from "@k3s-p/plugin-api/slots";
import type { Settings } from "../config/load.ts";
import { checkCidrs, checkDomain, checkIp, checkLabel, checkName, checkTaint, groupId, invalid, isDomain, portRange } from "./checks.ts";
import { layout } from "./layout.ts";
import { checkNetworks } from "./networks.ts";

type Get = <T>(name: string) => T | undefined;

const defaultClusterCidr: readonly string[] = ["10.42.0.0/16"];

export const nodePaths = (settings: Settings): Paths =>
  layout(dataDirOf(<T>(name: string) => settings.values.get(name)?.value as T | undefined));

export function nodeInfo(settings: Settings, disabled: readonly string[], role: Role = "server"): NodeInfo {
  const get: Get = <T>(name: string) => settings.values.get(name)?.value as T | undefined;
  const paths = layout(dataDirOf(get));
  const ip = get<string[]>("node-ip")?.[0] ?? defaultAddress(get<string[]>("cluster-cidr") ?? defaultClusterCidr);
  checkIp("node-ip", ip, settings);
  const externalIp = get<string[]>("node-external-ip")?.[0];
  if (externalIp !== undefined) checkIp("node-external-ip", externalIp, settings);
  const labels = get<string[]>("node-label") ?? [];
  for (const label of labels) checkLabel("node-label", label, settings);
  const taints = get<string[]>("node-taint") ?? [];
  for (const taint of taints) checkTaint("node-taint", taint, settings);
  return Object.freeze({
    name: nodeName(get<string>("node-name")), ip, role, paths,
    ...(externalIp && { externalIp }),
    labels: Object.fromEntries(labels.map((l) => [l.split("=")[0]!, l.slice(l.indexOf("=") + 1)])),
    taints,
    cluster: clusterSettings(get, settings, ip, externalIp, paths, disabled),
  } as const);
}

/** K3s keeps a rootless user's state in the home directory. */
function dataDirOf(get: Get): string {
  const given = get<string>("data-dir");
  if (given) return given;
  return process.getuid?.() === 0 ? "/var/lib/rancher/k3s" : join(process.env.HOME ?? "/", ".rancher/k3s");
}

function nodeName(given: string | undefined): string {
  const name = (given ?? hostname()).toLowerCase();
  if (isDomain(name)) return name;
  throw k3spError("K3SP_FLAG_INVALID", {
    message: `node-name: ${JSON.stringify(name)}${given === undefined ? ", the name of this machine," : ""} is not a valid node name`,
    detail: ["letters, digits and '-' are allowed, in parts that '.' separates and that begin and end with a letter or digit"], fix: "give a name with --node-name",
  });
}

function clusterSettings(get: Get, settings: Settings, ip: string, externalIp: string | undefined, paths: Paths, disabled: readonly string[]): ClusterSettings {
  const clusterCidr = get<string[]>("cluster-cidr") ?? defaultClusterCidr;
  const serviceCidr = get<string[]>("service-cidr") ?? ["10.43.0.0/16"];
  checkCidrs("cluster-cidr", clusterCidr, settings);
  checkCidrs("service-cidr", serviceCidr, settings);
  checkNetworks(clusterCidr, serviceCidr, settings);
  const clusterDns = get<string[]>("cluster-dns") ?? serviceCidr.map((c) => addressAt(parseCidr(c)!, 10));
  for (const address of clusterDns) checkIp("cluster-dns", address, settings);
  const clusterDomain = get<string>("cluster-domain") ?? "cluster.local";
  checkDomain("cluster-domain", clusterDomain, settings);
  const bindAddress = get<string>("bind-address") ?? "0.0.0.0";
  checkIp("bind-address", bindAddress, settings);
  const advertiseAddress = get<string>("advertise-address") ?? externalIp ?? ip;
  checkIp("advertise-address", advertiseAddress, settings);
  const tlsSan = get<string[]>("tls-san") ?? [];
  for (const name of tlsSan) checkName("tls-san", name, settings);
  const mode = get<string>("write-kubeconfig-mode") ?? "0600";
  if (!/^0?[0-7]{3}$/.test(mode)) throw invalid("write-kubeconfig-mode", mode, "an octal mode such as 0644 is expected", settings);
  const group = get<string>("write-kubeconfig-group");
  const port = get<number>("https-listen-port") ?? 6443;
  if (port < 1 || port > 65535) throw invalid("https-listen-port", String(port), "1 to 65535 is expected", settings);
  return Object.freeze({
    clusterCidr, serviceCidr, clusterDns, clusterDomain, disabled, bindAddress, advertiseAddress, tlsSan,
    serviceNodePortRange: portRange(get<string>("service-node-port-range") ?? "30000-32767", settings),
    httpsListenPort: port,
    kubeconfig: { path: get<string>("write-kubeconfig") ?? defaultKubeconfig(paths), mode: Number.parseInt(mode, 8), ...(group && { gid: groupId(group, settings) }) },
    shared: {}, nodeSlots: {}, agentPlugins: [],
  });
}

function defaultKubeconfig(paths: Paths): string {
  return process.getuid?.() === 0 ? "/etc/rancher/k3s/k3s.yaml" : join(paths.dataDir, "../k3s.yaml");
}

export interface Network {
  /** `/proc/net/route` */
  readonly routes: string;
  readonly interfaces: ReturnType<typeof networkInterfaces>;
}

const thisNetwork = (): Network => ({ routes: readRoutes(), interfaces: networkInterfaces() });

/** Address of the interface that holds the default route, else the first one that is neither a loopback's nor the pods'. */
export function defaultAddress(podNetworks: readonly string[], { routes, interfaces }: Network = thisNetwork()): string {
  const pods = podNetworks.map((text) => parseCidr(text)).filter((cidr) => cidr !== undefined);
  const ipv4 = (name: string) =>
    interfaces[name]?.find(({ address, family, internal }) => family === "IPv4" && !internal && !pods.some((cidr) => cidrContains(cidr, address)))?.address;
  const device = defaultDevice(routes);
  const preferred = device && ipv4(device);
  return preferred || Object.keys(interfaces).sort().map(ipv4).find(Boolean) || "127.0.0.1";
}

/** The interface that packets to the outside leave by. */
const defaultDevice = (routes: string): string | undefined =>
  routes.split("\n").slice(1).map((line) => line.split("\t")).find((fields) => fields[1] === "00000000")?.[0];

export const hasDefaultRoute = (routes: string = readRoutes()): boolean => defaultDevice(routes) !== undefined;

function readRoutes(): string {
  try {
    return readFileSync("/proc/net/route", "utf8");
  } catch {
    return "";
  }
}
