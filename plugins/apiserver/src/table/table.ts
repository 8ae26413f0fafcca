/** Tables and metadata-only views of objects: what `kubectl get` and metadata informers ask for. */
import type { Column, Obj, ResourceDef } from "../resources/types.ts";
import { ageColumn, nameColumn } from "../resources/columns.ts";
import type { Entry } from "../store/entry.ts";

export type IncludeObject = "None" | "Metadata" | "Object";

/** One JSON text per row, so that rows of a list are joined without another pass. */
export interface TableShape {
  /** Everything up to the rows: `{"kind":"Table",...,"columnDefinitions":[...],"rows":[`. */
  readonly head: (metadata: object, withColumns: boolean) => string;
  readonly row: (entry: Entry, now: number) => string;
}

const defaultColumns: readonly Column[] = [nameColumn, ageColumn];

export function tableShape(def: ResourceDef, include: IncludeObject, version = "v1"): TableShape {
  const columns = withName(def.columns);
  const definitions = JSON.stringify(columns.map(({ name, type, format = "", description = "", priority = 0 }) =>
    ({ name, type, format, description, priority })));
  const apiVersion = `meta.k8s.io/${version}`;
  return {
    head: (metadata, withColumns) =>
      `{"kind":"Table","apiVersion":"${apiVersion}","metadata":${JSON.stringify(metadata)},` +
      `"columnDefinitions":${withColumns ? definitions : "null"},"rows":[`,
    row(entry, now) {
      const cells = JSON.stringify(columns.map((column) => cell(column, entry.object, now)));
      return `{"cells":${cells}${rowObject(entry, include, apiVersion)}}`;
    },
  };
}

/** The name comes first unless the resource says otherwise. */
function withName(columns: readonly Column[] | undefined): readonly Column[] {
  if (!columns) return defaultColumns;
  return columns.some(({ name }) => name === "Name") ? columns : [nameColumn, ...columns];
}

/** A printer that stumbles over an unusual object must not take the whole list with it. */
function cell(column: Column, object: Obj, now: number): string | number | boolean | null {
  try {
    return column.value(object, now);
  } catch {
    return "<unknown>";
  }
}

function rowObject(entry: Entry, include: IncludeObject, apiVersion: string): string {
  if (include === "None") return "";
  if (include === "Object") return `,"object":${entry.bytes.toString("utf8")}`;
  return `,"object":${partialText(entry, apiVersion)}`;
}

/** `PartialObjectMetadata` of an object. */
export const partialText = (entry: Entry, apiVersion = "meta.k8s.io/v1"): string =>
  `{"kind":"PartialObjectMetadata","apiVersion":"${apiVersion}","metadata":${JSON.stringify(entry.object.metadata)}}`;
