/**
 * Where the library's tree works otherwise than upstream's: optional elements of literals (`[?a]`, `{?k: a}`), which are left
 * out when they have no value, and `||` and `&&` of which both sides fail.
 */

/** Nodes, contexts and values of the library, whose types it keeps to itself. */
type Value = any;

/** `optionals` are the places of elements that are optional; their mark has been parsed as a negation. */
export function repair(ast: object, optionals: ReadonlySet<number>): void {
  const left = new Set(optionals);
  visit(ast, (node) => {
    if (node.op === "||" || node.op === "&&") takeFirstFailure(node, node.op === "||");
    if (node.op === "list") repairList(node, left);
    if (node.op === "map") repairMap(node, left);
  });
  if (left.size === 0) return;
  const failure = { code: "unexpected_token", summary: "an optional element stands in a list or a map, and in parentheses when it has operators", node: { start: Math.min(...left) } };
  throw Object.assign(new Error(failure.summary), failure);
}

function visit(node: Value, see: (node: Value) => void): void {
  if (Array.isArray(node)) return node.forEach((item) => visit(item, see));
  if (typeof node !== "object" || node === null || !("op" in node)) return;
  see(node);
  visit(node.args, see);
}

/** Its own way to be checked and evaluated; `async` is false, as none of our functions is. */
function replace(node: Value, check: (checker: Value, ctx: Value) => Value, evaluate: (evaluator: Value, ctx: Value) => Value): void {
  const macro = { typeCheck: (checker: Value, _: Value, ctx: Value) => check(checker, ctx), evaluate: (evaluator: Value, _: Value, ctx: Value) => evaluate(evaluator, ctx) };
  node.setMeta("macro", macro).setMeta("async", false);
}

/** The failure of the left side counts, as long as the right side does not decide. */
function takeFirstFailure(node: Value, decides: boolean): void {
  const { check } = node.meta;
  const [first, second] = node.args;
  replace(node, (checker, ctx) => check(checker, node, ctx), (evaluator, ctx) => {
    const left = evaluator.tryEval(first, ctx);
    if (left === decides) return decides;
    const right = left instanceof Error ? evaluator.tryEval(second, ctx) : evaluator.run(second, ctx);
    if (right === decides) return decides;
    if (left instanceof Error) throw left;
    if (left !== !decides || right !== !decides) throw new Error("no such overload");
    return right;
  });
}

function takeMark(node: Value, marks: Set<number>): boolean {
  return node.op === "!_" && marks.delete(node.start);
}

const absent = Symbol("absent");

function repairList(node: Value, marks: Set<number>): void {
  const marked = (node.args as Value[]).filter((item) => takeMark(item, marks));
  if (marked.length === 0) return;
  for (const item of marked) replace(item, (checker, ctx) => valueType(checker, item.args, ctx), (evaluator, ctx) => valueOf(evaluator.run(item.args, ctx)));
  const { check } = node.meta;
  replace(node, (checker, ctx) => check(checker, node, ctx), (evaluator, ctx) =>
    (node.args as Value[]).map((item) => evaluator.run(item, ctx)).filter((item) => item !== absent));
}

function repairMap(node: Value, marks: Set<number>): void {
  const entries = node.args as [Value, Value][];
  const marked = new Set(entries.filter(([key]) => takeMark(key, marks)));
  if (marked.size === 0) return;
  for (const [key] of marked) replace(key, (checker, ctx) => checker.check(key.args, ctx), (evaluator, ctx) => evaluator.run(key.args, ctx));
  replace(node, (checker, ctx) => {
    const keys = entries.map(([key]) => checker.check(key, ctx));
    const values = entries.map((entry) => (marked.has(entry) ? valueType(checker, entry[1], ctx) : checker.check(entry[1], ctx)));
    return checker.registry.getMapType(common(checker, keys), common(checker, values));
  }, (evaluator, ctx) => {
    const all = entries.map((entry): [Value, Value] => {
      const value = evaluator.run(entry[1], ctx);
      return [evaluator.run(entry[0], ctx), marked.has(entry) ? valueOf(value) : value];
    });
    return Object.fromEntries(all.filter(([, value]) => value !== absent));
  });
}

const common = (checker: Value, types: readonly Value[]): Value => (types.every((type) => type === types[0]) ? types[0] : checker.getType("dyn"));

function valueType(checker: Value, node: Value, ctx: Value): Value {
  const type = checker.check(node, ctx);
  if (type.kind === "optional") return type.valueType ?? checker.getType("dyn");
  if (type.kind === "dyn") return type;
  throw checker.createError("no_matching_overload", `expected type 'optional_type(${type})' but found '${type}'`, node);
}

function valueOf(value: Value): Value {
  if (typeof value?.hasValue !== "function") throw new Error("no such overload");
  return value.hasValue() ? value.value() : absent;
}
