/** Bounds what expressions may cost: every turn of a loop is charged with the size of its body. */

/** Upstream's limits, of one expression and of all expressions of one policy for one request. */
export const EXPRESSION_COST = 1_000_000;
export const TOTAL_COST = 10_000_000;

export interface Budget {
  left: number;
}

export const OVER_LIMIT = "operation cancelled: actual cost limit exceeded";
export const OUT_OF_BUDGET = "validation failed due to running out of cost budget, no further validation rules will be run";

export const newBudget = (): Budget => ({ left: TOTAL_COST });

/** Evaluation is synchronous: whatever loops meanwhile belongs to this expression. */
let spending: Budget = { left: EXPRESSION_COST };

/** Runs one expression, paid from the budget of its policy. */
export function charged<T>(run: () => T, budget?: Budget): T {
  if (budget && budget.left <= 0) throw new Error(OUT_OF_BUDGET);
  const before = spending;
  const own = (spending = { left: EXPRESSION_COST });
  try {
    return run();
  } finally {
    if (budget) budget.left -= EXPRESSION_COST - own.left;
    spending = before;
  }
}

/** Charges the running expression for one turn of a loop. */
export function spend(cost: number): void {
  spending.left -= cost;
  if (spending.left < 0) throw new Error(OVER_LIMIT);
}

interface Node {
  readonly op?: string;
  readonly args?: unknown;
  readonly meta?: { readonly alternate?: unknown };
}

interface Loop {
  readonly step: unknown;
  condition?: (accumulated: unknown) => boolean;
}

/** Makes the loops of a parsed expression pay; returns the number of its nodes. */
export function chargeLoops(node: unknown): number {
  if (Array.isArray(node)) return node.reduce<number>((size, item) => size + chargeLoops(item), 0);
  if (typeof node !== "object" || node === null || !("op" in node)) return 0;
  const { op, args, meta } = node as Node;
  if (meta?.alternate) return chargeLoops(meta.alternate);
  if (op !== "comprehension") return 1 + chargeLoops(args);
  const loop = args as Loop & { readonly iterable: unknown };
  const cost = 1 + chargeLoops(loop.step);
  const { condition } = loop;
  loop.condition = (accumulated) => {
    spend(cost);
    return condition ? condition(accumulated) : true;
  };
  return cost + chargeLoops(loop.iterable);
}
