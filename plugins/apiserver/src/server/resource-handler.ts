/** Requests on resources: from path and verb to the verbs' functions, and their results to answers. */
import { apiError, badRequest, type PatchType } from "@k3s-p/plugin-api/kube";
import type { Obj, ResourceDef, Verb } from "../resources/types.ts";
import type { Entry } from "../store/entry.ts";
import { checkType, create } from "../verbs/create.ts";
import { deletedStatus, type Deletion, remove, removeAll, returnsObject } from "../verbs/delete.ts";
import { type Call, checkBody, collectionOf, type Engine, isPlainObject, present } from "../verbs/engine.ts";
import { list, type ListQuery } from "../verbs/list.ts";
import { isDryRun, writeOptions } from "../verbs/options.ts";
import { patch, type PatchInput, patchTypes } from "../verbs/patch.ts";
import { bind, evict } from "../verbs/pods.ts";
import { getScale, patchScale, updateScale } from "../verbs/scale.ts";
import { update } from "../verbs/update.ts";
import type { WatchQuery } from "../verbs/watch.ts";
import { decodeBody, decodeChecked, type Decoded, mediaType } from "./body.ts";
import { serveWatch, type WatchHub } from "./http-watch.ts";
import { type Format, negotiate } from "./negotiate.ts";
import type { ApiRequest, ApiResponse, RequestInfo } from "./request.ts";
import { sendEntry, sendList, sendObject } from "./respond.ts";

/** Answers a subresource or a virtual resource that the engine itself does not know. */
export type SubresourceHandler = (req: ApiRequest, res: ApiResponse) => Promise<void>;

export interface ResourceRoutes {
  readonly engine: Engine;
  readonly hub: WatchHub;
  /** By `plural/subresource`, and by `plural` for virtual resources. */
  readonly handlers: ReadonlyMap<string, SubresourceHandler>;
}

interface Context extends Pick<ResourceRoutes, "engine" | "hub"> {
  readonly req: ApiRequest;
  readonly res: ApiResponse;
  readonly def: ResourceDef;
  readonly call: Call;
  readonly format: Format;
}

type Handler = (context: Context) => void | Promise<void>;

/** What is in the cache is answered at once; a promise is for everything else. */
export function handleResource(routes: ResourceRoutes, def: ResourceDef, req: ApiRequest, res: ApiResponse): void | Promise<void> {
  const { info } = req;
  const own = ownHandler(def, info.subresource);
  const special = routes.handlers.get(info.subresource ? `${def.plural}/${info.subresource}` : def.plural);
  if (info.subresource && !def.subresources?.includes(info.subresource)) throw pathNotFound();
  // Those of built-in kinds go by method: only proxies pass HEAD and OPTIONS on. For custom ones HEAD is another get.
  if (req.method === "OPTIONS" || req.method === "HEAD") if (info.subresource !== "proxy" && !(def.custom && req.method === "HEAD")) throw methodNotAllowed();
  if (special && (!own || def.virtual)) {
    if (def.virtual) negotiate(req.headers.accept, false);
    return special(req, res);
  }
  if (!own || (def.namespaced ? !info.namespace && info.name !== "" : info.namespace !== "" && def.plural !== "namespaces")) throw pathNotFound();
  const handler = own[info.verb];
  if (!handler || !fits(def, info)) {
    throw methodNotAllowed();
  }
  const format = negotiate(req.headers.accept);
  if (def.deprecationWarning) warn(res, [def.deprecationWarning]);
  return handler({ engine: routes.engine, hub: routes.hub, req, res, def, format, call: callOf(def, req, res) });
}

const readsAll = new Set(["list", "watch"]);
const needsName = new Set(["get", "update", "patch", "delete"]);

/** Whether the resource has the verb, at a path of this form. */
function fits(def: ResourceDef, { verb, subresource, namespace, name }: RequestInfo): boolean {
  if (def.namespaced && !namespace && !readsAll.has(verb)) return false;
  if (subresource) return name !== "";
  return def.verbs.includes(verb as Verb) && (needsName.has(verb) ? name !== "" : verb !== "create" || name === "");
}

