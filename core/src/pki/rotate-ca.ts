/** Puts CAs from elsewhere, and keys that sign ServiceAccount tokens, in the place of the cluster's own. */
import { X509Certificate, createPrivateKey, createPublicKey } from "node:crypto";
import { existsSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { certificatesOf, k3spError, replaceFileDurably } from "@k3s-p/plugin-api";
import type { CaName } from "@k3s-p/plugin-api/slots";
import { readKeyFile } from "./key-file.ts";
import { isIssuedBy } from "./leaves.ts";

const caNames: readonly CaName[] = ["server-ca", "client-ca", "request-header-ca"];
const SERVICE_KEY = "service.key";

export interface CaRotation {
  /** Folder with some of `server-ca`, `client-ca`, `request-header-ca` (`.crt` and `.key`) and `service.key`. */
  readonly staged: string;
  readonly tls: string;
  /** Takes what existing certificates and tokens do not verify against. */
  readonly force: boolean;
}

/** Names of the files to replace, after all of them have been checked; throws with every problem at once. */
export function checkRotation(rotation: CaRotation): string[] {
  const { staged } = rotation;
  if (!existsSync(staged) || !statSync(staged).isDirectory()) throw invalid([`${staged} is no folder`]);
  const pairs = caNames.filter((name) => existsSync(join(staged, `${name}.crt`)) || existsSync(join(staged, `${name}.key`)));
  const withKey = existsSync(join(staged, SERVICE_KEY));
  const problems = [...pairs.flatMap((name) => checkCa(name, rotation)), ...(withKey ? checkServiceKey(rotation) : [])];
  if (pairs.length === 0 && !withKey) problems.push(`${staged} holds none of ${caNames.map((name) => `${name}.crt`).join(", ")}, ${SERVICE_KEY}`);
  if (problems.length > 0) throw invalid(problems);
  return [...pairs.flatMap((name) => [`${name}.key`, `${name}.crt`]), ...(withKey ? [SERVICE_KEY] : [])];
}

/** The keys first: a certificate that does not fit its key is refused at the next start. */
export async function applyRotation({ staged, tls }: CaRotation, names: readonly string[]): Promise<void> {
  for (const name of names) await replaceFileDurably(join(tls, name), readFileSync(join(staged, name)), name.endsWith(".key") ? 0o600 : 0o644);
}

function checkCa(name: CaName, { staged, tls, force }: CaRotation): string[] {
  const path = join(staged, `${name}.crt`);
  if (!existsSync(path)) return [`${path} is missing`];
  if (!existsSync(join(staged, `${name}.key`))) return [`${join(staged, `${name}.key`)} is missing`];
  const chain = certificatesOf(readFileSync(path, "utf8"));
  const [first] = chain;
  if (!first?.ca) return [`${path}: its first certificate is not one of a CA`];
  if (!first.checkPrivateKey(createPrivateKey(readKeyFile(join(staged, `${name}.key`))))) return [`${path} does not belong to the key beside it`];
  const broken = chain.findIndex((cert, i) => i > 0 && !chain.slice(0, i).some((earlier) => isIssuedBy(earlier, cert)));
  if (broken > 0) return [`${path}: certificate ${broken + 1} has issued none of those before it`];
  const before = join(tls, `${name}.crt`);
  if (force || !existsSync(before)) return [];
  const trusted = certificatesOf(readFileSync(before, "utf8"));
  return isTrusted(chain, trusted) ? [] : [`${path} does not lead to the CA that the cluster trusts now (${trusted[0]?.subject})`];
}

/** The new CA is an old one, or one of those has issued it or a certificate that follows it. */
const isTrusted = (chain: readonly X509Certificate[], trusted: readonly X509Certificate[]): boolean =>
  chain.some((cert) => trusted.some((old) => cert.raw.equals(old.raw) || isIssuedBy(cert, old)));

function checkServiceKey({ staged, tls, force }: CaRotation): string[] {
  const path = join(staged, SERVICE_KEY);
  const fresh = publicKeys(readKeyFile(path));
  if (fresh.length === 0) return [`${path} holds no private key`];
  const before = join(tls, SERVICE_KEY);
  if (force || !existsSync(before)) return [];
  const missing = publicKeys(readKeyFile(before)).some((key) => !fresh.includes(key));
  return missing ? [`${path} lacks a key that the cluster's tokens are signed with; let the old keys follow the new one`] : [];
}

const publicKeys = (pem: string): string[] =>
  (pem.match(/-----BEGIN [A-Z ]*PRIVATE KEY-----[^]+?-----END [A-Z ]*PRIVATE KEY-----/g) ?? [])
    .map((block) => String(createPublicKey(block).export({ type: "spki", format: "pem" })));

const invalid = (problems: readonly string[]) => k3spError("K3SP_CERTIFICATE_INVALID", {
  message: problems.length === 1 ? problems[0]! : `${problems.length} problems with the new CAs`,
  ...(problems.length > 1 && { detail: problems }),
  fix: "correct the files; --force takes a new root: every node must then join again with a new token, and pods be restarted",
});
