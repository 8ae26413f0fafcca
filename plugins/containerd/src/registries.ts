/** Reads `registries.yaml`: mirrors of registries, and with what to ask each host. Every finding names file, line and field. */
import { accessSync, constants, readFileSync } from "node:fs";
import { k3spError, messageOf } from "@k3s-p/plugin-api";
import type { Document, LineCounter, Node } from "yaml";

export interface Registries {
  /** By registry host; `*` stands for every host without an entry. */
  readonly mirrors: Readonly<Record<string, Mirror>>;
  readonly configs: Readonly<Record<string, HostConfig>>;
}

export interface Mirror {
  readonly endpoint?: readonly string[];
  /** Regular expression to replacement, for the repository's name. */
  readonly rewrite?: Readonly<Record<string, string>>;
}

export interface HostConfig {
  readonly auth?: RegistryAuth;
  readonly tls?: RegistryTls;
}

export interface RegistryAuth {
  readonly username?: string;
  readonly password?: string;
  /** Base64 of `username:password`. */
  readonly auth?: string;
  readonly identity_token?: string;
  readonly token?: string;
}

export interface RegistryTls {
  readonly ca_file?: string;
  readonly cert_file?: string;
  readonly key_file?: string;
  readonly insecure_skip_verify?: boolean;
}

export interface RegistriesFile {
  readonly registries: Registries;
  readonly warnings: readonly string[];
}

export const noRegistries: Registries = { mirrors: {}, configs: {} };

/** Undefined when there is no such file. */
export async function readRegistries(file: string): Promise<RegistriesFile | undefined> {
  const text = readText(file);
  if (text === undefined) return undefined;
  // Loaded with the file: most nodes have none.
  const yaml = await import("yaml");
  const lines = new yaml.LineCounter();
  // K3s reads it as YAML 1.1.
  const doc = yaml.parseDocument(text, { lineCounter: lines, version: "1.1" });
  const [broken] = doc.errors;
  if (broken) {
    const { line = 1, col = 1 } = broken.linePos?.[0] ?? {};
    throw syntaxError(`${file}:${line}:${col}`, broken.message.split("\n")[0]!.replace(/ at line \d+, column \d+:?$/, ""));
  }
  const reader: Reader = { file, doc, lines, errors: [], warnings: [] };
  const { mirrors = {}, configs = {} } = (shape(reader, [], valueOf(doc, file)) ?? {}) as Partial<Registries>;
  if (reader.errors.length) {
    const [message = "", ...detail] = reader.errors;
    throw k3spError("K3SP_CONFIG_INVALID", { message, detail, fix: "correct the fields that are named", plugin: "containerd" });
  }
  return { registries: { mirrors, configs }, warnings: reader.warnings };
}

const syntaxError = (where: string, what: string): Error => k3spError("K3SP_CONFIG_SYNTAX", { message: `${where}: ${what}`, plugin: "containerd" });

/** An alias may name nothing, or too much. */
function valueOf(doc: Document, file: string): unknown {
  try {
    return doc.toJS();
  } catch (error) {
    throw syntaxError(file, messageOf(error));
  }
}

function readText(file: string): string | undefined {
  try {
    return readFileSync(file, "utf8");
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw k3spError("K3SP_PERMISSION_DENIED", { message: `${file} cannot be read`, cause, fix: "make it a file that root may read", plugin: "containerd" });
  }
}

interface Reader {
  readonly file: string;
  readonly doc: Document;
  readonly lines: LineCounter;
  readonly errors: string[];
  readonly warnings: string[];
}

type Path = readonly (string | number)[];
/** Returns the value as it is used; undefined for nothing, and for what it has added to `errors`. */
type Check = (reader: Reader, path: Path, value: unknown) => unknown;

const refuse = (reader: Reader, path: Path, what: string): undefined => void reader.errors.push(`${place(reader, path)}: ${nameOf(path)}${what}`);

/** Secrets have no place in messages, so no check repeats a value but those of hosts, addresses and files. */
const text: Check = (reader, path, value) => {
  if (typeof value === "string") return value;
  if (typeof value !== "number" && typeof value !== "boolean") return refuse(reader, path, " must be a text");
  // As it is written: a password of digits keeps its zeros.
  return (reader.doc.getIn(path, true) as { readonly source?: string } | undefined)?.source ?? String(value);
};

const flag: Check = (reader, path, value) => (typeof value === "boolean" ? value : refuse(reader, path, " must be true or false"));

const readableFile: Check = (reader, path, value) => {
  const file = text(reader, path, value) as string | undefined;
  if (!file) return undefined;
  try {
    accessSync(file, constants.R_OK);
    return file;
  } catch (error) {
    return refuse(reader, path, ` ${file}: ${(error as NodeJS.ErrnoException).code === "ENOENT" ? "no such file" : "cannot be read"}`);
  }
};

