/**
 * `/openapi/v2` and `/openapi/v3`: made when first asked for, kept compressed, and made anew after the registry changed.
 */
import { createHash } from "node:crypto";
import { gunzipSync, gzipSync } from "node:zlib";
import type { Route, RouteAnswer } from "../discovery/index.ts";
import type { ResourceDef } from "../resources/types.ts";
import type { Registry } from "../server/registry.ts";
import { definitionsFor, type Swagger, toV3 } from "./convert.ts";
import { documentV2, documentV3, info, type SchemaOf } from "./documents.ts";
import { type ExternalDocument, type ExternalDocuments, mergeV2 } from "./external.ts";
import { generalPaths } from "./general.ts";
import { definitionsHash, readDefinitions } from "./generated.ts";
import { encodeDocument } from "./protobuf.ts";

export interface OpenApiOptions {
  /** OpenAPI v3 schema of a row that is not built in; default: the row's own `schema` member. */
  readonly schemaOf?: SchemaOf;
  /** Of the servers behind APIServices. */
  readonly external?: ExternalDocuments;
}

type Headers = Parameters<Route>[1];

const V2_PROTOBUF = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";
const V2_PROTOBUF_OLD = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";
const COMPRESSION = { level: 5 } as const;

interface Document {
  readonly etag: string;
  readonly type: string;
  readonly zipped: Buffer;
}

/** The first argument may carry a query (`?hash=`). */
export function openapiRoutes(registry: Registry, options: OpenApiOptions = {}): Route {
  const schemaOf = options.schemaOf ?? ((def: ResourceDef) => (def as { schema?: object }).schema);
  const documents = new Map<string, Document>();
  const externals = (): readonly ExternalDocument[] => options.external?.list() ?? [];
  let builtAt = "";
  const cached = (key: string, make: () => Document): Document => {
    let document = documents.get(key);
    if (!document) documents.set(key, (document = make()));
    return document;
  };

  const v2 = (headers: Headers): RouteAnswer => {
    const form = formV2(headers.accept);
    if (!form) return notAcceptable();
    return answer(cached(`v2 ${form}`, () => makeV2(registry, schemaOf, externals(), form)), headers, {});
  };

  const v3 = (name: string, query: string, headers: Headers): RouteAnswer | undefined => {
    if (!acceptsJson(headers.accept)) return notAcceptable();
    const groups = groupVersions(registry.list());
    const general = generalDocuments(registry.list());
    if (name === "") return answer(cached("v3", () => makeIndex(groups, general, schemaOf, externals())), headers, {});
    const defs = groups.get(name);
    const paths = general.get(name);
    const foreign = defs ? undefined : externals().find((one) => nameOf(one) === name)?.v3;
    if (!defs && !foreign && !paths) return undefined;
    const hash = foreign?.hash ?? (defs ? hashOf(defs, schemaOf) : hashOfPaths(paths!));
    const wanted = new URLSearchParams(query).get("hash");
    if (wanted && wanted !== hash) {
      return { status: 301, headers: { location: `/openapi/v3/${name}?hash=${hash}`, "cache-control": "no-cache" }, body: Buffer.alloc(0) };
    }
    if (foreign) return answer({ etag: `"${hash}"`, type: "application/json", zipped: foreign.zipped }, headers, wanted ? immutable() : {});
    const document = cached(`v3 ${name}`, () => zip(defs ? documentV3(readDefinitions(), defs, schemaOf) : generalV3(paths!), "application/json", hash));
    return answer(document, headers, wanted ? immutable() : {});
  };

  return (url, headers) => {
    const [path = "", query = ""] = url.split("?", 2);
    if (!path.startsWith("/openapi/")) return undefined;
    const revision = `${registry.revision}/${options.external?.revision() ?? 0}`;
    if (revision !== builtAt) documents.clear();
    builtAt = revision;
    if (path === "/openapi/v2") return v2(headers);
    if (path !== "/openapi/v3" && !path.startsWith("/openapi/v3/")) return undefined;
    return v3(path.slice("/openapi/v3/".length), query, headers);
  };
}

/** JSON unless the client wants protobuf and nothing else, as clients of Go do. */
function formV2(accept: Headers[string]): "json" | "protobuf" | undefined {
  const text = typeof accept === "string" ? accept : "";
  for (const clause of text.split(",")) {
    const type = clause.split(";", 1)[0]!.trim();
    if (type === V2_PROTOBUF || type === V2_PROTOBUF_OLD) return "protobuf";
    if (["", "*/*", "application/*", "application/json"].includes(type)) return "json";
  }
  return undefined;
}

