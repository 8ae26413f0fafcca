/** Registers the API server: its certificates, its listener, and the points that others contribute to. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { type Contributions, definePlugin, k3spError, type PluginContext } from "@k3s-p/plugin-api";
import { admission, type ApiGrant, apiGrant, authenticator, authorizer, conversion, debugPage, healthCheck, metricsSource, nativeResource, route, slotHealth, type ResourceConversion } from "@k3s-p/plugin-api/points";
import { apiserver, datastore, node, pki } from "@k3s-p/plugin-api/slots";
import { pluginNames } from "./admission/index.ts";
import type { Audit } from "./audit/index.ts";
import { issuerSettings } from "./auth/issuer.ts";
import { nobodyOutside, type Outside, seldom } from "./auth/outside.ts";
import { publishAuthorities } from "./bootstrap/index.ts";
import { filesIn, secretsEncryption, type SecretsEncryption } from "./encryption/index.ts";
import { encryptionRoutes } from "./encryption/routes.ts";
import { createSealer, type SwitchableSealer } from "./encryption/sealer.ts";
import type { Conversions } from "./crd/convert.ts";
import { requireBuild } from "./openapi/generated.ts";
import { readArgs, type ServerArgs } from "./server/args.ts";
import { createApiServer, loopbackUser } from "./server/api-server.ts";
import { keepingFresh, localAddress, servingCertificate, servingNames, writeKubeconfig, writeTokens } from "./server/credentials.ts";
import { extensions } from "./server/extensions.ts";
import type { Route } from "./server/handler.ts";
import type { Listener } from "./server/listener.ts";
import { limitsOf } from "./server/limits.ts";
import { serveNative } from "./server/native.ts";
import { pluginRoutes } from "./server/plugin-routes.ts";
import { type Authorities, openTrust } from "./server/trust.ts";

interface Config {
  readonly token?: string;
  readonly tokenFile?: string;
  readonly agentToken?: string;
  readonly agentTokenFile?: string;
  readonly args?: readonly string[];
  readonly secretsEncryption?: boolean;
  readonly secretsEncryptionProvider?: string;
}

export default definePlugin({
  provides: apiserver,
  needs: { datastore, node, pki },
  async start(ctx) {
    requireBuild();
    const { node: self, pki: keys } = ctx.needs;
    const { cluster, paths } = self;
    let listener: Listener | undefined;
    const [serving, accountKey] = await Promise.all([
      servingCertificate(keys, servingNames(self, cluster), { signal: ctx.signal, onRenewed: (pair) => listener?.renew(pair) }),
      keys.serviceAccountKey(),
    ]);
    const serverCa = keys.ca("server-ca").cert;
    const checks = ctx.contributions(healthCheck);
    const figures = ctx.contributions(metricsSource);
    const pages = ctx.contributions(debugPage);
    const slots = ctx.contributions(slotHealth);
    const args = readArgs((ctx.config as Config).args ?? []);
    const settings = args.size > 0 ? await (await import("./admission/settings.ts")).admissionSettings(args, pluginNames) : undefined;
    const audit = args.size > 0 ? await openAudit(args, ctx) : undefined;
    const issuer = issuerSettings(args, cluster.clusterDomain);
    const trust = openTrust({ pki: keys, args, warn: (message) => ctx.log.warn(message) });
    const outside = await outsideOf(args, issuer.audiences, self.name, ctx);
    const sealer = createSealer();
    const encryption = encryptionOf(ctx.config as Config, args, join(paths.server, "cred"), sealer);
    await encryption.start();
    const server = await createApiServer({
      datastore: ctx.needs.datastore, cluster, sealer,
      routes: encryptionRoutes({ open: encryption.open, reseal: () => server.engine.store.reseal(secretsResource) }),
      served: pluginRoutes({
        contributions: ctx.contributions(route),
        onError: (plugin, path, why) => ctx.log.error(`${path} of plugin ${plugin} is not served: ${why}`),
      }),
      extend: (deps) => extensions({ cluster, pki: keepingFresh(keys, ctx.signal), authorities: trust.current, serviceAccountKey: accountKey.privateKey, granted: grantsOf(ctx.contributions(apiGrant)), admission: settings, issuer, outside, conversions: conversionsOf(ctx.contributions(conversion)) }, deps),
      open: openRoutes(serverCa),
      metrics: () => figures.list().map(({ impl }) => impl.render()).join(""),
      checks: () => checks.list().map(({ impl }) => impl),
      slotHealth: async (slot) => (await slots.list()[0]?.impl.read(slot)) ?? { ok: false, message: "not running" },
      pages: () => pages.list().map(({ impl }) => impl),
      // What is under way when the server stops loses its store.
      onError: (error) => ctx.signal.aborted || ctx.log.error({ err: error }, "request failed"),
      audit, limits: args.size > 0 ? limitsOf(args) : undefined,
    });
    ctx.defer(() => server.close());
    const admissions = ctx.contributions(admission);
    const follow = (): void => server.setAdmission(admissions.list());
    follow();
    ctx.defer(admissions.onChange(follow));
    ctx.defer(serveNative({
      registry: server.registry, contributions: ctx.contributions(nativeResource),
      onError: (plugin, resource, error) => ctx.log.error({ err: error }, `${resource} of plugin ${plugin} is not served`),
    }));

    listener = await server.listen({
      cert: serving.cert, key: serving.key, ...trusting(trust.current()),
      address: cluster.bindAddress || "0.0.0.0", port: cluster.httpsListenPort,
    });
    const url = `https://${localAddress(cluster.bindAddress)}:${listener.port}`;
    await Promise.all([
      server.bootstrap(),
      writeKubeconfig(keys, url, cluster.kubeconfig, {
        signal: ctx.signal, onError: (error) => ctx.log.error({ err: error }, `${cluster.kubeconfig.path} cannot be written`),
      }),
      writeTokens(paths.token, serverCa, await givenTokens(ctx.config as Config)),
    ]);
    ctx.defer(trust.follow((authorities) => {
      listener?.renew(trusting(authorities));
      ctx.log.info("the authorities of client certificates have changed");
      publishAuthorities(server.client(loopbackUser), authorities).catch((error: unknown) => ctx.log.error({ err: error }, "aggregated API servers do not know the new authorities"));
    }));
    return { url, port: listener.port, client: (user) => server.client(user) };
  },
});

const trusting = ({ client, requestHeader }: Authorities) => ({ clientCas: [client], requestHeaderCas: [requestHeader] });

/** Who else is asked: what plugins contribute at any time, and what the options configure. */
async function outsideOf(args: ServerArgs, audiences: readonly string[], server: string, ctx: Pick<PluginContext, "log" | "contributions" | "defer">): Promise<Outside> {
  const warn = seldom((line) => ctx.log.warn(line));
  const [authenticators, authorizers] = [ctx.contributions(authenticator), ctx.contributions(authorizer)];
  const isConfigured = accessArgs.some((name) => args.has(name));
  const settings = isConfigured ? await (await import("./auth/settings.ts")).accessSettings(args, {
    audiences, report: { server, info: (message) => ctx.log.info(message), error: (message) => ctx.log.error(message) },
  }) : undefined;
  if (settings) ctx.defer(() => settings.close());
  return { ...nobodyOutside, ...settings, warn, authenticators: () => authenticators.list(), authorizers: () => authorizers.list() };
}

