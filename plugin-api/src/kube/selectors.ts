/** Label and field selectors: parsing of the query form and matching of the object form. */
import type { LabelSelector } from "./types.ts";

type Labels = Readonly<Record<string, string>> | undefined;

export interface Requirement {
  readonly key: string;
  readonly operator: "In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt";
  readonly values: readonly string[];
}

/** Parses `a=b,c!=d,e in (f,g),h notin (i),j,!k`; throws SyntaxError on bad text. */
export function parseLabelSelector(text: string): readonly Requirement[] {
  return splitTop(text).map(parseRequirement);
}

function splitTop(text: string): string[] {
  const parts: string[] = [];
  let depth = 0;
  let start = 0;
  for (let i = 0; i <= text.length; i++) {
    const c = text[i];
    if (c === "(") depth++;
    else if (c === ")") depth--;
    else if ((c === "," && depth === 0) || i === text.length) {
      parts.push(text.slice(start, i).trim());
      start = i + 1;
    }
  }
  if (depth !== 0) throw new SyntaxError(`unable to parse requirement: unbalanced parentheses in "${text}"`);
  return parts.filter((part) => part !== "");
}

const keyPattern = /^([a-z0-9]([-a-z0-9.]*[a-z0-9])?\/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$/;
const valuePattern = /^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$/;

function parseRequirement(part: string): Requirement {
  const set = /^(\S+)\s+(in|notin)\s*\(([^()]*)\)$/.exec(part);
  if (set) {
    const values = set[3]!.split(",").map((v) => v.trim());
    return check({ key: set[1]!, operator: set[2] === "in" ? "In" : "NotIn", values });
  }
  const order = /^([^<>=!\s]+)\s*([<>])\s*(-?\d+)$/.exec(part);
  if (order) return check({ key: order[1]!, operator: order[2] === ">" ? "Gt" : "Lt", values: [order[3]!] });
  const equal = /^([^=!\s]+)\s*(==|=|!=)\s*([^=!\s]*)$/.exec(part);
  if (equal) return check({ key: equal[1]!, operator: equal[2] === "!=" ? "NotIn" : "In", values: [equal[3]!] });
  if (part.startsWith("!")) return check({ key: part.slice(1).trim(), operator: "DoesNotExist", values: [] });
  return check({ key: part, operator: "Exists", values: [] });
}

function check(requirement: Requirement): Requirement {
  if (!keyPattern.test(requirement.key)) {
    throw new SyntaxError(`unable to parse requirement: <nil>: Invalid value: "${requirement.key}": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character`);
  }
  for (const value of requirement.values) {
    if (value.length > 63 || !valuePattern.test(value)) {
      throw new SyntaxError(`unable to parse requirement: values[0][${requirement.key}]: Invalid value: "${value}": a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character`);
    }
  }
  return requirement;
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

export interface FieldRequirement {
  readonly path: string;
  readonly equal: boolean;
  readonly value: string;
}

/** Parses `metadata.name=a,status.phase!=Running`. */
export function parseFieldSelector(text: string): readonly FieldRequirement[] {
  return text.split(",").filter(Boolean).map((part) => {
    const match = /^([^=!]+)(==|=|!=)(.*)$/.exec(part);
    if (!match) throw new SyntaxError(`invalid selector: "${text}"; can't understand "${part}"`);
    return { path: match[1]!.trim(), equal: match[2] !== "!=", value: match[3]! };
  });
}
