/** The deployer TEMPLATE_NAME: a skeleton; `deploy` and `remove` are yours to write. */
import { definePlugin } from "@k3s-p/plugin-api";
import { deployer, kube, node } from "@k3s-p/plugin-api/slots";

export default definePlugin({
  provides: deployer,
  needs: { kube, node },
  start(ctx) {
    const { paths } = ctx.needs.node;
    return {
      /** Writes the file below `paths.manifests`, applies its objects and resolves when they exist. */
      async deploy({ name }) {
        throw new Error(`${paths.manifests}/${name}.yaml: deploy is not written yet`);
      },
      /** Deletes the objects of the manifest, and its file. */
      async remove(name) {
        throw new Error(`${name}: remove is not written yet`);
      },
    };
  },
});