export const methodNotAllowed = (): Error =>
  apiError(405, "MethodNotAllowed", "the server does not allow this method on the requested resource", {});

export const pathNotFound = (): Error =>
  apiError(404, "NotFound", "the server could not find the requested resource", {});

function callOf(def: ResourceDef, req: ApiRequest, res: ApiResponse): Call {
  const { info, user } = req;
  const namespace = def.namespaced ? info.namespace : "";
  const { subresource, name } = info;
  if (reading.has(info.verb)) return { user, def, subresource, namespace, name, dryRun: false, manager: "" };
  return {
    user, def, subresource, namespace, name, verb: info.verb, manager: managerOf(req), ...writeOptions(info.verb, req.query, isApply(req)),
    warn: (warnings) => warn(res, warnings),
    ...(req.audit && { annotate: req.audit.annotate }),
  };
}

const reading = new Set(["get", "list", "watch"]);

const isApply = (req: ApiRequest): boolean => mediaType(req.headers["content-type"]).startsWith("application/apply-patch");

/** `fieldManager`, or the first word of the user agent, as upstream. */
function managerOf(req: ApiRequest): string {
  const given = req.query.get("fieldManager");
  if (given) return given;
  if (isApply(req)) return "";
  return String(req.headers["user-agent"] ?? "unknown").split("/", 1)[0]!.slice(0, 128);
}

/** Verbs of the resource itself and of the subresources that the engine writes. */
function ownHandler(def: ResourceDef, subresource: string): Readonly<Record<string, Handler>> | undefined {
  if (!subresource) return resourceVerbs;
  if (subresource === "scale" && def.scale) return scaleVerbs;
  return subresources[subresource];
}

const resourceVerbs: Readonly<Record<string, Handler>> = {
  get: getOne, list: listAll, watch, create: createOne, update: updateOne, patch: patchOne,
  delete: deleteOne, deletecollection: deleteMany,
};
const writable = { get: getOne, update: updateOne, patch: patchOne };
const scaleVerbs: Readonly<Record<string, Handler>> = {
  get: async ({ engine, req, res, def, call, format }) => sendEntry(req, res, 200, def, await getScale(engine, call), format),
  update: async (c) => sendEntry(c.req, c.res, 200, c.def, await updateScale(c.engine, c.call, await bodyOf(c, false)), c.format),
  patch: async (c) => sendEntry(c.req, c.res, 200, c.def, await patchScale(c.engine, c.call, await patchOf(c)), c.format),
};
const subresources: Readonly<Record<string, Readonly<Record<string, Handler>>>> = {
  status: writable, approval: writable, ephemeralcontainers: writable, resize: writable,
  finalize: { update: updateOne },
  binding: { create: async (c) => sendObject(c.req, c.res, 201, await bind(c.engine, c.call, await bodyOf(c, false))) },
  eviction: { create: async (c) => sendObject(c.req, c.res, 201, await evict(c.engine, c.call, await bodyOf(c, false))) },
};

function getOne(context: Context): void | Promise<void> {
  const { engine, req, def, call } = context;
  const wanted = Number(req.url.includes("resourceVersion=") ? req.query.get("resourceVersion") : 0);
  if (wanted > engine.store.revision) return list(engine, def, call.namespace, { resourceVersion: String(wanted), limit: 1 }).then(() => sendOne(context));
  return sendOne(context);
}

function sendOne({ engine, req, res, def, call, format }: Context): void | Promise<void> {
  const entry = collectionOf(engine, def).get(call.name, call.namespace);
  if (!entry) throw notFoundFor(call);
  const send = (): void | Promise<void> => sendEntry(req, res, 200, def, present(engine, def, entry), format);
  return def.prepareRead ? def.prepareRead([entry]).then(send) : send();
}

const notFoundFor = ({ def, name }: Call): Error => {
  const group = def.group ? `${def.plural}.${def.group}` : def.plural;
  return apiError(404, "NotFound", `${group} ${JSON.stringify(name)} not found`, { name, ...(def.group && { group: def.group }), kind: def.plural });
};

