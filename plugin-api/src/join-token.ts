/** K3s's join tokens: `K10` and the hash of the server's CA, then the credentials; or the credentials alone. */
import type { X509Certificate } from "node:crypto";

export interface JoinToken {
  /** Hash of the server's CA; absent in the short form, which trusts whoever answers first. */
  readonly caHash?: string;
  /** `server`, `node`; empty for a bootstrap token or a bare password. */
  readonly user: string;
  readonly password: string;
}

/** Loaded on first use: it takes 6 ms, in every process of a plugin too. */
const crypto = (): typeof import("node:crypto") => process.getBuiltinModule("node:crypto");

/** Of one certificate the hash of its PEM text, of a chain that of its root's DER: what a joining node computes from `/cacerts`. */
export function caHash(pem: string): string {
  const chain = certificatesOf(pem);
  const root = chain.length > 1 ? chain.find((cert) => cert.issuer === cert.subject) : undefined;
  return crypto().createHash("sha256").update(root ? root.raw : pem).digest("hex");
}

/** Every certificate of a PEM file, in order. */
export const certificatesOf = (pem: string): X509Certificate[] =>
  (pem.match(/-----BEGIN CERTIFICATE-----[^]+?-----END CERTIFICATE-----/g) ?? []).map((block) => new (crypto().X509Certificate)(block));

/** The full form; `credentials` are `server:PASSWORD`, `node:PASSWORD` or a bootstrap token. */
export const formatJoinToken = (serverCa: string, credentials: string): string => `K10${caHash(serverCa)}::${credentials}`;

export function parseJoinToken(text: string): JoinToken {
  const full = /^K10([0-9a-f]{64})::(.*)$/s.exec(text);
  const credentials = full ? full[2]! : text;
  const at = credentials.indexOf(":");
  return {
    ...(full && { caHash: full[1]! }),
    user: at < 0 ? "" : credentials.slice(0, at), password: at < 0 ? credentials : credentials.slice(at + 1),
  };
}

/** A bootstrap token as kubeadm defines it: `ID.SECRET`. */
export const bootstrapTokenPattern = /^([a-z0-9]{6})\.([a-z0-9]{16})$/;