function acceptsJson(accept: Headers[string]): boolean {
  if (typeof accept !== "string" || accept === "") return true;
  return accept.split(",").some((clause) => ["*/*", "application/*", "application/json"].includes(clause.split(";", 1)[0]!.trim()));
}

function makeV2(registry: Registry, schemaOf: SchemaOf, externals: readonly ExternalDocument[], form: "json" | "protobuf"): Document {
  const document = mergeV2(documentV2(readDefinitions(), registry.list(), schemaOf), externals);
  if (form === "json") return zip(document, "application/json");
  return zip(encodeDocument(document as Readonly<Record<string, unknown>>), V2_PROTOBUF_OLD);
}

/** `api/v1`, `apis/apps/v1`. */
function groupVersions(defs: readonly ResourceDef[]): Map<string, readonly ResourceDef[]> {
  return Map.groupBy(defs, ({ group, version }) => (group ? `apis/${group}/${version}` : `api/${version}`));
}

type Paths = Readonly<Record<string, object>>;

/** `api`, `apis`, `apis/apps`, `version`, ...: the paths above those of a group and version have documents of their own. */
function generalDocuments(defs: readonly ResourceDef[]): Map<string, Paths> {
  const documents = Object.entries(generalPaths(defs)).map(([path, item]) => [path.slice(1, -1), { [path]: item }] as const);
  const versioned = new Set(groupVersions(defs).keys());
  return new Map(documents.filter(([name]) => !versioned.has(name)));
}

const generalV3 = (paths: Paths): object => toV3({ info, paths, definitions: definitionsFor(paths, readDefinitions()) } as Swagger);

const nameOf = ({ group, version }: ExternalDocument): string => `apis/${group}/${version}`;

function makeIndex(groups: ReadonlyMap<string, readonly ResourceDef[]>, general: ReadonlyMap<string, Paths>, schemaOf: SchemaOf, externals: readonly ExternalDocument[]): Document {
  const foreign = externals.flatMap((one): [string, string][] => (one.v3 && !groups.has(nameOf(one)) ? [[nameOf(one), one.v3.hash]] : []));
  const own = [...groups].map(([name, defs]) => [name, hashOf(defs, schemaOf)] as const);
  const others = [...general].map(([name, paths]) => [name, hashOfPaths(paths)] as const);
  const paths = [...own, ...others, ...foreign].sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, hash]) => [name, { serverRelativeURL: `/openapi/v3/${name}?hash=${hash}` }]);
  return zip({ paths: Object.fromEntries(paths) }, "application/json");
}

/** Says what a document is made of, without making it. */
function hashOf(defs: readonly ResourceDef[], schemaOf: SchemaOf): string {
  const rows = defs.map((def) => {
    const { schemaId } = def as { schemaId?: string };
    return [def.kind, def.plural, def.version, def.namespaced, def.verbs, def.subresources, def.custom, schemaId ?? schemaOf(def)];
  });
  return hashOfText(definitionsHash() + JSON.stringify(rows));
}

const hashOfPaths = (paths: Paths): string => hashOfText(definitionsHash() + JSON.stringify(paths));
const hashOfText = (text: string): string => createHash("sha512").update(text).digest("hex").slice(0, 64).toUpperCase();

function zip(content: object | Buffer, type: string, hash?: string): Document {
  const bytes = Buffer.isBuffer(content) ? content : Buffer.from(JSON.stringify(content));
  const etag = `"${hash ?? createHash("sha256").update(bytes).digest("hex").toUpperCase()}"`;
  return { etag, type, zipped: gzipSync(bytes, COMPRESSION) };
}

function answer({ etag, type, zipped }: Document, headers: Headers, more: Readonly<Record<string, string>>): RouteAnswer {
  const common = { "content-type": type, etag, vary: "Accept-Encoding, Accept", ...more };
  if (headers["if-none-match"] === etag) return { status: 304, headers: common, body: Buffer.alloc(0) };
  const encodings = headers["accept-encoding"];
  if (typeof encodings === "string" && /\bgzip\b/.test(encodings)) {
    return { status: 200, headers: { ...common, "content-encoding": "gzip" }, body: zipped };
  }
  return { status: 200, headers: common, body: gunzipSync(zipped) };
}

const YEAR = 365 * 24 * 60 * 60 * 1000;
const immutable = () => ({ "cache-control": "public, immutable", expires: new Date(Date.now() + YEAR).toUTCString() });

function notAcceptable(): RouteAnswer {
  const status = {
    kind: "Status", apiVersion: "v1", metadata: {}, status: "Failure", reason: "NotAcceptable", code: 406,
    message: "only the following media types are accepted: application/json",
  };
  return { status: 406, headers: { "content-type": "application/json" }, body: Buffer.from(JSON.stringify(status)) };
}
