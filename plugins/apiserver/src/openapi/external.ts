/** OpenAPI of the servers behind APIServices: fetched when they become available, and merged into what this server tells. */
import { createHash } from "node:crypto";
import { gunzipSync, gzipSync } from "node:zlib";
import { isDeepStrictEqual } from "node:util";
import { definitionsFor, type Swagger, toV3, withParameters } from "./convert.ts";
import type { Schema } from "./generated.ts";

/** What another server tells of one group and version; undefined where it tells nothing. */
export interface ExternalDocument {
  readonly group: string;
  readonly version: string;
  /** Compressed JSON. */
  readonly v2: Buffer | undefined;
  readonly v3: { readonly zipped: Buffer; readonly hash: string } | undefined;
}

export interface ExternalDocuments {
  /** Grows with every change of `list`. */
  revision(): number;
  list(): readonly ExternalDocument[];
}

/** `get` answers with the JSON at a path of the other server, undefined when it has none. */
export async function readExternal(get: (path: string) => Promise<unknown>, group: string, version: string): Promise<ExternalDocument> {
  const [v2, v3] = await Promise.all([get("/openapi/v2"), get(`/openapi/v3/apis/${group}/${version}`)]);
  const own = readable(() => isObject(v2) ? partOf(v2, `/apis/${group}/${version}`) : undefined);
  const told = isObject(v3) ? v3 : readable(() => own && Object.keys(own.paths).length > 0 ? toV3({ ...v2 as Swagger, ...own }) : undefined);
  return { group, version, v2: own && zip(own), v3: told && { zipped: zip(told), hash: hashOf(told) } };
}

/** What has not the form of a document counts as none. */
function readable<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    if (error instanceof TypeError) return undefined;
    throw error;
  }
}

export const sameDocument = (a: ExternalDocument | undefined, b: ExternalDocument | undefined): boolean =>
  a?.v3?.hash === b?.v3?.hash && (a?.v2 ?? nothing).equals(b?.v2 ?? nothing);

const nothing = Buffer.alloc(0);
const isObject = (value: unknown): value is Schema => typeof value === "object" && value !== null && !Array.isArray(value);
const zip = (value: object): Buffer => gzipSync(JSON.stringify(value), { level: 5 });
const hashOf = (value: object): string => createHash("sha512").update(JSON.stringify(value)).digest("hex").slice(0, 64).toUpperCase();

/** The paths of the group and version, and the definitions that they need: the rest of the other server is its own affair. */
function partOf({ paths = {}, definitions = {}, parameters }: Swagger, root: string): Required<Pick<Swagger, "paths" | "definitions">> {
  const wanted = Object.fromEntries(Object.entries(paths).filter(([path]) => path === root || path.startsWith(`${root}/`))
    .map(([path, item]) => [path, withParameters(item, parameters)]));
  return { paths: wanted, definitions: definitionsFor(wanted, definitions) };
}

const refPattern = /"\$ref":"#\/definitions\/([^"]+)"/g;

/** One v2 document for all. A definition that others have under the same name and with other content gets a number. */
export function mergeV2(document: object, externals: readonly ExternalDocument[]): object {
  const parts = externals.flatMap(({ v2 }) => (v2 ? [JSON.parse(gunzipSync(v2).toString()) as Required<Swagger>] : []));
  if (parts.length === 0) return document;
  const own = document as Required<Swagger>;
  const definitions: Record<string, Schema> = { ...own.definitions };
  const paths: Record<string, object> = { ...own.paths };
  for (const part of parts) {
    const renamed = new Map<string, string>();
    for (const [name, schema] of Object.entries(part.definitions)) {
      const free = freeName(definitions, name, schema);
      if (free !== name) renamed.set(name, free);
    }
    const text = JSON.stringify(part).replace(refPattern, (whole, name: string) => (renamed.has(name) ? `"$ref":"#/definitions/${renamed.get(name)}"` : whole));
    const { definitions: added, paths: more } = JSON.parse(text) as Required<Swagger>;
    for (const [name, schema] of Object.entries(added)) definitions[renamed.get(name) ?? name] ??= schema;
    for (const [path, item] of Object.entries(more)) paths[path] ??= item;
  }
  const sorted = Object.fromEntries(Object.entries(paths).sort(([a], [b]) => (a < b ? -1 : 1)));
  return { ...document, paths: sorted, definitions };
}

function freeName(definitions: Readonly<Record<string, Schema>>, name: string, schema: Schema): string {
  let free = name;
  for (let n = 2; definitions[free] && !isSame(definitions[free]!, schema); n++) free = `${name}_v${n}`;
  return free;
}

const KINDS = "x-kubernetes-group-version-kind";

/** Shared kinds such as DeleteOptions list other groups on every server: that is no difference. */
const isSame = ({ [KINDS]: _, ...a }: Schema, { [KINDS]: __, ...b }: Schema): boolean => isDeepStrictEqual(a, b);
