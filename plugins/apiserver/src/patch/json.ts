/** JSON Patch (RFC 6902) by copy-on-write, with the status codes that upstream gives to a patch that does not fit. */
import { apiError, badRequest } from "@k3s-p/plugin-api/kube";
import { isDeepStrictEqual } from "node:util";

/** Upstream's limit on the operations of one patch. */
const MAX_OPERATIONS = 10_000;
/** And on what its copies add. */
const MAX_COPIED = 3 * 1024 * 1024;

interface Operation {
  readonly op: string;
  readonly path: string;
  readonly from?: string;
  readonly value?: unknown;
}

type Container = Record<string, unknown> | unknown[];

/**
 * The document after all operations, sharing untouched parts with the given one, which is not changed. Rejects with
 * 400 for what is not a JSON Patch, 413 for too many operations, and 422 when an operation fails.
 */
export function applyJsonPatch<T extends object>(doc: T, ops: unknown): T {
  const operations = decode(ops);
  const work: Work = { owned: new Set(), copied: 0 };
  let root: unknown = doc;
  for (const operation of operations) root = applyOne(root, operation, work);
  return root as T;
}

interface Work {
  /** Containers made by this call: they may be changed in place. */
  readonly owned: Set<object>;
  /** Bytes that copies have added: each may double what the one before has made. */
  copied: number;
}

function decode(ops: unknown): readonly Operation[] {
  if (!Array.isArray(ops)) {
    throw badRequest("error decoding patch: json: cannot unmarshal object into Go value of type jsonpatch.Patch");
  }
  if (ops.length > MAX_OPERATIONS) {
    throw apiError(413, "RequestEntityTooLarge",
      `The allowed maximum operations in a JSON patch is ${MAX_OPERATIONS}, got ${ops.length}`);
  }
  const bad: unknown = ops.find((operation) => typeof operation !== "object" || operation === null || Array.isArray(operation));
  if (bad !== undefined) throw badRequest(`error decoding patch: json: cannot unmarshal ${JSON.stringify(bad)} into Go value of type jsonpatch.Operation`);
  return ops;
}

function applyOne(root: unknown, operation: Operation, work: Work): unknown {
  const { op, path, from, value } = operation;
  const { owned } = work;
  if (typeof path !== "string") throw failed(`${op} operation has no path`);
  switch (op) {
    case "add": return add(root, path, value, owned);
    case "remove": return remove(root, path, owned);
    case "replace": {
      if (path === "") return value;
      if (read(root, path) === undefined) throw failed(`replace operation does not apply: doc is missing path: ${path}`);
      return write(root, path, owned, (parent, key) => {
        (parent as Record<string, unknown>)[key] = value;
      });
    }
    case "test": {
      const found = read(root, path);
      if (!isDeepStrictEqual(found ?? null, value ?? null)) throw failed(`testing value ${path} failed`);
      return root;
    }
    case "move": case "copy": {
      const source = typeof from === "string" ? read(root, from) : undefined;
      if (source === undefined) throw failed(`${op} operation does not apply: doc is missing from path: ${from ?? ""}`);
      if (op === "copy") return add(root, path, copyOf(source, work), owned);
      if (path !== from && path.startsWith(`${from}/`)) throw failed(`move operation does not apply: ${path} lies inside ${from}`);
      return add(remove(root, from!, owned), path, source, owned);
    }
    default: throw failed(`Unexpected kind: ${op}`);
  }
}

function copyOf(source: unknown, work: Work): unknown {
  const text = JSON.stringify(source);
  work.copied += text.length;
  if (work.copied > MAX_COPIED) throw failed(`Unable to copy, the accumulated size increase of copy is ${work.copied}, exceeding the limit ${MAX_COPIED}`);
  return JSON.parse(text);
}

function add(root: unknown, path: string, value: unknown, owned: Set<object>): unknown {
  if (path === "") return value;
  return write(root, path, owned, (parent, key) => {
    if (!Array.isArray(parent)) {
      parent[key] = value;
      return;
    }
    const index = key === "-" ? parent.length : indexOf(key);
    if (index > parent.length) throw failed(`add operation does not apply: index ${key} of ${path} is out of bounds`);
    parent.splice(index, 0, value);
  });
}

function remove(root: unknown, path: string, owned: Set<object>): unknown {
  if (path === "") return null;
  if (read(root, path) === undefined) throw failed(`remove operation does not apply: doc is missing path: ${path}`);
  return write(root, path, owned, (parent, key) => {
    if (Array.isArray(parent)) parent.splice(indexOf(key), 1);
    else delete parent[key];
  });
}

/** Copies the containers on the way to `path`, and lets `change` act on the last one. */
function write(
  root: unknown, path: string, owned: Set<object>, change: (parent: Container, key: string) => void,
): unknown {
  const keys = tokens(path);
  const last = keys.pop()!;
  const top = own(root, path, owned);
  let parent = top;
  for (const key of keys) {
    const child = own(get(parent, key), path, owned);
    (parent as Record<string, unknown>)[key] = child;
    parent = child;
  }
  change(parent, last);
  return top;
}

function own(value: unknown, path: string, owned: Set<object>): Container {
  if (typeof value !== "object" || value === null) {
    throw failed(`add operation does not apply: doc is missing path: "${path}"`);
  }
  if (owned.has(value)) return value as Container;
  const copy = Array.isArray(value) ? [...value] : { ...value };
  owned.add(copy);
  return copy;
}

function read(root: unknown, path: string): unknown {
  let value = root;
  for (const key of path === "" ? [] : tokens(path)) value = get(value, key);
  return value;
}

function get(value: unknown, key: string): unknown {
  if (typeof value !== "object" || value === null) return undefined;
  if (Array.isArray(value)) return key === "-" ? undefined : value[indexOf(key)];
  return Object.hasOwn(value, key) ? (value as Record<string, unknown>)[key] : undefined;
}

function indexOf(key: string): number {
  if (!/^(0|[1-9]\d*)$/.test(key)) throw failed(`"${key}" is not an index of a list`);
  return Number(key);
}

function tokens(path: string): string[] {
  if (!path.startsWith("/")) throw failed(`path "${path}" does not start with "/"`);
  return path.slice(1).split("/").map((key) => key.replace(/~1/g, "/").replace(/~0/g, "~"));
}

/** Upstream's sentence, and after it the reason, which upstream leaves out. */
const failed = (why: string) =>
  apiError(422, "Invalid", `the server rejected our request due to an error in our request: ${why}`, {});
