/** The paths below `/v1-k3s/`: settings and authorities for who may join, certificates for who proves to be the node it names. */
import { isK3spError } from "@k3s-p/plugin-api";
import { apiError, badRequest, type Informer, type KubeClient, type Node } from "@k3s-p/plugin-api/kube";
import type { RouteAnswer, RouteRequest } from "@k3s-p/plugin-api/points";
import { pluginAccount, type NodeInfo, type Pki, type UserInfo } from "@k3s-p/plugin-api/slots";
import { BASE } from "./basic-auth.ts";
import { agentConfig } from "./config.ts";
import { checkedAddresses, checkNodeName } from "./node-names.ts";
import type { NodePasswords } from "./node-password.ts";
import { NODE_GROUP } from "./own-node-admission.ts";

export interface Supervisor {
  readonly client: KubeClient;
  /** The server. */
  readonly self: NodeInfo;
  readonly pki: Pick<Pki, "ca" | "certify">;
  readonly nodes: Pick<Informer<Node>, "list">;
  readonly passwords: Pick<NodePasswords, "verify" | "claim">;
}

type Signed = Parameters<Pki["certify"]>[1];

/** What anybody may read who may join. */
const documents: Readonly<Record<string, (supervisor: Supervisor) => RouteAnswer | Promise<RouteAnswer>>> = {
  readyz: () => text("ok"),
  "client-ca.crt": ({ pki }) => text(pki.ca("client-ca").cert),
  "server-ca.crt": ({ pki }) => text(pki.ca("server-ca").cert),
  config: async ({ client, self }) => ({ status: 200, contentType: "application/json", body: JSON.stringify(await agentConfig(client, self.cluster)) }),
};

const text = (body: string): RouteAnswer => ({ status: 200, contentType: "text/plain", body });

/** Subject and names of a node's certificates; the request gives the key alone. */
const nodeCertificates: Readonly<Record<string, (node: string, request: RouteRequest, supervisor: Supervisor) => Signed>> = {
  "client-kubelet": (node) => ({ ca: "client-ca", commonName: `${NODE_USER}${node}`, organizations: [NODES], usage: "client" }),
  "serving-kubelet": (node, request, { self, nodes }) => ({
    ca: "server-ca", commonName: node, usage: "server",
    sans: [node, "localhost", "127.0.0.1", ...checkedAddresses(headerOf(request, "k3s-node-ip"), node, self, nodes.list())],
  }),
};

const NODES = "system:nodes";
const NODE_USER = "system:node:";

export async function answer(supervisor: Supervisor, request: RouteRequest): Promise<RouteAnswer> {
  const name = request.path.slice(BASE.length);
  const document = Object.hasOwn(documents, name) ? documents[name] : undefined;
  if (document) {
    only("GET", request);
    return document(supervisor);
  }
  const certificate = certificateOf(name, supervisor.self);
  if (!certificate) throw apiError(404, "NotFound", unknownTo(name, request.path));
  only("POST", request);
  if (!request.body.includes("CERTIFICATE REQUEST")) throw badRequest("a certificate signing request in PEM is expected as the body");
  const node = await nodeOf(request, supervisor);
  return text(await sign(supervisor.pki, request.body, certificate(node, request, supervisor)));
}

/** A plugin that is an agent's alone has no account: its certificate would open nothing. */
function unknownTo(name: string, path: string): string {
  const plugin = /^client-([\w.-]+)\.crt$/.exec(name)?.[1];
  if (plugin === undefined) return `${path} is nothing that agents of this cluster may ask for`;
  return `agents have no account for a plugin ${JSON.stringify(plugin)}: give the server its --plugin, too, so that it knows what the plugin may do`;
}

function only(method: string, request: RouteRequest): void {
  if (request.method !== method) throw apiError(405, "MethodNotAllowed", `${request.path} answers ${method} alone`);
}

/** Plugins are named as in their accounts. */
function certificateOf(path: string, { cluster }: NodeInfo): (typeof nodeCertificates)[string] | undefined {
  const name = /^([\w.-]+)\.crt$/.exec(path)?.[1];
  if (name === undefined) return undefined;
  if (Object.hasOwn(nodeCertificates, name)) return nodeCertificates[name];
  const account = cluster.agentPlugins.map(pluginAccount).find((own) => name === own.name.replace("k3s-p-", "client-"));
  if (!account) return undefined;
  const groups = ["system:serviceaccounts", `system:serviceaccounts:${account.namespace}`];
  return (node) => ({ ca: "client-ca", commonName: account.user, organizations: [...groups, `${NODE_GROUP}${node}`], usage: "client" });
}

/** The node that asks: by its own certificate, else by its password. */
async function nodeOf(request: RouteRequest, { self, passwords }: Supervisor): Promise<string> {
  const name = headerOf(request, "k3s-node-name").toLowerCase();
  if (name === "") throw badRequest("node name not set");
  checkNodeName(name, self);
  const password = headerOf(request, "k3s-node-password");
  const certified = certifiedNode(request.user);
  if (certified === name) {
    // Its Node was deleted, and came again by itself: nobody else is to take the name.
    if (password !== "") await passwords.claim(name, password);
    return name;
  }
  if (certified !== undefined) throw apiError(403, "Forbidden", `header node name does not match auth node name: ${name} is not ${certified}`);
  if (password === "") throw badRequest("node password not set");
  await passwords.verify(name, password);
  return name;
}

const certifiedNode = ({ name, groups }: UserInfo): string | undefined =>
  groups.includes(NODES) && name.startsWith(NODE_USER) ? name.slice(NODE_USER.length) : undefined;

function headerOf({ headers }: RouteRequest, name: string): string {
  const value = headers[name] ?? "";
  return (typeof value === "string" ? value : value.join(",")).trim();
}

async function sign(pki: Pick<Pki, "certify">, csr: string, request: Signed): Promise<string> {
  try {
    return await pki.certify(csr, request);
  } catch (error) {
    if (isK3spError(error) && error.code === "K3SP_CERTIFICATE_INVALID") throw badRequest(error.message);
    throw error;
  }
}
