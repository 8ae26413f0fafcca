/** The published API against the models and operations of `@kubernetes/client-node`, which upstream's own schema generated. */
import { beforeAll, describe, expect, test } from "vitest";
import { type Body, useCluster } from "./api.ts";
import { type Attribute, models, operations } from "./models.ts";

const api = useCluster();
let document: Body;
beforeAll(async () => { document = await api.get("/openapi/v2"); });

/** Group and version of a path or of a class, when upstream does not serve it unless it is told to. */
const isOffByDefault = (text: string): boolean => /v\d+(alpha|beta)\d+|V\d+(alpha|beta)\d+/.test(text);

/** What upstream publishes and we do not, and why. */
const leftOut: readonly { readonly why: string; readonly paths: RegExp }[] = [
  { why: "alpha and beta versions are off by default", paths: /\/v\d+(alpha|beta)\d+(\/|$)/ },
  { why: "these groups have alpha and beta versions only", paths: /^\/apis\/(internal\.apiserver|storagemigration)\.k8s\.io\/$/ },
  { why: "the client's own template for custom resources", paths: /^\/apis\/\{group\}/ },
  { why: "K3s does not serve the log files of its node", paths: /^\/logs\// },
];
const isLeftOut = (path: string): boolean => leftOut.some(({ paths }) => paths.test(path));

/** Parameters of features that are off by default. */
const leftOutParameters = new Set(["ignoreStoreReadErrorWithClusterBreakingPotential", "shardSelector"]);

/** Models that no served type refers to: of alpha and beta types, or left over in the client. */
const otherModels = new Set(["V1ClaimSource", "V1GroupResource", "V1ResourceClaim", "V1WorkloadReference"]);

describe("definitions", () => {
  const known = models();

  /** Upstream prefixes the names of classes that several packages have. */
  function classOf(definition: string): string | undefined {
    const [type = "", version = "", pkg = ""] = definition.split(".").reverse();
    const upper = (text: string): string => text[0]!.toUpperCase() + text.slice(1);
    return [upper(pkg) + upper(version) + type, upper(version) + type].find((name) => known.has(name));
  }

  /** The type of a schema as the generator of the client writes it. */
  function typeOf(schema: Body): string {
    if (schema.type === "array") return `Array<${typeOf(schema.items)}>`;
    if (schema.additionalProperties) return `{ [key: string]: ${typeOf(schema.additionalProperties)}; }`;
    if (schema.$ref) return refType(schema.$ref.slice("#/definitions/".length));
    return schema.type === "integer" ? "number" : schema.type;
  }

  function refType(name: string): string {
    const own = classOf(name);
    if (own) return own;
    const { type, format } = document.definitions[name];
    if (name.endsWith(".MicroTime")) return "V1MicroTime";
    if (format === "date-time") return "Date";
    return format === "int-or-string" ? "IntOrString" : type === "string" ? "string" : "any";
  }

  const formatOf = (schema: Body): string => {
    const inner = schema.items ?? schema.additionalProperties ?? schema;
    // The client tells the two kinds of times apart by a format of its own.
    if (inner.$ref?.endsWith(".MicroTime")) return "date-time-micro";
    if (inner.$ref) return document.definitions[inner.$ref.slice("#/definitions/".length)].format ?? "";
    return inner.items ? formatOf(inner) : (inner.format ?? "");
  };

  test("each has its model's properties, with its types and formats", () => {
    const differences: string[] = [];
    let compared = 0;
    for (const [name, schema] of Object.entries<Body>(document.definitions)) {
      const className = classOf(name);
      if (!className || !schema.properties) continue;
      compared++;
      const attributes = new Map(known.get(className)!.map((attribute) => [attribute.baseName, attribute]));
      for (const property of new Set([...Object.keys(schema.properties), ...attributes.keys()])) {
        const why = difference(schema.properties[property], attributes.get(property));
        if (why) differences.push(`${name}.${property}: ${why}`);
      }
    }
    expect(differences).toEqual([]);
    expect(compared).toBeGreaterThan(550);
  });

  function difference(schema: Body, attribute: Attribute | undefined): string | undefined {
    if (!schema) return "missing";
    if (!attribute) return "not upstream's";
    if (typeOf(schema) !== attribute.type && !(typeOf(schema) === "any" && attribute.type === "object")) return `is ${typeOf(schema)} instead of ${attribute.type}`;
    return formatOf(schema) === attribute.format ? undefined : `has the format "${formatOf(schema)}" instead of "${attribute.format}"`;
  }

  test("every model has its definition", () => {
    const defined = new Set(Object.keys(document.definitions).map(classOf));
    const missing = [...known.keys()].filter((name) => !defined.has(name) && !isOffByDefault(name) && !otherModels.has(name));
    expect(missing).toEqual([]);
  });

  // Upstream leaves these unexplained, too.
  const unexplained = /\.(JSONSchemaProps|ExternalDocumentation)\.|\.version\.Info\.|\.meta\.v1\.WatchEvent\./;

  test("every property is explained", () => {
    const all = Object.entries<Body>(document.definitions).flatMap(([name, { properties = {} }]) =>
      Object.entries<Body>(properties).map(([key, { description }]) => ({ name: `${name}.${key}`, description })));
    expect(all.filter(({ name, description }) => !description && !unexplained.test(name)).map(({ name }) => name)).toEqual([]);
  });
});

describe("operations", () => {
  // The client asks for these two without the slash that the schema gives them.
  const slashed = (path: string): string => (/^\/(openid|\.well-known)\//.test(path) ? `${path.replace(/\/$/, "")}/` : path);
  const wanted = operations().map((operation) => ({ ...operation, path: slashed(operation.path) }));
  const published = (path: string, method: string): Body => document.paths[path]?.[method];

  test("every path and method of upstream is published, or left out for a reason", () => {
    expect(wanted.length).toBeGreaterThan(800);
    const missing = wanted.filter(({ path, method }) => !isLeftOut(path) && !published(path, method)).map(({ path, method }) => `${method} ${path}`);
    expect(missing).toEqual([]);
    for (const { paths, why } of leftOut) expect([why, wanted.some(({ path }) => paths.test(path))]).toEqual([why, true]);
  });

  test("none is published that upstream does not have", () => {
    const theirs = new Set(wanted.map(({ path, method }) => `${method} ${path}`));
    const ours = Object.entries<Body>(document.paths).flatMap(([path, methods]) => Object.keys(methods).map((method) => `${method} ${path}`));
    expect(ours.filter((operation) => !theirs.has(operation))).toEqual([]);
  });

  test("each takes upstream's parameters", () => {
    const differences: string[] = [];
    for (const { path, method, query } of wanted) {
      const operation = published(path, method);
      if (!operation) continue;
      const own = operation.parameters?.filter((p: Body) => p.in === "query").map((p: Body) => p.name) ?? [];
      const theirs = query.filter((name) => !leftOutParameters.has(name));
      if (own.sort().join() !== theirs.sort().join()) differences.push(`${method} ${path}: ${own} instead of ${theirs}`);
    }
    expect(differences).toEqual([]);
  });

  test("the server answers each: no path is unknown to it, and no method refused", async () => {
    const refused: string[] = [];
    for (const { path, method } of wanted) {
      // Connections need a pod; the tests of subresources and clients make them.
      if (isLeftOut(path) || /\/(proxy|exec|attach|portforward)(\/|$)/.test(path)) continue;
      const url = path.replace("{namespace}", "default").replace("{name}", "nope");
      const { status, body } = await api.call(method.toUpperCase(), `${url}?dryRun=All`, method === "get" ? undefined : {});
      const isUnknown = status === 404 && body.message === "the server could not find the requested resource" && !body.details?.name;
      if (isUnknown || status === 405 || status >= 500) refused.push(`${method} ${path}: ${status}`);
    }
    expect(refused).toEqual([]);
  });
});
