/** The set of resources that are served now; it grows and shrinks while the server runs. */
import type { ResourceDef } from "../resources/types.ts";

export interface Registry {
  /** Grows with every change; discovery and OpenAPI are cached by it. */
  readonly revision: number;
  /** Every served row, in the order of registration. */
  list(): readonly ResourceDef[];
  get(group: string, version: string, plural: string): ResourceDef | undefined;
  byKind(group: string, version: string, kind: string): ResourceDef | undefined;
  /** Any served version of a resource, the first registered one first. */
  versions(group: string, plural: string): readonly ResourceDef[];
  /** The row in whose form objects of `def` are kept. */
  stored(def: ResourceDef): ResourceDef;
  /** Adds rows in one change (a row with the same group, version and plural is replaced); returns the undo. */
  add(defs: readonly ResourceDef[]): () => void;
  /** Called after every change; returns the unsubscribe function. */
  onChange(fn: () => void): () => void;
}

export function createRegistry(initial: readonly ResourceDef[] = []): Registry {
  const rows = new Map<string, ResourceDef>();
  const kinds = new Map<string, ResourceDef>();
  const listeners = new Set<() => void>();
  let revision = 1;
  let listed: readonly ResourceDef[] | undefined;

  const changed = (): void => {
    revision++;
    listed = undefined;
    kinds.clear();
    for (const def of rows.values()) if (!kinds.has(kindKey(def))) kinds.set(kindKey(def), def);
    for (const fn of [...listeners]) fn();
  };

  const registry: Registry = {
    get revision() { return revision; },
    list: () => (listed ??= [...rows.values()]),
    get: (group, version, plural) => rows.get(`${group}/${version}/${plural}`),
    byKind: (group, version, kind) => kinds.get(`${group}/${version}/${kind}`),
    versions: (group, plural) => registry.list().filter((d) => d.group === group && d.plural === plural),
    stored(def) {
      const at = def.storedAs;
      return (at && rows.get(`${at.group}/${at.version}/${at.plural}`)) ?? def;
    },
    add(defs) {
      for (const def of defs) rows.set(rowKey(def), def);
      changed();
      return () => {
        for (const def of defs) if (rows.get(rowKey(def)) === def) rows.delete(rowKey(def));
        changed();
      };
    },
    onChange(fn) {
      listeners.add(fn);
      return () => void listeners.delete(fn);
    },
  };
  if (initial.length > 0) registry.add(initial);
  return registry;
}

const rowKey = (d: ResourceDef): string => `${d.group}/${d.version}/${d.plural}`;
const kindKey = (d: ResourceDef): string => `${d.group}/${d.version}/${d.kind}`;
