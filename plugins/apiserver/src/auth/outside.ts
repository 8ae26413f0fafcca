/** Authenticators and authorizers outside of the server: asked one after another, within a time, and measured. */
import type { Contribution } from "@k3s-p/plugin-api";
import { messageOf } from "@k3s-p/plugin-api";
import type { AccessAuthorizer, AccessRequest, AuthenticationRequest, Authenticator, Verdict } from "@k3s-p/plugin-api/points";
import type { UserInfo } from "@k3s-p/plugin-api/slots";
import { counter, histogram } from "../server/metric-families.ts";
import type { ReviewedToken } from "./authenticate.ts";
import { type Authorizer, forbiddenAccess } from "./rbac.ts";
import type { AccessAttributes, Decision } from "./rules.ts";

export type MaybePromise<T> = T | Promise<T>;

/** Knows tokens that others have issued. */
export interface TokenSource {
  readonly name: string;
  review(token: string, audiences: readonly string[]): MaybePromise<ReviewedToken | undefined>;
}

export interface BoundedAuthorizer extends AccessAuthorizer {
  /** Milliseconds that one answer may take. */
  readonly timeout?: number;
}

export interface Outside {
  /** Asked for at every use, as the configuration may change. */
  readonly tokens: () => readonly TokenSource[];
  readonly authenticators: () => readonly Contribution<Authenticator>[];
  readonly authorizers: () => readonly Contribution<AccessAuthorizer>[];
  /** Webhooks of the configuration, which come before RBAC or after it. */
  readonly webhooks: () => { readonly before: readonly BoundedAuthorizer[]; readonly after: readonly BoundedAuthorizer[] };
  /** Of the configuration. */
  readonly metrics: () => string;
  /** Told of failures: of whom, and what. */
  readonly warn: (source: string, message: string) => void;
}

const QUIET = 10_000;

/** One line in a while for each source: strangers must not be able to fill the log. */
export function seldom(write: (line: string) => void, now: () => number = Date.now): Outside["warn"] {
  const sources = new Map<string, { readonly at: number; unsaid: number }>();
  return (source, message) => {
    const last = sources.get(source);
    if (last && now() - last.at < QUIET) return void last.unsaid++;
    write(`${source}: ${message}${last?.unsaid ? ` (and ${last.unsaid} more before)` : ""}`);
    sources.set(source, { at: now(), unsaid: 0 });
  };
}

const noWebhooks = { before: [], after: [] };

export const nobodyOutside: Outside = {
  tokens: () => [], authenticators: () => [], authorizers: () => [], webhooks: () => noWebhooks, metrics: () => "", warn: () => {},
};

export interface AccessMetrics {
  observe(kind: "authenticator" | "authorizer", name: string, result: string, seconds: number): void;
  /** A ServiceAccount token was used: one past the time at which it should have been renewed is stale. */
  token(kind: "valid" | "stale" | "legacy"): void;
  render(): string;
}

export function createAccessMetrics(): AccessMetrics {
  const decisions = counter("apiserver_authorization_decisions_total", "Decisions of authorizers other than Node and RBAC.");
  const attempts = counter("apiserver_authentication_attempts_total", "Answers of authenticators other than the built-in ones.");
  const duration = histogram("apiserver_access_duration_seconds", "Time that authenticators and authorizers outside of the server took.", [0.001, 0.005, 0.025, 0.1, 0.5, 1, 5]);
  const tokens = { valid: 0, stale: 0, legacy: 0 };
  return {
    token: (kind) => void tokens[kind]++,
    observe(kind, name, result, seconds) {
      (kind === "authorizer" ? decisions : attempts).add(kind === "authorizer" ? { name, decision: result } : { name, result });
      duration.observe({ kind, name }, seconds);
    },
    render: () => tokenLines(tokens) + decisions.render() + attempts.render() + duration.render(),
  };
}

const tokenHelp = {
  valid: "Cumulative valid projected service account tokens used", stale: "Cumulative stale projected service account tokens used", legacy: "Cumulative legacy service account tokens used",
} as const;

/** Upstream's names. */
const tokenLines = (tokens: Readonly<Record<keyof typeof tokenHelp, number>>): string => (Object.keys(tokenHelp) as (keyof typeof tokenHelp)[])
  .map((kind) => `# HELP serviceaccount_${kind}_tokens_total ${tokenHelp[kind]}\n# TYPE serviceaccount_${kind}_tokens_total counter\nserviceaccount_${kind}_tokens_total ${tokens[kind]}\n`).join("");

/** Milliseconds that one answer may take. */
const TIMEOUT = 5000;

