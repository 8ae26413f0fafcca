/** Every operation of a resource, in a neutral form that both versions of OpenAPI are written from. */
import { isBuiltinGroup } from "../discovery/priorities.ts";
import { discoveredResources, type Kind } from "../discovery/resources.ts";
import type { ResourceDef } from "../resources/types.ts";
import { definitionName, kindDefinition } from "./names.ts";

export interface Parameter {
  readonly name: string;
  readonly type: "string" | "integer" | "boolean";
}

export interface Operation {
  readonly path: string;
  readonly method: "get" | "post" | "put" | "patch" | "delete" | "head" | "options";
  /** `x-kubernetes-action`. */
  readonly action: string;
  readonly id: string;
  readonly summary: string;
  readonly kind: Kind;
  /** Definition of the body and of the answer. */
  readonly body?: string;
  readonly response?: string;
  /** The answer is not an object: text, or a connection. */
  readonly isStream?: boolean;
  /** Status codes of success. */
  readonly codes: readonly number[];
  readonly query: readonly Parameter[];
  readonly pathParameters: readonly string[];
  /** Of a CustomResourceDefinition's kind. */
  readonly isCustom: boolean;
}

export const mediaTypes = ["application/json", "application/yaml", "application/vnd.kubernetes.protobuf"];

const text = (...names: string[]): Parameter[] => names.map((name) => ({ name, type: "string" }));
const numbers = (...names: string[]): Parameter[] => names.map((name) => ({ name, type: "integer" }));
const flags = (...names: string[]): Parameter[] => names.map((name) => ({ name, type: "boolean" }));

const pretty = text("pretty");
const writeQuery = [...text("dryRun", "fieldManager", "fieldValidation"), ...pretty];
const deleteQuery = [...text("dryRun"), ...numbers("gracePeriodSeconds"), ...flags("orphanDependents"), ...pretty, ...text("propagationPolicy")];
const selectQuery = [
  ...text("continue", "fieldSelector", "labelSelector"), ...numbers("limit"), ...text("resourceVersion", "resourceVersionMatch"),
  ...flags("sendInitialEvents"), ...numbers("timeoutSeconds"),
];
const listQuery = [...flags("allowWatchBookmarks"), ...selectQuery, ...pretty, ...flags("watch")];
const META = "meta/v1";
const DELETE_OPTIONS = definitionName(`${META}.DeleteOptions`);
const PATCH = definitionName(`${META}.Patch`);
const STATUS = definitionName(`${META}.Status`);

interface Shape {
  readonly method: Operation["method"];
  readonly action: string;
  /** The operation's id is the word, group and version, the infix, and the names of what it is about. */
  readonly word: string;
  readonly infix?: string;
  readonly codes: readonly number[];
  readonly query: readonly Parameter[];
  readonly body?: "own" | "delete" | "patch";
  readonly response?: "own" | "list" | "status" | "deleted" | "stream";
}

const collection: Readonly<Record<string, Shape>> = {
  list: { method: "get", action: "list", word: "list", codes: [200], query: listQuery, response: "list" },
  create: { method: "post", action: "post", word: "create", codes: [200, 201, 202], query: writeQuery, body: "own", response: "own" },
  deletecollection: { method: "delete", action: "deletecollection", word: "delete", infix: "Collection", codes: [200], query: [...deleteQuery, ...selectQuery], body: "delete", response: "status" },
};
const single: Readonly<Record<string, Shape>> = {
  get: { method: "get", action: "get", word: "read", codes: [200], query: pretty, response: "own" },
  update: { method: "put", action: "put", word: "replace", codes: [200, 201], query: writeQuery, body: "own", response: "own" },
  patch: { method: "patch", action: "patch", word: "patch", codes: [200, 201], query: [...writeQuery, ...flags("force")], body: "patch", response: "own" },
  delete: { method: "delete", action: "delete", word: "delete", codes: [200, 202], query: deleteQuery, body: "delete", response: "deleted" },
};
const log: Shape = {
  method: "get", action: "get", word: "read", codes: [200], response: "stream",
  query: [
    ...text("container"), ...flags("follow", "insecureSkipTLSVerifyBackend"), ...numbers("limitBytes"), ...pretty, ...flags("previous"),
    ...numbers("sinceSeconds"), ...text("stream"), ...numbers("tailLines"), ...flags("timestamps"),
  ],
};

