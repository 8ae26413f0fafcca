/** The AddOns of metrics-server: K3s's seven files, with the address that this process listens on. */
import { readFile } from "node:fs/promises";
import { isIP } from "node:net";
import type { Deployer } from "@k3s-p/plugin-api/slots";

const folder = new URL("../../../manifests/metrics-server/", import.meta.url);

/** K3s splits them for historical reasons, and users name them in `--disable` and `.skip`. */
export const addonNames: readonly string[] = [
  "aggregated-metrics-reader", "auth-delegator", "auth-reader", "metrics-apiservice", "metrics-server-deployment",
  "metrics-server-service", "resource-reader",
];

export interface ServerAddress {
  readonly ip: string;
  readonly port: number;
  readonly node: string;
}

export async function deployAddons(deployer: Deployer, address: ServerAddress): Promise<void> {
  await Promise.all(addonNames.map(async (name) => {
    const text = await readFile(new URL(`${name}.yaml`, folder), "utf8");
    await deployer.deploy({ name: `metrics-server/${name}`, yaml: fill(text, address) });
  }));
}

export function fill(text: string, { ip, port, node }: ServerAddress): string {
  return text
    .replaceAll("%{METRICS_SERVER_ADDRESS_TYPE}%", isIP(ip) === 6 ? "IPv6" : "IPv4")
    .replaceAll("%{METRICS_SERVER_ADDRESS}%", ip)
    .replaceAll("%{METRICS_SERVER_PORT}%", String(port))
    .replaceAll("%{METRICS_SERVER_NODE}%", node);
}
