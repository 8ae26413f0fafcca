/** Reads settings from flags, environment, config.yaml and config.yaml.d, and remembers where each value came from. */
import { existsSync, readFileSync, readdirSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { createRequire } from "node:module";
import type { Alias, Node } from "yaml";
import { k3spError } from "@k3s-p/plugin-api";
import { didYouMean } from "../kernel/manifest.ts";
import { flags as serverFlags, type Flag } from "./flags.ts";

export type Value = string | number | boolean | readonly string[];

export interface Setting {
  readonly value: Value;
  /** `--disable`, `K3S_DATA_DIR`, `/etc/rancher/k3s/config.yaml:3`. */
  readonly source: string;
  /** Per item, for lists that several files appended to. */
  readonly sources?: readonly string[];
}

/** A plugin's own section, with the position of each of its lines for error messages. */
export interface PluginSection {
  readonly enabled?: boolean;
  readonly config: Record<string, unknown>;
  /** Path inside the config (`backend`) -> `file:line:col`. */
  readonly positions: ReadonlyMap<string, string>;
}

export interface Settings {
  readonly values: ReadonlyMap<string, Setting>;
  readonly plugins: ReadonlyMap<string, PluginSection>;
  /** `slots:` of the config file. */
  readonly slots: ReadonlyMap<string, Setting>;
  readonly warnings: readonly string[];
  /** On an agent: plugin -> options that are the same on every node, as its server says. */
  readonly common?: ReadonlyMap<string, Readonly<Record<string, Setting>>>;
}

export interface LoadInput {
  readonly argv: readonly string[];
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly flags: readonly Flag[];
}

export function loadSettings({ argv, env, flags }: LoadInput): Settings {
  const byName = new Map(flags.flatMap((f) => namesOf(f).map((name) => [name, f])));
  const fromFlags = parseArgv(argv, flags);
  const fromEnv = parseEnv(env, flags);
  const explicit = fromFlags.get("config") ?? fromEnv.get("config");
  const file = readFiles((explicit?.value as string | undefined) ?? byName.get("config")!.default!, explicit !== undefined, byName);
  const values = new Map([...file.values, ...fromEnv, ...fromFlags]);
  return { values, plugins: file.plugins, slots: file.slots, warnings: file.warnings };
}

const namesOf = ({ name, alias }: Flag): readonly string[] => [name, ...(alias ? [alias] : [])];

/** A flag repeated on the command line replaces the file's whole list. */
export function parseArgv(argv: readonly string[], flags: readonly Flag[]): Map<string, Setting> {
  const byName = new Map(flags.flatMap((f) => [...namesOf(f).map((name) => `--${name}`), ...(f.short ? [`-${f.short}`] : [])].map((name) => [name, f])));
  const values = new Map<string, Setting>();
  for (let i = 0; i < argv.length; i++) {
    const arg = argv[i]!;
    const [name = "", inline] = splitOnce(arg, "=");
    const flag = byName.get(name.replace(/^-(?=\w{2,})/, "--"));
    if (!flag) throw unknownFlag(arg, name, shown(flags).map((known) => `--${known}`));
    let text = inline;
    if (flag.type === "bool") text ??= "true";
    else if (text === undefined) {
      text = argv[++i];
      if (text === undefined) throw k3spError("K3SP_FLAG_INVALID", { message: `--${flag.name} needs a value`, fix: `write --${flag.name} VALUE` });
    }
    put(values, flag, text, `--${flag.name}`);
  }
  return values;
}

/** What may be suggested: a hidden flag is one that nobody should begin to use. */
const shown = (flags: Iterable<Flag>): string[] => [...flags].filter((f) => !f.hidden).map((f) => f.name);

function unknownFlag(arg: string, name: string, known: readonly string[]): Error {
  const message = arg.startsWith("-") ? `unknown flag ${name}${hint(name, known)}` : `unexpected argument "${arg}"`;
  return k3spError("K3SP_FLAG_UNKNOWN", { message });
}

/** Who gives an agent what is a server's has not mistyped it. */
function hint(name: string, known: readonly string[]): string {
  const isServers = serverFlags.some((f) => namesOf(f).includes(name.replace(/^--/, "")));
  return isServers ? ": only k3s-p server takes it" : didYouMean(name, known);
}

function splitOnce(text: string, at: string): [string, string?] {
  const i = text.indexOf(at);
  return i < 0 ? [text] : [text.slice(0, i), text.slice(i + 1)];
}

function put(values: Map<string, Setting>, flag: Flag, text: string, source: string): void {
  const value = convert(flag, text, source);
  const before = values.get(flag.name);
  const list = Array.isArray(value) && before ? [...(before.value as string[]), ...value] : value;
  values.set(flag.name, { value: list, source });
}

function convert(flag: Flag, text: string, source: string): Value {
  if (flag.type === "list") return flag.commas ? text.split(",").map((s) => s.trim()).filter(Boolean) : [text];
  if (flag.type === "bool") {
    if (/^(true|1|t)$/i.test(text)) return true;
    if (/^(false|0|f)$/i.test(text)) return false;
    throw invalidValue(flag, text, source, "allowed: true, false");
  }
  if (flag.type === "int") {
    if (/^-?\d+$/.test(text)) return Number(text);
    throw invalidValue(flag, text, source, "a whole number is expected");
  }
  return text;
}

const invalidValue = (flag: Flag, text: string, source: string, allowed: string) =>
  k3spError(source.startsWith("-") ? "K3SP_FLAG_INVALID" : "K3SP_CONFIG_INVALID", {
    message: `${flag.name}: ${JSON.stringify(text)} is not allowed`, detail: [`from ${source}   ${allowed}`],
  });

function parseEnv(env: LoadInput["env"], flags: readonly Flag[]): Map<string, Setting> {
  const values = new Map<string, Setting>();
  for (const flag of flags) {
    const text = flag.env && env[flag.env];
    if (text) put(values, flag, text, flag.env!);
  }
  return values;
}

interface FileSettings {
  readonly values: Map<string, Setting>;
  readonly plugins: Map<string, PluginSection>;
  readonly slots: Map<string, Setting>;
  readonly warnings: string[];
}

/** The base file, then `<file>.d/*.yaml` in alphabetical order; the last value wins, `key+` appends. */
function readFiles(base: string, explicit: boolean, flags: ReadonlyMap<string, Flag>): FileSettings {
  const into: FileSettings = { values: new Map(), plugins: new Map(), slots: new Map(), warnings: [] };
  if (existsSync(base)) readFile(base, flags, into);
  else if (explicit) throw k3spError("K3SP_CONFIG_MISSING", { message: `${base}: no such file` });
  const dropIns = join(dirname(base), `${basename(base)}.d`);
  const names = existsSync(dropIns) ? readdirSync(dropIns).filter((n) => /\.ya?ml$/.test(n)).sort() : [];
  for (const name of names) readFile(join(dropIns, name), flags, into);
  return into;
}

/** Loaded with the first config file: most servers have none, and it takes 15 ms. */
let loaded: typeof import("yaml") | undefined;
const yaml = (): typeof import("yaml") => (loaded ??= createRequire(import.meta.url)("yaml") as typeof import("yaml"));

function readFile(file: string, flags: ReadonlyMap<string, Flag>, into: FileSettings): void {
  const { LineCounter, isAlias, isMap, isScalar, parseDocument } = yaml();
  const lines = new LineCounter();
  const doc = parseDocument(readText(file), { lineCounter: lines });
  const at = (node: unknown): string => {
    const { line, col } = lines.linePos((node as Node | undefined)?.range?.[0] ?? 0);
    return `${file}:${line}:${col}`;
  };
  const syntaxError = (where: string, what: string): Error => k3spError("K3SP_CONFIG_SYNTAX", { message: `${where}: ${what}` });
  const broken = doc.errors[0];
  if (broken) {
    const pos = broken.linePos?.[0];
    throw syntaxError(`${file}:${pos?.line ?? 1}:${pos?.col ?? 1}`, problems[broken.code] ?? broken.message.split("\n")[0]!.replace(/ at line \d+, column \d+:?$/, ""));
  }
  if (doc.contents === null) return;
  if (!isMap(doc.contents)) throw syntaxError(`${file}:1:1`, "the file must be a mapping of flag names to values");
  for (const pair of doc.contents.items) {
    if (!isScalar(pair.key)) throw syntaxError(at(pair.key), "the name of a flag is expected");
    const key = String(pair.key.value);
    const node = isAlias(pair.value) ? pair.value.resolve(doc) : pair.value;
    if (node === undefined) throw syntaxError(at(pair.value), `nothing before it is named &${(pair.value as Alias).source}`);
    if (key === "plugins") readPlugins(node, at, into);
    else if (key === "slots") readSlots(node, at, into);
    else readKey(key, node, at(pair.key), flags, into);
  }
}

/** In place of what the parser says to programmers. */
const problems: Readonly<Record<string, string>> = {
  MULTIPLE_DOCS: "the file must hold one document: a second one begins here",
  DUPLICATE_KEY: "the key was given before in this file",
};

function readText(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch (cause) {
    throw k3spError("K3SP_PERMISSION_DENIED", { message: `${file} cannot be read`, cause, fix: "make it a file that this user may read" });
  }
}

function readKey(key: string, node: unknown, where: string, flags: ReadonlyMap<string, Flag>, into: FileSettings): void {
  const { isSeq } = yaml();
  const append = key.endsWith("+");
  const given = append ? key.slice(0, -1) : key;
  const flag = flags.get(given);
  if (!flag) {
    into.warnings.push(`${where}: unknown key "${given}" is ignored${hint(given, shown(flags.values()))}`);
    return;
  }
  const { name } = flag;
  if (isEmpty(node)) return;
  const texts = (isSeq(node) ? node.items : [node]).map((item) => {
    const text = scalarText(item);
    if (text === undefined) throw invalidValue(flag, String(item ?? "null"), where, `${isSeq(node) ? "a list of texts" : typeNames[flag.type]} is expected`);
    return text;
  });
  if (flag.type !== "list") {
    if (texts.length !== 1) throw invalidValue(flag, texts.join(","), where, "one value is expected");
    into.values.set(name, { value: convert(flag, yesOrNo(flag, texts[0]!), where), source: where });
    return;
  }
  const before = append ? into.values.get(name) : undefined;
  const list = texts.flatMap((text) => convert(flag, text, where) as readonly string[]);
  const sources = list.map(() => where);
  into.values.set(name, {
    value: [...((before?.value as string[] | undefined) ?? []), ...list],
    source: where, sources: [...(before?.sources ?? []), ...sources],
  });
}

/** As it is written, where YAML would read a number: a token of digits keeps its zeros. Undefined for what is no text. */
function scalarText(node: unknown): string | undefined {
  if (!yaml().isScalar(node) || node.value === null) return undefined;
  return typeof node.value === "number" && node.source !== undefined ? node.source : String(node.value);
}

/** K3s reads files as YAML 1.1, which has more words for booleans. */
const yesOrNo = ({ type }: Flag, text: string): string =>
  type !== "bool" ? text : /^(yes|on)$/i.test(text) ? "true" : /^(no|off)$/i.test(text) ? "false" : text;

const typeNames: Readonly<Record<Flag["type"], string>> = { string: "a text", bool: "true or false", int: "a whole number", list: "a list" };

/** A key with all lines below it commented out. */
const isEmpty = (node: unknown): boolean => !node || (yaml().isScalar(node) && node.value === null);

const sectionShape: Readonly<Record<string, (node: unknown) => boolean>> = {
  enabled: (node) => yaml().isScalar(node) && typeof node.value === "boolean",
  config: (node) => yaml().isMap(node) || isEmpty(node),
};

function readPlugins(node: unknown, at: (node: unknown) => string, into: FileSettings): void {
  const { isMap } = yaml();
  if (!isMap(node)) throw k3spError("K3SP_CONFIG_INVALID", { message: "plugins: must be a mapping of plugin names to sections", detail: [at(node)] });
  for (const pair of node.items) {
    const id = String((pair.key as { value: unknown }).value);
    if (isEmpty(pair.value)) pair.value = new (yaml().YAMLMap)();
    if (!isMap(pair.value)) throw k3spError("K3SP_CONFIG_INVALID", { message: `plugins.${id}: must be a mapping of enabled and config`, detail: [at(pair.key)] });
    for (const item of pair.value.items) {
      const key = String((item.key as { value: unknown }).value);
      const fits = Object.hasOwn(sectionShape, key) ? sectionShape[key]! : undefined;
      if (!fits) throw k3spError("K3SP_CONFIG_INVALID", { message: `plugins.${id}.${key}: unknown key${didYouMean(key, Object.keys(sectionShape))}`, detail: [at(item.key)] });
      if (!fits(item.value)) throw k3spError("K3SP_CONFIG_INVALID", { message: `plugins.${id}.${key}: ${key === "config" ? "a mapping" : "true or false"} is expected`, detail: [at(item.key)] });
    }
    const section = pair.value.toJSON() as { enabled?: boolean; config?: Record<string, unknown> };
    const positions = new Map<string, string>([["", at(pair.key)]]);
    const config = pair.value.get("config", true);
    if (isMap(config)) for (const item of config.items) positions.set(String((item.key as { value: unknown }).value), at(item.value ?? item.key));
    into.plugins.set(id, { ...(section.enabled !== undefined && { enabled: section.enabled }), config: section.config ?? {}, positions });
  }
}

function readSlots(node: unknown, at: (node: unknown) => string, into: FileSettings): void {
  const { isMap } = yaml();
  if (!isMap(node)) throw k3spError("K3SP_CONFIG_INVALID", { message: "slots: must be a mapping of slots to plugin names", detail: [at(node)] });
  for (const pair of node.items) {
    const [slot, plugin] = [scalarText(pair.key), scalarText(pair.value)];
    if (slot === undefined || plugin === undefined) throw k3spError("K3SP_CONFIG_INVALID", { message: `slots.${slot ?? "?"}: the name of a plugin is expected`, detail: [at(pair.key)] });
    into.slots.set(slot, { value: plugin, source: at(pair.key) });
  }
}
