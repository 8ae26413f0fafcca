/** Objects as CEL sees them: integers, times and bytes by the schema's types, field names as identifiers. */
import { duration, timestamp } from "../cel/environment.ts";
import { isRecord, type Node } from "./schema.ts";

export function toCel(node: Node | undefined, value: unknown, isResource = false): unknown {
  if (value === null || value === undefined) return value ?? null;
  if (!node) return free(value);
  if (Array.isArray(value)) return value.map((item) => toCel(node.items, item));
  if (isRecord(value)) return toCelObject(node, value, isResource || node.embedded);
  if (typeof value === "number") return Number.isInteger(value) && !node.types.includes("number") ? BigInt(value) : value;
  if (typeof value === "string" && node.format) return formats[node.format]?.(value) ?? value;
  return value;
}

function toCelObject(node: Node, value: Record<string, unknown>, isResource: boolean): Record<string, unknown> {
  const result: Record<string, unknown> = {};
  for (const key of Object.keys(value)) {
    if (isResource && key === "metadata") {
      result[key] = nameOf(value[key]);
      continue;
    }
    const field = node.fields?.get(key);
    if (field) result[escape(key)] = toCel(field, value[key]);
    else if (node.values) result[key] = toCel(node.values === true ? undefined : node.values, value[key]);
    else result[escape(key)] = free(value[key]);
  }
  return result;
}

/** Of the metadata rules see the name and nothing else. */
function nameOf(metadata: unknown): object {
  const { name, generateName } = isRecord(metadata) ? metadata : {};
  return { ...(name !== undefined && { name }), ...(generateName !== undefined && { generateName }) };
}

function free(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(free);
  if (isRecord(value)) return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, free(item)]));
  return typeof value === "number" && Number.isInteger(value) ? BigInt(value) : value;
}

const formats: Readonly<Record<string, (text: string) => unknown>> = {
  "date-time": timestamp, date: timestamp, duration,
  byte: (text) => new Uint8Array(Buffer.from(text, "base64")),
};

const keywords = new Set([
  "true", "false", "null", "in", "as", "break", "const", "continue", "else", "for", "function", "if", "import", "let", "loop", "package",
  "namespace", "return", "var", "void", "while",
]);

/** Field names that are no identifiers of CEL: https://kubernetes.io/docs/reference/using-api/cel/#escaping */
export function escape(name: string): string {
  if (keywords.has(name)) return `__${name}__`;
  return name.replace(/__|[./-]/g, (part) => ({ __: "__underscores__", ".": "__dot__", "-": "__dash__", "/": "__slash__" })[part]!);
}
