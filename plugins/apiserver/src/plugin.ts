/** Registers the API server: its certificates, its listener, and the points that others contribute to. */
import { readFile } from "node:fs/promises";
import { type Contributions, definePlugin, k3spError, type PluginContext } from "@k3s-p/plugin-api";
import { admission, type ApiGrant, apiGrant, authenticator, authorizer, healthCheck, metricsSource, nativeResource, type NativeResource } from "@k3s-p/plugin-api/points";
import { apiserver, datastore, node, pki } from "@k3s-p/plugin-api/slots";
import { pluginNames } from "./admission/index.ts";
import type { Audit } from "./audit/index.ts";
import { nobodyOutside, type Outside } from "./auth/outside.ts";
import { readArgs, type ServerArgs, warnOfUnknown } from "./server/args.ts";
import { createApiServer, type RunningApiServer } from "./server/api-server.ts";
import { keepingFresh, localAddress, servingCertificate, servingNames, writeKubeconfig, writeTokens } from "./server/credentials.ts";
import { extensions } from "./server/extensions.ts";
import type { Route } from "./server/handler.ts";
import type { Listener } from "./server/listener.ts";
import { limitArgs, limitsOf } from "./server/limits.ts";
import { toResourceDef } from "./server/native.ts";

interface Config {
  readonly token?: string;
  readonly tokenFile?: string;
  readonly agentToken?: string;
  readonly agentTokenFile?: string;
  readonly args?: readonly string[];
}

export default definePlugin({
  provides: apiserver,
  needs: { datastore, node, pki },
  async start(ctx) {
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
    const args = readArgs((ctx.config as Config).args ?? []);
    warnOfUnknown(args, knownArgs, (message) => ctx.log.warn(message));
    const settings = args.size > 0 ? await (await import("./admission/settings.ts")).admissionSettings(args, pluginNames) : undefined;
    const audit = args.size > 0 ? await openAudit(args, ctx) : undefined;
    const outside = await outsideOf(args, ctx);
    const server = await createApiServer({
      datastore: ctx.needs.datastore, cluster,
      extend: (deps) => extensions({ cluster, pki: keepingFresh(keys, ctx.signal), serviceAccountKey: accountKey.privateKey, granted: grantsOf(ctx.contributions(apiGrant)), admission: settings, outside }, deps),
      open: openRoutes(serverCa),
      metrics: () => figures.list().map(({ impl }) => impl.render()).join(""),
      checks: () => checks.list().map(({ impl }) => impl),
      onError: (error) => ctx.log.error({ err: error }, "request failed"),
      audit, limits: args.size > 0 ? limitsOf(args) : undefined,
    });
    ctx.defer(() => server.close());
    const admissions = ctx.contributions(admission);
    const follow = (): void => server.setAdmission(admissions.list());
    follow();
    ctx.defer(admissions.onChange(follow));
    ctx.defer(serveNative(server, ctx.contributions(nativeResource)));

    listener = await server.listen({
      cert: serving.cert, key: serving.key, clientCas: [keys.ca("client-ca").cert], requestHeaderCas: [keys.ca("request-header-ca").cert],
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
    return { url, port: listener.port, client: (user) => server.client(user) };
  },
});

/** Who else is asked: what plugins contribute at any time, and what the options configure. */
async function outsideOf(args: ServerArgs, ctx: Pick<PluginContext, "log" | "contributions">): Promise<Outside> {
  const warn = (message: string): void => ctx.log.warn(message);
  const [authenticators, authorizers] = [ctx.contributions(authenticator), ctx.contributions(authorizer)];
  return { ...nobodyOutside, warn, authenticators: () => authenticators.list(), authorizers: () => authorizers.list() };
}

/** Options of upstream's server that have an effect here. */
const knownArgs = [
  "audit-policy-file", "audit-log-path", "audit-log-maxsize", "audit-log-maxbackup",
  "enable-admission-plugins", "disable-admission-plugins", "admission-control-config-file", ...limitArgs,
];

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

/** The rules that manifests declare, by user; looked up at every request, so kept ready. */
function grantsOf(contributions: Contributions<ApiGrant>): (user: string) => ApiGrant["rules"] {
  let byUser = new Map<string, ApiGrant["rules"]>();
  const follow = (): void => void (byUser = new Map(contributions.list().map(({ impl }) => [impl.user, impl.rules])));
  follow();
  contributions.onChange(follow);
  return (user) => byUser.get(user) ?? [];
}

/** Keeps the registry in step with what plugins contribute. */
function serveNative(server: RunningApiServer, contributions: Contributions<NativeResource>): () => void {
  const served = new Map<NativeResource, () => void>();
  const follow = (): void => {
    const wanted = new Set(contributions.list().map(({ impl }) => impl));
    for (const [native, undo] of served) {
      if (wanted.has(native)) continue;
      undo();
      served.delete(native);
    }
    for (const native of wanted) if (!served.has(native)) served.set(native, server.registry.add([toResourceDef(native)]));
  };
  follow();
  return contributions.onChange(follow);
}
