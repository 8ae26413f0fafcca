/** A list kept in the order of its keys: what is added is put in its place when somebody reads the list. */

/** Up to so many are moved into their places one by one. */
const FEW = 16;

export interface Keyed {
  readonly key: string;
}

export interface Sorted<T extends Keyed> {
  readonly size: number;
  add(item: T): void;
  remove(item: T): void;
  /** In key order; not to be kept across changes. */
  items(): readonly T[];
}

export function createSorted<T extends Keyed>(): Sorted<T> {
  let list: T[] = [];
  /** Added since the last reading, in any order. */
  let fresh: T[] = [];

  function settle(): T[] {
    if (fresh.length === 0) return list;
    if (fresh.length <= FEW) for (const item of fresh) list.splice(position(list, item.key), 0, item);
    else list = merge(list, fresh.sort((a, b) => (a.key < b.key ? -1 : 1)));
    fresh = [];
    return list;
  }

  return {
    get size() { return list.length + fresh.length; },
    add(item) {
      const last = list.at(-1);
      if (fresh.length === 0 && (!last || last.key < item.key)) list.push(item);
      else fresh.push(item);
    },
    remove(item) {
      const items = settle();
      const at = position(items, item.key);
      if (items[at] === item) items.splice(at, 1);
    },
    items: settle,
  };
}

function merge<T extends Keyed>(a: readonly T[], b: readonly T[]): T[] {
  const merged: T[] = [];
  let [i, j] = [0, 0];
  while (i < a.length && j < b.length) merged.push(a[i]!.key < b[j]!.key ? a[i++]! : b[j++]!);
  while (i < a.length) merged.push(a[i++]!);
  while (j < b.length) merged.push(b[j++]!);
  return merged;
}

/** Index of the first item whose key is not below `key`. */
function position(list: readonly Keyed[], key: string): number {
  let low = 0;
  let high = list.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (list[middle]!.key < key) low = middle + 1;
    else high = middle;
  }
  return low;
}
