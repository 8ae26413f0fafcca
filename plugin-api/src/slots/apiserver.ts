/** The `apiserver` slot, and the `kube` client that every plugin derives from it. */
import { defineSlot, type PluginIdentity } from "../contract.ts";
import type { KubeClient } from "../kube/client.ts";
import { isAlreadyExists } from "../kube/errors.ts";
import type { KubeConnection } from "../kube/https.ts";
import { serviceAccounts } from "../kube/resources.ts";
import type { KubeObject, TokenRequest } from "../kube/types.ts";
import type { Pki } from "../refs.ts";

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
  /** A client inside this process that reads the server's own object cache by reference. */
  client(user: UserInfo): KubeClient;
}

export const apiserver = defineSlot<ApiServer>("apiserver", { required: ["server"], fixed: true });

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
    view: (server: ApiServer, plugin) => server.client(userOf(plugin)),
    link: linkTo,
    connect: async (connection: KubeConnection) => (await import("../kube/https.ts")).createHttpsClient(connection),
  },
});

/** Inside the server's process; rights of an administrator do not wait for a lookup. */
const userOf = ({ id, admin }: PluginIdentity): UserInfo => ({
  name: pluginAccount(id).user,
  groups: [...(admin ? ["system:masters"] : []), "system:serviceaccounts", "system:serviceaccounts:kube-system", "system:authenticated"],
});

const operator: UserInfo = { name: "system:apiserver", groups: ["system:masters", "system:authenticated"] };
const year = 365 * 24 * 3600;

/** A token of the plugin's own, for one that runs outside of the server's process; it ends with the ServiceAccount. */
async function linkTo(server: ApiServer, plugin: PluginIdentity, refs: { readonly pki: Pki }): Promise<KubeConnection> {
  const admin = server.client(operator);
  await ensurePluginAccount(admin, plugin.id);
  const { namespace, name } = pluginAccount(plugin.id);
  const request = { spec: { audiences: [], expirationSeconds: year } };
  const { status } = await admin.create<KubeObject, TokenRequest>(serviceAccounts, request as KubeObject, { subresource: "token", name, namespace });
  return { url: server.url, ca: refs.pki.ca("server-ca").cert, token: status!.token };
}
