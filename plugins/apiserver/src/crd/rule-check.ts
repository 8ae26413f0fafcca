/** CEL rules of schemas when their definition is written: each is compiled once against the types of the fields it names. */
import type { FieldError } from "@k3s-p/plugin-api/kube";
import { celEnvironment, compile, type Environment, type Program } from "../cel/environment.ts";
import { isMistake } from "../cel/problems.ts";
import { schemaTypes, type TypedSchema } from "../cel/schema-types.ts";
import { invalidValue, notSupported, required } from "../resources/validate/field.ts";
import { type Charge, costProblems, totalCost, totalProblems } from "./rule-cost.ts";
import { escape } from "./rule-values.ts";
import { titles } from "./rules.ts";
import { isRecord, type RuleProps, type SchemaProps } from "./schema.ts";

/** The schema of a version, valid otherwise, and where it stands. */
export interface PlacedSchema {
  readonly schema: SchemaProps;
  readonly at: string;
}

/** A schema with rules, inside of that of a version. */
interface Place {
  readonly schema: SchemaProps;
  readonly at: string;
  readonly rules: readonly RuleProps[];
  /** Where old and new values stop to correspond. */
  readonly uncorrelated: string | undefined;
  /** How many such values an object may have; undefined when no bound is stated. */
  readonly count: number | undefined;
}

/** Findings on the rules of a definition. Versions mostly have the same rules: what is known of one serves the others. */
export function ruleProblems(versions: readonly PlacedSchema[]): FieldError[] {
  const found = versions.map(({ schema, at }) => ({ at, places: placesIn(asResource(schema), at, { uncorrelated: undefined, count: 1 }) }));
  const all = found.flatMap(({ places }) => places);
  if (all.length === 0) return [];
  const compilers = compilersOf(all);
  return found.flatMap(({ at, places }) => {
    const charges: Charge[] = [];
    const errors = places.flatMap((place) => place.rules.flatMap((rule, i) =>
      problemsOf(rule, `${place.at}.x-kubernetes-validations[${i}]`, place, compilers.get(place)!, charges)));
    return [...errors, ...totalProblems(charges, at)];
  });
}

type Outside = Pick<Place, "uncorrelated" | "count">;

function placesIn(schema: SchemaProps, at: string, outside: Outside): Place[] {
  const { properties, additionalProperties: extra, items, maxItems, maxProperties, "x-kubernetes-validations": rules = [] } = schema;
  const { uncorrelated, count } = outside;
  const found: Place[] = rules.length > 0 ? [{ schema, at, rules, uncorrelated, count }] : [];
  const atomic = schema["x-kubernetes-map-type"] === "atomic" ? at : uncorrelated;
  const times = (bound: number | undefined): number | undefined => (count === undefined || bound === undefined ? undefined : count * bound);
  for (const name in properties) found.push(...placesIn(properties[name]!, `${at}.properties[${name}]`, { uncorrelated: atomic, count }));
  if (isRecord(extra)) found.push(...placesIn(extra as SchemaProps, `${at}.additionalProperties`, { uncorrelated, count: times(maxProperties) }));
  if (!items) return found;
  const isKeyed = schema["x-kubernetes-list-type"] === "map";
  found.push(...placesIn(items, `${at}.items`, { uncorrelated: isKeyed ? uncorrelated : uncorrelated ?? at, count: times(maxItems) }));
  return found;
}

function problemsOf(props: RuleProps, at: string, place: Place, compileOnce: Compiler, charges: Charge[]): FieldError[] {
  const { uncorrelated } = place;
  if (!props.rule?.trim()) return [required(`${at}.rule`, "rule is not specified")];
  const errors: FieldError[] = [];
  if (props.message !== undefined) {
    if (!props.message.trim()) errors.push(invalidValue(`${at}.message`, props.message, "message must be non-empty if specified"));
    else if (/[\r\n]/.test(props.message.trim())) errors.push(invalidValue(`${at}.message`, props.message, "message must not contain line breaks"));
  }
  if (props.reason && !titles[props.reason]) errors.push(notSupported(`${at}.reason`, props.reason, Object.keys(titles).sort()));
  const rule = compileOnce(props.rule);
  if (rule instanceof Error) errors.push(invalidValue(`${at}.rule`, props.rule, `compilation failed: ${rule.message}`));
  else {
    errors.push(...costProblems(charge(rule, place, `${at}.rule`, charges), "rule"));
    if (!["bool", "dyn"].includes(rule.type)) errors.push(invalidValue(`${at}.rule`, props.rule, "cel expression must evaluate to a bool"));
    if (uncorrelated && rule.uses("oldSelf")) {
      errors.push(invalidValue(`${at}.rule`, props.rule, `oldSelf cannot be used on the uncorrelatable portion of the schema within ${uncorrelated}`));
    }
  }
  return [...errors, ...messageProblems(props.messageExpression, `${at}.messageExpression`, place, compileOnce, charges)];
}

