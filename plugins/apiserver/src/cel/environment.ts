/** CEL as Kubernetes has it: the language from a library that is loaded when first needed, and Kubernetes' own functions. */
import type * as Cel from "@marcbachmann/cel-js";
import { type Budget, chargeLoops, charged, OUT_OF_BUDGET, OVER_LIMIT } from "./cost.ts";
import { celLibrary } from "./engine.ts";
import { register } from "./library.ts";
import { problemOf } from "./problems.ts";
import { repair } from "./repairs.ts";

export type Environment = Cel.Environment;

export interface Program {
  /** Throws an Error whose message is upstream's, such as `no such key: foo`, also when it costs too much. */
  evaluate(variables: Readonly<Record<string, unknown>>, budget?: Budget): unknown;
  /** Type of the result, `dyn` when it is known only at run time. */
  readonly type: string;
  /** Whether the expression names a variable. */
  uses(name: string): boolean;
  /** The library's tree, with types where they are known. */
  readonly ast: object;
}

const limits = { maxAstNodes: 10_000, maxDepth: 100 } as const;

/** With all functions; what others need is a copy, as those take some 10 ms to register. */
let complete: Environment | undefined;

/** Declares variables by name and CEL type (`dyn`, `map`, ...). */
export function celEnvironment(variables: Readonly<Record<string, string>>): Environment {
  if (!complete) register(complete = new (celLibrary().Environment)({ enableOptionalTypes: true, homogeneousAggregateLiterals: false, limits }));
  const environment = complete.clone();
  for (const [name, type] of Object.entries(variables)) environment.registerVariable(name, type);
  return environment;
}

/** Parses and checks; throws an Error that says what is wrong, and where. */
export function compile(environment: Environment, expression: string): Program {
  const { text, original, optionals } = rewrite(expression);
  const attempt = <T>(run: () => T): T => {
    try {
      return run();
    } catch (failure) {
      throw problemOf(expression, text, original, failure);
    }
  };
  const parsed = attempt(() => environment.parse(text));
  attempt(() => repair(parsed.ast, optionals));
  const { valid, type = "dyn", error } = attempt(() => parsed.check());
  if (!valid) throw problemOf(expression, text, original, error);
  chargeLoops(parsed.ast);
  return {
    type: String(type),
    evaluate: (variables, budget) => guarded(() => charged(() => parsed(variables), budget)),
    uses: (name) => mentions(parsed.ast, name),
    ast: parsed.ast,
  };
}

let durations: Environment | undefined;

/** Text of JSON as a CEL value of another type. */
export const timestamp = (text: string): unknown => new Date(text);
export const duration = (text: string): unknown => {
  durations ??= celEnvironment({ value: "dyn" });
  return durations.evaluate("duration(value)", { value: text });
};

const replaced = /("""[^]*?"""|'''[^]*?'''|"(?:\\[^]|[^"\\])*"|'(?:\\[^]|[^'\\])*'|\/\/[^\n]*)|\.\s*matches\s*\(|(?<![\w.])has\s*\(|[[{,]\s*\?/g;

interface Rewritten {
  readonly text: string;
  /** From a place in the text to the one in the expression. */
  readonly original: (position: number) => number;
  /** Places of the marks of optional elements. */
  readonly optionals: ReadonlySet<number>;
}

/**
 * The library's `matches` takes JavaScript's patterns, and its `has` no lists on the way: ours stand in for them. It has no
 * optional elements either: their mark becomes a negation, which the tree is rid of.
 */
function rewrite(expression: string): Rewritten {
  const edits: { readonly end: number; readonly grown: number }[] = [];
  const optionals = new Set<number>();
  let grown = 0;
  const text = expression.replace(replaced, (whole: string, literal: string | undefined, at: number) => {
    if (literal !== undefined) return literal;
    if (whole.endsWith("?")) {
      if (whole.startsWith("[") && isIndex(expression.slice(0, at))) return whole;
      optionals.add(at + grown + whole.length - 1);
      return `${whole.slice(0, -1)}!`;
    }
    const next = whole.startsWith(".") ? ".matchesPattern(" : "hasField(";
    edits.push({ end: at + grown + next.length, grown: next.length - whole.length });
    grown += next.length - whole.length;
    return next;
  });
  return { text, optionals, original: (position) => position - edits.reduce((sum, edit) => (edit.end <= position + 1 ? sum + edit.grown : sum), 0) };
}

/** A bracket behind a value asks for an item; elsewhere it opens a list. */
const isIndex = (before: string): boolean => /[\w)\]}"'`]\s*$/.test(before) && !/(?<!\w)in\s*$/.test(before);

function mentions(node: unknown, name: string): boolean {
  if (Array.isArray(node)) return node.some((item) => mentions(item, name));
  if (typeof node !== "object" || node === null) return false;
  const { op, args } = node as { op?: string; args?: unknown };
  return (op === "id" && args === name) || mentions(args, name);
}

function guarded<T>(run: () => T): T {
  try {
    return run();
  } catch (error) {
    throw celError(error);
  }
}

function celError(error: unknown): Error {
  const { summary, message } = error as { summary?: string; message: string };
  const text = summary ?? message;
  if (text === OVER_LIMIT || text === OUT_OF_BUDGET) return new Error(text, { cause: error });
  return new Error(text.charAt(0).toLowerCase() + text.slice(1), { cause: error });
}