const accessArgs = [
  "authentication-config", "authentication-token-webhook-config-file", "authentication-token-webhook-version", "authentication-token-webhook-cache-ttl",
  "oidc-issuer-url", "oidc-client-id", "oidc-username-claim", "oidc-username-prefix", "oidc-groups-claim", "oidc-groups-prefix", "oidc-required-claim", "oidc-ca-file",
  "authorization-config", "authorization-mode", "authorization-webhook-config-file", "authorization-webhook-version",
  "authorization-webhook-cache-authorized-ttl", "authorization-webhook-cache-unauthorized-ttl",
];

const secretsResource = { group: "", plural: "secrets" };

function encryptionOf(config: Config, args: ServerArgs, folder: string, sealer: SwitchableSealer): SecretsEncryption {
  return secretsEncryption({
    files: filesIn(folder), sealer, isWanted: config.secretsEncryption ?? false, provider: config.secretsEncryptionProvider,
    file: args.get("encryption-provider-config"),
  });
}

/** Loaded by those alone who want an audit log. */
async function openAudit(args: ServerArgs, ctx: Pick<PluginContext, "log" | "defer">): Promise<Audit | undefined> {
  const { auditOf } = await import("./audit/options.ts");
  const opened = await auditOf(args, (message) => ctx.log.warn(message), (error) => ctx.log.error({ err: error }, "the audit log cannot be written"));
  if (opened) ctx.defer(() => opened.close());
  return opened?.audit;
}

/** `--token` and `--agent-token`, else the text of their files. */
async function givenTokens({ token, tokenFile, agentToken, agentTokenFile }: Config): Promise<{ readonly server?: string | undefined; readonly agent?: string | undefined }> {
  return { server: token ?? (await textOf("token-file", tokenFile)), agent: agentToken ?? (await textOf("agent-token-file", agentTokenFile)) };
}

async function textOf(flag: string, file: string | undefined): Promise<string | undefined> {
  if (file === undefined) return undefined;
  try {
    return (await readFile(file, "utf8")).trim();
  } catch (cause) {
    throw k3spError("K3SP_FLAG_INVALID", { message: `${flag}: ${file} cannot be read`, fix: "give a file that holds the token", cause });
  }
}

const text = (body: string): Route => (_req, res) => {
  res.writeHead(200, { "content-type": "text/plain", "content-length": Buffer.byteLength(body) });
  res.end(body);
};

const openRoutes = (serverCa: string): ReadonlyMap<string, Route> => new Map([["/ping", text("pong")], ["/cacerts", text(serverCa)]]);

const conversionsOf = (contributions: Contributions<ResourceConversion>): Conversions => ({
  find: (group, kind) => contributions.list().find(({ impl }) => impl.group === group && impl.kind === kind),
  onChange: (fn) => contributions.onChange(fn),
});

/** The rules that manifests declare, by user; looked up at every request, so kept ready. */
function grantsOf(contributions: Contributions<ApiGrant>): (user: string) => ApiGrant["rules"] {
  let byUser = new Map<string, ApiGrant["rules"]>();
  const follow = (): void => void (byUser = new Map(contributions.list().map(({ impl }) => [impl.user, impl.rules])));
  follow();
  contributions.onChange(follow);
  return (user) => byUser.get(user) ?? [];
}
