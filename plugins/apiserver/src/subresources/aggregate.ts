/**
 * The aggregation layer: requests for the groups of an APIService go to the server behind its Service, in the name of
 * the user and under the front proxy's certificate; whether that server answers is written into its `Available` condition.
 */
import type { Duplex } from "node:stream";
import {
  apiError, apiServices, endpointSlices, findCondition, isConflict, isNotFound, services, setCondition, timestamp,
} from "@k3s-p/plugin-api/kube";
import type { APIService, KubeClient } from "@k3s-p/plugin-api/kube";
import type { Pki, UserInfo } from "@k3s-p/plugin-api/slots";
import type { ExternalVersion } from "../discovery/index.ts";
import { type ExternalDocument, type ExternalDocuments, readExternal, sameDocument } from "../openapi/external.ts";
import type { CacheView, Obj } from "../resources/types.ts";
import type { ApiRequest, ApiResponse, RequestInfo } from "../server/request.ts";
import { type Availability, checkAvailability, isLocal, resourcesOf } from "./availability.ts";
import { forward, forwardUpgrade, open, type Target } from "./forward.ts";
import { serviceEndpoint } from "./locations.ts";

export interface AggregatorDeps {
  readonly view: CacheView;
  /** Of the server itself. */
  readonly client: KubeClient;
  readonly pki: Pick<Pki, "issue">;
  /** Whether this server itself answers for a group and version. */
  readonly serves: (group: string, version: string) => boolean;
  readonly now: () => Date;
  /** Milliseconds until a server that did not answer is asked again; default 10 s. */
  readonly retry?: number;
}

export interface Aggregator {
  /** Undefined = not aggregated. */
  route(info: Pick<RequestInfo, "path">): ((req: ApiRequest, res: ApiResponse) => Promise<void>) | undefined;
  /** For upgrades (`exec`-like subresources of other servers); undefined = not aggregated. */
  upgrade(info: Pick<RequestInfo, "path">): ((req: ApiRequest, socket: Duplex, head: Buffer) => Promise<void>) | undefined;
  /** For discovery. */
  readonly external: { revision(): number; list(): readonly ExternalVersion[] };
  /** For OpenAPI. What is older than a minute is fetched again behind the answer. */
  readonly documents: ExternalDocuments;
  /** Starts to follow APIServices. */
  start(): void;
  stop(): void;
}

const RETRY = 10_000;
const STALE = 60_000;
const DISCOVERY_TIMEOUT = 5_000;

