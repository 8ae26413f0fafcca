/**
 * The way from `kubectl apply` on the client's side to the server's: what kubectl applied before is its own, though
 * another manager's name stands on it, and the annotation that says so follows what it applies now.
 */
import type { Obj } from "../resources/types.ts";
import { compare, difference, type FieldSet, fieldsOf } from "./fieldset.ts";
import { owned } from "./owned.ts";
import type { Shape } from "./shape.ts";

/** The manager for which upstream does this; others have not asked for it. */
export const KUBECTL = "kubectl";
const ANNOTATION = "kubectl.kubernetes.io/last-applied-configuration";

/** The fields that were applied by a client, and that nobody has changed since. */
export function lastApplied(live: Obj, apiVersion: string, shape: Shape): FieldSet {
  const applied = parsed(live.metadata?.annotations?.[ANNOTATION]);
  if (applied?.apiVersion !== apiVersion) return {};
  const stated = owned(applied);
  const { changed, removed } = compare(stated, owned(live), shape);
  return difference(difference(fieldsOf(stated, shape), changed), removed);
}

function parsed(text: string | undefined): Obj | undefined {
  try {
    return text ? (JSON.parse(text) as Obj) : undefined;
  } catch {
    return undefined;
  }
}

/** Keeps the annotation, where there is one, at what was applied last. `next` is changed. */
export function syncLastApplied(next: Obj, live: Obj, applied: Obj): void {
  if (!live.metadata?.annotations?.[ANNOTATION]) return;
  const { [ANNOTATION]: _, ...annotations } = applied.metadata?.annotations ?? {};
  const stated = { ...applied, metadata: { ...applied.metadata, ...(applied.metadata?.annotations && { annotations }) } };
  next.metadata = { ...next.metadata, annotations: { ...next.metadata?.annotations, [ANNOTATION]: `${JSON.stringify(sorted(stated))}\n` } } as NonNullable<Obj["metadata"]>;
}

function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)).map(([key, item]) => [key, sorted(item)]));
}
