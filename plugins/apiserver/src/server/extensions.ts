/** Puts authentication, authorization, admission, discovery and the special subresources around the engine. */
import type { KubeClient } from "@k3s-p/plugin-api/kube";
import { builtinAdmission } from "../admission/index.ts";
import type { ClusterSettings, Pki } from "@k3s-p/plugin-api/slots";
import { createAuthenticator } from "../auth/authenticate.ts";
import { createAuthorizer } from "../auth/rbac.ts";
import { createTokenKeys } from "../auth/tokens.ts";
import { bootstrap } from "../bootstrap/index.ts";
import { discoveryRoutes, type RouteAnswer } from "../discovery/index.ts";
import { checkFields } from "../openapi/fields.ts";
import { openapiRoutes } from "../openapi/index.ts";
import { createAggregator } from "../subresources/aggregate.ts";
import { subresourceHandlers } from "../subresources/index.ts";
import { type ExtensionDeps, type Extensions, loopbackUser } from "./api-server.ts";
import type { Route } from "./handler.ts";
import { localAddress } from "./credentials.ts";

export interface ExtensionOptions {
  readonly cluster: ClusterSettings;
  readonly pki: Pick<Pki, "ca" | "issue">;
  /** PEM of the key that signs ServiceAccount tokens. */
  readonly serviceAccountKey: string;
}

export function extensions(options: ExtensionOptions, { engine, registry, store, client }: ExtensionDeps): Extensions {
  const { cluster } = options;
  const issuer = `https://kubernetes.default.svc.${cluster.clusterDomain}`;
  const tokens = createTokenKeys({ privateKey: options.serviceAccountKey, issuer, audiences: [issuer, "k3s"] });
  const authorizer = createAuthorizer(store, rbacRevision({ store }));
  const authenticator = createAuthenticator({ view: store, tokens, authorizer, now: () => engine.now().getTime() });
  const aggregator = createAggregator({
    view: store, client: client(loopbackUser), pki: options.pki, now: engine.now,
    serves: (group, version) => registry.list().some((def) => def.group === group && def.version === version),
  });
  const discovery = discoveryRoutes(registry, { external: aggregator.external, serverAddress: `${localAddress(cluster.advertiseAddress)}:${cluster.httpsListenPort}` });
  const openapi = openapiRoutes(registry);
  const subresources = subresourceHandlers({ view: store, authorizer, tokens, pki: options.pki, now: engine.now });
  return {
    checkFields,
    handlers: subresources.handlers,
    upgrade: (req, socket, head) => (aggregator.upgrade(req.info) ?? subresources.upgrade)(req, socket, head),
    aggregate: (info) => aggregator.route(info),
    start() {
      aggregator.start();
      return () => aggregator.stop();
    },
    admission: builtinAdmission({ view: store, cluster, now: engine.now, client: client(loopbackUser), authorizer }),
    routes: ({ method, url, info, headers }) => {
      if (method !== "GET" && method !== "HEAD") return undefined;
      const answer = discovery(info.path, headers) ?? openapi(url, headers);
      return answer && send(answer);
    },
    authenticate: ({ peerCertificate, headers }) => authenticator({ peerCertificate, headers }),
    authorize: (user, info) => authorizer.check(user, info),
    bootstrap: (client: KubeClient) => bootstrap(client, { cluster, pki: options.pki, defs: registry.list() }),
  };
}

const send = ({ status, headers, body }: RouteAnswer): Route => (req, res) => {
  res.writeHead(status, { ...headers, "content-length": body.length });
  res.end(req.method === "HEAD" ? undefined : body);
};

/** Changes whenever a role or binding does, so that compiled rules are kept until then. */
function rbacRevision({ store }: Pick<ExtensionDeps, "store">): () => number {
  let revision = 0;
  for (const plural of ["clusterroles", "clusterrolebindings", "roles", "rolebindings"]) {
    store.collection({ group: "rbac.authorization.k8s.io", plural }).subscribe(() => revision++);
  }
  return () => revision;
}
