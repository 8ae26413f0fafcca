/** ServiceAccount tokens: signed JSON web tokens, their claims as upstream writes them, and the public keys. */
import { createPrivateKey, randomUUID } from "node:crypto";
import { signJwt, verifyJwt, verifyingKey } from "./jwt.ts";

/** The kubelet asks for this odd lifetime; such a token lives on for a year, and warns after the hour. */
const WARN_ONLY_BOUND_SECONDS = 3607;
const YEAR = 365 * 24 * 60 * 60;

export interface TokenSubject {
  readonly namespace: string;
  readonly serviceAccount: { readonly name: string; readonly uid: string };
  readonly pod?: { readonly name: string; readonly uid: string };
  readonly secret?: { readonly name: string; readonly uid: string };
  /** The pod's node, or the node that the token is bound to. */
  readonly node?: { readonly name: string; readonly uid: string };
}

interface NameUid {
  readonly name: string;
  readonly uid: string;
}

export interface TokenClaims {
  readonly iss: string;
  readonly sub: string;
  readonly aud: readonly string[];
  readonly exp: number;
  readonly iat: number;
  readonly nbf: number;
  readonly jti?: string;
  readonly "kubernetes.io": {
    readonly namespace: string;
    readonly serviceaccount: NameUid;
    readonly pod?: NameUid;
    readonly secret?: NameUid;
    readonly node?: NameUid;
    readonly warnafter?: number;
  };
}

export interface MintedToken {
  readonly token: string;
  /** What `status.expirationTimestamp` says, Unix seconds. */
  readonly expires: number;
  readonly id: string;
}

export interface TokenKeysOptions {
  /** PEM of one or more keys: the first signs, all verify. */
  readonly privateKey: string;
  readonly issuer: string;
  /** Those before it, whose tokens are still good. */
  readonly formerIssuers?: readonly string[];
  /** Audiences of the API server itself; tokens for others are not tokens for it. */
  readonly audiences: readonly string[];
  /** Where relying parties find the keys; default below the issuer. */
  readonly jwksUri?: string;
  /** Unix milliseconds. */
  readonly now?: () => number;
  readonly newId?: () => string;
}

export interface TokenKeys {
  /** The one that issues, then those before it. */
  readonly issuers: readonly string[];
  readonly audiences: readonly string[];
  mint(subject: TokenSubject, audiences: readonly string[], seconds: number): MintedToken;
  /** The payload when the signature is ours; says nothing of time, audience or bound objects. */
  read(token: string): Record<string, unknown> | undefined;
  /** Body of `/openid/v1/jwks`. */
  jwks(): object;
  /** Body of `/.well-known/openid-configuration`. */
  discovery(): object;
}

export function createTokenKeys(options: TokenKeysOptions): TokenKeys {
  const { issuer, formerIssuers = [], audiences, now = Date.now, newId = randomUUID } = options;
  const keys = pemKeys(options.privateKey).map((pem) => createPrivateKey(pem));
  const [signing] = keys;
  if (!signing) throw new Error("there is no private key to sign tokens with");
  const verifying = keys.map((key) => verifyingKey(key));
  return {
    issuers: [issuer, ...formerIssuers],
    audiences,
    mint(subject, wanted, seconds) {
      const iat = Math.floor(now() / 1000);
      const extended = seconds === WARN_ONLY_BOUND_SECONDS && subject.pod !== undefined && sameSet(wanted, audiences);
      const id = newId();
      const claims = claimsOf(subject, {
        iss: issuer, aud: wanted, iat, nbf: iat, jti: id,
        exp: iat + (extended ? YEAR : seconds),
        ...(extended && { warnafter: iat + seconds }),
      });
      return { token: signJwt(signing, claims), expires: iat + seconds, id };
    },
    read: (token) => verifyJwt(token, verifying),
    jwks: () => ({ keys: verifying.map(({ key, kid, alg }) => ({ use: "sig", ...key.export({ format: "jwk" }), kid, alg })) }),
    discovery: () => ({
      issuer, jwks_uri: options.jwksUri ?? `${issuer}/openid/v1/jwks`, response_types_supported: ["id_token"],
      subject_types_supported: ["public"], id_token_signing_alg_values_supported: [...new Set(verifying.map(({ alg }) => alg))].sort(),
    }),
  };
}

type TimedClaims = Omit<TokenClaims, "sub" | "kubernetes.io"> & { readonly warnafter?: number };

function claimsOf({ namespace, serviceAccount, pod, secret, node }: TokenSubject, timed: TimedClaims): TokenClaims {
  const { warnafter, ...rest } = timed;
  return {
    ...rest,
    sub: `system:serviceaccount:${namespace}:${serviceAccount.name}`,
    "kubernetes.io": {
      namespace, serviceaccount: serviceAccount,
      ...(pod && { pod }), ...(secret && { secret }), ...(node && { node }), ...(warnafter && { warnafter }),
    },
  };
}

const pemKeys = (text: string): readonly string[] => text.match(/-----BEGIN [A-Z ]*PRIVATE KEY-----[^]+?-----END [A-Z ]*PRIVATE KEY-----/g) ?? [];

const sameSet = (a: readonly string[], b: readonly string[]): boolean =>
  a.length === b.length && a.every((item) => b.includes(item));

const isNameUid = (value: unknown): value is NameUid => {
  const { name, uid } = (value ?? {}) as Partial<NameUid>;
  return typeof name === "string" && name !== "" && typeof uid === "string" && uid !== "";
};

/** The claims when they have the form that this server gives them; what merely bears its signature may have any. */
export function asTokenClaims(claims: Record<string, unknown>): TokenClaims | undefined {
  const { exp, nbf } = claims;
  const aud = typeof claims.aud === "string" ? [claims.aud] : claims.aud;
  const bound = claims["kubernetes.io"] as Partial<TokenClaims["kubernetes.io"]> | undefined;
  if (typeof exp !== "number" || typeof nbf !== "number" || !Array.isArray(aud)) return undefined;
  if (typeof bound?.namespace !== "string" || !isNameUid(bound.serviceaccount)) return undefined;
  if (![bound.pod, bound.secret, bound.node].every((ref) => ref === undefined || isNameUid(ref))) return undefined;
  return { ...claims, aud } as unknown as TokenClaims;
}
