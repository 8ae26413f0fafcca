/** The Kubernetes client of plugins in this process: the verbs without HTTP, under the plugin's own identity. */
import { AsyncLocalStorage } from "node:async_hooks";
import {
  apiError, ApiError, apiVersionOf, type CreateOptions, type DeleteOptions, type KubeClient, type KubeObject, type List,
  type ListOptions, notFound, type PatchOptions, type Resource, type Status, type WriteOptions,
} from "@k3s-p/plugin-api/kube";
import type { UserInfo } from "@k3s-p/plugin-api/slots";
import type { Obj, ResourceDef } from "../resources/types.ts";
import type { RequestHandler } from "../server/handler.ts";
import { type RequestInfo, selecting } from "../server/request.ts";
import type { Entry } from "../store/entry.ts";
import { create } from "../verbs/create.ts";
import { deletedStatus, remove, removeAll, returnsObject } from "../verbs/delete.ts";
import { type Call, checkBody, clone, collectionOf, type Engine, present } from "../verbs/engine.ts";
import { list } from "../verbs/list.ts";
import { patch } from "../verbs/patch.ts";
import { bind, evict } from "../verbs/pods.ts";
import { patchScale, updateScale } from "../verbs/scale.ts";
import { update } from "../verbs/update.ts";
import { startWatch } from "../verbs/watch.ts";
import { createInformer } from "./informer.ts";
import { requestInMemory } from "./memory.ts";

export interface ClientDeps {
  readonly engine: Engine;
  readonly handler: RequestHandler;
  /** Throws 403. */
  readonly authorize: (user: UserInfo, info: RequestInfo) => void;
}

