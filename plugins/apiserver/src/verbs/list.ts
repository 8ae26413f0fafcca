/** LIST: selection, resourceVersion semantics, and pages over a consistent snapshot. */
import { apiError, badRequest, gone, type ApiError } from "@k3s-p/plugin-api/kube";
import type { ResourceDef } from "../resources/types.ts";
import { compileSelection } from "../store/selectors.ts";
import type { Entry } from "../store/entry.ts";
import { collectionOf, type Engine, present } from "./engine.ts";

export interface ListQuery {
  readonly labelSelector?: string | undefined;
  readonly fieldSelector?: string | undefined;
  readonly limit?: number | undefined;
  readonly continue?: string | undefined;
  readonly resourceVersion?: string | undefined;
  readonly resourceVersionMatch?: string | undefined;
  /** Stated at all: lists do not take it. */
  readonly sendInitialEvents?: boolean | undefined;
}

export interface Page {
  readonly entries: readonly Entry[];
  readonly revision: number;
  readonly continue?: string;
  readonly remainingItemCount?: number;
}

const FRESH_TIMEOUT = 3000;
const EXPIRED_CONTINUE =
  "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue " +
  "parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided " +
  "token results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was " +
  "returned and now may show up in the list.";

export async function list(engine: Engine, def: ResourceDef, namespace: string, query: ListQuery): Promise<Page> {
  checkQuery(query);
  const selection = compileSelection(def, query.labelSelector, query.fieldSelector);
  if (query.continue) return nextPage(engine, def, namespace, query, query.continue);
  const revision = await revisionFor(engine, query);
  if (revision !== undefined) await engine.store.recall(revision);
  const collection = collectionOf(engine, def);
  const pinned = selection.name !== undefined && (namespace || !def.namespaced) && revision === undefined;
  const entries = pinned
    ? [collection.get(selection.name!, namespace)].filter((entry) => entry !== undefined)
    : revision === undefined ? collection.list(namespace) : collection.listAt(revision, namespace);
  if (!entries) throw gone("The resourceVersion for the provided list is too old.");
  return page(engine, def, { entries, from: 0, revision: revision ?? engine.store.revision }, query);
}

function checkQuery(query: ListQuery): void {
  const { resourceVersionMatch: match, resourceVersion, limit } = query;
  if (limit !== undefined && (!Number.isInteger(limit) || limit < 0)) throw badRequest(`invalid limit ${limit}`);
  if (resourceVersion && !/^\d+$/.test(resourceVersion)) throw invalidOptions("resourceVersion", `Invalid value: ${JSON.stringify(resourceVersion)}: strconv.ParseUint: parsing ${JSON.stringify(resourceVersion)}: invalid syntax`);
  if (query.sendInitialEvents !== undefined) throw invalidOptions("sendInitialEvents", "Forbidden: sendInitialEvents is forbidden for list");
  if (!match) return;
  if (!resourceVersion) throw invalidOptions("resourceVersionMatch", "Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided");
  if (query.continue) throw invalidOptions("resourceVersionMatch", "Forbidden: resourceVersionMatch is forbidden when continue is provided");
  if (match !== "Exact" && match !== "NotOlderThan") {
    throw invalidOptions("resourceVersionMatch", `Unsupported value: ${JSON.stringify(match)}: supported values: "Exact", "NotOlderThan"`);
  }
  if (match === "Exact" && resourceVersion === "0") {
    throw invalidOptions("resourceVersionMatch", 'Forbidden: resourceVersionMatch "exact" is forbidden for resourceVersion "0"');
  }
}

export const invalidOptions = (field: string, why: string): ApiError =>
  apiError(422, "Invalid", `ListOptions.meta.k8s.io "" is invalid: ${field}: ${why}`, { group: "meta.k8s.io", kind: "ListOptions" });

