/** The JSONPath of printer columns and selectable fields: what kubectl's templates have, without ranges and text. */

export type JsonPath = (value: unknown) => unknown[];

type Step = (value: unknown) => unknown[];

/** Throws an Error that says what is wrong. Missing keys give no results. */
export function parseJsonPath(source: string): JsonPath {
  const text = source.trim().replace(/^\{([^]*)\}$/, "$1").replace(/^[$@]/, "");
  const steps = parseSteps(text, source);
  return (value) => steps.reduce<unknown[]>((found, step) => found.flatMap(step), [value]);
}

const name = /(?:\\[^]|[^.[\]\\\s{}])+/y;

function parseSteps(text: string, source: string): Step[] {
  const steps: Step[] = [];
  for (let at = 0; at < text.length;) {
    if (text.startsWith("..", at)) {
      steps.push(descendants);
      at += text[at + 2] === "[" ? 2 : 1;
      continue;
    }
    if (text[at] === "[") {
      const end = closing(text, at, source);
      steps.push(parseBracket(text.slice(at + 1, end).trim(), source));
      at = end + 1;
      continue;
    }
    if (text[at] === ".") at++;
    if (text[at] === "[" || at === text.length) continue;
    name.lastIndex = at;
    const match = name.exec(text);
    if (!match) throw new Error(`unexpected ${JSON.stringify(text[at])} in ${source}`);
    const key = match[0].replace(/\\([^])/g, "$1");
    steps.push(key === "*" ? members : member(key));
    at = name.lastIndex;
  }
  return steps;
}

/** Index of the `]` that belongs to a `[`; quotes hide brackets. */
function closing(text: string, start: number, source: string): number {
  let depth = 0;
  let quote = "";
  for (let at = start; at < text.length; at++) {
    const char = text[at]!;
    if (quote) {
      if (char === "\\") at++;
      else if (char === quote) quote = "";
    } else if (char === "'" || char === '"') quote = char;
    else if (char === "[") depth++;
    else if (char === "]" && --depth === 0) return at;
  }
  throw new Error(`unterminated array in ${source}`);
}

function parseBracket(inner: string, source: string): Step {
  if (inner === "*") return members;
  if (inner.startsWith("?(") && inner.endsWith(")")) return parseFilter(inner.slice(2, -1), source);
  const quoted = /^(['"])([^]*)\1$/.exec(inner);
  if (quoted && !/['"]\s*,/.test(inner)) return member(quoted[2]!.replace(/\\([^])/g, "$1"));
  if (inner.includes(",")) {
    const parts = inner.split(",").map((part) => parseBracket(part.trim(), source));
    return (value) => parts.flatMap((step) => step(value));
  }
  if (/^-?\d+$/.test(inner)) return (value) => (Array.isArray(value) ? [value.at(Number(inner))].filter((item) => item !== undefined) : []);
  const range = /^(-?\d*):(-?\d*)(?::(\d+))?$/.exec(inner);
  if (!range) throw new Error(`invalid array index ${inner} in ${source}`);
  const [, from, to, step = "1"] = range;
  return (value) => {
    if (!Array.isArray(value)) return [];
    return value.slice(from ? Number(from) : 0, to ? Number(to) : undefined).filter((_, i) => i % Number(step) === 0);
  };
}

const member = (key: string): Step => (value) =>
  typeof value === "object" && value !== null && !Array.isArray(value) && Object.hasOwn(value, key) ? [(value as Record<string, unknown>)[key]] : [];
const members: Step = (value) => (Array.isArray(value) ? value : typeof value === "object" && value !== null ? Object.values(value) : []);
const descendants: Step = (value) => [value, ...members(value).flatMap(descendants)];

const operators: Readonly<Record<string, (a: any, b: any) => boolean>> = {
  "==": (a, b) => a === b, "!=": (a, b) => a !== b, "<": (a, b) => a < b, "<=": (a, b) => a <= b, ">": (a, b) => a > b, ">=": (a, b) => a >= b,
};

function parseFilter(text: string, source: string): Step {
  const match = /^\s*((?:'[^']*'|"[^"]*"|[^'"=!<>])+?)\s*(?:(==|!=|<=|>=|<|>)\s*([^]+?)\s*)?$/.exec(text);
  if (!match) throw new Error(`invalid filter ${text} in ${source}`);
  const [, left = "", operator, right] = match;
  const read = operand(left, source);
  if (!operator || right === undefined) return (value) => members(value).filter((item) => read(item).length > 0);
  const wanted = operand(right, source);
  const compare = operators[operator]!;
  return (value) => members(value).filter((item) => {
    const [a, b] = [read(item)[0], wanted(item)[0]];
    return a !== undefined && b !== undefined && compare(a, b);
  });
}

function operand(text: string, source: string): JsonPath {
  const quoted = /^(['"])([^]*)\1$/.exec(text);
  if (quoted) return () => [quoted[2]!];
  if (/^-?\d+(\.\d+)?$/.test(text)) return () => [Number(text)];
  if (text === "true" || text === "false") return () => [text === "true"];
  return parseJsonPath(text.startsWith("@") ? text.slice(1) : parseError(text, source));
}

function parseError(text: string, source: string): never {
  throw new Error(`unrecognized ${text} in ${source}`);
}

/** Paths of scale and of selectable fields name fields and nothing else. */
export const simplePathProblem = (path: string): string | undefined =>
  (/^(\.[^.[\]{}\s]+)+$/.test(path) ? undefined : "must be a simple json path without array notation");
