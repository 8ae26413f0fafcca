/** Puts authentication, authorization, admission, discovery and the special subresources around the engine. */
import type { KubeClient } from "@k3s-p/plugin-api/kube";
import type { ClusterSettings, Pki } from "@k3s-p/plugin-api/slots";
import { createAuthenticator } from "../auth/authenticate.ts";
import { createAuthorizer } from "../auth/rbac.ts";
import { createTokenKeys } from "../auth/tokens.ts";
import { bootstrap } from "../bootstrap/index.ts";
import type { ExtensionDeps, Extensions } from "./api-server.ts";

export interface ExtensionOptions {
  readonly cluster: ClusterSettings;
  readonly ca: Pki["ca"];
  /** PEM of the key that signs ServiceAccount tokens. */
  readonly serviceAccountKey: string;
}

export function extensions(options: ExtensionOptions, { engine, registry, store }: ExtensionDeps): Extensions {
  const { cluster } = options;
  const issuer = `https://kubernetes.default.svc.${cluster.clusterDomain}`;
  const tokens = createTokenKeys({ privateKey: options.serviceAccountKey, issuer, audiences: [issuer, "k3s"] });
  const authorizer = createAuthorizer(store, rbacRevision({ store }));
  const authenticator = createAuthenticator({ view: store, tokens, authorizer, now: () => engine.now().getTime() });
  return {
    authenticate: ({ peerCertificate, headers }) => authenticator({ peerCertificate, headers }),
    authorize: (user, info) => authorizer.check(user, info),
    bootstrap: (client: KubeClient) => bootstrap(client, { cluster, pki: { ca: options.ca }, defs: registry.list() }),
  };
}

/** Changes whenever a role or binding does, so that compiled rules are kept until then. */
function rbacRevision({ store }: Pick<ExtensionDeps, "store">): () => number {
  let revision = 0;
  for (const plural of ["clusterroles", "clusterrolebindings", "roles", "rolebindings"]) {
    store.collection({ group: "rbac.authorization.k8s.io", plural }).subscribe(() => revision++);
  }
  return () => revision;
}