async function listAll({ engine, req, res, def, call, format }: Context): Promise<void> {
  return sendList(req, res, def, await list(engine, def, call.namespace, { ...listQuery(req), ...(req.query.has("sendInitialEvents") && { sendInitialEvents: true }) }), format);
}

function watch({ engine, req, res, def, call, format, hub }: Context): Promise<void> {
  const { query } = req;
  const flag = (name: string): boolean | undefined => (query.has(name) ? isTrue(query.get(name)!) : undefined);
  const fields = [query.get("fieldSelector"), call.name && `metadata.name=${call.name}`].filter(Boolean).join(",");
  const watchQuery: WatchQuery = {
    ...listQuery(req), fieldSelector: fields || undefined,
    sendInitialEvents: flag("sendInitialEvents"), allowWatchBookmarks: flag("allowWatchBookmarks"),
  };
  return serveWatch(engine, req, res, {
    def, namespace: call.namespace, query: watchQuery, format, hub, timeoutSeconds: numberOf(query, "timeoutSeconds"),
  });
}

async function createOne(context: Context): Promise<void> {
  const { engine, req, res, def, call, format } = context;
  const body = await bodyOf(context);
  if (def.plural === "bindings" && def.group === "") return createBinding(context, body);
  return sendEntry(req, res, 201, def, await create(engine, call, body), format);
}

/** The old way to bind: the Binding's name is the pod's. */
async function createBinding({ engine, req, res, call }: Context, binding: Obj): Promise<void> {
  const pods = engine.registry.get("", "v1", "pods")!;
  const status = await bind(engine, { ...call, def: pods, name: binding.metadata?.name ?? "", subresource: "binding" }, binding);
  return sendObject(req, res, 201, status);
}

async function updateOne(context: Context): Promise<void> {
  const { engine, req, res, def, call, format } = context;
  // Nobody is warned of the same body twice.
  const { warn: _, ...quiet } = call;
  const again = (): Promise<Obj> => bodyOf({ ...context, call: { ...quiet, fieldValidation: "Ignore" } });
  const { entry, created } = await update(engine, call, await bodyOf(context), again);
  return sendEntry(req, res, created ? 201 : 200, def, entry, format);
}

async function patchOne(context: Context): Promise<void> {
  const { engine, req, res, def, call, format } = context;
  const { entry, created } = await patch(engine, call, await patchOf(context));
  return sendEntry(req, res, created ? 201 : 200, def, entry, format);
}

async function deleteOne({ engine, req, res, def, call, format }: Context): Promise<void> {
  const { deletion, dryRun } = await deletionOf(req);
  const deleted = await remove(engine, { ...call, dryRun: call.dryRun || dryRun }, deletion);
  const status = deletion.orphanDependents === false && !deleted.gone ? 202 : 200;
  if (returnsObject(def, deleted)) return sendEntry(req, res, status, def, deleted.entry, format);
  return sendObject(req, res, status, deletedStatus(def, deleted.entry), format.encoding);
}

async function deleteMany({ engine, req, res, def, call, format }: Context): Promise<void> {
  const { deletion, dryRun } = await deletionOf(req);
  const page = await list(engine, def, call.namespace, listQuery(req));
  const entries: Entry[] = await removeAll(engine, { ...call, dryRun: call.dryRun || dryRun }, page.entries, deletion);
  return sendList(req, res, def, { entries, revision: engine.store.revision }, format);
}

function listQuery({ query }: ApiRequest): ListQuery {
  return {
    labelSelector: query.get("labelSelector") ?? undefined,
    fieldSelector: query.get("fieldSelector") ?? undefined,
    limit: numberOf(query, "limit"),
    continue: query.get("continue") ?? undefined,
    resourceVersion: query.get("resourceVersion") ?? undefined,
    resourceVersionMatch: query.get("resourceVersionMatch") ?? undefined,
  };
}

