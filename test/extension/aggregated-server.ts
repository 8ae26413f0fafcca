/**
 * An aggregated API server for tests, as its author would write one: it trusts the front proxy that the cluster names in
 * `extension-apiserver-authentication`, and serves flunders with discovery, OpenAPI, watch and a stream.
 */
import { createServer, type Server } from "node:https";
import type { IncomingMessage, ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { testCertificate, testPrivateKey } from "../../plugins/apiserver/src/subresources/testing.ts";

export interface AggregatedServer extends AsyncDisposable {
  readonly port: number;
  /** Who asked for what, as the proxy said. */
  readonly seen: { readonly url: string; readonly user: string; readonly groups: readonly string[]; readonly proxy: string }[];
  /** False makes discovery fail. */
  healthy: boolean;
}

export const GROUP = "wardle.example.com";
export const caBundle = Buffer.from(testCertificate).toString("base64");

const kind = { group: GROUP, version: "v1", kind: "Flunder" };
const flunder = (name: string): object => ({ apiVersion: `${GROUP}/v1`, kind: "Flunder", metadata: { name, namespace: "default", resourceVersion: "1", uid: name }, spec: { color: "red" } });
const collection = `/apis/${GROUP}/v1/namespaces/{namespace}/flunders`;
const properties = { apiVersion: { type: "string" }, kind: { type: "string" }, spec: { type: "object", description: "What the flunder is.", properties: { color: { type: "string" } } } };
const schema = { type: "object", description: "A flunder flunders.", properties, "x-kubernetes-group-version-kind": [kind] };
const NAME = "com.example.wardle.v1.Flunder";

const documents: Readonly<Record<string, object>> = {
  [`/apis/${GROUP}/v1`]: { kind: "APIResourceList", apiVersion: "v1", groupVersion: `${GROUP}/v1`, resources: [{ name: "flunders", singularName: "flunder", namespaced: true, kind: "Flunder", verbs: ["get", "list", "watch"], shortNames: ["fl"] }] },
  "/openapi/v2": {
    swagger: "2.0", info: { title: "wardle", version: "v1" }, definitions: { [NAME]: schema },
    paths: { [collection]: { get: { "x-kubernetes-action": "list", "x-kubernetes-group-version-kind": kind, responses: { 200: { description: "OK", schema: { $ref: `#/definitions/${NAME}` } } } } } },
  },
  [`/openapi/v3/apis/${GROUP}/v1`]: {
    openapi: "3.0.0", info: { title: "wardle", version: "v1" }, components: { schemas: { [NAME]: schema } },
    paths: { [collection]: { get: { "x-kubernetes-action": "list", "x-kubernetes-group-version-kind": kind, responses: { 200: { description: "OK", content: { "application/json": { schema: { $ref: `#/components/schemas/${NAME}` } } } } } } } },
  },
  [`/apis/${GROUP}/v1/namespaces/default/flunders`]: { kind: "FlunderList", apiVersion: `${GROUP}/v1`, metadata: { resourceVersion: "1" }, items: [flunder("a"), flunder("b")] },
  [`/apis/${GROUP}/v1/namespaces/default/flunders/a`]: flunder("a"),
};

/** `frontProxyCa` is the PEM of those whose word about the user counts. */
export async function startAggregatedServer(frontProxyCa: string): Promise<AggregatedServer> {
  const server: Server = createServer({ key: testPrivateKey, cert: testCertificate, ca: frontProxyCa, requestCert: true, rejectUnauthorized: true });
  const note = (req: IncomingMessage): void => {
    const socket = req.socket as unknown as { getPeerCertificate(): { subject: { CN: string } } };
    result.seen.push({
      url: req.url!, user: String(req.headers["x-remote-user"]), groups: req.headersDistinct["x-remote-group"] ?? [], proxy: socket.getPeerCertificate().subject.CN,
    });
  };
  server.on("request", (req: IncomingMessage, res: ServerResponse) => {
    note(req);
    const { pathname, searchParams } = new URL(req.url!, "https://x");
    if (!result.healthy) return void res.writeHead(500).end();
    res.setHeader("content-type", "application/json");
    if (searchParams.has("watch")) return void watch(res);
    const document = documents[pathname];
    if (document) return void res.end(JSON.stringify(document));
    res.writeHead(404).end(JSON.stringify({ kind: "Status", apiVersion: "v1", status: "Failure", reason: "NotFound", code: 404, message: `${pathname} not found here` }));
  });
  server.on("upgrade", (req, socket, head) => {
    note(req);
    socket.write("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n");
    if (head.length > 0) socket.write(head);
    socket.pipe(socket);
  });
  await new Promise<void>((resolve) => server.listen(0, "localhost", resolve));
  const result: AggregatedServer = {
    port: (server.address() as AddressInfo).port, seen: [], healthy: true,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
  return result;
}

/** Two events, then silence until the client goes. */
function watch(res: ServerResponse): void {
  for (const [i, type] of ["ADDED", "MODIFIED"].entries()) setTimeout(() => res.write(`${JSON.stringify({ type, object: flunder("a") })}\n`), i * 20);
}
