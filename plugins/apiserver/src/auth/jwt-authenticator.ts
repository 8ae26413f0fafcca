/** Users of an OpenID Connect issuer: its tokens verified, its claims mapped, as an AuthenticationConfiguration says. */
import type { UserInfo } from "@k3s-p/plugin-api/slots";
import { celEnvironment, compile, type Environment, type Program } from "../cel/environment.ts";
import { toCel } from "../webhook/evaluation.ts";
import { credentialOf, type ReviewedToken } from "./authenticate.ts";
import { createIssuerKeys } from "./issuer-keys.ts";
import { decodeJwt, verifyJwt } from "./jwt.ts";
import type { TokenSource } from "./outside.ts";

export interface ClaimOrExpression {
  readonly claim?: string;
  readonly prefix?: string;
  readonly expression?: string;
}

/** An entry of `jwt` of an AuthenticationConfiguration (apiserver.config.k8s.io). */
export interface JwtSettings {
  readonly issuer: {
    readonly url: string;
    readonly discoveryURL?: string;
    /** PEM. */
    readonly certificateAuthority?: string;
    readonly audiences: readonly string[];
  };
  readonly claimValidationRules?: readonly { readonly claim?: string; readonly requiredValue?: string; readonly expression?: string; readonly message?: string }[];
  readonly claimMappings: {
    readonly username: ClaimOrExpression;
    readonly groups?: ClaimOrExpression;
    readonly uid?: ClaimOrExpression;
    readonly extra?: readonly { readonly key: string; readonly valueExpression: string }[];
  };
  readonly userValidationRules?: readonly { readonly expression: string; readonly message?: string }[];
}

type Claims = Record<string, unknown>;

/** Throws when an expression does not compile. A token of another issuer is not its matter; a bad one rejects with why. */
export function createJwtAuthenticator(settings: JwtSettings, own: readonly string[], now: () => number): TokenSource {
  const { issuer } = settings;
  const keys = createIssuerKeys({ url: issuer.url, discoveryUrl: issuer.discoveryURL, ca: issuer.certificateAuthority, now });
  const toUser = createMapping(settings);

  async function verified(token: string): Promise<Claims> {
    const claims = verifyJwt(token, await keys.current()) ?? verifyJwt(token, (await keys.again()) ?? []);
    if (!claims) throw new Error("oidc: verify token: failed to verify id token signature");
    return claims;
  }

  return {
    name: issuer.url,
    async review(token, audiences): Promise<ReviewedToken | undefined> {
      if (decodeJwt(token)?.claims.iss !== issuer.url) return undefined;
      const shared = audiences.filter((audience) => own.includes(audience));
      if (shared.length === 0) return undefined;
      const claims = await verified(token);
      checkTime(claims, now() / 1000);
      const aud = [claims.aud].flat();
      if (!issuer.audiences.some((audience) => aud.includes(audience))) {
        throw new Error(`oidc: verify token: expected audience in ${JSON.stringify(issuer.audiences)} got ${JSON.stringify(aud)}`);
      }
      return { user: toUser(claims), audiences: shared };
    },
  };
}

/** Clocks differ. */
const LEEWAY = 300;

function checkTime({ exp, nbf }: Claims, seconds: number): void {
  if (typeof exp !== "number" || seconds >= exp) throw new Error("oidc: verify token: oidc: token is expired");
  if (nbf !== undefined && (typeof nbf !== "number" || seconds < nbf - LEEWAY)) throw new Error("oidc: verify token: oidc: current time before the nbf (not before) time");
}

