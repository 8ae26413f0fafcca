/** Puts authentication, authorization, admission, discovery and the special subresources around the engine. */
import type { KubeClient } from "@k3s-p/plugin-api/kube";
import type { ClusterSettings, Pki } from "@k3s-p/plugin-api/slots";
import { followAddresses } from "../addresses/index.ts";
import { contributedPlugin } from "../admission/contributed.ts";
import { createChain } from "../admission/index.ts";
import { createAdmissionMetrics } from "../admission/metrics.ts";
import type { AdmissionSettings } from "../admission/settings.ts";
import { createAuthenticator, createTokenReviewer } from "../auth/authenticate.ts";
import { issuerRoutes, issuerSettings } from "../auth/issuer.ts";
import { noteLegacyTokens } from "../auth/legacy-tokens.ts";
import { noticeOldClients } from "../auth/old-clients.ts";
import { createAccessMetrics, nobodyOutside, type Outside, withOutside } from "../auth/outside.ts";
import { createAuthorizer } from "../auth/rbac.ts";
import type { PolicyRule } from "../auth/rules.ts";
import { createTokenKeys, type TokenKeys } from "../auth/tokens.ts";
import { bootstrap, repairFlowControl } from "../bootstrap/index.ts";
import type { Conversions } from "../crd/convert.ts";
import { createCustomResources } from "../crd/index.ts";
import { isCustom } from "../crd/resource.ts";
import { discoveryRoutes, type RouteAnswer, type Route as Documents } from "../discovery/index.ts";
import { checkFields } from "../openapi/fields.ts";
import { openapiRoutes } from "../openapi/index.ts";
import { GROUP as FLOW_GROUP } from "../flowcontrol/index.ts";
import { createKeeper } from "../flowcontrol/keeper.ts";
import { createFieldManagement } from "../patch/apply.ts";
import { configuredAdmission } from "../policy/index.ts";
import { followTypeChecks } from "../policy/type-check.ts";
import { type Aggregator, createAggregator } from "../subresources/aggregate.ts";
import { subresourceHandlers } from "../subresources/index.ts";
import { connectAdmission, tokenAdmission } from "../webhook/connect.ts";
import { type ExtensionDeps, type Extensions, loopbackUser } from "./api-server.ts";
import { localAddress } from "./credentials.ts";
import type { Route } from "./handler.ts";
import type { ApiRequest } from "./request.ts";
import { sendHead } from "./respond.ts";
import type { Authorities } from "./trust.ts";

export interface ExtensionOptions {
  readonly cluster: ClusterSettings;
  readonly pki: Pick<Pki, "ca" | "issue">;
  /** Default: the cluster's own. */
  readonly authorities?: () => Authorities;
  /** PEM of the key that signs ServiceAccount tokens. */
  readonly serviceAccountKey: string;
  readonly issuer?: ReturnType<typeof issuerSettings>;
  /** Rules of a user that no stored binding gives. */
  readonly granted?: (user: string) => readonly PolicyRule[];
  readonly admission?: AdmissionSettings | undefined;
  readonly conversions?: Conversions;
  /** Authenticators and authorizers that are configured or contributed. */
  readonly outside?: Outside;
}