export function createAggregator(deps: AggregatorDeps): Aggregator {
  const { view, client } = deps;
  const known = new Map<string, ExternalVersion>();
  const documents = new Map<string, { readonly document: ExternalDocument; at: number }>();
  let documentRevision = 0;
  const timers = new Map<string, NodeJS.Timeout>();
  const checking = new Map<string, { again: boolean }>();
  const stops: (() => void)[] = [];
  let revision = 0;
  const credentials = frontProxy(deps.pki);

  const targetFor = async (service: Obj, path: string, user: UserInfo): Promise<Target> => {
    const { host, port } = resolve(view, service);
    return { protocol: "https:", host, port, path, tls: await tlsOf(service, credentials), headers: identityHeaders(user) };
  };
  const find = (path: string): Obj | undefined => {
    const [, root, group, version] = path.split("/");
    if (root !== "apis" || !group || !version || deps.serves(group, version)) return undefined;
    const found = view.get("apiregistration.k8s.io", "apiservices", `${version}.${group}`);
    return found && !isLocal(found) ? found : undefined;
  };
  const read = async (service: Obj, path: string): Promise<unknown> => {
    const target = await targetFor(service, path, prober);
    const answer = await open(target, { method: "GET", headers: { accept: "application/json" }, signal: AbortSignal.timeout(DISCOVERY_TIMEOUT) });
    let text = "";
    for await (const chunk of answer.setEncoding("utf8") as AsyncIterable<string>) text += chunk;
    if ((answer.statusCode ?? 500) >= 300) throw new Error(`bad status from https://${target.host}:${target.port}${target.path}: ${answer.statusCode}`);
    return JSON.parse(text);
  };
  const probe = (service: Obj): Promise<unknown> => read(service, `/apis/${service.spec.group}/${service.spec.version}`);

  /** A server without OpenAPI is none the worse. */
  async function fetchDocuments(name: string, service: Obj): Promise<void> {
    const { group, version } = service.spec;
    const document = await readExternal((path) => read(service, path).catch(() => undefined), group, version);
    if (!known.has(name)) return;
    if (!sameDocument(documents.get(name)?.document, document)) documentRevision++;
    documents.set(name, { document, at: deps.now().getTime() });
  }

  function refreshDocuments(): void {
    for (const [name, entry] of documents) {
      if (deps.now().getTime() - entry.at < STALE) continue;
      const service = view.get("apiregistration.k8s.io", "apiservices", name);
      entry.at = deps.now().getTime();
      if (service && isAvailable(service)) void fetchDocuments(name, service).catch(() => {});
    }
  }

  async function check(name: string): Promise<void> {
    clearTimeout(timers.get(name));
    timers.delete(name);
    const service = view.get("apiregistration.k8s.io", "apiservices", name);
    if (!service) return remember(name, undefined);
    const result = await checkAvailability(view, service, probe);
    if (!isLocal(service)) remember(name, external(service, result));
    if (!isLocal(service) && result.available) await fetchDocuments(name, service);
    if (!result.available && !isLocal(service)) timers.set(name, setTimeout(() => schedule(name), deps.retry ?? RETRY).unref());
    await writeCondition(client, view, name, result, timestamp(deps.now()));
  }

  /** One check of a name at a time; a change during a check asks for another. */
  function schedule(name: string): void {
    const running = checking.get(name);
    if (running) {
      running.again = true;
      return;
    }
    const state = { again: false };
    checking.set(name, state);
    void check(name).catch(() => {}).finally(() => {
      checking.delete(name);
      if (state.again) schedule(name);
    });
  }

  function remember(name: string, next: ExternalVersion | undefined): void {
    if (next) known.set(name, next);
    else if (!known.delete(name)) return;
    else if (documents.delete(name)) documentRevision++;
    revision++;
  }

  const behind = (namespace: string | undefined, service: string | undefined): void => {
    for (const found of view.list("apiregistration.k8s.io", "apiservices")) {
      const ref = found.spec?.service;
      if (ref && ref.name === service && ref.namespace === namespace) schedule(found.metadata!.name!);
    }
  };

  return {
    route(info) {
      const service = find(info.path);
      if (!service) return undefined;
      return async (req, res) => {
        if (!isAvailable(service)) throw unavailable();
        return forward(req, res, await targetFor(service, req.url, req.user));
      };
    },
    upgrade(info) {
      const service = find(info.path);
      return service && (async (req, socket, head) => forwardUpgrade(req, socket, head, await targetFor(service, req.url, req.user)));
    },
    external: { revision: () => revision, list: () => [...known.values()] },
    documents: {
      revision: () => documentRevision,
      list() {
        refreshDocuments();
        return [...documents.values()].map(({ document }) => document);
      },
    },
    start() {
      const follow = <T extends { metadata?: Obj["metadata"] }>(resource: Parameters<KubeClient["informer"]>[0], changed: (object: T) => void) => {
        const informer = client.informer(resource);
        const handle = (object: unknown) => changed(object as T);
        informer.on({ added: handle, updated: handle, deleted: handle });
        stops.push(() => informer.stop());
      };
      const seen = new Map<string, string>();
      follow<Obj>(apiServices, (object) => {
        const name = object.metadata!.name!;
        const spec = `${object.metadata!.uid} ${JSON.stringify(object.spec)}`;
        const gone = !view.get("apiregistration.k8s.io", "apiservices", name);
        if (seen.get(name) === spec && !gone) return;
        if (gone) seen.delete(name);
        else seen.set(name, spec);
        schedule(name);
      });
      follow<Obj>(services, ({ metadata }) => behind(metadata?.namespace, metadata?.name));
      follow<Obj>(endpointSlices, ({ metadata }) => behind(metadata?.namespace, metadata?.labels?.["kubernetes.io/service-name"]));
    },
    stop() {
      for (const stop of stops.splice(0)) stop();
      for (const timer of timers.values()) clearTimeout(timer);
    },
  };
}

