/** The `apiserver` slot, and the `kube` client that every plugin derives from it. */
import { defineSlot, type PluginIdentity } from "../contract.ts";
import type { KubeClient } from "../kube/client.ts";
import type { KubeConnection } from "../kube/https.ts";
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

/** Typed client under the plugin's own identity `system:k3sp:<plugin>`, with the rights that its manifest declares. */
export const kube = defineSlot<KubeClient>("kube", {
  derive: {
    from: "apiserver",
    view: (server: ApiServer, plugin) => server.client(userOf(plugin)),
    link: linkTo,
    connect: async (connection: KubeConnection) => (await import("../kube/https.ts")).createHttpsClient(connection),
  },
});

const userOf = ({ id, admin }: PluginIdentity): UserInfo =>
  ({ name: `system:k3sp:${id}`, groups: [admin ? "system:masters" : "system:k3sp", "system:authenticated"] });

/** A client certificate of the plugin's own, for one that runs outside of the server's process. */
async function linkTo(server: ApiServer, plugin: PluginIdentity, refs: { readonly pki: Pki }): Promise<KubeConnection> {
  const { name, groups } = userOf(plugin);
  const organizations = groups.filter((group) => group !== "system:authenticated");
  const { cert, key } = await refs.pki.issue({ name: `client-k3sp-${plugin.id}`, ca: "client-ca", commonName: name, organizations, usage: "client" });
  return { url: server.url, ca: refs.pki.ca("server-ca").cert, cert, key };
}