const endpoint: Check = (reader, path, value) => {
  const given = text(reader, path, value) as string | undefined;
  if (given === undefined) return undefined;
  const url = URL.parse(given.includes("://") ? given : `https://${given}`);
  if (!url?.host) return refuse(reader, path, ` ${JSON.stringify(given)} is not a URL such as https://registry.example.com:5000`);
  if (!/^https?:$/.test(url.protocol)) return refuse(reader, path, ` ${JSON.stringify(given)} must begin with https:// or http://`);
  if (url.username || url.password) return refuse(reader, path, ` must not have a password in it: give it in configs.${JSON.stringify(url.host)}.auth`);
  return given;
};

const pattern: Check = (reader, path, value) => {
  try {
    new RegExp(String(path.at(-1)));
    return text(reader, path, value);
  } catch (error) {
    return refuse(reader, path, ` is no regular expression: ${(error as Error).message}`);
  }
};

const listOf = (item: Check): Check => (reader, path, value) =>
  Array.isArray(value) ? value.map((each, i) => item(reader, [...path, i], each)) : refuse(reader, path, " must be a list");

const isMapping = (value: unknown): value is Readonly<Record<string, unknown>> => typeof value === "object" && value !== null && !Array.isArray(value);

function mapOf(item: Check, key?: (name: string) => string | undefined): Check {
  return (reader, path, value) => {
    if (!isMapping(value)) return refuse(reader, path, " must be a mapping");
    return Object.fromEntries(Object.entries(value).map(([name, each]) => {
      const wrong = key?.(name);
      if (wrong) refuse(reader, [...path, name], wrong);
      return [name, each === null ? {} : item(reader, [...path, name], each)];
    }));
  };
}

/** Unknown keys are ignored as K3s ignores them, but not in silence. */
function record(fields: Readonly<Record<string, Check>>, whole: (reader: Reader, path: Path, value: Readonly<Record<string, unknown>>) => void = () => undefined): Check {
  return (reader, path, value) => {
    if (value === null) return undefined;
    if (!isMapping(value)) return refuse(reader, path, ` must be a mapping with ${Object.keys(fields).join(", ")}`);
    whole(reader, path, value);
    return Object.fromEntries(Object.entries(value).flatMap(([name, each]) => {
      const check = Object.hasOwn(fields, name) ? fields[name] : undefined;
      if (!check) reader.warnings.push(`${place(reader, [...path, name])}: ${nameOf([...path, name])} is unknown and ignored   known: ${Object.keys(fields).join(", ")}`);
      const used = check && each !== null ? check(reader, [...path, name], each) : undefined;
      return used === undefined ? [] : [[name, used]];
    }));
  };
}

/** It becomes the name of a folder. */
const registryHost = (name: string): string | undefined =>
  /^(\*|(?!\.)[\w.-]+(:\d+)?|\[[\da-f:]+\](:\d+)?)$/i.test(name) ? undefined : " is not the host of a registry, such as docker.io, registry.example.com:5000 or *";

const wholeTls = (reader: Reader, path: Path, tls: RegistryTls): void => {
  if (!tls.cert_file !== !tls.key_file) refuse(reader, path, " must have cert_file and key_file, or neither");
};

const auth = record({ username: text, password: text, auth: text, identity_token: text, token: text });
const tls = record({ ca_file: readableFile, cert_file: readableFile, key_file: readableFile, insecure_skip_verify: flag }, wholeTls);

const shape: Check = record({
  mirrors: mapOf(record({ endpoint: listOf(endpoint), rewrite: mapOf(pattern) }), registryHost),
  configs: mapOf(record({ auth, tls }), registryHost),
});

/** `mirrors."docker.io".endpoint[0]` */
const nameOf = (path: Path): string =>
  path.map((part, i) => (typeof part === "number" ? `[${part}]` : `${i ? "." : ""}${/^\w+$/.test(part) ? part : JSON.stringify(part)}`)).join("") || "the file";

/** `file:line` of the path, or of the nearest thing around it that the file has: an alias stands where it is used. */
function place(reader: Reader, path: Path): string {
  for (let length = path.length; length > 0; length--) {
    const parent = reader.doc.getIn(path.slice(0, length - 1), true) as { readonly items?: readonly unknown[] } | undefined;
    const last = path[length - 1]!;
    const item = typeof last === "number" ? parent?.items?.[last] : parent?.items?.map((pair) => (pair as { key: Node }).key).find((key) => String(key) === last);
    const start = (item as Node | undefined)?.range?.[0];
    if (start !== undefined) return `${reader.file}:${reader.lines.linePos(start).line}`;
  }
  return `${reader.file}:1`;
}
