/**
 * Macros over lists and maps that name two variables (index and item, key and value), and others that bind one:
 * `sortBy`, `optMap`, `optFlatMap`. https://kubernetes.io/docs/reference/using-api/cel/#kubernetes-cel-libraries
 */
import type { Environment } from "@marcbachmann/cel-js";
import { spend } from "./cost.ts";
import { optional } from "./engine.ts";
import { compare } from "./values.ts";

/** Nodes, contexts and values of the library, whose types it keeps to itself. */
type Value = any;

/** Runs an argument of the macro with its variables set. */
type Run = (argument: number, ...variables: readonly Value[]) => Value;

interface Macro {
  /** Number of leading arguments that name variables. */
  readonly variables: 1 | 2;
  readonly result: (types: readonly Value[], checker: Value) => Value;
  readonly run: (target: Value, run: Run, hasFilter: boolean) => Value;
}

/** By name and number of arguments. */
export function registerComprehensions(environment: Environment): void {
  const register = (signature: string, macro: Macro): void => void environment.registerFunction(signature, expander(macro) as never);
  const bool: Macro["result"] = (_, checker) => checker.getType("bool");
  const list: Macro["result"] = (_, checker) => checker.getType("list<dyn>");
  const map: Macro["result"] = (_, checker) => checker.getType("map<dyn, dyn>");
  for (const target of ["list", "map"]) {
    register(`${target}.all(ast, ast, ast): bool`, { variables: 2, result: bool, run: (value, run) => quantified(value, run, false) });
    register(`${target}.exists(ast, ast, ast): bool`, { variables: 2, result: bool, run: (value, run) => quantified(value, run, true) });
    for (const name of ["existsOne", "exists_one"]) {
      register(`${target}.${name}(ast, ast, ast): bool`, { variables: 2, result: bool, run: (value, run) => entriesOf(value).filter(([k, v]) => isTrue(run(2, k, v))).length === 1 });
    }
    for (const filter of ["", ", ast"]) {
      register(`${target}.transformList(ast, ast, ast${filter}): list<dyn>`, { variables: 2, result: list, run: (value, run, has) => kept(value, run, has).map(([k, v]) => run(last(has), k, v)) });
      register(`${target}.transformMap(ast, ast, ast${filter}): map`, { variables: 2, result: map, run: (value, run, has) => mapOf(kept(value, run, has).map(([k, v]) => [k, run(last(has), k, v)])) });
      register(`${target}.transformMapEntry(ast, ast, ast${filter}): map`, { variables: 2, result: map, run: (value, run, has) => mapOf(kept(value, run, has).flatMap(([k, v]) => entriesOf(run(last(has), k, v), true))) });
    }
  }
  register("list.sortBy(ast, ast): list", {
    variables: 1, result: ([target]) => target,
    run: (value, run) => (value as Value[]).map((item) => [item, run(1, item)]).sort(([, a], [, b]) => compare(a, b)).map(([item]) => item),
  });
  register("optional.optMap(ast, ast): optional<dyn>", {
    variables: 1, result: (_, checker) => checker.getType("optional<dyn>"), run: (value, run) => (value.hasValue() ? optional(run(1, value.value())) : value),
  });
  register("optional.optFlatMap(ast, ast): optional<dyn>", {
    variables: 1, result: (_, checker) => checker.getType("optional<dyn>"), run: (value, run) => (value.hasValue() ? run(1, value.value()) : value),
  });
}

const last = (hasFilter: boolean): number => (hasFilter ? 3 : 2);

/** What the library makes of a call: it is checked with its variables in place, and evaluated by `run`. */
function expander({ variables, result, run }: Macro) {
  return ({ ast, args, receiver }: Value): object => {
    const names = (args as Value[]).slice(0, variables).map((node) => (node.op === "id" ? node.args : undefined));
    const bodies = (args as Value[]).slice(variables);
    const contexts: Value[] = [];
    return {
      ast, args,
      typeCheck(checker: Value, _: Value, ctx: Value) {
        if (names.includes(undefined)) throw checker.createError("invalid_macro_argument", "argument must be a simple name", args[names.indexOf(undefined)]);
        const target = checker.check(receiver, ctx);
        let inner = ctx;
        for (const [i, name] of names.entries()) contexts[i] = inner = inner.forkWithVariable(name, variableType(target, i, variables, checker));
        const types = bodies.map((body) => checker.check(body, inner));
        return result([target, ...types], checker);
      },
      evaluate(evaluator: Value, _: Value, ctx: Value) {
        const target = evaluator.run(receiver, ctx);
        const call: Run = (argument, ...values) => {
          spend(bodies.length + 1);
          let inner = ctx;
          for (const [i, value] of values.entries()) inner = contexts[i].reuse(inner).setIterValue(value, evaluator);
          return evaluator.run(args[argument], inner);
        };
        return run(target, call, bodies.length > 1);
      },
    };
  };
}

function variableType(target: Value, index: number, variables: number, checker: Value): Value {
  if (target.kind === "optional" || target.kind === "list") {
    return variables === 2 && index === 0 ? checker.getType("int") : (target.valueType ?? checker.getType("dyn"));
  }
  if (target.kind !== "map") return checker.getType("dyn");
  return (index === 0 ? target.keyType : target.valueType) ?? checker.getType("dyn");
}

const isTrue = (value: Value): boolean => {
  if (typeof value !== "boolean") throw new Error("no such overload");
  return value;
};

/** An error counts only when no other item decides. */
function quantified(target: Value, run: Run, decides: boolean): boolean {
  let failure: unknown;
  for (const [k, v] of entriesOf(target)) {
    try {
      if (isTrue(run(2, k, v)) === decides) return decides;
    } catch (error) {
      failure ??= error;
    }
  }
  if (failure !== undefined) throw failure;
  return !decides;
}

const kept = (target: Value, run: Run, hasFilter: boolean): [Value, Value][] =>
  (hasFilter ? entriesOf(target).filter(([k, v]) => isTrue(run(2, k, v))) : entriesOf(target));

function entriesOf(target: Value, mapsOnly = false): [Value, Value][] {
  if (target instanceof Map) return [...target];
  if (Array.isArray(target) && !mapsOnly) return target.map((item, i) => [BigInt(i), item]);
  if (typeof target === "object" && target !== null && !Array.isArray(target)) return Object.entries(target);
  throw new Error("no such overload");
}

/** Maps with text keys are plain objects, as the library's own. */
function mapOf(entries: readonly [Value, Value][]): Value {
  const seen = new Set<Value>();
  for (const [key] of entries) {
    if (seen.has(key)) throw new Error(`insert failed: key ${JSON.stringify(String(key))} already exists`);
    seen.add(key);
  }
  return entries.every(([key]) => typeof key === "string") ? Object.fromEntries(entries) : new Map(entries);
}
