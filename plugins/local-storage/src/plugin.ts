/** Registration of the local-storage plugin. */
import { readFile } from "node:fs/promises";
import { definePlugin } from "@k3s-p/plugin-api";
import { deployer, kube, node, storage, type Deployer } from "@k3s-p/plugin-api/slots";
import { startProvisioner } from "./provisioner.ts";
import { provisioner } from "./volume.ts";

interface Config {
  readonly path?: string;
}

const needs = { kube, node };
const wants = { deployer };
const manifest = new URL("../../../manifests/local-storage/local-storage.yaml", import.meta.url);

export default definePlugin<typeof storage, typeof needs, typeof wants, Config>({
  provides: storage,
  needs,
  wants,
  async start(ctx) {
    const { kube: client, node: self } = ctx.needs;
    const isAgent = self.role === "agent";
    if (isAgent && ctx.config.path) ctx.log.warn(`path ${ctx.config.path} has no effect on an agent: the ConfigMap kube-system/local-path-config says where volumes go`);
    const path = isAgent ? undefined : (ctx.config.path ?? self.paths.storage);
    if (path) await deploy(ctx.wants.deployer, path);
    const running = startProvisioner({ client, log: ctx.log, node: self.name, path });
    ctx.defer(() => running.stop());
    await running.synced;
    return { provisioner };
  },
});

/** Class and ConfigMap, for all nodes. Who leaves the deployer out brings them. */
async function deploy(to: Deployer | undefined, path: string): Promise<void> {
  const yaml = (await readFile(manifest, "utf8")).replaceAll("%{DEFAULT_LOCAL_STORAGE_PATH}%", path);
  await to?.deploy({ name: "local-storage", yaml });
}