export function extensions(options: ExtensionOptions, deps: ExtensionDeps): Extensions {
  const { cluster, pki, outside = nobodyOutside } = options;
  const accessMetrics = createAccessMetrics();
  const { engine, registry, store } = deps;
  const client = deps.client(loopbackUser);
  const listening = { port: cluster.httpsListenPort };
  const tokens = createTokenKeys({ privateKey: options.serviceAccountKey, ...(options.issuer ?? issuerSettings(new Map(), cluster.clusterDomain)), now: () => engine.now().getTime() });
  const authorizer = createAuthorizer(store, rbacRevision(deps), options.granted);
  const access = withOutside(authorizer, outside, accessMetrics);
  const identities = { view: store, tokens, outside, metrics: accessMetrics, now: () => engine.now().getTime(), onLegacyToken: noteLegacyTokens(client, engine.now) };
  const reviewer = createTokenReviewer(identities);
  const authenticator = createAuthenticator({ ...identities, authorizer: access, reviewer });
  const subresources = subresourceHandlers({ view: store, authorizer: access, reviewer, tokens, pki, now: engine.now, connect: connectAdmission(engine.admission), admitToken: tokenAdmission(engine.admission) });
  const metrics = createAdmissionMetrics();
  const configured = configuredAdmission({ engine, authorizer, metrics });
  const chain = createChain({
    view: store, cluster, now: engine.now, client, authorizer, webhooks: configured.client, configured: configured.plugins,
    ...(options.admission && { settings: options.admission }),
  });
  const aggregator = createAggregator({
    view: store, client, pki, now: engine.now,
    serves: (group, version) => registry.list().some((def) => def.group === group && def.version === version),
  });
  const custom = createCustomResources({ engine, client, ...(options.conversions && { conversions: options.conversions }) });
  const notice = noticeOldClients(client);
  return {
    authenticate(incoming, note) {
      const user = authenticator(incoming, note);
      if (user) notice(incoming.headers["user-agent"]);
      return user;
    },
    authorize: (user, info) => access.check(user, info),
    authorizeInside: (user, info) => void authorizer.check(user, info),
    admission: (contributed) => chain(contributed.map((one) => contributedPlugin(one, { metrics }))),
    metrics: () => metrics.render() + custom.metrics() + accessMetrics.render() + outside.metrics(),
    checkFields: (def, body, mode, keepEmpty) => (isCustom(def) ? def.checkFields(body, mode) : checkFields(def, body, mode, keepEmpty)),
    fields: createFieldManagement({
      shapeOf: (group, version, kind) => {
        const def = registry.byKind(group, version, kind);
        return def && isCustom(def) ? def.shape : undefined;
      },
    }),
    handlers: subresources.handlers,
    upgrade: (req, socket, head) => (aggregator.upgrade(req.info) ?? subresources.upgrade)(req, socket, head),
    aggregate: (info) => aggregator.route(info),
    routes: documents(() => `${localAddress(cluster.advertiseAddress)}:${listening.port}`, deps, aggregator, tokens),
    bootstrap(port) {
      listening.port = port;
      const authorities = options.authorities?.() ?? { client: pki.ca("client-ca").cert, requestHeader: pki.ca("request-header-ca").cert };
      return bootstrap(client, { cluster: { ...cluster, httpsListenPort: port }, authorities, defs: registry.list() });
    },
    start() {
      aggregator.start();
      const stopCustom = custom.start();
      const stopTypeChecks = followTypeChecks({ engine, client });
      const stopKeeper = registry.get(FLOW_GROUP, "v1", "flowschemas") && keepFlowControl(deps, client);
      const stopAddresses = registry.get("networking.k8s.io", "v1", "ipaddresses") && followAddresses({ client, store, now: engine.now, onError: engine.onError });
      return () => {
        stopKeeper?.();
        stopAddresses?.();
        stopCustom();
        stopTypeChecks();
        configured.stop();
        aggregator.stop();
      };
    },
  };
}

function keepFlowControl({ store, engine }: ExtensionDeps, client: KubeClient): () => void {
  const keep = createKeeper({ client, view: store, repair: () => repairFlowControl(client), now: engine.now, onError: engine.onError });
  const stops = ["flowschemas", "prioritylevelconfigurations"].map((plural) => store.collection({ group: FLOW_GROUP, plural }).subscribe(keep));
  keep();
  return () => stops.forEach((stop) => stop());
}

/** Discovery, OpenAPI and the token issuer's keys: read-only documents. */
function documents(serverAddress: () => string, { registry }: ExtensionDeps, aggregator: Aggregator, tokens: TokenKeys): (req: ApiRequest) => Route | undefined {
  const sources: readonly Documents[] = [
    discoveryRoutes(registry, { external: aggregator.external, serverAddress }), openapiRoutes(registry, { external: aggregator.documents }), issuerRoutes(tokens),
  ];
  return ({ url, info, headers }) => {
    const path = info.path.startsWith("/openapi/") ? url : info.path;
    for (const source of sources) {
      const answer = source(path, headers);
      if (answer) return send(answer);
    }
    return undefined;
  };
}

const send = ({ status, headers, body }: RouteAnswer): Route => (req, res) => {
  sendHead(res, status, { ...headers, "content-length": body.length });
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