const prober: UserInfo = { name: "system:kube-aggregator", groups: ["system:masters"] };

/** An endpoint of the Service, by the number of its port; or the host that an ExternalName stands for. */
function resolve(view: CacheView, service: Obj): { readonly host: string; readonly port: number } {
  const { name, namespace, port = 443 } = service.spec.service;
  const { type, externalName } = view.get("", "services", name, namespace)?.spec ?? {};
  if (type === "ExternalName") return { host: externalName, port };
  return serviceEndpoint(view, namespace, name, String(port));
}

interface FrontProxy {
  (): Promise<{ readonly cert: string; readonly key: string }>;
}

function frontProxy(pki: Pick<Pki, "issue">): FrontProxy {
  return () => pki.issue({ name: "client-auth-proxy", ca: "request-header-ca", commonName: "system:auth-proxy", usage: "client" });
}

async function tlsOf(service: Obj, credentials: FrontProxy): Promise<NonNullable<Target["tls"]>> {
  const { cert, key } = await credentials();
  const { insecureSkipTLSVerify, caBundle, service: ref } = service.spec;
  return {
    cert, key, servername: `${ref.name}.${ref.namespace}.svc`,
    ...(insecureSkipTLSVerify ? { rejectUnauthorized: false } : caBundle && { ca: Buffer.from(caBundle, "base64").toString() }),
  };
}

function identityHeaders({ name, uid, groups, extra = {} }: UserInfo): Record<string, string | readonly string[]> {
  const extras = Object.entries(extra).map(([key, values]) => [`X-Remote-Extra-${encodeURIComponent(key)}`, values] as const);
  return { "X-Remote-User": name, ...(uid && { "X-Remote-Uid": uid }), "X-Remote-Group": groups, ...Object.fromEntries(extras) };
}

const isAvailable = (service: Obj): boolean => findCondition(service.status?.conditions as { type: string; status: string }[] | undefined, "Available")?.status !== "False";

const unavailable = () => apiError(503, "ServiceUnavailable", "service unavailable");

function external(service: Obj, result: Availability): ExternalVersion {
  const { group, version, groupPriorityMinimum, versionPriority } = service.spec;
  return {
    group, version, groupPriority: groupPriorityMinimum, versionPriority,
    resources: result.available ? resourcesOf(result.discovered, group, version) : undefined,
  };
}

/** Nothing is written when nothing changed. */
async function writeCondition(client: KubeClient, view: CacheView, name: string, result: Availability, now: string): Promise<void> {
  for (let attempt = 0; attempt < 3; attempt++) {
    const current = view.get("apiregistration.k8s.io", "apiservices", name) as (Obj & APIService) | undefined;
    if (!current) return;
    const before = current.status?.conditions as { type: string; status: string; reason?: string; message?: string }[] | undefined;
    const { available, reason, message } = result;
    const conditions = setCondition(before, { type: "Available", status: available ? "True" : "False", reason, message }, now);
    if (conditions === before) return;
    try {
      await client.update(apiServices, { ...current, status: { ...current.status, conditions } } as never, { subresource: "status" });
      return;
    } catch (error) {
      if (isNotFound(error)) return;
      if (!isConflict(error)) throw error;
    }
  }
}
