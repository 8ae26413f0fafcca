/** Every operation of a resource, in a neutral form that both versions of OpenAPI are written from. */
import { discoveredResources, type Kind } from "../discovery/resources.ts";
import type { ResourceDef } from "../resources/types.ts";
import { definitionName, kindDefinition } from "./names.ts";

export interface Parameter {
  readonly name: string;
  readonly type: "string" | "integer" | "boolean";
}

export interface Operation {
  readonly path: string;
  readonly method: "get" | "post" | "put" | "patch" | "delete";
  /** `x-kubernetes-action`. */
  readonly action: string;
  readonly id: string;
  readonly summary: string;
  readonly kind: Kind;
  /** Definition of the body and of the answer. */
  readonly body?: string;
  readonly response?: string;
  /** Status codes of success. */
  readonly codes: readonly number[];
  readonly query: readonly Parameter[];
  readonly pathParameters: readonly string[];
  /** Of a CustomResourceDefinition's kind. */
  readonly isCustom: boolean;
}

const text = (...names: string[]): Parameter[] => names.map((name) => ({ name, type: "string" }));
const numbers = (...names: string[]): Parameter[] => names.map((name) => ({ name, type: "integer" }));
const flags = (...names: string[]): Parameter[] => names.map((name) => ({ name, type: "boolean" }));

const writeQuery = text("dryRun", "fieldManager", "fieldValidation");
const deleteQuery = [...text("dryRun"), ...numbers("gracePeriodSeconds"), ...flags("orphanDependents"), ...text("propagationPolicy")];
const selectQuery = [
  ...text("continue", "fieldSelector", "labelSelector"), ...numbers("limit"), ...text("resourceVersion", "resourceVersionMatch"),
  ...flags("sendInitialEvents"), ...numbers("timeoutSeconds"),
];
const listQuery = [...flags("allowWatchBookmarks"), ...selectQuery, ...flags("watch")];
const META = "meta/v1";
const DELETE_OPTIONS = definitionName(`${META}.DeleteOptions`);
const PATCH = definitionName(`${META}.Patch`);
const STATUS = definitionName(`${META}.Status`);

interface Shape {
  readonly method: Operation["method"];
  readonly action: string;
  readonly word: string;
  readonly codes: readonly number[];
  readonly query: readonly Parameter[];
  readonly body?: "own" | "delete" | "patch";
  readonly response?: "own" | "list" | "status";
}

const collection: Readonly<Record<string, Shape>> = {
  list: { method: "get", action: "list", word: "list", codes: [200], query: listQuery, response: "list" },
  create: { method: "post", action: "post", word: "create", codes: [200, 201, 202], query: writeQuery, body: "own", response: "own" },
  deletecollection: { method: "delete", action: "deletecollection", word: "deleteCollection", codes: [200], query: [...deleteQuery, ...selectQuery], body: "delete", response: "status" },
};
const single: Readonly<Record<string, Shape>> = {
  get: { method: "get", action: "get", word: "read", codes: [200], query: [], response: "own" },
  update: { method: "put", action: "put", word: "replace", codes: [200, 201], query: writeQuery, body: "own", response: "own" },
  patch: { method: "patch", action: "patch", word: "patch", codes: [200, 201], query: [...writeQuery, ...flags("force")], body: "patch", response: "own" },
  delete: { method: "delete", action: "delete", word: "delete", codes: [200, 202], query: deleteQuery, body: "delete", response: "status" },
};
const connections = new Set(["exec", "attach", "portforward", "proxy", "log"]);

export function operationsOf(def: ResourceDef): Operation[] {
  const [resource] = discoveredResources([def]);
  const { group, version, kind, plural, namespaced } = def;
  const root = group ? `/apis/${group}/${version}` : `/api/${version}`;
  const base = namespaced ? `${root}/namespaces/{namespace}/${plural}` : `${root}/${plural}`;
  const scope = namespaced ? ["namespace"] : [];
  const name = `${camel(group.split(".")[0] || "core")}${camel(version)}${namespaced ? "Namespaced" : ""}${kind}`;
  const own: Kind = { group, version, kind };
  const make = (path: string, shape: Shape, target: Kind, suffix: string, parameters: readonly string[]) =>
    operation(def, path, shape, target, suffix ? `${name}${camel(suffix)}` : name, parameters);
  const result: Operation[] = [];
  for (const verb of resource!.verbs) {
    if (collection[verb]) result.push(make(base, collection[verb], own, "", scope));
    if (single[verb]) result.push(make(`${base}/{name}`, single[verb], own, "", [...scope, "name"]));
  }
  if (namespaced && resource!.verbs.includes("list")) {
    const everywhere = make(`${root}/${plural}`, collection["list"]!, own, "", []);
    result.push({ ...everywhere, id: `${everywhere.id.replace("Namespaced", "")}ForAllNamespaces` });
  }
  for (const sub of resource!.subresources) {
    const path = `${base}/{name}/${sub.name}`;
    for (const verb of sub.verbs) {
      const shape = verb === "create" ? collection["create"] : single[verb];
      if (!shape) continue;
      const plain: Shape = connections.has(sub.name) ? { method: shape.method, action: sub.name === "log" ? "get" : "connect", word: "connect", codes: [200], query: [] } : shape;
      result.push(make(path, plain, sub.responseKind, sub.name, [...scope, "name"]));
    }
  }
  return result;
}

function operation(def: ResourceDef, path: string, shape: Shape, kind: Kind, name: string, pathParameters: readonly string[]): Operation {
  const own = kindDefinition(kind.group, kind.version, kind.kind);
  const bodies = { own, delete: DELETE_OPTIONS, patch: PATCH };
  const responses = { own, list: `${kindDefinition(def.group, def.version, def.kind)}List`, status: STATUS };
  return {
    path, method: shape.method, action: shape.action, id: `${shape.word}${name}`,
    summary: `${shape.word} ${def.kind}`, kind, codes: shape.codes, query: shape.query, pathParameters,
    isCustom: def.custom === true,
    ...(shape.body && { body: bodies[shape.body] }),
    ...(shape.response && { response: responses[shape.response] }),
  };
}

const camel = (word: string): string => word.charAt(0).toUpperCase() + word.slice(1);
