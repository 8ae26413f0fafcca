/** JSON web tokens (RFC 7515, 7518): signs and verifies with the algorithm that the key is for, whatever a token says. */
import { createHash, createPublicKey, type KeyObject, sign, verify } from "node:crypto";

interface Algorithm {
  readonly alg: string;
  readonly digest: string | null;
  readonly pss?: boolean;
}

const byCurve: Readonly<Record<string, Algorithm>> = {
  prime256v1: { alg: "ES256", digest: "sha256" }, secp384r1: { alg: "ES384", digest: "sha384" }, secp521r1: { alg: "ES512", digest: "sha512" },
};
const rsa: readonly Algorithm[] = [
  { alg: "RS256", digest: "sha256" }, { alg: "RS384", digest: "sha384" }, { alg: "RS512", digest: "sha512" },
  { alg: "PS256", digest: "sha256", pss: true }, { alg: "PS384", digest: "sha384", pss: true }, { alg: "PS512", digest: "sha512", pss: true },
];
const edwards: readonly Algorithm[] = [{ alg: "EdDSA", digest: null }];

/** Those that a key may be used with, the usual one first; none for keys that sign no tokens. */
function algorithmsOf(key: KeyObject): readonly Algorithm[] {
  if (key.asymmetricKeyType === "rsa") return rsa;
  if (key.asymmetricKeyType === "ed25519") return edwards;
  const found = byCurve[key.asymmetricKeyDetails?.namedCurve ?? ""];
  return found ? [found] : [];
}

export interface VerifyingKey {
  readonly key: KeyObject;
  readonly kid: string;
  /** What it signs with, unless a token says another that fits the key. */
  readonly alg: string;
}

/** Its id is upstream's: the hash of the public key's DER form. */
export function verifyingKey(key: KeyObject, kid?: string): VerifyingKey {
  const publicKey = key.type === "public" ? key : createPublicKey(key);
  const [usual] = algorithmsOf(publicKey);
  if (!usual) throw new Error(`a key of type ${key.asymmetricKeyType} signs no tokens; use RSA, EC or Ed25519`);
  const der = publicKey.export({ type: "spki", format: "der" });
  return { key: publicKey, kid: kid ?? createHash("sha256").update(der).digest("base64url"), alg: usual.alg };
}

const encode = (value: object): string => Buffer.from(JSON.stringify(value)).toString("base64url");

const keyFor = (key: KeyObject, { pss }: Algorithm) => ({ key, dsaEncoding: "ieee-p1363" as const, ...(pss && { padding: PSS, saltLength: DIGEST_LENGTH }) });
/** `constants.RSA_PKCS1_PSS_PADDING` and `RSA_PSS_SALTLEN_DIGEST` */
const [PSS, DIGEST_LENGTH] = [6, -1];

export function signJwt(key: KeyObject, claims: object): string {
  const { kid, alg } = verifyingKey(key);
  const payload = `${encode({ alg, kid })}.${encode(claims)}`;
  const algorithm = algorithmsOf(key)[0]!;
  return `${payload}.${sign(algorithm.digest, Buffer.from(payload), keyFor(key, algorithm)).toString("base64url")}`;
}

export interface JwtParts {
  readonly header: { readonly alg?: unknown; readonly kid?: unknown };
  readonly claims: Record<string, unknown>;
}

/** What a token says of itself; nobody has verified it. */
export function decodeJwt(token: string): JwtParts | undefined {
  const parts = token.split(".");
  if (parts.length !== 3) return undefined;
  try {
    const [header, claims] = parts.slice(0, 2).map((part) => JSON.parse(Buffer.from(part, "base64url").toString()) as unknown);
    return isRecord(header) && isRecord(claims) ? { header, claims } : undefined;
  } catch {
    return undefined;
  }
}

const isRecord = (value: unknown): value is Record<string, unknown> => typeof value === "object" && value !== null && !Array.isArray(value);

/** The claims, when one of the keys has signed them. A token that names its key is checked with that one alone. */
export function verifyJwt(token: string, keys: readonly VerifyingKey[]): Record<string, unknown> | undefined {
  const decoded = decodeJwt(token);
  if (!decoded) return undefined;
  const { header: { alg, kid }, claims } = decoded;
  const end = token.lastIndexOf(".");
  const payload = Buffer.from(token.slice(0, end));
  const signature = Buffer.from(token.slice(end + 1), "base64url");
  const named = keys.filter((one) => one.kid === kid);
  const isSigned = ({ key }: VerifyingKey): boolean => {
    const algorithm = algorithmsOf(key).find((one) => one.alg === alg);
    return algorithm !== undefined && verify(algorithm.digest, payload, keyFor(key, algorithm), signature);
  };
  return (named.length > 0 ? named : keys).some(isSigned) ? claims : undefined;
}
