/** The indexes of an informer: what is found under a key without a look at every object. */
import type { InformerOptions } from "./client.ts";
import type { Resource } from "./resources.ts";
import type { KubeObject } from "./types.ts";

export interface Indexes<T> {
  /** One object has become another; undefined where there is none. */
  put(before: T | undefined, after: T | undefined): void;
  /** Throws for an index that it was not made with: an empty answer would hide a misspelt name for ever. */
  find(index: string, key: string): readonly T[];
}

type Bucket<T> = Map<string, T>;

export function createIndexes<T extends KubeObject>({ plural }: Pick<Resource, "plural">, { indexes: wanted = {} }: Pick<InformerOptions<T>, "indexes">): Indexes<T> {
  const indexes = Object.entries(wanted).map(([name, keysOf]) => ({ name, keysOf, buckets: new Map<string, Bucket<T>>() }));
  return {
    put(before, after) {
      for (const { keysOf, buckets } of indexes) {
        const keys = after ? keysOf(after) : [];
        for (const key of keys) addTo(buckets, key, after!);
        for (const key of before ? keysOf(before) : []) if (!keys.includes(key)) dropFrom(buckets, key, before!);
      }
    },
    find(name, key) {
      const index = indexes.find((each) => each.name === name);
      if (index) return [...(index.buckets.get(key)?.values() ?? [])];
      const known = Object.keys(wanted).sort().join(", ") || "none";
      throw new TypeError(`the informer of ${plural} has no index ${JSON.stringify(name)}; it was made with ${known}`);
    },
  };
}

const idOf = ({ metadata }: KubeObject): string => `${metadata?.namespace ?? ""}/${metadata?.name ?? ""}`;

function addTo<T extends KubeObject>(buckets: Map<string, Bucket<T>>, key: string, object: T): void {
  const bucket = buckets.get(key);
  if (bucket) bucket.set(idOf(object), object);
  else buckets.set(key, new Map([[idOf(object), object]]));
}

function dropFrom<T extends KubeObject>(buckets: Map<string, Bucket<T>>, key: string, object: T): void {
  const bucket = buckets.get(key);
  bucket?.delete(idOf(object));
  if (bucket?.size === 0) buckets.delete(key);
}
