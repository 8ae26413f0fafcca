/** Clients of a server elsewhere: one for each user, with the user's certificate, which is asked for when it is first needed. */
import { messageOf, type HealthResult, type Logger } from "@k3s-p/plugin-api";
import { createHttpsClient, type HttpsClient, type KubeConnection } from "@k3s-p/plugin-api/kube/https";
import type { ApiServer, KeyPair, NodeInfo, Pki, UserInfo } from "@k3s-p/plugin-api/slots";
import { certificateOf } from "./identity.ts";

export interface LinkOptions {
  readonly server: string;
  readonly node: NodeInfo;
  readonly pki: Pki;
  readonly log: Logger;
  /** Ends the renewal of certificates. */
  readonly signal: AbortSignal;
}

export interface Link {
  readonly apiserver: Required<ApiServer>;
  /** Asks the server as the node. */
  health(): Promise<HealthResult>;
  close(): void;
}

interface Way {
  readonly client: HttpsClient;
  connect(): Promise<KubeConnection>;
}

export function createLink({ server, node, pki, log, signal }: LinkOptions): Link {
  const { origin: url, port } = new URL(server);
  const ways = new Map<string, Way>();
  const told = new Set<string>();

  /** Answers the same object until the certificate is another one. */
  function connectionOf(user: UserInfo): () => Promise<KubeConnection> {
    const request = certificateOf(user, node);
    let current: Promise<KubeConnection> | undefined;
    const toConnection = ({ cert, key }: KeyPair): KubeConnection => ({ url, ca: pki.ca("server-ca").cert, cert, key });
    const onRenewed = (pair: KeyPair) => void (current = Promise.resolve(toConnection(pair)));
    return () => (current ??= pki.issue(request, { signal, onRenewed }).then(toConnection).catch((error: unknown) => {
      current = undefined;
      throw error;
    }));
  }

  function wayOf(user: UserInfo): Way {
    const known = ways.get(user.name);
    if (known) return known;
    const connect = connectionOf(user);
    const client = createHttpsClient(connect, { onError: (what, error) => tell(`${what}: ${error.message}`, error.message) });
    ways.set(user.name, { connect, client });
    return { connect, client };
  }

  /** A server that is gone is one line, however many plugins miss it. */
  function tell(line: string, reason: string): void {
    if (told.has(reason)) return;
    told.add(reason);
    log.warn(line);
  }

  const self: UserInfo = { name: `system:node:${node.name}`, groups: ["system:nodes"] };
  return {
    apiserver: { url, port: Number(port || 443), client: (user) => wayOf(user).client, link: async (user) => wayOf(user).connect() },
    async health() {
      try {
        const { status } = await wayOf(self).client.request("GET", "/readyz");
        if (status !== 200) return { ok: false, message: `${url} is not ready: it answers ${status}` };
        told.clear();
        return { ok: true };
      } catch (error) {
        return { ok: false, message: `${url} does not answer: ${messageOf(error)}` };
      }
    },
    close() {
      for (const { client } of ways.values()) client.close();
    },
  };
}
