/** Builds rows of the resource tables: identity first, behaviour merged in from the kind's own file. */
import type { ResourceDef, Verb } from "./types.ts";

/** What the tables say about a kind beside its names. */
export type Identity = Omit<Partial<ResourceDef>, "group" | "version" | "kind" | "plural">;
/** What a kind's own file adds: columns, defaults, strategy, validation, selectable fields. */
export type Behaviour = Pick<
  Partial<ResourceDef>,
  | "columns" | "defaults" | "prepareCreate" | "prepareUpdate" | "prepareStatusUpdate" | "validate"
  | "validateUpdate" | "validateStatusUpdate" | "warnings" | "prepareDelete" | "generationOf" | "selectableFields" | "nameRule" | "toStored" | "fromStored"
>;

export const allVerbs: readonly Verb[] = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
export const readVerbs: readonly Verb[] = ["get", "list"];
export const createOnly: readonly Verb[] = ["create"];

type RowOf = (kind: string, plural: string, identity?: Identity, behaviour?: Behaviour) => ResourceDef;

/** A row factory for one group and version; rows are namespaced and take every verb unless said. */
export function rowsOf(group: string, version: string): RowOf {
  return (kind, plural, identity = {}, behaviour = {}) => ({
    group, version, kind, plural,
    singular: kind.toLowerCase(),
    namespaced: true,
    verbs: allVerbs,
    ...identity,
    ...behaviour,
  });
}

