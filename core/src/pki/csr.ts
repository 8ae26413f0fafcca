/** Certification requests (PKCS#10, RFC 2986): an agent writes one for its key, a server takes the key from one. */
import { createPublicKey, sign, verify, type KeyObject } from "node:crypto";
import { k3spError, type K3spError } from "@k3s-p/plugin-api";
import * as d from "./der.ts";

/** Far more than a request for the longest key needs. */
const MAX_LENGTH = 16_384;
const VERSION = d.integer(Buffer.from([0]));
/** The tag of the attributes, which stand last: `[0]`. */
const ATTRIBUTES = 0xa0;

interface Signature {
  readonly keyType: "ec" | "rsa";
  readonly digest: "sha256" | "sha384" | "sha512";
  readonly algorithm: Buffer;
}

const ecdsa = (arc: number, digest: Signature["digest"]): Signature =>
  ({ keyType: "ec", digest, algorithm: d.sequence(d.oid(`1.2.840.10045.4.3.${arc}`)) });
const rsa = (arc: number, digest: Signature["digest"]): Signature =>
  ({ keyType: "rsa", digest, algorithm: d.sequence(d.oid(`1.2.840.113549.1.1.${arc}`), d.der(0x05)) });
const signatures: readonly Signature[] = [ecdsa(2, "sha256"), ecdsa(3, "sha384"), ecdsa(4, "sha512"), rsa(11, "sha256"), rsa(12, "sha384"), rsa(13, "sha512")];

/** P-256 and P-384, as the algorithm of a key has them. */
const curves: readonly Buffer[] = ["1.2.840.10045.3.1.7", "1.3.132.0.34"].map((curve) => d.sequence(d.oid("1.2.840.10045.2.1"), d.oid(curve)));

/** PEM. The subject is empty, as whoever signs decides it. */
export function createRequest(key: KeyObject): string {
  const spki = createPublicKey(key).export({ type: "spki", format: "der" });
  const info = d.sequence(VERSION, d.sequence(), spki, d.der(ATTRIBUTES));
  const { algorithm, digest } = signatures.find(({ keyType }) => keyType === key.asymmetricKeyType)!;
  const request = d.sequence(info, algorithm, d.bits(sign(digest, info, key)));
  return d.pem("CERTIFICATE REQUEST", request);
}

/** The public key of a request, proven by its signature to be the sender's own; nothing else in it is looked at. */
export function requestedKey(pem: string): KeyObject {
  if (pem.length > MAX_LENGTH) throw invalid(`it is longer than ${MAX_LENGTH} characters`);
  const [info, algorithm, signed] = membersOf(derOf(pem), 3);
  const [version, , spki, attributes] = membersOf(info!, 4);
  if (!version!.equals(VERSION) || attributes![0] !== ATTRIBUTES) throw invalid("it is not of version 1");
  const signature = signatures.find((known) => known.algorithm.equals(algorithm!));
  if (!signature) throw invalid("it is not signed with ECDSA or RSA over SHA-256, SHA-384 or SHA-512");
  const key = publicKey(spki!);
  checkStrength(key, spki!);
  if (key.asymmetricKeyType !== signature.keyType || !isSignedBy(key, signature.digest, info!, signed!)) {
    throw invalid("its signature is not by the key that is in it");
  }
  return key;
}

function derOf(pem: string): Buffer {
  const [, text] = /-----BEGIN (?:NEW )?CERTIFICATE REQUEST-----([A-Za-z0-9+/=\s]+)-----END (?:NEW )?CERTIFICATE REQUEST-----/.exec(pem) ?? [];
  if (text === undefined) throw invalid("it holds no CERTIFICATE REQUEST in PEM");
  return Buffer.from(text, "base64");
}

/** Those of a SEQUENCE of this many; what would not be written the same way again is no DER. */
function membersOf(value: Buffer, count: number): Buffer[] {
  try {
    const members = d.parts(value);
    if (members.length === count && d.sequence(...members).equals(value)) return members;
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
  }
  throw invalid("it is not in DER");
}

function publicKey(spki: Buffer): KeyObject {
  try {
    return createPublicKey({ key: spki, type: "spki", format: "der" });
  } catch (cause) {
    throw invalid("its key cannot be read", cause);
  }
}

/** By name: a curve that is spelt out may be any, and most peers refuse it. */
function checkStrength({ asymmetricKeyType: type, asymmetricKeyDetails: details = {} }: KeyObject, spki: Buffer): void {
  const { namedCurve = "", modulusLength = 0 } = details;
  if (type === "ec" && curves.some((known) => known.equals(d.parts(spki)[0]!))) return;
  if (type === "rsa" && modulusLength >= 2048 && modulusLength <= 8192) return;
  throw invalid(`its key is ${[type, namedCurve || modulusLength || ""].join(" ").trim()}; use one of the named curves P-256 and P-384, or RSA of 2048 to 8192 bits`);
}

function isSignedBy(key: KeyObject, digest: string, info: Buffer, signed: Buffer): boolean {
  const bits = d.content(signed);
  const isWhole = signed[0] === 0x03 && bits[0] === 0;
  return isWhole && verify(digest, info, key, bits.subarray(1));
}

const invalid = (why: string, cause?: unknown): K3spError => k3spError("K3SP_CERTIFICATE_INVALID", {
  message: `the certification request cannot be used: ${why}`, fix: "send a PKCS#10 request in PEM, signed by its own key", cause,
});
