/** ServiceAccount tokens: JSON web tokens signed with ES256, their claims as upstream writes them, and the public keys. */
import { createHash, createPrivateKey, createPublicKey, randomUUID, sign, verify } from "node:crypto";
import type { KeyObject } from "node:crypto";

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
}

export interface TokenKeysOptions {
  /** PEM. */
  readonly privateKey: string;
  readonly issuer: string;
  /** Audiences of the API server itself; tokens for others are not tokens for it. */
  readonly audiences: readonly string[];
  /** Where relying parties find the keys; default below the issuer. */
  readonly jwksUri?: string;
  /** Unix milliseconds. */
  readonly now?: () => number;
  readonly newId?: () => string;
}

export interface TokenKeys {
  readonly issuer: string;
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
  const { issuer, audiences, now = Date.now, newId = randomUUID } = options;
  const privateKey = createPrivateKey(options.privateKey);
  const publicKey = createPublicKey(privateKey);
  const kid = keyId(publicKey);
  const header = encode({ alg: "ES256", kid });
  return {
    issuer,
    audiences,
    mint(subject, wanted, seconds) {
      const iat = Math.floor(now() / 1000);
      const extended = seconds === WARN_ONLY_BOUND_SECONDS && subject.pod !== undefined && sameSet(wanted, audiences);
      const claims = claimsOf(subject, {
        iss: issuer, aud: wanted, iat, nbf: iat, jti: newId(),
        exp: iat + (extended ? YEAR : seconds),
        ...(extended && { warnafter: iat + seconds }),
      });
      const payload = `${header}.${encode(claims)}`;
      const signature = sign("sha256", Buffer.from(payload), { key: privateKey, dsaEncoding: "ieee-p1363" });
      return { token: `${payload}.${signature.toString("base64url")}`, expires: iat + seconds };
    },
    read: (token) => readSigned(token, publicKey),
    jwks: () => ({ keys: [{ use: "sig", ...publicKey.export({ format: "jwk" }), kid, alg: "ES256" }] }),
    discovery: () => ({
      issuer, jwks_uri: options.jwksUri ?? `${issuer}/openid/v1/jwks`, response_types_supported: ["id_token"],
      subject_types_supported: ["public"], id_token_signing_alg_values_supported: ["ES256"],
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

const encode = (value: object): string => Buffer.from(JSON.stringify(value)).toString("base64url");

function readSigned(token: string, key: KeyObject): Record<string, unknown> | undefined {
  const [head, payload, signature, ...rest] = token.split(".");
  if (!head || !payload || !signature || rest.length > 0) return undefined;
  try {
    if (JSON.parse(Buffer.from(head, "base64url").toString()).alg !== "ES256") return undefined;
    const bytes = Buffer.from(signature, "base64url");
    if (!verify("sha256", Buffer.from(`${head}.${payload}`), { key, dsaEncoding: "ieee-p1363" }, bytes)) return undefined;
    return JSON.parse(Buffer.from(payload, "base64url").toString());
  } catch {
    return undefined;
  }
}

/** As upstream: the hash of the public key's DER form. */
const keyId = (key: KeyObject): string =>
  createHash("sha256").update(key.export({ type: "spki", format: "der" })).digest("base64url");

const sameSet = (a: readonly string[], b: readonly string[]): boolean =>
  a.length === b.length && a.every((item) => b.includes(item));