/** The revision of the snapshot; undefined = now. */
async function revisionFor(engine: Engine, query: ListQuery): Promise<number | undefined> {
  const wanted = Number(query.resourceVersion || 0);
  if (wanted === 0) return undefined;
  await untilReached(engine, wanted);
  const exact = query.resourceVersionMatch === "Exact" || (!query.resourceVersionMatch && Boolean(query.limit));
  return exact ? wanted : undefined;
}

/** Waits a little for a revision that somebody has seen elsewhere; rejects with 504. */
export async function untilReached({ store }: Engine, wanted: number): Promise<void> {
  if (await store.reached(wanted, FRESH_TIMEOUT)) return;
  throw apiError(504, "Timeout", `Too large resource version: ${wanted}, current: ${store.revision}`, {
    causes: [{ reason: "ResourceVersionTooLarge", message: "Too large resource version" }], retryAfterSeconds: 1,
  });
}

interface Token {
  readonly v: "meta.k8s.io/v1";
  /** Revision of the snapshot; -1 = whatever is there now. */
  readonly rv: number;
  /** Key after which the page begins. */
  readonly start: string;
}

const encodeToken = (rv: number, start: string): string =>
  Buffer.from(JSON.stringify({ v: "meta.k8s.io/v1", rv, start } satisfies Token)).toString("base64url");

function decodeToken(text: string): Token {
  try {
    const token = JSON.parse(Buffer.from(text, "base64url").toString()) as Token;
    if (token.v === "meta.k8s.io/v1" && Number.isInteger(token.rv) && typeof token.start === "string") return token;
  } catch {
    // Falls through to the one answer for every unreadable token.
  }
  throw badRequest("continue key is not valid: the token cannot be decoded");
}

async function nextPage(engine: Engine, def: ResourceDef, namespace: string, query: ListQuery, text: string): Promise<Page> {
  if (query.resourceVersion && query.resourceVersion !== "0") {
    throw badRequest("specifying resource version is not allowed when using continue");
  }
  const token = decodeToken(text);
  const revision = token.rv === -1 ? engine.store.revision : token.rv;
  await engine.store.recall(revision);
  const all = collectionOf(engine, def).listAt(revision, namespace);
  if (!all) throw expiredToken(token);
  return page(engine, def, { entries: all, from: firstAfter(all, token.start), revision }, query);
}

function expiredToken(token: Token): ApiError {
  const error = gone(EXPIRED_CONTINUE);
  error.status.metadata["continue"] = encodeToken(-1, token.start);
  return error;
}

/** Where a list, which is in the order of its keys, goes on after a key. */
function firstAfter(entries: readonly Entry[], key: string): number {
  let [low, high] = [0, entries.length];
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (keyOf(entries[middle]!) > key) high = middle;
    else low = middle + 1;
  }
  return low;
}

const keyOf = (entry: Entry): string => (entry.namespace ? `${entry.namespace}/${entry.name}` : entry.name);

interface Source {
  readonly entries: readonly Entry[];
  /** Index of the first that the page may show. */
  readonly from: number;
  readonly revision: number;
}

async function page(engine: Engine, def: ResourceDef, { entries, from, revision }: Source, query: ListQuery): Promise<Page> {
  const limit = query.limit || Infinity;
  const selection = compileSelection(def, query.labelSelector, query.fieldSelector);
  const whole = selection.everything && from === 0 && entries.length <= limit && !def.storedAs;
  if (whole && !def.prepareRead) return { entries, revision };
  const taken: Entry[] = [];
  // No more is converted than the page may need: the rest of a long list is another page's.
  for (let at = from; at < entries.length; at += limit + 1) {
    const part = entries.slice(at, at + limit + 1);
    if (def.prepareRead) await def.prepareRead(part);
    for (const [i, entry] of part.entries()) {
      const shown = present(engine, def, entry);
      if (!selection.everything && !selection.matches(shown.object)) continue;
      if (taken.length === limit) {
        const token = encodeToken(revision, keyOf(taken.at(-1)!));
        return { entries: taken, revision, continue: token, ...(selection.everything && { remainingItemCount: entries.length - at - i }) };
      }
      taken.push(shown);
    }
  }
  return { entries: taken, revision };
}