export function createClient({ engine, handler, authorize }: ClientDeps, user: UserInfo): KubeClient {
  const manager = user.name.split(":").at(-1)!;

  /** Finds the row, authorizes, and describes the call to the verbs. */
  function begin(resource: Resource, verb: string, name: string, namespace = "", options: WriteOptions & Pick<ListOptions, "fieldSelector"> = {}): Call {
    const def = engine.registry.get(resource.group, resource.version, resource.plural);
    if (!def) throw apiError(404, "NotFound", "the server could not find the requested resource", {});
    const space = def.namespaced ? namespace : "";
    const { subresource = "", dryRun = false, fieldManager = manager } = options;
    authorize(user, selecting(infoOf(def, verb, subresource, space, name), options.fieldSelector ?? ""));
    if (def.namespaced && !space && !overAll.has(verb)) {
      throw apiError(400, "BadRequest", `an empty namespace may not be set when a resource of kind ${def.kind} is named`);
    }
    return { user, def, subresource, namespace: space, name, dryRun, manager: fieldManager };
  }

  const objectOf = <T>(entry: Entry): T => entry.object as unknown as T;

  async function createSubresource(call: Call, object: Obj): Promise<unknown> {
    if (call.subresource === "binding") return bind(engine, call, object);
    if (call.subresource === "eviction") return evict(engine, call, object);
    return raw("POST", `${pathOf(call.def, call.namespace)}/${call.name}/${call.subresource}`, object);
  }

  async function raw(method: string, path: string, body?: object): Promise<unknown> {
    const answer = await client.request(method, path, body);
    if (answer.status >= 400) throw new ApiError(answer.body as Status);
    return answer.body;
  }

  const client: KubeClient = {
    async get<T extends KubeObject>(resource: Resource<T>, name: string, namespace?: string) {
      const call = begin(resource, "get", name, namespace);
      const entry = collectionOf(engine, call.def).get(name, call.namespace);
      if (!entry) throw notFound(call.def, name);
      if (call.def.prepareRead) await call.def.prepareRead([entry]);
      return objectOf<T>(present(engine, call.def, entry));
    },
    async list<T extends KubeObject>(resource: Resource<T>, options: ListOptions = {}) {
      const call = begin(resource, "list", "", options.namespace, options);
      const page = await list(engine, call.def, call.namespace, options);
      return {
        apiVersion: apiVersionOf(resource), kind: `${call.def.kind}List`,
        metadata: {
          resourceVersion: String(page.revision), ...(page.continue && { continue: page.continue }),
          ...(page.remainingItemCount !== undefined && { remainingItemCount: page.remainingItemCount }),
        },
        items: page.entries.map((entry) => objectOf<T>(entry)),
      } satisfies List<T>;
    },
    async create<T extends KubeObject, R extends KubeObject = T>(resource: Resource<T>, object: R, options: CreateOptions = {}) {
      const namespace = options.namespace ?? object.metadata?.namespace;
      const call = begin(resource, "create", options.name ?? "", namespace, options);
      const body = clone(object) as unknown as Obj;
      if (call.subresource) return (await createSubresource(call, body)) as R;
      if (call.def.virtual) return (await raw("POST", pathOf(call.def, call.namespace), body)) as R;
      checkBody(engine, call, body);
      return objectOf<R>(await create(engine, call, body));
    },
    async update<T extends KubeObject>(resource: Resource<T>, object: T, options: WriteOptions = {}) {
      const { name = "", namespace } = object.metadata ?? {};
      const call = begin(resource, "update", name, namespace, options);
      const body = clone(object) as unknown as Obj;
      if (call.subresource === "scale") return objectOf<T>(await updateScale(engine, call, body));
      checkBody(engine, call, body);
      return objectOf<T>((await update(engine, call, body)).entry);
    },
    async patch<T extends KubeObject>(resource: Resource<T>, name: string, body: object, options: PatchOptions = {}) {
      const { type = "merge", force = false, namespace } = options;
      const call = begin(resource, "patch", name, namespace, options);
      const input = { type, patch: clone(body), force };
      if (call.subresource === "scale") return objectOf<T>(await patchScale(engine, call, input));
      return objectOf<T>((await patch(engine, call, input)).entry);
    },
    async delete<T extends KubeObject>(resource: Resource<T>, name: string, options: DeleteOptions = {}) {
      const call = begin(resource, "delete", name, options.namespace, options);
      const deleted = await remove(engine, call, options);
      return returnsObject(call.def, deleted) ? objectOf<T>(deleted.entry) : deletedStatus(call.def, deleted.entry);
    },
    async deleteCollection(resource, options = {}) {
      const call = begin(resource, "deletecollection", "", options.namespace, options);
      const page = await list(engine, call.def, call.namespace, options);
      await removeAll(engine, call, page.entries, options);
    },
    async watch(resource, options, onEvent) {
      const { signal } = options;
      const call = begin(resource, "watch", "", options.namespace, options);
      signal?.throwIfAborted();
      // Events come in the course of somebody's write, and what goes wrong with them is not the writer's fault.
      const told = AsyncLocalStorage.bind(onEvent);
      await new Promise<void>((resolve, reject) => {
        let stop = (): void => {};
        stop = startWatch(engine, call.def, call.namespace, options, {
          event: (type, entry) => told({ type, object: objectOf(entry) }),
          synced: () => {},
          failed: (error) => reject(error),
        });
        const end = (): void => {
          stop();
          resolve();
        };
        // What is there at once may have been enough for the caller.
        if (signal?.aborted) end();
        else signal?.addEventListener("abort", end, { once: true });
      });
    },
    informer(resource, options) {
      const def = engine.registry.get(resource.group, resource.version, resource.plural);
      if (def) authorize(user, selecting(infoOf(def, "watch", "", options?.namespace ?? "", ""), options?.fieldSelector ?? ""));
      return createInformer(engine, resource, options);
    },
    async request(method, path, body) {
      const answer = await requestInMemory(handler, user, method, path, body);
      const type = String(answer.headers["content-type"] ?? "");
      return { status: answer.status, body: type.includes("json") && answer.text ? (JSON.parse(answer.text) as unknown) : answer.text };
    },
  };
  return client;
}

const overAll = new Set(["list", "watch", "deletecollection"]);

function pathOf(def: ResourceDef, namespace: string): string {
  const root = def.group ? `/apis/${def.group}/${def.version}` : `/api/${def.version}`;
  return `${root}${namespace ? `/namespaces/${namespace}` : ""}/${def.plural}`;
}

const infoOf = (def: ResourceDef, verb: string, subresource: string, namespace: string, name: string): RequestInfo => ({
  isResource: true, path: "", verb, group: def.group, version: def.version, resource: def.plural, subresource, namespace, name, rest: [],
});

