/** What options of upstream's server, and the files they name, say of authenticators and authorizers outside. */
import { readFile } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import { messageOf } from "@k3s-p/plugin-api";
import { parse } from "yaml";
import { argError, type ServerArgs } from "../server/args.ts";
import { createWebhookClient } from "../webhook/client.ts";
import { readBackend } from "../webhook/kubeconfig.ts";
import { type ClaimOrExpression, createJwtAuthenticator, type JwtSettings } from "./jwt-authenticator.ts";
import type { BoundedAuthorizer, Outside, TokenSource } from "./outside.ts";
import { reloadable, type Reloaded, type ReloadReport } from "./reload.ts";
import { createAuthorizationWebhook, createTokenWebhook } from "./webhooks.ts";

export interface AccessSettings extends Pick<Outside, "tokens" | "webhooks" | "metrics"> {
  close(): void;
}

type Json = Record<string, any>;

export interface AccessOptions {
  /** The server's own: tokens of outside issuers are good for those. */
  readonly audiences: readonly string[];
  readonly report: ReloadReport;
  readonly now?: () => number;
}

/** Follows the files that it was read from. */
export async function accessSettings(args: ServerArgs, { audiences, report, now = Date.now }: AccessOptions): Promise<AccessSettings> {
  const client = createWebhookClient({ get: () => undefined, list: () => [] });
  const part = <T>(what: "authentication" | "authorization", read: (from: Sources) => Promise<T>): Promise<Reloaded<T>> =>
    reloadable({ ...report, what, now, read: (files) => read({ args, files, backend: { client, now } }) });
  const tokens = await part("authentication", (from) => tokenSources(from, audiences));
  const webhooks = await part("authorization", authorizers);
  return {
    tokens: tokens.current, webhooks: webhooks.current, metrics: () => tokens.metrics() + webhooks.metrics(),
    close() {
      tokens.close();
      webhooks.close();
      client.close();
    },
  };
}

/** What a part is read from, and those whom it asks. */
interface Sources {
  readonly args: ServerArgs;
  /** Takes every file that is read. */
  readonly files: Set<string>;
  readonly backend: Pick<Parameters<typeof createTokenWebhook>[0], "client" | "now">;
}

async function tokenSources(from: Sources, audiences: readonly string[]): Promise<readonly TokenSource[]> {
  const { args, files, backend } = from;
  const { now } = backend;
  const jwt = await jwtSettings(from);
  const sources: TokenSource[] = jwt.map((settings) => asArg(settings.option, () => createJwtAuthenticator(settings, audiences, now)));
  const tokenWebhook = args.get("authentication-token-webhook-config-file");
  if (tokenWebhook) {
    const option = "authentication-token-webhook-config-file";
    const config = await readFrom(option, tokenWebhook, (file) => readBackend(file, files));
    const version = versionArg(args, "authentication-token-webhook-version");
    sources.push(createTokenWebhook({ ...backend, config, version, ttl: milliseconds("authentication-token-webhook-cache-ttl", args.get("authentication-token-webhook-cache-ttl") ?? "2m") }));
  }
  return sources;
}

const asArg = <T>(option: string, make: () => T): T => {
  try {
    return make();
  } catch (error) {
    throw argError(option, messageOf(error), "correct the configuration: https://kubernetes.io/docs/reference/access-authn-authz/", error);
  }
};

async function readFrom<T>(option: string, file: string, read: (file: string) => Promise<T>): Promise<T> {
  try {
    return await read(file);
  } catch (error) {
    throw argError(option, `${file} cannot be used: ${messageOf(error)}`, "correct the file: https://kubernetes.io/docs/reference/access-authn-authz/", error);
  }
}

function versionArg(args: ServerArgs, option: string): "v1" | "v1beta1" {
  const version = args.get(option) ?? "v1beta1";
  if (version === "v1" || version === "v1beta1") return version;
  throw argError(option, `${JSON.stringify(version)} is unknown`, "use v1 or v1beta1");
}

/** Go's durations: `5m`, `1m30s`, `0`. */
function milliseconds(option: string, text: string): number {
  const units: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 };
  if (text === "0") return 0;
  if (!/^(\d+(\.\d+)?(ms|s|m|h))+$/.test(text)) throw argError(option, `${JSON.stringify(text)} is no duration`, "give one such as 2m or 30s");
  return [...text.matchAll(/([\d.]+)(ms|s|m|h)/g)].reduce((sum, [, count, unit]) => sum + Number(count) * units[unit!]!, 0);
}

async function readConfiguration(option: string, file: string, kind: string, files: Set<string>): Promise<Json> {
  return readFrom(option, file, async () => {
    const config = (parse(await textOf(file, files)) ?? {}) as Json;
    if (config.kind !== kind || !/^apiserver\.config\.k8s\.io\/v1(beta1|alpha1)?$/.test(String(config.apiVersion))) {
      throw new Error(`a ${kind} of apiserver.config.k8s.io/v1 is expected, not ${config.kind} of ${config.apiVersion}`);
    }
    return config;
  });
}

function textOf(file: string, files: Set<string>): Promise<string> {
  files.add(resolve(file));
  return readFile(file, "utf8");
}

