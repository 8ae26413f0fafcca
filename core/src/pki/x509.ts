/** Issues X.509 v3 certificates with ECDSA P-256 keys (RFC 5280). */
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
  /** The key to certify. */
  readonly key: KeyObject;
  /** PEM of the CA, or undefined for self-signed. */
  readonly issuer?: { readonly cert: string; readonly key: string };
}

const OID = {
  commonName: "2.5.4.3", organization: "2.5.4.10", ecdsaSha256: "1.2.840.10045.4.3.2",
  basicConstraints: "2.5.29.19", keyUsage: "2.5.29.15", extKeyUsage: "2.5.29.37", subjectAltName: "2.5.29.17",
  subjectKeyId: "2.5.29.14", authorityKeyId: "2.5.29.35", serverAuth: "1.3.6.1.5.5.7.3.1", clientAuth: "1.3.6.1.5.5.7.3.2",
} as const;

export const newKey = (): KeyObject => generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey;
export const keyPem = (key: KeyObject): string => key.export({ type: "sec1", format: "pem" }) as string;

/** PEM of the signed certificate. */
export function issueCertificate(request: CertificateRequest): string {
  const signer = request.issuer ? createPrivateKey(request.issuer.key) : request.key;
  const issuerCert = request.issuer && new X509Certificate(request.issuer.cert);
  const algorithm = d.sequence(d.oid(OID.ecdsaSha256));
  const subject = name(request.commonName, request.organizations ?? []);
  const spki = createPublicKey(request.key).export({ type: "spki", format: "der" });
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
    d.explicit(3, d.sequence(...extensions(request, spki, signer))),
  );
  const certificate = d.sequence(tbs, algorithm, d.bits(sign("sha256", tbs, signer)));
  return `-----BEGIN CERTIFICATE-----\n${certificate.toString("base64").replace(/(.{64})/g, "$1\n").trimEnd()}\n-----END CERTIFICATE-----\n`;
}

function name(commonName: string, organizations: readonly string[]): Buffer {
  const attribute = (type: string, value: string) => d.set(d.sequence(d.oid(type), d.utf8(value)));
  return d.sequence(...organizations.map((o) => attribute(OID.organization, o)), attribute(OID.commonName, commonName));
}

/** The issuer's subject, rebuilt from what this module writes: CAs have a common name only. */
function subjectOf(cert: X509Certificate): Buffer {
  const commonName = /^CN=(.*)$/m.exec(cert.subject)?.[1] ?? "";
  const organizations = [...cert.subject.matchAll(/^O=(.*)$/gm)].map((m) => m[1]!);
  return name(commonName, organizations);
}

const keyId = (spki: Uint8Array): Buffer => createHash("sha1").update(spki.subarray(spki.length - 65)).digest();

function extensions(request: CertificateRequest, spki: Uint8Array, signer: KeyObject): Buffer[] {
  const extension = (type: string, critical: boolean, value: Uint8Array) =>
    d.sequence(d.oid(type), ...(critical ? [d.boolean(true)] : []), d.octets(value));
  const ca = request.usage === "ca";
  // keyUsage bits: CA = digitalSignature, keyEncipherment, keyCertSign; leaf = digitalSignature, keyEncipherment.
  const usage = ca ? Buffer.from([0x03, 0x02, 0x02, 0xa4]) : Buffer.from([0x03, 0x02, 0x05, 0xa0]);
  const purposes = [
    ...(request.usage === "server" || request.usage === "both" ? [OID.serverAuth] : []),
    ...(request.usage === "client" || request.usage === "both" ? [OID.clientAuth] : []),
  ];
  const authority = createPublicKey(signer).export({ type: "spki", format: "der" });
  return [
    extension(OID.keyUsage, true, usage),
    ...(purposes.length ? [extension(OID.extKeyUsage, false, d.sequence(...purposes.map(d.oid)))] : []),
    extension(OID.basicConstraints, true, ca ? d.sequence(d.boolean(true)) : d.sequence()),
    extension(OID.subjectKeyId, false, d.octets(keyId(spki))),
    ...(ca && !request.issuer ? [] : [extension(OID.authorityKeyId, false, d.sequence(d.implicit(0, keyId(authority))))]),
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
