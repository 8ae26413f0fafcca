/** Remembers answers for a while; the oldest go first when there are too many. */
export interface TtlCache<T> {
  get(key: string): T | undefined;
  set(key: string, value: T, milliseconds: number): void;
}

const MOST = 8192;

export function createTtlCache<T>(now: () => number): TtlCache<T> {
  const entries = new Map<string, { readonly value: T; readonly until: number }>();
  return {
    get(key) {
      const entry = entries.get(key);
      if (entry && now() < entry.until) return entry.value;
      if (entry) entries.delete(key);
      return undefined;
    },
    set(key, value, milliseconds) {
      if (milliseconds <= 0) return;
      entries.delete(key);
      if (entries.size >= MOST) entries.delete(entries.keys().next().value!);
      entries.set(key, { value, until: now() + milliseconds });
    },
  };
}