type OptionedJwt = JwtSettings & { readonly option: string };

async function jwtSettings({ args, files }: Sources): Promise<OptionedJwt[]> {
  const file = args.get("authentication-config");
  const flags = [...args.keys()].filter((name) => name.startsWith("oidc-"));
  if (file === undefined) return flags.length > 0 ? [await fromFlags(args, files)] : [];
  const option = "authentication-config";
  if (flags.length > 0) throw argError(option, `it cannot be combined with ${flags.join(", ")}`, "put the issuer into the file");
  const { jwt = [], anonymous } = await readConfiguration(option, file, "AuthenticationConfiguration", files);
  if (anonymous?.enabled) throw argError(option, `${file}: anonymous.enabled: this server lets nobody in without credentials`, "leave anonymous out");
  if (!Array.isArray(jwt)) throw argError(option, `${file}: jwt is no list`, "write a list of issuers");
  const settings = (jwt as Json[]).map((entry, i) => checkedJwt(entry, `${file}: jwt[${i}]`));
  const twice = settings.find(({ issuer }, i) => settings.findIndex((other) => other.issuer.url === issuer.url) < i);
  if (twice) throw argError(option, `${file}: two entries have the issuer ${twice.issuer.url}`, "keep one of them");
  return settings.map((entry) => ({ ...entry, option }));
}

