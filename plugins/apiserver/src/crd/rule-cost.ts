/** Upstream's limits on what the rules of a definition may cost, by estimate: of each expression, and of all in a schema. */
import type { FieldError } from "@k3s-p/plugin-api/kube";
import { estimateCost } from "../cel/estimate.ts";
import { mostValues } from "../cel/sizes.ts";
import { forbidden } from "../resources/validate/field.ts";
import { escape } from "./rule-values.ts";
import type { SchemaProps } from "./schema.ts";

const EXPRESSION_LIMIT = 10_000_000;
const SCHEMA_LIMIT = 100_000_000;
/** As many expressions are named when all together are too dear. */
const NAMED = 4;

/** What one expression adds to the cost of its schema. */
export interface Charge {
  readonly at: string;
  readonly cost: number;
}

/** For all values that an object may have of the schema: `count`, or as many as fit into a request. */
export const totalCost = (ast: object, schema: SchemaProps, count: number | undefined): number =>
  estimateCost(ast, schema, escape) * (count ?? mostValues(schema));

export const costProblems = ({ at, cost }: Charge, what: string): FieldError[] =>
  (cost > EXPRESSION_LIMIT ? [forbidden(at, exceeds(`estimated ${what} cost`, cost / EXPRESSION_LIMIT))] : []);

/** Of all expressions in the schema at `at`. */
export function totalProblems(charges: readonly Charge[], at: string): FieldError[] {
  const total = charges.reduce((sum, { cost }) => sum + cost, 0);
  if (total <= SCHEMA_LIMIT) return [];
  const dearest = charges.toSorted((a, b) => (a.cost === b.cost ? 0 : b.cost - a.cost)).slice(0, NAMED);
  return [
    ...dearest.map((charge) => forbidden(charge.at, "contributed to estimated rule & messageExpression cost total exceeding cost limit for entire OpenAPIv3 schema")),
    forbidden(at, exceeds("x-kubernetes-validations estimated rule & messageExpression cost total for entire OpenAPIv3 schema", total / SCHEMA_LIMIT)),
  ];
}

function exceeds(what: string, factor: number): string {
  const shown = factor > 100 ? "more than 100" : factor < 1.5 ? factor.toFixed(6) : factor.toFixed(1);
  return `${what} exceeds budget by factor of ${shown}x (try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared)`;
}
