/** Label selectors: matching, and the object form that objects hold. */
import type { LabelSelector } from "./types.ts";

type Labels = Readonly<Record<string, string>> | undefined;

export interface Requirement {
  readonly key: string;
  readonly operator: "In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt";
  readonly values: readonly string[];
}

export function matches(requirements: readonly Requirement[], labels: Labels): boolean {
  return requirements.every((r) => matchOne(r, labels));
}

function matchOne({ key, operator, values }: Requirement, labels: Labels): boolean {
  const has = labels !== undefined && Object.hasOwn(labels, key);
  const value = has ? labels[key]! : undefined;
  switch (operator) {
    case "Exists": return has;
    case "DoesNotExist": return !has;
    case "In": return has && values.includes(value!);
    case "NotIn": return !has || !values.includes(value!);
    case "Gt": return has && Number(value) > Number(values[0]);
    case "Lt": return has && Number(value) < Number(values[0]);
  }
}

/** The object form of a selector as requirements; an empty selector matches everything, undefined nothing. */
export function selectorRequirements(selector: LabelSelector | undefined): readonly Requirement[] | undefined {
  if (!selector) return undefined;
  const equal = Object.entries(selector.matchLabels ?? {}).map(
    ([key, value]): Requirement => ({ key, operator: "In", values: [value] }),
  );
  const set = (selector.matchExpressions ?? []).map(
    (e): Requirement => ({ key: e.key, operator: e.operator as Requirement["operator"], values: e.values ?? [] }),
  );
  return [...equal, ...set];
}

export function matchesSelector(selector: LabelSelector | undefined, labels: Labels): boolean {
  const requirements = selectorRequirements(selector);
  return requirements !== undefined && matches(requirements, labels);
}

/** Matches the map form that Services and node selectors use; an empty map matches everything. */
export function matchesMap(map: Labels, labels: Labels): boolean {
  return Object.entries(map ?? {}).every(([key, value]) => labels?.[key] === value);
}

/** Query form of an object selector. */
export function formatSelector(selector: LabelSelector | undefined): string {
  return (selectorRequirements(selector) ?? [])
    .map(({ key, operator, values }) => {
      if (operator === "Exists") return key;
      if (operator === "DoesNotExist") return `!${key}`;
      if (operator === "In" && values.length === 1) return `${key}=${values[0]}`;
      return `${key} ${operator === "In" ? "in" : "notin"} (${[...values].sort().join(",")})`;
    })
    .join(",");
}
