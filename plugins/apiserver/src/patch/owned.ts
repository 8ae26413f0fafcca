/** What of an object clients can own. */
import type { Obj } from "../resources/types.ts";
import { type FieldSet, isEmptySet } from "./fieldset.ts";

/** `ignoreStatus` for writes that cannot change it. */
export function owned(object: Obj, ignoreStatus = false): Obj {
  const { apiVersion: _, kind: __, metadata, ...rest } = object;
  if (ignoreStatus && rest["status"] !== undefined) delete rest["status"];
  const meta: Record<string, unknown> = {};
  for (const key in metadata) if (!systemMetadata.has(key)) meta[key] = (metadata as Record<string, unknown>)[key];
  return (isEmptySet(meta as FieldSet) ? rest : { ...rest, metadata: meta }) as Obj;
}

/** Nobody owns what the server itself sets. */
const systemMetadata = new Set([
  "name", "namespace", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "selfLink", "uid", "generation",
  "managedFields", "resourceVersion",
]);
