/** Registers the SQLite datastore. */
import { join } from "node:path";
import { definePlugin } from "@k3s-p/plugin-api";
import { datastore, node } from "@k3s-p/plugin-api/slots";
import { openStore } from "./store.ts";

export default definePlugin({
  provides: datastore,
  needs: { node },
  async start(ctx) {
    const file = join(ctx.needs.node.paths.db, "state.db");
    const store = await openStore({ file, onCrash: (error) => ctx.fail(error) });
    ctx.defer(() => store.close());
    ctx.log.debug({ file, revision: store.revision() }, "database open");
    return store;
  },
  health: (store) => store.health(),
});