export async function within<T>(answer: () => MaybePromise<T>, milliseconds = TIMEOUT): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer within ${milliseconds} ms`)), milliseconds);
  });
  try {
    return await Promise.race([answer(), late]);
  } finally {
    clearTimeout(timer);
  }
}

/** The first token source that knows the token. */
export async function reviewOutside({ tokens, warn }: Outside, metrics: AccessMetrics, token: string, audiences: readonly string[]): Promise<ReviewedToken | undefined> {
  for (const source of tokens()) {
    const found = await ask("authenticator", source.name, metrics, warn, () => source.review(token, audiences));
    if (found) return found;
  }
  return undefined;
}

/** The first contributed authenticator that knows who asks. */
export async function authenticateOutside({ authenticators, warn }: Outside, metrics: AccessMetrics, request: AuthenticationRequest): Promise<UserInfo | undefined> {
  for (const { plugin, impl } of authenticators()) {
    const user = await ask("authenticator", `${plugin}/${impl.name}`, metrics, warn, async () => checkedUser(await impl.authenticate(request)));
    if (user) return user;
  }
  return undefined;
}

async function ask<T>(kind: "authenticator", name: string, metrics: AccessMetrics, warn: Outside["warn"], answer: () => MaybePromise<T | undefined>): Promise<T | undefined> {
  const start = performance.now();
  let result = "error";
  try {
    const found = await within(answer);
    result = found === undefined ? "failure" : "success";
    return found;
  } catch (error) {
    warn(`${kind} ${name}`, messageOf(error));
    return undefined;
  } finally {
    metrics.observe(kind, name, result, (performance.now() - start) / 1000);
  }
}

const AUTHENTICATED = "system:authenticated";

function checkedUser(user: UserInfo | undefined): UserInfo | undefined {
  if (user === undefined) return undefined;
  const { name, uid, groups, extra } = user;
  if (typeof name !== "string" || name === "" || !Array.isArray(groups)) throw new Error("the answer is no user: it lacks a name or groups");
  return { name, ...(uid && { uid }), groups: [...new Set([...groups, AUTHENTICATED])], ...(extra && { extra }) };
}

const SUPERUSERS = "system:masters";

/** The authorizer with those outside around it; what it decides by itself costs nothing more. */
export function withOutside(own: Authorizer, outside: Outside, metrics: AccessMetrics): Authorizer {
  const askers = (list: readonly BoundedAuthorizer[], user: UserInfo, attributes: AccessAttributes) => askInTurn({ list, warn: outside.warn, metrics }, user, attributes);

  async function decideAll(contributed: readonly Contribution<AccessAuthorizer>[], { before, after }: ReturnType<Outside["webhooks"]>, user: UserInfo, attributes: AccessAttributes): Promise<Decision> {
    const named = contributed.map(({ plugin, impl }) => ({ ...impl, name: `${plugin}/${impl.name}`, authorize: impl.authorize.bind(impl) }));
    const early = await askers([...named, ...before], user, attributes);
    if (early) return early;
    const byRules = own.authorize(user, attributes);
    return byRules.allowed ? byRules : ((await askers(after, user, attributes)) ?? byRules);
  }

  function decide(user: UserInfo, attributes: AccessAttributes): MaybePromise<Decision> {
    const [contributed, webhooks] = [outside.authorizers(), outside.webhooks()];
    if (contributed.length + webhooks.before.length + webhooks.after.length === 0 || user.groups.includes(SUPERUSERS)) return own.authorize(user, attributes);
    return decideAll(contributed, webhooks, user, attributes);
  }

  return {
    ...own, decide,
    unresolved(user) {
      const { before, after } = outside.webhooks();
      const isMore = outside.authorizers().length + before.length + after.length > 0;
      return [...own.unresolved(user), ...(isMore ? ["webhook authorizer does not support user rule resolution"] : [])];
    },
    check(user, attributes) {
      const decision = decide(user, attributes);
      if (decision instanceof Promise) return decision.then((found) => refuse(user, attributes, found));
      refuse(user, attributes, decision);
    },
  };
}

interface Asked {
  readonly list: readonly BoundedAuthorizer[];
  readonly warn: Outside["warn"];
  readonly metrics: AccessMetrics;
}

/** What the first that decides has decided. */
async function askInTurn({ list, warn, metrics }: Asked, user: UserInfo, { isResource, verb, path, group, resource, subresource, namespace, name }: AccessAttributes): Promise<Decision | undefined> {
  for (const authorizer of list) {
    const request = { user, isResource, verb, path, group, resource, subresource, namespace, name };
    const start = performance.now();
    const verdict = await askOne(authorizer, request, warn);
    const result = verdict === undefined ? "no-opinion" : verdict.decision === "allow" ? "allowed" : "denied";
    metrics.observe("authorizer", authorizer.name, result, (performance.now() - start) / 1000);
    if (verdict) return { allowed: verdict.decision === "allow", denied: verdict.decision === "deny", reason: verdict.reason ?? "" };
  }
  return undefined;
}

async function askOne(authorizer: BoundedAuthorizer, request: AccessRequest, warn: Outside["warn"]): Promise<Verdict | undefined> {
  const { name, failurePolicy = "Deny", timeout } = authorizer;
  try {
    const verdict = await within(() => authorizer.authorize(request), timeout);
    if (verdict && verdict.decision !== "allow" && verdict.decision !== "deny") throw new Error(`the decision is ${JSON.stringify(verdict.decision)} and neither allow nor deny`);
    return verdict;
  } catch (error) {
    warn(`authorizer ${name}`, messageOf(error));
    return failurePolicy === "Deny" ? { decision: "deny", reason: `authorizer ${JSON.stringify(name)} failed` } : undefined;
  }
}

function refuse(user: UserInfo, attributes: AccessAttributes, { allowed, reason }: Decision): void {
  if (!allowed) throw forbiddenAccess(user, attributes, reason);
}
