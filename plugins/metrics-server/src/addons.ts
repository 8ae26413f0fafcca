/** The AddOns of metrics-server: K3s's seven files. */
import { readFile } from "node:fs/promises";
import type { Deployer } from "@k3s-p/plugin-api/slots";

const folder = new URL("../../../manifests/metrics-server/", import.meta.url);

/** K3s splits them for historical reasons, and users name them in `--disable` and `.skip`. */
const addonNames: readonly string[] = [
  "aggregated-metrics-reader", "auth-delegator", "auth-reader", "metrics-apiservice", "metrics-server-deployment",
  "metrics-server-service", "resource-reader",
];

export async function deployAddons(deployer: Deployer): Promise<void> {
  await Promise.all(addonNames.map(async (name) => {
    await deployer.deploy({ name: `metrics-server/${name}`, yaml: await readFile(new URL(`${name}.yaml`, folder), "utf8") });
  }));
}
