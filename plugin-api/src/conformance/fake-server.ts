/** The pretended API server over HTTPS, for code in a process of its own: what the client of `kube/https.ts` asks for, and no more. */
import { once } from "node:events";
import type { IncomingMessage, ServerResponse } from "node:http";
import { createServer } from "node:https";
import type { AddressInfo } from "node:net";
import type { ListOptions, PatchType } from "../kube/client.ts";
import { ApiError, apiError, gone } from "../kube/errors.ts";
import type { FakeKube } from "../kube/fake.ts";
import * as resources from "../kube/resources.ts";
import { apiVersionOf, type Resource } from "../kube/resources.ts";
import type { KubeObject } from "../kube/types.ts";
import { certificate, privateKey } from "./certificate.fixture.ts";

export interface FakeServer {
  readonly url: string;
  readonly port: number;
  /** PEM; the server's certificate is for `localhost`. */
  readonly ca: string;
  close(): Promise<void>;
}

interface Asked {
  readonly method: string;
  readonly query: URLSearchParams;
  readonly resource: Resource;
  readonly namespace: string | undefined;
  readonly name: string | undefined;
  readonly subresource: string | undefined;
  readonly body: any;
  readonly contentType: string;
}

/** Every change under one selection since it was first listed: a list names a place in it, and a watch goes on from there. */
interface Log {
  readonly events: { readonly type: string; readonly object: KubeObject }[];
  readonly followers: Set<() => void>;
  stop(): void;
}

const known = (Object.values(resources) as unknown[]).filter((value): value is Resource => typeof value === "object" && value !== null && "plural" in value);
const patchTypes: Readonly<Record<string, PatchType>> = {
  "application/json-patch+json": "json", "application/merge-patch+json": "merge", "application/strategic-merge-patch+json": "strategic", "application/apply-patch+yaml": "apply",
};

export async function serveKube(kube: FakeKube): Promise<FakeServer> {
  const logs = new Map<string, Log>();

  function logOf({ resource, namespace, query }: Asked): Log {
    const options = selectionOf(namespace, query);
    const key = JSON.stringify([resource.group, resource.plural, options]);
    const log = logs.get(key) ?? followed(kube, resource, options);
    logs.set(key, log);
    return log;
  }

  async function list(asked: Asked): Promise<object> {
    const { resource, namespace, query } = asked;
    const resourceVersion = `list-${logOf(asked).events.length}`;
    const { items } = await kube.list(resource, selectionOf(namespace, query));
    return { apiVersion: apiVersionOf(resource), kind: `${resource.kind}List`, metadata: { resourceVersion }, items };
  }

  function watch(asked: Asked, response: ServerResponse): void {
    const from = /^list-(\d+)$/.exec(asked.query.get("resourceVersion") ?? "")?.[1];
    if (from === undefined) throw gone("only a list of this server is a place to watch from");
    const { events, followers } = logOf(asked);
    let next = Number(from);
    const send = () => {
      for (; next < events.length; next++) response.write(`${JSON.stringify(events[next])}\n`);
    };
    response.writeHead(200, { "content-type": "application/json" }).flushHeaders();
    followers.add(send);
    response.on("close", () => followers.delete(send));
    send();
  }

  async function answer(asked: Asked): Promise<object> {
    const { method, resource, namespace, name, subresource, body, contentType } = asked;
    const where = { ...(namespace && { namespace }), ...(subresource && { subresource }) };
    switch (method) {
      case "GET": return name ? kube.get(resource, name, namespace) : list(asked);
      case "POST": return kube.create(resource, body as KubeObject, { ...where, ...(name && { name }) });
      case "PUT": return kube.update(resource, body as KubeObject, where);
      case "PATCH": return kube.patch(resource, name!, body as object, { ...where, type: patchTypes[contentType] ?? "merge" });
      case "DELETE":
        if (name) return kube.delete(resource, name, { ...body, ...where });
        await kube.deleteCollection(resource, { ...selectionOf(namespace, asked.query), ...body });
        return { apiVersion: "v1", kind: "Status", status: "Success" };
      default: throw apiError(405, "MethodNotAllowed", method);
    }
  }

  async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    try {
      const { pathname, searchParams: query } = new URL(request.url ?? "/", "https://localhost");
      const text = await textOf(request);
      const body: unknown = text && JSON.parse(text);
      const target = targetOf(pathname);
      if (!target) {
        const { status, body: found } = await kube.request(request.method ?? "GET", request.url ?? "/", (body || undefined) as object);
        return send(response, status, found);
      }
      const asked: Asked = { ...target, method: request.method ?? "GET", query, body, contentType: request.headers["content-type"] ?? "" };
      if (query.get("watch") === "true") return watch(asked, response);
      send(response, request.method === "POST" ? 201 : 200, await answer(asked));
    } catch (error) {
      const { status } = error instanceof ApiError ? error : apiError(500, "InternalError", String(error));
      send(response, status.code ?? 500, status);
    }
  }

  const server = createServer({ cert: certificate, key: privateKey }, (request, response) => void serve(request, response));
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  return {
    url: `https://localhost:${port}`, port, ca: certificate,
    close: () => new Promise((resolve) => {
      for (const log of logs.values()) log.stop();
      server.close(() => resolve());
      server.closeAllConnections();
    }),
  };
}

function followed(kube: FakeKube, resource: Resource, options: ListOptions): Log {
  const informer = kube.informer(resource, options);
  const events: { readonly type: string; readonly object: KubeObject }[] = [];
  const followers = new Set<() => void>();
  let listening = false;
  const add = (type: string) => (object: KubeObject) => {
    // What is there already is what the first list shows.
    if (!listening) return;
    events.push({ type, object });
    for (const follower of followers) follower();
  };
  informer.on({ added: add("ADDED"), updated: add("MODIFIED"), deleted: add("DELETED") });
  listening = true;
  return { events, followers, stop: () => informer.stop() };
}

const selectionOf = (namespace: string | undefined, query: URLSearchParams): ListOptions => {
  const [labelSelector, fieldSelector] = [query.get("labelSelector"), query.get("fieldSelector")];
  return { ...(namespace && { namespace }), ...(labelSelector && { labelSelector }), ...(fieldSelector && { fieldSelector }) };
};

/** `/apis/apps/v1/namespaces/default/deployments/web/scale`; undefined for what is no resource that is known here. */
function targetOf(path: string): Pick<Asked, "resource" | "namespace" | "name" | "subresource"> | undefined {
  const parts = path.split("/").filter(Boolean).map(decodeURIComponent);
  const [group, version, rest] = parts[0] === "api" ? ["", parts[1], parts.slice(2)] : [parts[1], parts[2], parts.slice(3)];
  const isIn = rest[0] === "namespaces" && rest.length > 2 && rest[2] !== "status" && rest[2] !== "finalize";
  const [plural, name, subresource] = isIn ? rest.slice(2) : rest;
  const resource = known.find((each) => each.group === group && each.version === version && each.plural === plural);
  return resource && { resource, namespace: isIn ? rest[1] : undefined, name, subresource };
}

async function textOf(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString("utf8");
}

function send(response: ServerResponse, code: number, body: unknown): void {
  response.writeHead(code, { "content-type": "application/json" }).end(JSON.stringify(body));
}
