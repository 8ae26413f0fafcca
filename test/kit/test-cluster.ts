/** A true API server inside the test: no root, no containers, a datastore in memory, ready in a blink. */
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { definePlugin, type Plugin } from "@k3s-p/plugin-api";
import { memoryDatastore } from "@k3s-p/plugin-api/testing-datastore";
import type { KubeClient } from "@k3s-p/plugin-api/kube";
import { apiserver, type ApiServer, type ClusterSettings, type UserInfo } from "@k3s-p/plugin-api/slots";
import { testNode } from "@k3s-p/plugin-api/testing";
import type { Kernel } from "@k3s-p/core";
import { startTestServer } from "../../plugins/apiserver/src/server/testing.ts";
import { createTestKernel } from "./kernel.ts";

export interface TestClusterOptions {
  /** Default `memory`; `sqlite` is the server's own, in a folder that goes away with the cluster. */
  readonly datastore?: "memory" | "sqlite";
  /** Default true: HTTPS on a free port of 127.0.0.1, for kubectl and other clients. */
  readonly listen?: boolean;
  /** Default false; a list names the controllers, as `--controllers` does. */
  readonly controllers?: boolean | readonly string[];
  readonly scheduler?: boolean;
  /** More plugins, by id: a definition or a folder. */
  readonly plugins?: Readonly<Record<string, Plugin | string>>;
  readonly config?: Readonly<Record<string, object>>;
  readonly cluster?: Partial<ClusterSettings>;
}

export interface TestCluster extends AsyncDisposable {
  /** A client as the cluster's administrator. */
  readonly kube: KubeClient;
  /** A client as somebody else, under RBAC. */
  as(user: UserInfo): KubeClient;
  /** Empty when it does not listen. */
  readonly url: string;
  /** YAML for `@kubernetes/client-node` and kubectl; empty when it does not listen. */
  readonly kubeconfig: string;
  readonly kubeconfigPath: string;
  readonly kernel: Kernel;
  readonly logged: readonly string[];
  stop(): Promise<void>;
}

const admin: UserInfo = Object.freeze({ name: "system:admin", groups: ["system:masters", "system:authenticated"] });
const folder = (name: string): string => fileURLToPath(new URL(`../../plugins/${name}`, import.meta.url));

/** Several may run at once in one process. Use with `await using`, or call `stop`. */
export async function createTestCluster(options: TestClusterOptions = {}): Promise<TestCluster> {
  const { listen = true, datastore = "memory", controllers = false, scheduler = false } = options;
  const settings = { bindAddress: "127.0.0.1", httpsListenPort: 0, advertiseAddress: "192.0.2.1", ...options.cluster };
  const booted = await createTestKernel({
    node: (dir) => testNode(dir, {}, settings),
    slots: datastore === "memory" ? { datastore: memoryDatastore() } : {},
    plugins: {
      ...(datastore === "sqlite" && { "datastore-sqlite": folder("datastore-sqlite") }),
      apiserver: listen ? folder("apiserver") : silentServer,
      ...(controllers && { "controller-manager": folder("controller-manager") }),
      ...(scheduler && { scheduler: folder("scheduler") }),
      ...options.plugins,
    },
    config: { ...(Array.isArray(controllers) && { "controller-manager": { controllers } }), ...options.config },
  });
  const server = booted.slot<ApiServer>("apiserver");
  const path = listen ? `${booted.dir}/k3s.yaml` : "";
  return {
    kube: server.client(admin), as: (user) => server.client(user), url: server.url,
    kubeconfig: path && readFileSync(path, "utf8"), kubeconfigPath: path,
    kernel: booted.kernel, logged: booted.logged, stop: booted.stop, [Symbol.asyncDispose]: booted.stop,
  };
}

/** The same server without a socket. */
const silentServer = definePlugin({
  provides: apiserver,
  async start(ctx): Promise<ApiServer> {
    const server = await startTestServer({ onError: (error) => ctx.log.error({ err: error }, "request failed") });
    ctx.defer(() => server.close());
    return { url: "", port: 0, client: (user) => server.client(user) };
  },
});
