/** An API server for unit tests: in this process, in memory, without TLS and without other plugins. */
import { generateKeyPairSync } from "node:crypto";
import type { KubeClient, KubeObject } from "@k3s-p/plugin-api/kube";
import type { ClusterSettings, Datastore, Pki, UserInfo } from "@k3s-p/plugin-api/slots";
import { memoryDatastore } from "@k3s-p/plugin-api/testing-datastore";
import { type MemoryAnswer, requestInMemory } from "../client/memory.ts";
import { type ApiServerOptions, createApiServer, type RunningApiServer } from "./api-server.ts";
import { extensions } from "./extensions.ts";

export const testCluster: ClusterSettings = Object.freeze({
  clusterCidr: ["10.42.0.0/16"], serviceCidr: ["10.43.0.0/16"], clusterDns: ["10.43.0.10"], clusterDomain: "cluster.local",
  serviceNodePortRange: [30000, 32767] as const, bindAddress: "127.0.0.1", httpsListenPort: 6443, advertiseAddress: "192.0.2.1",
  tlsSan: [], disabled: [], kubeconfig: { path: "", mode: 0o600 }, shared: {}, nodeSlots: {}, agentPlugins: [],
});

export const adminUser: UserInfo = Object.freeze({ name: "system:admin", groups: ["system:masters", "system:authenticated"] });

export interface TestServerOptions extends Partial<ApiServerOptions> {
  readonly datastore?: Datastore;
  /** False leaves out namespaces, RBAC and the other first objects; default true. */
  readonly bootstrap?: boolean;
}

export interface TestServer extends RunningApiServer {
  readonly kube: KubeClient;
  /** One request through the whole HTTP path, as the admin unless said. */
  http(method: string, url: string, body?: object, headers?: Readonly<Record<string, string>>, user?: UserInfo): Promise<TestAnswer>;
}

export interface TestAnswer extends MemoryAnswer {
  /** The body, parsed if it is JSON. */
  readonly body: any;
}

/** Use with `await using`, or call `close`. */
export async function startTestServer(options: TestServerOptions = {}): Promise<TestServer & AsyncDisposable> {
  const { datastore = memoryDatastore(), cluster = testCluster } = options;
  const server = await createApiServer({
    extend: (deps) => extensions({ cluster, pki: testPki, serviceAccountKey: testKey() }, deps),
    onError: (error) => console.error(error),
    ...options, datastore, cluster,
  });
  if (options.bootstrap ?? true) await server.bootstrap();
  return {
    ...server,
    kube: server.client(adminUser),
    async http(method, url, body, headers, user = adminUser) {
      const answer = await requestInMemory(server.handler, user, method, url, body, headers);
      const { "content-type": type, "content-encoding": encoding } = answer.headers;
      const json = String(type ?? "").startsWith("application/json") && !encoding && answer.text !== "";
      return { ...answer, body: json ? (JSON.parse(answer.text) as KubeObject) : answer.text };
    },
    [Symbol.asyncDispose]: () => server.close(),
  };
}

const testPki: Pick<Pki, "ca" | "issue"> = {
  ca: (name) => ({ cert: `-----BEGIN CERTIFICATE-----\n${name}\n-----END CERTIFICATE-----\n`, certPath: "" }),
  issue: async () => ({ cert: "", key: "", certPath: "", keyPath: "" }),
};

let cachedKey: string | undefined;
const testKey = (): string =>
  (cachedKey ??= generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey.export({ type: "pkcs8", format: "pem" }) as string);