function checkedJwt(entry: Json, path: string): JwtSettings {
  const fail = (field: string, why: string): never => {
    throw argError("authentication-config", `${path}.${field}: ${why}`, "correct the file: https://kubernetes.io/docs/reference/access-authn-authz/authentication/#using-authentication-configuration");
  };
  const { issuer = {}, claimMappings = {}, claimValidationRules = [], userValidationRules = [] } = entry;
  for (const field of ["url", "discoveryURL"]) {
    if ((field === "url" || issuer[field]) && !/^https:\/\/[^#?@]+$/.test(String(issuer[field] ?? ""))) fail(`issuer.${field}`, "an https URL is expected");
  }
  if (!Array.isArray(issuer.audiences) || issuer.audiences.length === 0) fail("issuer.audiences", "at least one audience is required");
  if (issuer.audiences.length > 1 && issuer.audienceMatchPolicy !== "MatchAny") fail("issuer.audienceMatchPolicy", "MatchAny is required with several audiences");
  const mapping = (name: string, required: boolean): void => {
    const value = claimMappings[name] as ClaimOrExpression | undefined;
    if (value === undefined) return required ? fail(`claimMappings.${name}`, "claim or expression is required") : undefined;
    if ((value.claim === undefined) === (value.expression === undefined)) fail(`claimMappings.${name}`, "exactly one of claim and expression is required");
    if (name !== "uid" && value.claim !== undefined && value.prefix === undefined) fail(`claimMappings.${name}.prefix`, 'prefix is required with claim; it may be ""');
    if (value.expression !== undefined && value.prefix !== undefined) fail(`claimMappings.${name}.prefix`, "prefix goes with claim alone");
  };
  mapping("username", true);
  mapping("groups", false);
  mapping("uid", false);
  for (const [i, { claim, expression }] of (claimValidationRules as Json[]).entries()) {
    if ((claim === undefined) === (expression === undefined)) fail(`claimValidationRules[${i}]`, "exactly one of claim and expression is required");
  }
  for (const [i, { expression }] of (userValidationRules as Json[]).entries()) if (!expression) fail(`userValidationRules[${i}].expression`, "it is required");
  return entry as JwtSettings;
}

/** `--oidc-*`, which say the same for one issuer. */
async function fromFlags(args: ServerArgs, files: Set<string>): Promise<OptionedJwt> {
  const [url, client] = [args.get("oidc-issuer-url"), args.get("oidc-client-id")];
  if (!url?.startsWith("https://")) throw argError("oidc-issuer-url", `${JSON.stringify(url ?? "")} is no https URL`, "give the issuer's URL");
  if (!client) throw argError("oidc-client-id", "it is required with oidc-issuer-url", "give the client id that tokens are for");
  const claim = args.get("oidc-username-claim") ?? "sub";
  const prefix = args.get("oidc-username-prefix") ?? (claim === "email" ? "" : `${url}#`);
  const groups = args.get("oidc-groups-claim");
  const caFile = args.get("oidc-ca-file");
  const certificateAuthority = caFile && (await readFrom("oidc-ca-file", caFile, (file) => textOf(file, files)));
  const required = (args.get("oidc-required-claim") ?? "").split(",").filter(Boolean).map((pair) => pair.split("="));
  return {
    option: "oidc-issuer-url",
    issuer: { url, audiences: [client], ...(certificateAuthority && { certificateAuthority }) },
    claimMappings: {
      username: { claim, prefix: prefix === "-" ? "" : prefix },
      ...(groups && { groups: { claim: groups, prefix: args.get("oidc-groups-prefix") ?? "" } }),
    },
    claimValidationRules: required.map(([name = "", value = ""]) => ({ claim: name, requiredValue: value })),
  };
}

type Webhooks = ReturnType<Outside["webhooks"]>;

async function authorizers({ args, files, backend }: Sources): Promise<Webhooks> {
  const file = args.get("authorization-config");
  const modes = args.get("authorization-mode");
  if (file !== undefined && modes !== undefined) throw argError("authorization-config", "it cannot be combined with authorization-mode", "put the modes into the file");
  if (file !== undefined) return fromFile(file, { files, backend });
  const list = (modes ?? "Node,RBAC").split(",");
  checkBuiltin("authorization-mode", list);
  const config = args.get("authorization-webhook-config-file");
  if (list.includes("Webhook") !== (config !== undefined)) throw argError("authorization-mode", "Webhook and authorization-webhook-config-file go together", "give both or neither");
  if (config === undefined) return { before: [], after: [] };
  const ttl = (name: string, usual: string): number => milliseconds(name, args.get(name) ?? usual);
  const webhook = createAuthorizationWebhook({
    ...backend, name: "webhook", config: await readFrom("authorization-webhook-config-file", config, (path) => readBackend(path, files)), timeoutSeconds: 4, failurePolicy: "NoOpinion",
    version: versionArg(args, "authorization-webhook-version"), matchConditions: [],
    authorizedTtl: ttl("authorization-webhook-cache-authorized-ttl", "5m"), unauthorizedTtl: ttl("authorization-webhook-cache-unauthorized-ttl", "30s"),
  });
  return list.indexOf("Webhook") < list.indexOf("RBAC") ? { before: [webhook], after: [] } : { before: [], after: [webhook] };
}

function checkBuiltin(option: string, list: readonly string[]): void {
  const unknown = list.find((mode) => !["Node", "RBAC", "Webhook"].includes(mode));
  if (unknown !== undefined) throw argError(option, `${JSON.stringify(unknown)} is not supported`, "use Node, RBAC and Webhook");
  if (!list.includes("Node") || !list.includes("RBAC")) throw argError(option, "this server always asks Node and RBAC", "name both, and Webhook before or after them");
}

async function fromFile(file: string, from: Pick<Sources, "files" | "backend">): Promise<Webhooks> {
  const option = "authorization-config";
  const { authorizers: entries = [] } = await readConfiguration(option, file, "AuthorizationConfiguration", from.files);
  const list = entries as readonly Json[];
  checkBuiltin(option, list.map(({ type }) => String(type)));
  const names = list.map(({ name }) => String(name));
  if (new Set(names).size < names.length || names.includes("undefined")) throw argError(option, `${file}: every authorizer needs a name of its own`, "name each of them differently");
  const rbac = list.findIndex(({ type }) => type === "RBAC");
  const webhooks = await Promise.all(list.map(async ({ type, name, webhook }, i): Promise<{ before: boolean; webhook: BoundedAuthorizer } | undefined> =>
    (type === "Webhook" ? { before: i < rbac, webhook: await readWebhook(file, `${file}: authorizers[${i}].webhook`, String(name), (webhook ?? {}) as Json, from) } : undefined)));
  const found = webhooks.filter((entry) => entry !== undefined);
  return { before: found.filter(({ before }) => before).map(({ webhook }) => webhook), after: found.filter(({ before }) => !before).map(({ webhook }) => webhook) };
}

async function readWebhook(file: string, path: string, name: string, webhook: Json, { files, backend }: Pick<Sources, "files" | "backend">): Promise<BoundedAuthorizer> {
  const option = "authorization-config";
  const oneOf = <T extends string>(field: string, allowed: readonly T[]): T => {
    if (allowed.includes(webhook[field] as T)) return webhook[field] as T;
    throw argError(option, `${path}.${field}: ${JSON.stringify(webhook[field])} is not allowed`, `use ${allowed.join(" or ")}`);
  };
  const ttl = (field: string, usual: string): number => milliseconds(option, String(webhook[field] ?? usual));
  const { type, kubeConfigFile } = (webhook.connectionInfo ?? {}) as Json;
  if (type !== "KubeConfigFile" || !kubeConfigFile) throw argError(option, `${path}.connectionInfo: KubeConfigFile with kubeConfigFile is required`, "name the kubeconfig of the webhook");
  const timeoutSeconds = milliseconds(option, String(webhook.timeout ?? "3s")) / 1000;
  if (timeoutSeconds <= 0 || timeoutSeconds > 30) throw argError(option, `${path}.timeout: more than 0 and at most 30s is expected`, "give a timeout such as 3s");
  const config = await readFrom(option, resolve(dirname(file), String(kubeConfigFile)), (path) => readBackend(path, files));
  const matchConditions = ((webhook.matchConditions ?? []) as Json[]).map(({ expression }) => String(expression));
  return asArg(option, () => createAuthorizationWebhook({
    ...backend, name, config, timeoutSeconds, matchConditions,
    version: oneOf("subjectAccessReviewVersion", ["v1", "v1beta1"]), failurePolicy: oneOf("failurePolicy", ["NoOpinion", "Deny"]),
    authorizedTtl: ttl("authorizedTTL", "5m"), unauthorizedTtl: ttl("unauthorizedTTL", "30s"),
  }));
}
