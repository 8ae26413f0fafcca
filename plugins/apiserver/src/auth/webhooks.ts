/** Webhooks that know tokens (TokenReview) and rights (SubjectAccessReview), with answers kept for a while. */
import { createHash } from "node:crypto";
import type { AccessRequest, Verdict } from "@k3s-p/plugin-api/points";
import { celEnvironment, compile, type Program } from "../cel/environment.ts";
import type { ClientConfig, WebhookClient } from "../webhook/client.ts";
import { toCel } from "../webhook/evaluation.ts";
import type { ReviewedToken } from "./authenticate.ts";
import type { BoundedAuthorizer, TokenSource } from "./outside.ts";
import { createTtlCache } from "./ttl-cache.ts";

export interface Backend {
  readonly client: WebhookClient;
  readonly config: ClientConfig;
  /** Of the review's group. */
  readonly version: "v1" | "v1beta1";
  readonly now: () => number;
}

export interface TokenWebhook extends Backend {
  /** Milliseconds that an answer is kept. */
  readonly ttl: number;
}

const TOKEN_TIMEOUT = 4;

export function createTokenWebhook({ client, config, version, now, ttl }: TokenWebhook): TokenSource {
  const cache = createTtlCache<{ readonly found: ReviewedToken | undefined }>(now);
  return {
    name: "webhook",
    async review(token, audiences) {
      // The token itself is not kept in memory.
      const key = createHash("sha256").update(JSON.stringify([token, audiences])).digest("base64");
      const known = cache.get(key);
      if (known) return known.found;
      const review = { kind: "TokenReview", apiVersion: `authentication.k8s.io/${version}`, spec: { token, audiences } };
      const { status } = (await client.post(config, JSON.stringify(review), TOKEN_TIMEOUT)) as { readonly status?: TokenStatus };
      const found = status?.authenticated ? reviewedToken(status, audiences) : undefined;
      cache.set(key, { found }, ttl);
      return found;
    },
  };
}

interface TokenStatus {
  readonly authenticated?: boolean;
  readonly audiences?: readonly string[];
  readonly user?: { readonly username?: string; readonly uid?: string; readonly groups?: readonly string[]; readonly extra?: Readonly<Record<string, readonly string[]>> };
}

/** A webhook that says nothing of audiences speaks for the server's own. */
function reviewedToken({ audiences: said, user = {} }: TokenStatus, asked: readonly string[]): ReviewedToken | undefined {
  const audiences = said?.length ? asked.filter((audience) => said.includes(audience)) : asked;
  const { username, uid, groups = [], extra } = user;
  if (!username) throw new Error("the webhook names no user");
  if (audiences.length === 0) return undefined;
  return { audiences, user: { name: username, ...(uid && { uid }), groups: [...new Set([...groups, "system:authenticated"])], ...(extra && { extra }) } };
}

export interface AuthorizationWebhook extends Backend {
  readonly name: string;
  readonly timeoutSeconds: number;
  readonly failurePolicy: "Deny" | "NoOpinion";
  readonly authorizedTtl: number;
  readonly unauthorizedTtl: number;
  /** CEL over `request`, the spec of the review; all must hold for the webhook to be asked. */
  readonly matchConditions: readonly string[];
}

/** Throws when a condition does not compile. */
export function createAuthorizationWebhook(settings: AuthorizationWebhook): BoundedAuthorizer {
  const { name, failurePolicy, client, config, version, timeoutSeconds, authorizedTtl, unauthorizedTtl, now } = settings;
  const cache = createTtlCache<{ readonly verdict: Verdict | undefined }>(now);
  const environment = settings.matchConditions.length > 0 ? celEnvironment({ request: "dyn" }) : undefined;
  const conditions = settings.matchConditions.map((expression) => compile(environment!, expression));
  return {
    name, failurePolicy,
    // The client ends the call by itself, and says so in upstream's words.
    timeout: (timeoutSeconds + 1) * 1000,
    async authorize(request) {
      const spec = specOf(request);
      if (!matches(conditions, spec)) return undefined;
      const key = JSON.stringify(spec);
      const known = cache.get(key);
      if (known) return known.verdict;
      const review = { kind: "SubjectAccessReview", apiVersion: `authorization.k8s.io/${version}`, spec: version === "v1" ? spec : { ...spec, groups: undefined, group: spec.groups } };
      const { status } = (await client.post(config, JSON.stringify(review), timeoutSeconds)) as { readonly status?: AccessStatus };
      if (!status) throw new Error("the webhook answers without a status");
      const verdict = verdictOf(status);
      cache.set(key, { verdict }, status.allowed ? authorizedTtl : unauthorizedTtl);
      return verdict;
    },
  };
}

interface AccessStatus {
  readonly allowed?: boolean;
  readonly denied?: boolean;
  readonly reason?: string;
}

function verdictOf({ allowed, denied, reason }: AccessStatus): Verdict | undefined {
  if (allowed && denied) throw new Error("the webhook both allows and denies");
  if (!allowed && !denied) return undefined;
  return { decision: allowed ? "allow" : "deny", ...(reason && { reason }) };
}

const specOf = ({ user, isResource, verb, path, group, resource, subresource, namespace, name }: AccessRequest) => ({
  ...(isResource
    ? { resourceAttributes: present({ namespace, verb, group, resource, subresource, name }) }
    : { nonResourceAttributes: { path, verb } }),
  user: user.name, groups: user.groups, ...(user.uid && { uid: user.uid }), ...(user.extra && { extra: user.extra }),
});

const present = (fields: Readonly<Record<string, string>>): Record<string, string> =>
  Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== ""));

/** A false one decides; otherwise one that fails is an error, which the failure policy judges. */
function matches(conditions: readonly Program[], spec: object): boolean {
  let failure: unknown;
  for (const condition of conditions) {
    try {
      if (condition.evaluate({ request: toCel(spec) }) !== true) return false;
    } catch (error) {
      failure = error;
    }
  }
  if (failure !== undefined) throw failure;
  return true;
}
