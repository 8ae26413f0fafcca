/** Small helpers over object metadata: keys, owners, names. */
import type { KubeObject, OwnerReference } from "./types.ts";

/** `namespace/name`, or `name` for cluster-scoped objects. */
export const keyOf = (object: KubeObject): string =>
  object.metadata?.namespace ? `${object.metadata.namespace}/${object.metadata.name}` : (object.metadata?.name ?? "");

export function splitKey(key: string): readonly [namespace: string, name: string] {
  const slash = key.indexOf("/");
  return slash < 0 ? ["", key] : [key.slice(0, slash), key.slice(slash + 1)];
}

export const controllerOf = (object: KubeObject): OwnerReference | undefined =>
  object.metadata?.ownerReferences?.find((ref) => ref.controller);

export function controllerRef(owner: KubeObject): OwnerReference {
  return {
    apiVersion: owner.apiVersion!, kind: owner.kind!, name: owner.metadata!.name!, uid: owner.metadata!.uid!,
    controller: true, blockOwnerDeletion: true,
  };
}

/** RFC 3339 with whole seconds, as metav1.Time. */
export const timestamp = (date: Date = new Date()): string => date.toISOString().replace(/\.\d+Z$/, "Z");
/** RFC 3339 with microseconds, as metav1.MicroTime. */
export const microTimestamp = (date: Date = new Date()): string => date.toISOString().replace(/(\.\d{3})Z$/, "$1000Z");

const alphanums = "bcdfghjklmnpqrstvwxz2456789";
/** Random suffix in the alphabet of `generateName` (no vowels, no look-alikes). */
export function randomSuffix(length = 5, random: () => number = Math.random): string {
  return Array.from({ length }, () => alphanums[Math.floor(random() * alphanums.length)]).join("");
}
