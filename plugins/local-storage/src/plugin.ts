/** Registration of the local-storage plugin. */
import { readFile } from "node:fs/promises";
import { definePlugin } from "@k3s-p/plugin-api";
import { deployer, kube, node, storage } from "@k3s-p/plugin-api/slots";
import { startProvisioner } from "./provisioner.ts";
import { provisioner } from "./volume.ts";

interface Config {
  readonly path?: string;
}

const needs = { kube, node, deployer };
const manifest = new URL("../../../manifests/local-storage/local-storage.yaml", import.meta.url);

export default definePlugin<typeof storage, typeof needs, {}, Config>({
  provides: storage,
  needs,
  async start(ctx) {
    const { kube: client, node: self } = ctx.needs;
    const path = ctx.config.path ?? self.paths.storage;
    const yaml = (await readFile(manifest, "utf8")).replaceAll("%{DEFAULT_LOCAL_STORAGE_PATH}%", path);
    await ctx.needs.deployer.deploy({ name: "local-storage", yaml });
    const running = startProvisioner({ client, log: ctx.log, node: self.name, path });
    ctx.defer(() => running.stop());
    await running.synced;
    return { provisioner };
  },
});
