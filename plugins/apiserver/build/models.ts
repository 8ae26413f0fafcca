/** Reads the models of `@kubernetes/client-node`: fields and types from the code, descriptions and required fields from the typings. */
import { existsSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

export interface ModelField {
  /** Name on the wire. */
  readonly name: string;
  /** As the generator writes it: `string`, `Array<V1Container>`, `{ [key: string]: string; }`. */
  readonly type: string;
  readonly format: string;
  readonly required: boolean;
  readonly description: string;
}

export interface Model {
  readonly description: string;
  readonly fields: readonly ModelField[];
}

export interface Models {
  get(className: string): Model | undefined;
}

export function openModels(): Models {
  const folder = join(dirname(fileURLToPath(import.meta.resolve("@kubernetes/client-node"))), "gen", "models");
  const known = new Map<string, Model | undefined>();
  return {
    get(className) {
      if (!known.has(className)) known.set(className, read(folder, className));
      return known.get(className);
    },
  };
}

interface Attribute {
  readonly name: string;
  readonly baseName: string;
  readonly type: string;
  readonly format: string;
}

function read(folder: string, className: string): Model | undefined {
  const file = join(folder, `${className}.js`);
  if (!existsSync(file)) return undefined;
  const code = readFileSync(file, "utf8");
  const start = code.indexOf("[", code.indexOf("attributeTypeMap = ["));
  const attributes = JSON.parse(code.slice(start, code.indexOf("];", start) + 1)) as Attribute[];
  const typings = readTypings(readFileSync(join(folder, `${className}.d.ts`), "utf8"));
  return {
    description: typings.description,
    fields: attributes.map(({ name, baseName, type, format }) => {
      const field = typings.fields.get(name);
      return { name: baseName, type, format, required: field?.required ?? false, description: field?.description ?? "" };
    }),
  };
}

interface Typings {
  readonly description: string;
  readonly fields: ReadonlyMap<string, { readonly required: boolean; readonly description: string }>;
}

const member = /(?:\/\*\*((?:[^*]|\*(?!\/))*)\*\/\s*)?^ {4}'([^']+)'(\?)?:/gm;
const classHead = /\/\*\*((?:[^*]|\*(?!\/))*)\*\/\s*export declare class/;

function readTypings(text: string): Typings {
  const fields = new Map<string, { required: boolean; description: string }>();
  const body = text.slice(text.indexOf("export declare class"));
  for (const [, doc = "", name, optional] of body.matchAll(member)) {
    fields.set(name!, { required: optional === undefined, description: plain(doc) });
  }
  return { description: plain(classHead.exec(text)?.[1] ?? ""), fields };
}

/** The text of a doc comment; the generator escapes quotes. */
function plain(comment: string): string {
  const lines = comment.split("\n").map((line) => line.replace(/^\s*\* ?/, ""));
  return lines.join("\n").trim().replace(/\\(['"\\])/g, "$1");
}
