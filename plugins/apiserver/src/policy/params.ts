/** The parameters of a binding: objects of the policy's `paramKind` that its `paramRef` names or selects. */
import { matchesSelector } from "@k3s-p/plugin-api/kube";
import type { AdmissionRequest } from "@k3s-p/plugin-api/points";
import type { Obj, ResourceDef } from "../resources/types.ts";
import { collectionOf, type Engine, present } from "../verbs/engine.ts";
import type { Binding, Policy } from "./policies.ts";

/** One evaluation for each; `undefined` stands for a policy without parameters. Throws an Error for wrong configuration. */
export function paramsOf(engine: Pick<Engine, "registry" | "store">, policy: Policy, binding: Binding, request: AdmissionRequest): readonly (Obj | undefined)[] {
  const { paramKind } = policy;
  const { paramRef } = binding;
  if (!paramKind || !paramRef) return [undefined];
  const def = definitionOf(engine, paramKind);
  const namespace = namespaceOf(def, paramRef.namespace, request);
  const objects = (paramRef.name ? [collectionOf(engine, def).get(paramRef.name, namespace)] : collectionOf(engine, def).list(namespace))
    .filter((entry) => entry !== undefined)
    .filter((entry) => paramRef.name || matchesSelector(paramRef.selector, entry.object.metadata?.labels))
    .map((entry) => present(engine, def, entry).object);
  if (objects.length > 0) return objects;
  if (paramRef.parameterNotFoundAction === "Allow") return [];
  throw new Error("failed to configure binding: no params found for policy binding with `Deny` parameterNotFoundAction");
}

function definitionOf({ registry }: Pick<Engine, "registry">, { apiVersion, kind }: NonNullable<Policy["paramKind"]>): ResourceDef {
  const [group, version] = apiVersion.includes("/") ? apiVersion.split("/") : ["", apiVersion];
  const def = registry.byKind(group!, version!, kind);
  if (!def) throw new Error(`failed to configure policy: failed to find resource referenced by paramKind: '${apiVersion}, Kind=${kind}'`);
  return def;
}

/** "" for parameters that lie in no namespace. */
function namespaceOf({ namespaced }: ResourceDef, given: string | undefined, request: AdmissionRequest): string {
  if (!namespaced) {
    if (given) throw new Error("failed to configure binding: paramRef.namespace must not be provided for a cluster-scoped `paramKind`");
    return "";
  }
  const namespace = given || request.namespace;
  if (!namespace) throw new Error("failed to configure binding: cannot use namespaced paramRef in policy binding that matches cluster-scoped resources");
  return namespace;
}
