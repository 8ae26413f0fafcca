/** What server-side apply refuses in a configuration: fields that the kind does not have or not so, and items of lists without a place of their own. */
import { apiError } from "@k3s-p/plugin-api/kube";
import type { Obj } from "../resources/types.ts";
import type { ApplyInput } from "../verbs/engine.ts";
import { elementOf, elementText } from "./fieldset.ts";
import type { Shape } from "./shape.ts";

type Json = Record<string, unknown>;

/** Throws 500 with what is wrong, as upstream does whatever the field validation. */
export function checkTyped(input: ApplyInput, applied: Obj, shape: Shape): void {
  const problems = [
    ...(input.problems ?? []).map(({ path, why }) => `${placeOf(path, applied, shape)}: ${why}`),
    ...listProblems(applied, shape, ""),
  ];
  if (problems.length === 0) return;
  const { namespace = "", name = "" } = applied.metadata ?? {};
  const all = problems.length === 1 ? problems[0]! : ["errors:", ...problems.map((problem) => `  ${problem}`)].join("\n");
  throw apiError(500, "", `failed to create typed patch object (${namespace}/${name}; ${input.group}/${input.version}, Kind=${input.kind}): ${all}`);
}

function listProblems(value: unknown, shape: Shape, at: string): string[] {
  if (Array.isArray(value)) return shape.list === "map" || shape.list === "set" ? itemProblems(value, shape, at) : [];
  if (typeof value !== "object" || value === null) return [];
  return Object.entries(value as Json).flatMap(([key, inner]) => listProblems(inner, shape.field(key), `${at}.${key}`));
}

function itemProblems(list: readonly unknown[], shape: Shape, at: string): string[] {
  const seen = new Set<string>();
  return list.flatMap((item, i) => {
    const element = elementOf(item, shape);
    if (element === "k:{}") {
      const keys = shape.keys!.map((key) => JSON.stringify(key)).join(" ");
      return [`${at}: element ${i}: associative list with keys has an element that omits all key fields [${keys}] (and doesn't have default values for any key fields)`];
    }
    const text = elementText(element);
    const again = seen.has(element) ? [`${at}: duplicate entries for key ${text}`] : [];
    seen.add(element);
    return [...again, ...listProblems(item, shape.item(), at + text)];
  });
}

/** `spec.containers[0].foo` -> `.spec.containers[name="c"].foo`. */
function placeOf(path: string, object: Obj, shape: Shape): string {
  let value: unknown = object;
  let at = shape;
  let text = "";
  for (const [, name, index] of path.matchAll(/([^.[\]]+)|\[(\d+)\]/g)) {
    if (name !== undefined && index === undefined) {
      text += `.${name}`;
      [value, at] = [(value as Json | undefined)?.[name], at.field(name)];
    } else {
      const item = (value as readonly unknown[] | undefined)?.[Number(index)];
      text += at.list === "map" || at.list === "set" ? elementText(elementOf(item, at)) : `[${index}]`;
      [value, at] = [item, at.item()];
    }
  }
  return text;
}
