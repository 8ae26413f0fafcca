/** NamespaceLifecycle: nothing is made in a namespace that is missing or ending, and the system's own stay. */
import { ApiError, notFound } from "@k3s-p/plugin-api/kube";
import type { AdmissionDeps, SelectivePlugin } from "./common.ts";
import { refuse } from "./common.ts";

const immortal = new Set(["default", "kube-system", "kube-public"]);
const reviews = new Set(["localsubjectaccessreviews", "subjectaccessreviews", "selfsubjectaccessreviews", "selfsubjectrulesreviews"]);

export function namespaceLifecycle({ view }: Pick<AdmissionDeps, "view">): SelectivePlugin {
  return {
    name: "NamespaceLifecycle",
    changesNothing: () => true,
    mutate(request) {
      const { operation, resource, group, namespace } = request;
      if ((resource === "namespaces" && group === "") || !namespace || operation === "DELETE" || reviews.has(resource)) {
        return request.object;
      }
      const found = view.get("", "namespaces", namespace);
      if (!found) throw notFound({ group: "", plural: "namespaces" }, namespace);
      const ending = found.metadata!.deletionTimestamp !== undefined || found.status?.phase === "Terminating";
      if (operation === "CREATE" && ending) {
        const { status } = refuse(request, `unable to create new content in namespace ${namespace} because it is being terminated`);
        const cause = { reason: "NamespaceTerminating", message: `namespace ${namespace} is being terminated`, field: "metadata.namespace" };
        throw new ApiError({ ...status, details: { ...status.details, causes: [cause] } });
      }
      return request.object;
    },
    validate(request) {
      const { operation, resource, group, name } = request;
      if (operation === "DELETE" && resource === "namespaces" && group === "" && immortal.has(name)) {
        throw refuse(request, "this namespace may not be deleted");
      }
    },
  };
}
