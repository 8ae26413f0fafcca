/** `componentstatuses`: whether the scheduler, the controllers and the datastore are well, by upstream's names; asked at every request. */
import { apiError } from "@k3s-p/plugin-api/kube";
import type { HealthCheck } from "@k3s-p/plugin-api/points";
import type { Obj } from "../resources/types.ts";
import { negotiate } from "../server/negotiate.ts";
import type { Registry } from "../server/registry.ts";
import { methodNotAllowed, type SubresourceHandler, warn } from "../server/resource-handler.ts";
import { sendEntry, sendList } from "../server/respond.ts";
import { Entry } from "../store/entry.ts";
import { compileSelection } from "../store/selectors.ts";

/** By upstream's name of the component. */
export type Components = Readonly<Record<string, HealthCheck["check"]>>;

export function componentStatuses(registry: Registry, components: Components): SubresourceHandler {
  return async (req, res) => {
    const def = registry.get("", "v1", "componentstatuses")!;
    const { name, verb } = req.info;
    if (verb !== (name ? "get" : "list")) throw methodNotAllowed();
    const format = negotiate(req.headers.accept);
    if (def.deprecationWarning) warn(res, [def.deprecationWarning]);
    if (name) {
      const check = Object.hasOwn(components, name) ? components[name] : undefined;
      if (!check) throw apiError(404, "NotFound", `componentstatuses ${JSON.stringify(name)} not found`, { name, kind: def.plural });
      return sendEntry(req, res, 200, def, await entryOf(name, check), format);
    }
    const entries = await Promise.all(Object.entries(components).map(([each, check]) => entryOf(each, check)));
    const selection = compileSelection(def, req.query.get("labelSelector") ?? undefined, req.query.get("fieldSelector") ?? undefined);
    return sendList(req, res, def, { entries: entries.filter((entry) => selection.everything || selection.matches(entry.object)), revision: 0 }, format);
  };
}

async function entryOf(name: string, check: HealthCheck["check"]): Promise<Entry> {
  const { ok, message = ok ? "ok" : "" } = await check().catch((error: Error) => ({ ok: false, message: error.message }));
  const object: Obj = {
    apiVersion: "v1", kind: "ComponentStatus", metadata: { name },
    conditions: [{ type: "Healthy", status: ok ? "True" : "False", message }],
  };
  return new Entry("", name, 0, Buffer.from(JSON.stringify(object)), object);
}
