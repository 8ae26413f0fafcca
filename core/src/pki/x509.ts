/** Issues X.509 v3 certificates (RFC 5280). */
import { X509Certificate, createHash, createPrivateKey, createPublicKey, generateKeyPairSync, randomBytes, sign, type KeyObject } from "node:crypto";
import { isIP } from "node:net";
import { intToIp, ipToInt } from "@k3s-p/plugin-api";
import * as d from "./der.ts";

export interface CertificateRequest {
  readonly commonName: string;
  readonly organizations?: readonly string[];
  readonly usage: "ca" | "client" | "server" | "both";
  readonly sans?: readonly string[];
  readonly days: number;
  readonly now: Date;
  /** The key to certify; the public half is enough with an issuer. */
  readonly key: KeyObject;
  /** PEM of the CA, or undefined for self-signed. */
  readonly issuer?: { readonly cert: string; readonly key: string };
}

const OID = {
  commonName: "2.5.4.3", organization: "2.5.4.10",
  basicConstraints: "2.5.29.19", keyUsage: "2.5.29.15", extKeyUsage: "2.5.29.37", subjectAltName: "2.5.29.17",
  subjectKeyId: "2.5.29.14", authorityKeyId: "2.5.29.35", serverAuth: "1.3.6.1.5.5.7.3.1", clientAuth: "1.3.6.1.5.5.7.3.2",
} as const;

/** How a kind of key signs: the DER of the algorithm's name, and the digest that is signed. */
const signatures: Readonly<Record<string, { readonly algorithm: Buffer; readonly digest: string | null }>> = {
  ec: { algorithm: d.sequence(d.oid("1.2.840.10045.4.3.2")), digest: "sha256" },
  rsa: { algorithm: d.sequence(d.oid("1.2.840.113549.1.1.11"), d.der(0x05)), digest: "sha256" },
  ed25519: { algorithm: d.sequence(d.oid("1.3.101.112")), digest: null },
};

export const newKey = (): KeyObject => generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey;
export const keyPem = (key: KeyObject): string => key.export({ type: "sec1", format: "pem" }) as string;

/** PEM of the signed certificate. */
export function issueCertificate(request: CertificateRequest): string {
  const signer = request.issuer ? createPrivateKey(request.issuer.key) : request.key;
  const issuerCert = request.issuer && new X509Certificate(request.issuer.cert);
  const signature = signatures[signer.asymmetricKeyType!];
  if (!signature) throw new Error(`a CA key of type ${signer.asymmetricKeyType} cannot sign; use an EC, RSA or Ed25519 key`);
  const { algorithm, digest } = signature;
  const subject = name(request.commonName, request.organizations ?? []);
  const publicKey = request.key.type === "public" ? request.key : createPublicKey(request.key);
  const spki = publicKey.export({ type: "spki", format: "der" });
  // A minute back, so that a peer whose clock is a little behind accepts it.
  const from = new Date(request.now.getTime() - 60_000);
  const to = new Date(request.now.getTime() + request.days * 86_400_000);
  const tbs = d.sequence(
    d.explicit(0, d.integer(Buffer.from([2]))),
    d.integer(randomBytes(16)),
    algorithm,
    issuerCert ? subjectOf(issuerCert) : subject,
    d.sequence(d.time(from), d.time(to)),
    subject,
    spki,
    d.explicit(3, d.sequence(...extensions(request, spki, issuerCert))),
  );
  const certificate = d.sequence(tbs, algorithm, d.bits(sign(digest, tbs, signer)));
  return d.pem("CERTIFICATE", certificate);
}

function name(commonName: string, organizations: readonly string[]): Buffer {
  const attribute = (type: string, value: string) => d.set(d.sequence(d.oid(type), d.utf8(value)));
  return d.sequence(...organizations.map((o) => attribute(OID.organization, o)), attribute(OID.commonName, commonName));
}

/** The fields of a TBSCertificate (RFC 5280, 4.1), each whole; the version comes first. */
const fieldsOf = (cert: X509Certificate): Buffer[] => d.parts(d.parts(cert.raw)[0]!);

/** As it was written: an authority from elsewhere has a name of any form. */
const subjectOf = (cert: X509Certificate): Buffer => fieldsOf(cert)[5]!;

const keyId = (spki: Uint8Array): Buffer => createHash("sha1").update(d.content(d.parts(spki)[1]!).subarray(1)).digest();

/** What a leaf names its issuer's key by: the issuer's own word for it, if it has one. */
function authorityKeyId(issuer: X509Certificate): Buffer {
  const extensions = fieldsOf(issuer).find((field) => field[0] === 0xa3);
  const wanted = d.oid(OID.subjectKeyId);
  const own = extensions && d.parts(d.parts(extensions)[0]!).map(d.parts).find(([type]) => type!.equals(wanted));
  return own ? d.content(d.content(own.at(-1)!)) : keyId(issuer.publicKey.export({ type: "spki", format: "der" }));
}

function extensions(request: CertificateRequest, spki: Uint8Array, issuer: X509Certificate | undefined): Buffer[] {
  const extension = (type: string, critical: boolean, value: Uint8Array) =>
    d.sequence(d.oid(type), ...(critical ? [d.boolean(true)] : []), d.octets(value));
  const ca = request.usage === "ca";
  // keyUsage bits: CA = digitalSignature, keyEncipherment, keyCertSign; leaf = digitalSignature, keyEncipherment.
  const usage = ca ? Buffer.from([0x03, 0x02, 0x02, 0xa4]) : Buffer.from([0x03, 0x02, 0x05, 0xa0]);
  const purposes = [
    ...(request.usage === "server" || request.usage === "both" ? [OID.serverAuth] : []),
    ...(request.usage === "client" || request.usage === "both" ? [OID.clientAuth] : []),
  ];
  return [
    extension(OID.keyUsage, true, usage),
    ...(purposes.length ? [extension(OID.extKeyUsage, false, d.sequence(...purposes.map(d.oid)))] : []),
    extension(OID.basicConstraints, true, ca ? d.sequence(d.boolean(true)) : d.sequence()),
    extension(OID.subjectKeyId, false, d.octets(keyId(spki))),
    ...(issuer ? [extension(OID.authorityKeyId, false, d.sequence(d.implicit(0, authorityKeyId(issuer))))] : []),
    ...(request.sans?.length ? [extension(OID.subjectAltName, false, d.sequence(...request.sans.map(generalName)))] : []),
  ];
}

function generalName(san: string): Buffer {
  const family = isIP(san);
  if (!family) return d.implicit(2, Buffer.from(san));
  const hex = ipToInt(san).toString(16).padStart(family === 4 ? 8 : 32, "0");
  return d.implicit(7, Buffer.from(hex, "hex"));
}

/** SANs of a certificate, in the same form as `CertificateRequest.sans`. */
export function sansOf(cert: X509Certificate): string[] {
  return (cert.subjectAltName ?? "").split(", ").filter(Boolean).map((entry) => {
    const value = entry.slice(entry.indexOf(":") + 1);
    return entry.startsWith("IP") ? normalIp(value) : value;
  });
}

const normalIp = (ip: string): string => (isIP(ip) === 6 ? intToIp(ipToInt(ip), 6) : ip);
