/** The `apiserver` slot, and the `kube` client that every plugin derives from it. */
import { defineSlot, type PluginIdentity } from "../contract.ts";
import type { KubeClient } from "../kube/client.ts";
import { isAlreadyExists } from "../kube/errors.ts";
import type { KubeConnection } from "../kube/https.ts";
import { serviceAccounts } from "../kube/resources.ts";
import type { KubeObject, TokenRequest } from "../kube/types.ts";
import type { NodeInfo, Pki } from "../refs.ts";

/** Who a request comes from, as RBAC sees it. */
export interface UserInfo {
  readonly name: string;
  readonly uid?: string;
  readonly groups: readonly string[];
  readonly extra?: Readonly<Record<string, readonly string[]>>;
}

export interface ApiServer {
  /** `https://127.0.0.1:6443` */
  readonly url: string;
  readonly port: number;
  /** A client inside this process; the server's own reads its object cache by reference. */
  client(user: UserInfo): KubeClient;
  /**
   * What a plugin in a process of its own connects with. For a provider that cannot make tokens, as it is not the server
   * itself; without it the plugin gets a token of its ServiceAccount.
   */
  link?(user: UserInfo): Promise<KubeConnection>;
}

export const apiserver = defineSlot<ApiServer>("apiserver", { contract: "1.1", required: ["server"], fixed: true });

/** The ServiceAccount that a plugin acts as; it has the rights that the plugin's manifest declares. */
export function pluginAccount(plugin: string): { readonly namespace: string; readonly name: string; readonly user: string } {
  const name = `k3s-p-${plugin.toLowerCase().replaceAll(/[^a-z0-9.-]/g, "-")}`;
  return { namespace: "kube-system", name, user: `system:serviceaccount:kube-system:${name}` };
}

/** The label of a plugin's ServiceAccount; its value is the plugin. */
export const pluginLabel = "k3sp.io/plugin";

/** Makes the ServiceAccount unless it is there. */
export async function ensurePluginAccount(admin: KubeClient, plugin: string): Promise<void> {
  const { namespace, name } = pluginAccount(plugin);
  try {
    await admin.create(serviceAccounts, { metadata: { name, namespace, labels: { [pluginLabel]: plugin } }, automountServiceAccountToken: false });
  } catch (error) {
    if (!isAlreadyExists(error)) throw error;
  }
}

/** Typed client under the plugin's own identity, its ServiceAccount `kube-system/k3s-p-<plugin>`. */
export const kube = defineSlot<KubeClient>("kube", {
  derive: {
    from: "apiserver",
    view: (server: ApiServer, plugin, refs: Refs) => server.client(userOf(plugin, refs)),
    link: linkTo,
    connect: async (connection: KubeConnection, onError) => (await import("../kube/https.ts")).createHttpsClient(connection, { onError }),
  },
});

interface Refs {
  readonly node: NodeInfo;
  readonly pki: Pki;
}

const NODES = "system:nodes";
const nodeUser = ({ node }: Refs): string => `system:node:${node.name}`;

/** Inside the server's process; rights of an administrator do not wait for a lookup. */
function userOf({ id, admin, asNode }: PluginIdentity, refs: Refs): UserInfo {
  if (asNode) return { name: nodeUser(refs), groups: [NODES, "system:authenticated"] };
  return {
    name: pluginAccount(id).user,
    groups: [...(admin ? ["system:masters"] : []), "system:serviceaccounts", "system:serviceaccounts:kube-system", "system:authenticated"],
  };
}

const operator: UserInfo = { name: "system:apiserver", groups: ["system:masters", "system:authenticated"] };
const year = 365 * 24 * 3600;

/** For one that runs outside of the server's process: the node's certificate, what the provider gives, or a token that ends with its ServiceAccount. */
async function linkTo(server: ApiServer, plugin: PluginIdentity, refs: Refs): Promise<KubeConnection> {
  if (plugin.asNode) {
    const { cert, key } = await refs.pki.issue({ name: "client-kubelet", ca: "client-ca", commonName: nodeUser(refs), organizations: [NODES], usage: "client" });
    return { url: server.url, ca: refs.pki.ca("server-ca").cert, cert, key };
  }
  if (server.link) return server.link(userOf(plugin, refs));
  const admin = server.client(operator);
  await ensurePluginAccount(admin, plugin.id);
  const { namespace, name } = pluginAccount(plugin.id);
  const request = { spec: { audiences: [], expirationSeconds: year } };
  const { status } = await admin.create<KubeObject, TokenRequest>(serviceAccounts, request as KubeObject, { subresource: "token", name, namespace });
  return { url: server.url, ca: refs.pki.ca("server-ca").cert, token: status!.token };
}
