/** The `apiserver` slot, and the `kube` client that every plugin derives from it. */
import { defineSlot } from "../contract.ts";
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

/** Typed client under the plugin's own identity `system:k3sp:<plugin>`. */
export const kube = defineSlot<KubeClient>("kube", {
  derive: {
    from: "apiserver",
    view: (server: ApiServer, plugin) =>
      server.client({ name: `system:k3sp:${plugin.id}`, groups: ["system:masters", "system:authenticated"] }),
    link: linkTo,
    connect: async (connection: KubeConnection) => (await import("../kube/https.ts")).createHttpsClient(connection),
  },
});

/** A client certificate of the plugin's own, for one that runs outside of the server's process. */
async function linkTo(server: ApiServer, plugin: { readonly id: string }, refs: { readonly pki: Pki }): Promise<KubeConnection> {
  const { cert, key } = await refs.pki.issue({
    name: `client-k3sp-${plugin.id}`, ca: "client-ca", commonName: `system:k3sp:${plugin.id}`, organizations: ["system:masters"], usage: "client",
  });
  return { url: server.url, ca: refs.pki.ca("server-ca").cert, cert, key };
}
