/**
 * Keys that a body has twice. Parsers keep the last without a word, so the text is counted: as many keys as the parsed
 * value has, or else a second look says which, in upstream's words.
 */
import type { Document, Node } from "yaml";

export interface Duplicates {
  /** Warnings, or parts of a strict error, together with those of unknown fields (`unknown field "spec.x"`). */
  warnings(unknown: readonly string[], isCustom: boolean): readonly string[];
  strict(unknown: readonly string[], isCustom: boolean): readonly string[];
}

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const COLON = 0x3a;

/** Number of keys and depth of nesting of a JSON text that parses. */
export function measureJson(bytes: Uint8Array): { readonly keys: number; readonly depth: number } {
  let keys = 0;
  let depth = 0;
  let deepest = 0;
  for (let i = 0; i < bytes.length; i++) {
    const byte = bytes[i]!;
    if (byte === QUOTE) {
      for (i++; i < bytes.length && bytes[i] !== QUOTE; i++) if (bytes[i] === BACKSLASH) i++;
    } else if (byte === COLON) keys++;
    else if (byte === 0x7b || byte === 0x5b) deepest = Math.max(deepest, ++depth);
    else if (byte === 0x7d || byte === 0x5d) depth--;
  }
  return { keys, depth: deepest };
}

export function countKeys(value: unknown): number {
  if (typeof value !== "object" || value === null) return 0;
  let keys = 0;
  if (Array.isArray(value)) {
    for (const item of value) if (typeof item === "object") keys += countKeys(item);
    return keys;
  }
  for (const key in value) {
    keys++;
    const item = (value as Record<string, unknown>)[key];
    if (typeof item === "object") keys += countKeys(item);
  }
  return keys;
}

/** For a JSON text that is known to have some. */
export function jsonDuplicates(text: string): Duplicates {
  const { duplicates, places } = findPaths(text);
  const twice = duplicates.map((path) => `duplicate field ${JSON.stringify(path)}`);
  const list = (unknown: readonly string[], isCustom: boolean): readonly string[] => {
    // Custom objects are decoded before their schema is known; those of built-in kinds in one pass, in the text's order.
    if (isCustom) return [...twice, ...unknown];
    const paths = new Set(unknown.map((message) => JSON.parse(message.slice("unknown field ".length)) as string));
    const known = duplicates.map((path, i) => ({ at: places.get(path)!.last, message: twice[i]!, path })).filter(({ path }) => !paths.has(path));
    const others = [...paths].map((path) => ({ at: places.get(path)?.first ?? 0, message: `unknown field ${JSON.stringify(path)}`, path }));
    return [...known, ...others].sort((a, b) => a.at - b.at).map(({ message }) => message);
  };
  return { warnings: list, strict: list };
}

interface Paths {
  /** Each once, in the order of the second occurrence. */
  readonly duplicates: readonly string[];
  readonly places: ReadonlyMap<string, { readonly first: number; last: number }>;
}

/** Walks tokens of a text that parses: what is in front of a colon is a key. */
function findPaths(text: string): Paths {
  const duplicates = new Set<string>();
  const places = new Map<string, { readonly first: number; last: number }>();
  /** The way to the value at hand: a key in objects, an index in lists. */
  const stack: { path: string; index: number; readonly seen: Set<string> | undefined }[] = [];
  let step = "";
  const here = (): string => {
    const top = stack.at(-1);
    if (!top) return "";
    if (!top.seen) return `${top.path}[${top.index}]`;
    return top.path === "" ? step : `${top.path}.${step}`;
  };
  for (const { 0: token, index: at } of text.matchAll(/"(?:[^"\\]|\\.)*"(\s*:)?|[{}[\],]/gs)) {
    if (token === "{" || token === "[") stack.push({ path: here(), index: 0, seen: token === "{" ? new Set() : undefined });
    else if (token === "}" || token === "]") stack.pop();
    else if (token === ",") stack.at(-1)!.index++;
    else if (token.endsWith(":")) {
      const { seen } = stack.at(-1)!;
      step = JSON.parse(token.slice(0, token.lastIndexOf('"') + 1)) as string;
      const path = here();
      if (seen!.has(step)) duplicates.add(path);
      seen!.add(step);
      const place = places.get(path);
      if (place) place.last = at;
      else places.set(path, { first: at, last: at });
    }
  }
  return { duplicates: [...duplicates], places };
}

/** `lineOf` tells the line, from 1, of a position in the text. Undefined when each key is there once. */
export async function yamlDuplicates(document: Document, lineOf: (offset: number) => number): Promise<Duplicates | undefined> {
  const { isScalar, visit } = await import("yaml");
  const lines: { readonly line: number; readonly key: string }[] = [];
  visit(document, {
    Map(_, map) {
      const seen = new Set<string>();
      for (const { key } of map.items) {
        if (!isScalar(key)) continue;
        const name = String(key.value);
        if (seen.has(name)) lines.push({ line: lineOf((key as Node).range?.[0] ?? 0), key: name });
        seen.add(name);
      }
    },
  });
  if (lines.length === 0) return undefined;
  const messages = lines.sort((a, b) => a.line - b.line).map(({ line, key }) => `line ${line}: key ${JSON.stringify(key)} already set in map`);
  return {
    warnings: (unknown) => [...messages, ...unknown],
    strict: (unknown) => [`yaml: unmarshal errors:\n${messages.map((message) => `  ${message}`).join("\n")}`, ...unknown],
  };
}