function messageProblems(expression: string | undefined, at: string, place: Place, compileOnce: Compiler, charges: Charge[]): FieldError[] {
  if (!expression) return [];
  const message = compileOnce(expression);
  if (message instanceof Error) return [invalidValue(at, expression, `messageExpression compilation failed: ${message.message}`)];
  const isText = ["string", "dyn"].includes(message.type);
  const errors = isText ? [] : [invalidValue(at, expression, "messageExpression must evaluate to a string")];
  return [...errors, ...costProblems(charge(message, place, at, charges), "messageExpression")];
}

function charge({ ast }: Program, { schema, count }: Place, at: string, charges: Charge[]): Charge {
  const made = { at, cost: totalCost(ast, schema, count) };
  charges.push(made);
  return made;
}

/** The program of an expression, or what is wrong with it. */
type Compiler = (expression: string) => Program | Error;

/** All schemas with rules become types of one environment, of which those of each type then get a copy with their own `self`. */
function compilersOf(places: readonly Place[]): ReadonlyMap<Place, Compiler> {
  const base = celEnvironment({});
  const types = schemaTypes({ environment: base, fieldName: escape });
  const names = places.map((place) => types.typeOf(mentionedPart(place.schema, wordsOf(place.rules)) as TypedSchema));
  const compilers = new Map([...new Set(names)].map((name) => [name, compilerOf(base, name)]));
  return new Map(places.map((place, i) => [place, compilers.get(names[i]!)!]));
}

function compilerOf(base: Environment, self: string): Compiler {
  const known = new Map<string, Program | Error>();
  let environment: Environment | undefined;
  return (expression) => {
    const found = known.get(expression);
    if (found) return found;
    environment ??= base.clone().registerVariable("self", self).registerVariable("oldSelf", "dyn");
    const made = compileTyped(environment, expression);
    known.set(expression, made);
    return made;
  };
}

let untyped: Environment | undefined;

/** Where the library is stricter with types than upstream, an expression that is right without them will do. */
function compileTyped(environment: Environment, expression: string): Program | Error {
  const typed = attempt(environment, expression);
  if (!(typed instanceof Error)) return typed;
  untyped ??= celEnvironment({ self: "dyn", oldSelf: "dyn" });
  const loose = attempt(untyped, expression);
  return loose instanceof Error || !isMistake(typed) ? loose : typed;
}

function attempt(environment: Environment, expression: string): Program | Error {
  try {
    return compile(environment, expression);
  } catch (error) {
    return error as Error;
  }
}

const wordsOf = (rules: readonly RuleProps[]): ReadonlySet<string> =>
  new Set(rules.flatMap(({ rule = "", messageExpression = "" }) => `${rule} ${messageExpression}`.match(/\w+/g) ?? []));

/** Without the fields that no rule can mean: types are dear, and schemas are large. */
function mentionedPart(schema: SchemaProps, words: ReadonlySet<string>): SchemaProps {
  const { properties, items, additionalProperties: extra } = schema;
  if (properties) {
    const fields = Object.entries(properties).filter(([name]) => words.has(escape(name)));
    return { ...schema, properties: Object.fromEntries(fields.map(([name, field]) => [name, mentionedPart(field, words)])) };
  }
  if (items) return { ...schema, items: mentionedPart(items, words) };
  return isRecord(extra) ? { ...schema, additionalProperties: mentionedPart(extra as SchemaProps, words) } : schema;
}

const nameFields: SchemaProps = { type: "object", properties: { name: { type: "string" }, generateName: { type: "string" } } };

/** Of the metadata rules see the name and nothing else. */
const asResource = (schema: SchemaProps): SchemaProps =>
  ({ ...schema, properties: { ...schema.properties, apiVersion: { type: "string" }, kind: { type: "string" }, metadata: nameFields } });
