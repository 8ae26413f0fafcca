/** Who this machine is: node name and address, as K3s finds them, and the cluster's settings. */
import { readFileSync } from "node:fs";
import { isIP } from "node:net";
import { hostname, networkInterfaces } from "node:os";
import { join } from "node:path";
import { addressAt, k3spError, parseCidr, type Cidr } from "@k3s-p/plugin-api";
import type { ClusterSettings, NodeInfo, Paths } from "@k3s-p/plugin-api/slots";
import type { Settings } from "../config/load.ts";
import { layout } from "./layout.ts";

type Get = <T>(name: string) => T | undefined;

export const nodePaths = (settings: Settings): Paths =>
  layout(dataDirOf(<T>(name: string) => settings.values.get(name)?.value as T | undefined));

export function nodeInfo(settings: Settings, disabled: readonly string[]): NodeInfo {
  const get: Get = <T>(name: string) => settings.values.get(name)?.value as T | undefined;
  const paths = layout(dataDirOf(get));
  const ip = get<string[]>("node-ip")?.[0] ?? defaultAddress();
  requireIp("node-ip", ip, settings);
  const externalIp = get<string[]>("node-external-ip")?.[0];
  return Object.freeze({
    name: nodeName(get<string>("node-name")), ip, role: "server", paths,
    ...(externalIp && { externalIp }),
    labels: Object.fromEntries((get<string[]>("node-label") ?? []).map((l) => [l.split("=")[0]!, l.slice(l.indexOf("=") + 1)])),
    taints: get<string[]>("node-taint") ?? [],
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
  if (/^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$/.test(name)) return name;
  throw k3spError("K3SP_FLAG_INVALID", {
    message: `node-name: ${JSON.stringify(name)} is not a valid node name`, detail: ["lower-case letters, digits, '-' and '.' are allowed"], fix: "give a name with --node-name",
  });
}

function clusterSettings(get: Get, settings: Settings, ip: string, externalIp: string | undefined, paths: Paths, disabled: readonly string[]): ClusterSettings {
  const clusterCidr = cidrs("cluster-cidr", get<string[]>("cluster-cidr") ?? ["10.42.0.0/16"], settings);
  const serviceCidr = cidrs("service-cidr", get<string[]>("service-cidr") ?? ["10.43.0.0/16"], settings);
  const clusterDns = get<string[]>("cluster-dns") ?? serviceCidr.map((c) => addressAt(parseCidr(c)!, 10));
  for (const address of clusterDns) requireIp("cluster-dns", address, settings);
  const mode = get<string>("write-kubeconfig-mode") ?? "0600";
  if (!/^0?[0-7]{3}$/.test(mode)) throw invalid("write-kubeconfig-mode", mode, "an octal mode such as 0644 is expected", settings);
  const port = get<number>("https-listen-port") ?? 6443;
  if (port < 1 || port > 65535) throw invalid("https-listen-port", String(port), "1 to 65535 is expected", settings);
  return Object.freeze({
    clusterCidr, serviceCidr, clusterDns, disabled,
    clusterDomain: get<string>("cluster-domain") ?? "cluster.local",
    serviceNodePortRange: portRange(get<string>("service-node-port-range") ?? "30000-32767", settings),
    bindAddress: get<string>("bind-address") ?? "0.0.0.0",
    httpsListenPort: port,
    advertiseAddress: get<string>("advertise-address") ?? externalIp ?? ip,
    tlsSan: get<string[]>("tls-san") ?? [],
    kubeconfig: { path: get<string>("write-kubeconfig") ?? defaultKubeconfig(paths), mode: Number.parseInt(mode, 8) },
  });
}

function defaultKubeconfig(paths: Paths): string {
  return process.getuid?.() === 0 ? "/etc/rancher/k3s/k3s.yaml" : join(paths.dataDir, "../k3s.yaml");
}

function cidrs(name: string, values: readonly string[], settings: Settings): readonly string[] {
  for (const value of values) {
    const cidr: Cidr | undefined = parseCidr(value);
    if (!cidr) throw invalid(name, value, "a network such as 10.42.0.0/16 is expected", settings);
  }
  return values;
}

function portRange(text: string, settings: Settings): readonly [number, number] {
  const match = /^(\d+)-(\d+)$/.exec(text);
  const range = match && ([Number(match[1]), Number(match[2])] as const);
  if (range && range[0] > 0 && range[0] <= range[1] && range[1] < 65536) return range;
  throw invalid("service-node-port-range", text, "two ports such as 30000-32767 are expected", settings);
}

function requireIp(name: string, value: string, settings: Settings): void {
  if (!isIP(value)) throw invalid(name, value, "an IP address is expected", settings);
}

const invalid = (name: string, value: string, expected: string, settings: Settings) =>
  k3spError(settings.values.get(name)?.source.startsWith("-") ? "K3SP_FLAG_INVALID" : "K3SP_CONFIG_INVALID", {
    message: `${name}: ${JSON.stringify(value)} is not allowed`, detail: [`from ${settings.values.get(name)?.source ?? "the default"}   ${expected}`],
  });

/** Address of the interface that holds the default route, else the first one that is not loopback. */
export function defaultAddress(routes: string = readRoutes()): string {
  const device = routes.split("\n").slice(1).map((line) => line.split("\t")).find((f) => f[1] === "00000000")?.[0];
  const all = networkInterfaces();
  const ipv4 = (name: string) => all[name]?.find((a) => a.family === "IPv4" && !a.internal)?.address;
  const preferred = device && ipv4(device);
  return preferred || Object.keys(all).sort().map(ipv4).find(Boolean) || "127.0.0.1";
}

function readRoutes(): string {
  try {
    return readFileSync("/proc/net/route", "utf8");
  } catch {
    return "";
  }
}
