/** Reading certificate requests and signing them. Loaded when the first request is there. */
import { createPrivateKey, randomBytes, webcrypto } from "node:crypto";
// oxlint-disable-next-line import/no-unassigned-import -- the certificate library asks for this polyfill
import "reflect-metadata";
import * as x509 from "@peculiar/x509";
import type { RequestFacts } from "./signers.ts";

x509.cryptoProvider.set(webcrypto as unknown as Crypto);

export interface ParsedRequest {
  readonly facts: Omit<RequestFacts, "usages">;
  readonly csr: x509.Pkcs10CertificateRequest;
}

/** Reads a PEM request; throws when it is malformed or not signed by its own key. */
export async function parseRequest(pem: string): Promise<ParsedRequest> {
  const csr = new x509.Pkcs10CertificateRequest(pem);
  if (!(await csr.verify())) throw new Error("the request's signature does not match its key");
  const names = alternativeNames(csr)?.names.toJSON() ?? [];
  const of = (type: string) => names.filter((name) => name.type === type).map((name) => name.value);
  return {
    csr,
    facts: {
      commonName: csr.subjectName.getField("CN")[0] ?? "",
      organizations: csr.subjectName.getField("O"),
      dnsNames: of("dns"),
      ipAddresses: of("ip"),
      otherNames: names.filter((name) => name.type !== "dns" && name.type !== "ip").map((name) => name.value),
    },
  };
}

const SAN = "2.5.29.17";
const alternativeNames = (csr: x509.Pkcs10CertificateRequest) =>
  csr.getExtension(SAN) as x509.SubjectAlternativeNameExtension | null;

export interface SigningRequest {
  readonly request: ParsedRequest;
  readonly usages: readonly string[];
  /** PEM of the authority. */
  readonly ca: { readonly cert: string; readonly key: string };
  readonly notBefore: Date;
  readonly notAfter: Date;
}

const extended: Readonly<Record<string, string>> = {
  "client auth": "1.3.6.1.5.5.7.3.2",
  "server auth": "1.3.6.1.5.5.7.3.1",
  "code signing": "1.3.6.1.5.5.7.3.3",
  "email protection": "1.3.6.1.5.5.7.3.4",
  timestamping: "1.3.6.1.5.5.7.3.8",
  "ocsp signing": "1.3.6.1.5.5.7.3.9",
  any: "2.5.29.37.0",
};
const { KeyUsageFlags } = x509;
const basic: Readonly<Record<string, number>> = {
  signing: KeyUsageFlags.digitalSignature,
  "digital signature": KeyUsageFlags.digitalSignature,
  "content commitment": KeyUsageFlags.nonRepudiation,
  "key encipherment": KeyUsageFlags.keyEncipherment,
  "key agreement": KeyUsageFlags.keyAgreement,
  "data encipherment": KeyUsageFlags.dataEncipherment,
  "cert sign": KeyUsageFlags.keyCertSign,
  "crl sign": KeyUsageFlags.cRLSign,
  "encipher only": KeyUsageFlags.encipherOnly,
  "decipher only": KeyUsageFlags.decipherOnly,
};

/** The signed certificate as PEM. */
export async function signRequest({ request: { csr }, usages, ca, notBefore, notAfter }: SigningRequest): Promise<string> {
  const issuer = new x509.X509Certificate(ca.cert);
  const { key, algorithm } = await importKey(ca.key);
  const flags = usages.reduce((all, usage) => all | (basic[usage] ?? 0), 0);
  const oids = usages.flatMap((usage) => extended[usage] ?? []);
  const names = alternativeNames(csr);
  const certificate = await x509.X509CertificateGenerator.create({
    serialNumber: `01${randomBytes(15).toString("hex")}`,
    subject: csr.subjectName,
    issuer: issuer.subjectName,
    notBefore,
    notAfter,
    publicKey: csr.publicKey,
    signingKey: key,
    signingAlgorithm: algorithm,
    extensions: [
      ...(flags ? [new x509.KeyUsagesExtension(flags, true)] : []),
      ...(oids.length ? [new x509.ExtendedKeyUsageExtension(oids)] : []),
      new x509.BasicConstraintsExtension(false, undefined, true),
      await x509.AuthorityKeyIdentifierExtension.create(issuer.publicKey),
      ...(names ? [names] : []),
    ],
  });
  return `${certificate.toString("pem")}\n`;
}

async function importKey(pem: string): Promise<{ key: CryptoKey; algorithm: { name: string; hash: string } }> {
  const object = createPrivateKey(pem);
  const rsa = object.asymmetricKeyType === "rsa";
  const curve =
    { prime256v1: "P-256", secp384r1: "P-384", secp521r1: "P-521" }[object.asymmetricKeyDetails?.namedCurve ?? ""] ??
    "P-256";
  const algorithm = rsa
    ? { name: "RSASSA-PKCS1-v1_5", hash: "SHA-256" }
    : { name: "ECDSA", namedCurve: curve, hash: "SHA-256" };
  const der = object.export({ type: "pkcs8", format: "der" });
  const key = await webcrypto.subtle.importKey("pkcs8", der, algorithm, false, ["sign"]);
  return { key: key as unknown as CryptoKey, algorithm };
}