function numberOf(query: URLSearchParams, name: string): number | undefined {
  const text = query.get(name);
  if (!text) return undefined;
  if (!/^-?\d+$/.test(text)) throw badRequest(`strconv.ParseInt: parsing ${JSON.stringify(text)}: invalid syntax`);
  return Number(text);
}

const isTrue = (value: string): boolean => value === "" || value === "1" || value === "true" || value === "True" || value === "t";

/** The decoded body of a write, private to it. */
async function bodyOf({ req, engine, call }: Context, check = true): Promise<Obj> {
  const bytes = await req.body();
  if (bytes.length === 0) throw badRequest("unexpected EOF");
  const { value: body, duplicates } = await decoded(call, bytes, req.headers["content-type"]);
  if (!isPlainObject(body)) throw badRequest(`couldn't get version/kind; json parse error: json: cannot unmarshal ${kindOf(body)} into Go value of type struct`);
  const { metadata } = body as Obj;
  if (metadata !== undefined && metadata !== null && !isPlainObject(metadata)) {
    throw badRequest("json: cannot unmarshal metadata into Go struct field .metadata of type v1.ObjectMeta");
  }
  if (check) {
    checkType(call, body as Obj);
    checkBody(engine, duplicates ? { ...call, duplicates } : call, body as Obj);
  }
  return body as Obj;
}

/** Nobody hears of keys that are there twice when validation is off. */
async function decoded({ fieldValidation }: Call, bytes: Buffer, contentType: string | undefined): Promise<Decoded> {
  return fieldValidation === "Ignore" ? { value: await decodeBody(bytes, contentType) } : decodeChecked(bytes, contentType);
}

const kindOf = (value: unknown): string => (Array.isArray(value) ? "array" : value === null ? "null" : typeof value);

export function warn(res: ApiResponse, warnings: readonly string[]): void {
  if (warnings.length === 0) return;
  const before = (res.getHeader("warning") as string[] | undefined) ?? [];
  const lines = warnings.map((text) => `299 - ${headerText(JSON.stringify(text))}`);
  res.setHeader("warning", [...new Set([...before, ...lines])]);
}

/** Headers take bytes: UTF-8 in the disguise of Latin-1. */
const headerText = (text: string): string => Buffer.from(text.replaceAll("\x7f", ""), "utf8").toString("latin1");

async function patchOf({ req, def, call }: Context): Promise<PatchInput> {
  const media = mediaType(req.headers["content-type"]);
  const type = patchTypes[media] as PatchType | undefined;
  if (!type || (type === "strategic" && def.custom)) {
    throw apiError(415, "UnsupportedMediaType", "the body of the request was in an unknown format - accepted media types include: " +
      `application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml${def.custom ? "" : ", application/strategic-merge-patch+json"}`);
  }
  const { value, duplicates } = await decoded(call, await req.body(), type === "apply" ? "application/yaml" : media);
  return { type, patch: value, duplicates, force: isTrue(req.query.get("force") ?? "false") };
}

/** DeleteOptions, from the body or else from the query. */
async function deletionOf(req: ApiRequest): Promise<{ deletion: Deletion; dryRun: boolean }> {
  const bytes = await req.body();
  const { query } = req;
  if (bytes.length > 0) {
    const decoded = await decodeBody(bytes, req.headers["content-type"]);
    if (!isPlainObject(decoded)) throw badRequest("the body of a delete must be DeleteOptions");
    const body = decoded as Deletion & { kind?: string; dryRun?: string[] };
    if (body.kind && body.kind !== "DeleteOptions") throw badRequest(`decoded object cannot be converted to DeleteOptions: ${body.kind}`);
    return { deletion: body, dryRun: isDryRun(body.dryRun ?? []) };
  }
  const orphan = query.get("orphanDependents");
  const deletion: Deletion = {
    gracePeriodSeconds: numberOf(query, "gracePeriodSeconds"),
    propagationPolicy: query.get("propagationPolicy") ?? undefined,
    orphanDependents: orphan === null ? undefined : isTrue(orphan),
  };
  return { deletion, dryRun: false };
}

