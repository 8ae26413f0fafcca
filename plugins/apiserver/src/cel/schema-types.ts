/** OpenAPI schemas as types of CEL, so that expressions are checked against them. What a schema leaves open is `dyn`. */
import type { Environment } from "@marcbachmann/cel-js";

export interface TypedSchema {
  readonly $ref?: string;
  readonly type?: string;
  readonly format?: string;
  readonly nullable?: boolean;
  readonly properties?: Readonly<Record<string, TypedSchema>>;
  readonly items?: TypedSchema;
  readonly additionalProperties?: TypedSchema | boolean;
  readonly "x-kubernetes-preserve-unknown-fields"?: boolean;
  readonly "x-kubernetes-int-or-string"?: boolean;
  readonly "x-kubernetes-embedded-resource"?: boolean;
}

export interface SchemaTypes {
  typeOf(schema: TypedSchema): string;
  /** The type of a definition by its name. */
  named(name: string): string;
}

export interface SchemaTypeOptions {
  readonly environment: Environment;
  /** Definitions that references name. */
  readonly definitions?: Readonly<Record<string, TypedSchema>>;
  /** The identifier of a field; default: its name. */
  readonly fieldName?: (name: string) => string;
}

const simple: Readonly<Record<string, string>> = { boolean: "bool", integer: "int", number: "double" };

export function schemaTypes({ environment, definitions = {}, fieldName = (name) => name }: SchemaTypeOptions): SchemaTypes {
  const known = new Map<string, string>();
  const messages = new Map<string, string>();

  function message(properties: Readonly<Record<string, TypedSchema>>): string {
    const all = Object.entries(properties).map(([name, schema]) => [fieldName(name), typeOf(schema)] as const);
    const fields = all.filter(([field]) => /^[A-Za-z_]\w*$/.test(field));
    const key = JSON.stringify(fields);
    const found = messages.get(key);
    if (found) return found;
    const name = `Schema${messages.size}`;
    messages.set(key, name);
    environment.registerType({ name, schema: Object.fromEntries(fields) } as never);
    environment.registerOperator(`${name} == null`, () => false);
    return name;
  }

  function typeOf(schema: TypedSchema): string {
    const { $ref, type, properties, items, additionalProperties, format } = schema;
    if ($ref) return named($ref.split("/").at(-1)!);
    if (schema["x-kubernetes-preserve-unknown-fields"] || schema["x-kubernetes-int-or-string"] || schema["x-kubernetes-embedded-resource"] || schema.nullable) return "dyn";
    if (type === "string") return format ? "dyn" : "string";
    if (type === "array") return items ? `list<${typeOf(items)}>` : "list<dyn>";
    if (type === "object" && properties) return message(properties);
    if (type === "object" && typeof additionalProperties === "object") return `map<string, ${typeOf(additionalProperties)}>`;
    return simple[type ?? ""] ?? "dyn";
  }

  /** A type inside of itself is any type. */
  function named(name: string): string {
    const found = known.get(name);
    if (found) return found;
    known.set(name, "dyn");
    const definition = definitions[name];
    const made = definition ? typeOf(definition) : "dyn";
    known.set(name, made);
    return made;
  }

  return { typeOf, named };
}