function createMapping({ claimMappings, claimValidationRules = [], userValidationRules = [] }: JwtSettings): (claims: Claims) => UserInfo {
  const environment = celEnvironment({ claims: "dyn", user: "dyn" });
  const [username, groups, uid] = [claimMappings.username, claimMappings.groups, claimMappings.uid].map((mapping) => mapping && createReader(environment, mapping));
  const extra = (claimMappings.extra ?? []).map(({ key, valueExpression }) => ({ key, program: compile(environment, valueExpression) }));
  const rules = claimValidationRules.map((rule) => ({ ...rule, program: rule.expression === undefined ? undefined : compile(environment, rule.expression) }));
  const userRules = userValidationRules.map((rule) => ({ ...rule, program: compile(environment, rule.expression) }));

  return (raw) => {
    const claims = toCel(raw) as Claims;
    checkClaims(rules, raw, claims);
    if (claimMappings.username.claim === "email" && (raw.email_verified ?? true) !== true) throw new Error("oidc: email not verified");
    const name = username!(raw, claims);
    if (typeof name !== "string" || name === "") throw new Error("oidc: the username is empty or no string");
    const user: UserInfo = {
      name, groups: [...new Set([...texts(groups?.(raw, claims), "groups"), "system:authenticated"])],
      ...optionalText("uid", uid?.(raw, claims)), ...extraOf(extra, claims, raw.jti),
    };
    checkUser(userRules, user);
    return user;
  };
}

/** What a mapping yields of the claims: those as JSON, and as CEL has them. */
type Reader = (raw: Claims, claims: Claims) => unknown;

function createReader(environment: Environment, { claim, prefix = "", expression }: ClaimOrExpression): Reader {
  if (expression !== undefined) {
    const program = compile(environment, expression);
    return (_, claims) => program.evaluate({ claims });
  }
  return (raw) => {
    const value = raw[claim!];
    return Array.isArray(value) ? value.map((item) => `${prefix}${String(item)}`) : typeof value === "string" ? `${prefix}${value}` : value;
  };
}

function texts(value: unknown, what: string): readonly string[] {
  if (value === undefined || value === null || value === "") return [];
  const list = [value].flat();
  if (!list.every((item) => typeof item === "string")) throw new Error(`oidc: the ${what} are neither a string nor a list of strings`);
  return list.filter((item) => item !== "") as string[];
}

function optionalText(key: "uid", value: unknown): { readonly uid?: string } {
  if (value === undefined || value === null) return {};
  if (typeof value !== "string") throw new Error(`oidc: the ${key} is no string`);
  return value ? { [key]: value } : {};
}

function extraOf(extra: readonly { readonly key: string; readonly program: Program }[], claims: Claims, jti: unknown): Pick<UserInfo, "extra"> {
  const entries = extra.map(({ key, program }) => [key, texts(program.evaluate({ claims }), `extra ${key}`)] as const).filter(([, values]) => values.length > 0);
  const all = { ...Object.fromEntries(entries), ...credentialOf(jti) };
  return Object.keys(all).length > 0 ? { extra: all } : {};
}

interface ClaimRule {
  readonly claim?: string;
  readonly requiredValue?: string;
  readonly expression?: string;
  readonly message?: string;
  readonly program: Program | undefined;
}

function checkClaims(rules: readonly ClaimRule[], raw: Claims, claims: Claims): void {
  for (const { claim, requiredValue = "", expression, message, program } of rules) {
    if (program && program.evaluate({ claims }) !== true) throw new Error(`oidc: error evaluating claim validation expression: validation expression '${expression}' failed: ${message ?? ""}`);
    if (claim !== undefined && raw[claim] === undefined) throw new Error(`oidc: required claim ${claim} not present in ID token`);
    if (claim !== undefined && raw[claim] !== requiredValue) throw new Error(`oidc: required claim ${claim} value does not match. Got = ${JSON.stringify(raw[claim])}, want = ${requiredValue}`);
  }
}

function checkUser(rules: readonly { readonly expression: string; readonly message?: string; readonly program: Program }[], { name, uid = "", groups, extra = {} }: UserInfo): void {
  const user = { username: name, uid, groups: groups.filter((group) => group !== "system:authenticated"), extra };
  for (const { expression, message, program } of rules) {
    if (program.evaluate({ user }) !== true) throw new Error(`oidc: error evaluating user info validation rule: validation expression '${expression}' failed: ${message ?? ""}`);
  }
}
