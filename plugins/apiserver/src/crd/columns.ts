/** Table columns of custom resources, from `additionalPrinterColumns`. */
import { nameColumn } from "../resources/columns.ts";
import { age } from "../resources/human.ts";
import type { Column, Obj } from "../resources/types.ts";
import { type JsonPath, parseJsonPath } from "./jsonpath.ts";

export interface ColumnProps {
  readonly name: string;
  readonly type: string;
  readonly format?: string;
  readonly description?: string;
  readonly priority?: number;
  readonly jsonPath: string;
}

const ageProps: ColumnProps = {
  name: "Age", type: "date", jsonPath: ".metadata.creationTimestamp", description: "Time since the object was created.",
};

/** Without columns of its own a resource shows its age. */
export function customColumns(columns: readonly ColumnProps[] | undefined): readonly Column[] {
  const list = columns && columns.length > 0 ? columns : [ageProps];
  return [nameColumn, ...list.map(toColumn)];
}

function toColumn({ name, type, format, description, priority = 0, jsonPath }: ColumnProps): Column {
  let read: JsonPath | undefined;
  return {
    name, priority, type: type as Column["type"], ...(format && { format }),
    description: description || `Custom resource definition column (in JSONPath format): ${jsonPath}`,
    value: (object: Obj, now) => cell(type, (read ??= parseJsonPath(jsonPath))(object)[0], now),
  };
}

type Cell = ReturnType<Column["value"]>;

function cell(type: string, value: unknown, now: number): Cell {
  if (value === undefined || value === null) return null;
  return cells[type]?.(value, now) ?? null;
}

/** A value of another type than the column's leaves the cell empty. */
const cells: Readonly<Record<string, (value: unknown, now: number) => Cell>> = {
  string: (value) => (typeof value === "object" ? JSON.stringify(value) : String(value)),
  integer: (value) => (typeof value === "number" ? Math.trunc(value) : null),
  number: (value) => (typeof value === "number" ? value : null),
  boolean: (value) => (typeof value === "boolean" ? value : null),
  date: (value, now) => {
    if (typeof value !== "string") return null;
    return Number.isNaN(Date.parse(value)) ? "<invalid>" : age(value, now);
  },
};