const streams = [...text("container"), ...flags("stderr", "stdin", "stdout", "tty")];
const anyMethod = ["delete", "get", "head", "options", "patch", "post", "put"] as const;
const connections: Readonly<Record<string, { readonly methods: readonly Operation["method"][]; readonly query: readonly Parameter[] }>> = {
  attach: { methods: ["get", "post"], query: streams },
  exec: { methods: ["get", "post"], query: [...text("command"), ...streams] },
  portforward: { methods: ["get", "post"], query: numbers("ports") },
  proxy: { methods: anyMethod, query: text("path") },
};

export function operationsOf(def: ResourceDef): Operation[] {
  const [resource] = discoveredResources([def]);
  const { group, version, kind, plural, namespaced } = def;
  const root = group ? `/apis/${group}/${version}` : `/api/${version}`;
  const base = namespaced ? `${root}/namespaces/{namespace}/${plural}` : `${root}/${plural}`;
  const scope = namespaced ? ["namespace"] : [];
  const own: Kind = { group, version, kind };
  const result: Operation[] = [];
  const add = (path: string, shape: Shape, target: Kind, suffix: string, pathParameters: readonly string[], isNamespaced = namespaced): void => {
    const id = `${shape.word}${groupName(group)}${camel(version)}${shape.infix ?? ""}${isNamespaced ? "Namespaced" : ""}${kind}${suffix}`;
    result.push(operation(def, path, shape, target, id, pathParameters));
  };
  for (const verb of resource!.verbs) {
    if (collection[verb]) add(base, collection[verb], own, "", scope);
    if (single[verb]) add(`${base}/{name}`, single[verb], own, "", [...scope, "name"]);
  }
  if (namespaced && resource!.verbs.includes("list")) add(`${root}/${plural}`, collection["list"]!, own, "ForAllNamespaces", [], false);
  for (const { name, responseKind, verbs } of resource!.subresources) {
    const path = `${base}/{name}/${name}`;
    const parameters = [...scope, "name"];
    const connection = connections[name];
    for (const method of connection?.methods ?? []) {
      const shape: Shape = { method, action: "connect", word: "connect", infix: camel(method), codes: [200], query: connection!.query, response: "stream" };
      add(path, shape, responseKind, camel(name), parameters);
      if (name === "proxy") add(`${path}/{path}`, shape, responseKind, "ProxyWithPath", [...parameters, "path"]);
    }
    if (name === "log") add(path, log, own, "Log", parameters);
    else if (!connection) for (const verb of verbs) add(path, verb === "create" ? collection["create"]! : single[verb]!, responseKind, camel(name), parameters);
  }
  return result;
}

function operation(def: ResourceDef, path: string, shape: Shape, kind: Kind, id: string, pathParameters: readonly string[]): Operation {
  const own = kindDefinition(kind.group, kind.version, kind.kind);
  const bodies = { own, delete: DELETE_OPTIONS, patch: PATCH };
  const responses = {
    own, list: `${kindDefinition(def.group, def.version, def.kind)}List`, status: STATUS,
    deleted: def.returnsDeleted ? own : STATUS, stream: undefined,
  };
  const response = shape.response && responses[shape.response];
  return {
    path, method: shape.method, action: shape.action, id,
    summary: `${shape.word} ${def.kind}`, kind, codes: shape.codes, query: shape.query, pathParameters,
    isCustom: def.custom === true,
    ...(shape.body && { body: bodies[shape.body] }),
    ...(response && { response }),
    ...(shape.response === "stream" && { isStream: true }),
  };
}

export const camel = (word: string): string => word.charAt(0).toUpperCase() + word.slice(1);

/** `Core`, `Apps`, `RbacAuthorization`; the groups of others in full, `StableExampleCom`. */
const groupName = (group: string): string => camel(groupTag(group));

/** The same with a small initial, as operations are tagged. */
export function groupTag(group: string): string {
  const [first, ...more] = (isBuiltinGroup(group) ? group.replace(/\.k8s\.io$/, "") : group).split(".");
  return (first || "core") + more.map(camel).join("");
}
