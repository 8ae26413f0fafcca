/** Columns that many kinds share, and the short form in which the kinds' files write theirs. */
import { age, containerImages, containerNames, selectorText } from "./human.ts";
import type { Column, Obj } from "./types.ts";

type Value = Column["value"];

export function text(name: string, description: string, value: Value, priority = 0): Column {
  return { name, type: "string", description, priority, value };
}

export function integer(name: string, description: string, value: Value, priority = 0): Column {
  return { name, type: "integer", description, priority, value: (object, now) => value(object, now) ?? 0 };
}

/** A number that upstream's tables declare as text. */
export const count = (name: string, description: string, value: Value): Column => ({ ...integer(name, description, value), type: "string" });

export const wide = (name: string, description: string, value: Value): Column => text(name, description, value, 1);

export const nameColumn: Column = {
  name: "Name", type: "string", format: "name", priority: 0,
  description: "Name of the object, unique among its kind and namespace.",
  value: (object) => object.metadata?.name ?? "",
};

/** For kinds whose name cell carries a mark, such as the default storage class. */
export const nameColumnWith = (value: Value): Column => ({ ...nameColumn, value });

export const ageColumn: Column = text("Age", "Time since the object was created.", (object, now) =>
  age(object.metadata?.creationTimestamp, now));

export const createdAtColumn: Column = text("Created At", "When the object was created.", (object) =>
  object.metadata?.creationTimestamp ?? "");

/** `Containers` and `Images` with `-o wide`, from the pod spec that `specOf` finds. */
export const containerColumns = (specOf: (object: Obj) => Obj | undefined): readonly Column[] => [
  wide("Containers", "Names of each container in the template.", (o) => containerNames(specOf(o))),
  wide("Images", "Images referenced by each container in the template.", (o) => containerImages(specOf(o))),
];

export const selectorColumn: Column = wide("Selector", "Label selector of the pods that belong to the object.", (o) =>
  selectorText(o.spec?.selector));

export const templateSpec = (object: Obj): Obj | undefined => object.spec?.template?.spec;
