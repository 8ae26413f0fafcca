/**
 * The messages of Kubernetes' protobuf encoding, compiled from the field table `fields.txt` on first use.
 *
 * A line of the table is a message and its fields `name[=jsonName]:number:type`. Types: `s` string, `b` bool, `i` integer,
 * `d` double, `y` bytes, or a message; `[]` repeated, `{}` map of strings to the type; `^` before the name = its fields are
 * inlined in JSON; `!` after a scalar = a zero value is kept in JSON (a pointer or a required field in upstream's types).
 * Lines that start with `@` map an API version to a package.
 */
import { readFileSync } from "node:fs";

export type Scalar = "s" | "b" | "i" | "d" | "y";

export interface Field {
  readonly json: string;
  readonly number: number;
  readonly shape: "one" | "list" | "map";
  readonly inline: boolean;
  readonly keepZero: boolean;
  readonly scalar: Scalar | undefined;
  /** The message type when it is not a scalar; resolved when it is first used. */
  readonly message: () => Message;
}

export interface Message {
  readonly name: string;
  /** Ascending by number. */
  readonly fields: readonly Field[];
  readonly byNumber: ReadonlyMap<number, Field>;
}

export interface Schema {
  /** The message of a kind; meta kinds (`DeleteOptions`, `Status`) are found under every API version. */
  messageFor(apiVersion: string, kind: string): Message | undefined;
  message(name: string): Message;
  find(name: string): Message | undefined;
}

let compiled: Schema | undefined;

export function protobufSchema(): Schema {
  return (compiled ??= compile(readFileSync(new URL("./fields.txt", import.meta.url), "utf8")));
}

function compile(text: string): Schema {
  const packages = new Map<string, string>([["meta.k8s.io/v1", "meta.v1"]]);
  const lines = new Map<string, string>();
  for (const line of text.trimEnd().split("\n")) {
    const space = line.indexOf(" ");
    const head = space < 0 ? line : line.slice(0, space);
    const rest = space < 0 ? "" : line.slice(space + 1);
    if (head.startsWith("@")) packages.set(head.slice(1), rest);
    else lines.set(head, rest);
  }
  const messages = new Map<string, Message>();

  function message(name: string): Message {
    const known = messages.get(name);
    if (known) return known;
    const line = lines.get(name);
    if (line === undefined) throw new Error(`no protobuf message ${name}`);
    const fields = line.split(" ").filter(Boolean).map((cell) => parseField(cell, message)).sort((a, b) => a.number - b.number);
    const made = { name, fields, byNumber: new Map(fields.map((f) => [f.number, f])) };
    messages.set(name, made);
    return made;
  }

  return {
    message,
    find: (name) => (lines.has(name) ? message(name) : undefined),
    messageFor(apiVersion, kind) {
      const name = `${packages.get(apiVersion) ?? "?"}.${kind}`;
      if (lines.has(name)) return message(name);
      return lines.has(`meta.v1.${kind}`) ? message(`meta.v1.${kind}`) : undefined;
    },
  };
}

const cellPattern = /^(\^?)([^:=]+)(?:=([^:]+))?:(\d+):(\[\]|\{\})?([^!]+)(!?)$/;

function parseField(cell: string, message: (name: string) => Message): Field {
  const match = cellPattern.exec(cell);
  if (!match) throw new Error(`bad field "${cell}"`);
  const [, inline, name = "", json, number, prefix, type = "", keep] = match;
  const scalar = type.length === 1 ? (type as Scalar) : undefined;
  return {
    json: json ?? name, number: Number(number), shape: prefix === "[]" ? "list" : prefix === "{}" ? "map" : "one",
    inline: inline === "^", keepZero: keep === "!", scalar, message: () => message(type),
  };
}
