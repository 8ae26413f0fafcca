/** What is wrong with an expression, in upstream's words: the place, the finding, and the line with a mark below. */

interface Node {
  readonly op?: string;
  readonly args?: readonly unknown[];
  readonly pos?: number;
  readonly start?: number;
  readonly end?: number;
}

interface Failure {
  readonly code?: string;
  readonly summary?: string;
  readonly message: string;
  readonly node?: Node;
}

/** `parsed` is what the library saw of the expression, and `original` leads from a place in it to one in the expression. */
export function problemOf(expression: string, parsed: string, original: (position: number) => number, failure: unknown): Error {
  const found = failure as Failure;
  const position = original(found.node ? placeOf(found.node, parsed, found.code) : 0);
  const before = expression.slice(0, position).split("\n");
  const [line, column] = [before.length, before.at(-1)!.length + 1];
  const text = expression.split("\n")[line - 1] ?? "";
  const message = `ERROR: <input>:${line}:${column}: ${wordsOf(found)}\n | ${text}\n | ${".".repeat(column - 1)}^`;
  return new Error(message, { cause: failure });
}

const scalars = new Set(["int", "uint", "double", "string", "bool"]);

/**
 * Whether a failed compilation shows a mistake for certain: a field that the type does not have, or an operator between
 * scalars that it does not join. The library is stricter than upstream elsewhere, and such findings do not count.
 */
export function isMistake(error: unknown): boolean {
  const { code, summary = "" } = ((error as Error).cause ?? {}) as Failure;
  if (code === "no_such_key") return true;
  const operands = /^no such overload: (\S+) \S+ (\S+)$/.exec(summary);
  return code === "no_such_overload" && operands !== null && scalars.has(operands[1]!) && scalars.has(operands[2]!);
}

/** Upstream points at the operator, the dot of a field and the bracket of a call. */
function placeOf({ op = "", args = [], start = 0, pos = start }: Node, text: string, code: string | undefined): number {
  if (code === "no_such_key") return pos - 1;
  const first = args[0] as Node | undefined;
  if (op === "call") return start + String(args[0] ?? "").length;
  if (op === "rcall") return Math.max(text.indexOf("(", (args[1] as Node | undefined)?.end ?? start), start);
  const isOperator = first?.end !== undefined && args.length === 2 && /^[^\w.[]/.test(op);
  return isOperator ? Math.max(text.indexOf(op, first.end), start) : start;
}

const operators: readonly (readonly [RegExp, (parts: RegExpExecArray) => string])[] = [
  [/^no such overload: (\S+) (\S+) (\S+)$/, ([, a, op, b]) => overload(op === "in" ? "@in" : `_${op}_`, `(${a}, ${b})`)],
  [/^no such overload: ([!-])(\S+)$/, ([, op, a]) => overload(`${op}_`, `(${a})`)],
  [/^found no matching overload for '(?:(.+)\.)?(\w+)\((.*)\)'$/, ([, receiver, name, types]) => overload(name!, receiver ? `${receiver}.(${types})` : `(${types})`)],
  [/^Unknown variable: (.+)$/, ([, name]) => `undeclared reference to '${name}' (in container '')`],
  [/^No such key: (.+)$/, ([, name]) => `undefined field '${name}'`],
];

const overload = (name: string, types: string): string => `found no matching overload for '${name}' applied to '${types}'`;

function wordsOf({ code, summary, message }: Failure): string {
  const text = summary ?? message;
  for (const [pattern, write] of operators) {
    const parts = pattern.exec(text);
    if (parts) return write(parts).replaceAll("matchesPattern", "matches");
  }
  const lower = text.charAt(0).toLowerCase() + text.slice(1);
  return code?.endsWith("_token") ? `Syntax error: ${lower}` : lower;
}
