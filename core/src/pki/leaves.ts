/** What servers and agents keep leaf certificates by: the files, when one is still good, and renewal while they run. */
import { X509Certificate, type KeyObject } from "node:crypto";
import { closeSync, existsSync, fsyncSync, openSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { certificatesOf, k3spError, messageOf } from "@k3s-p/plugin-api";
import type { KeyPair, LeafRequest, Renewal } from "@k3s-p/plugin-api/slots";
import { readKeyFile } from "./key-file.ts";
import { sansOf } from "./x509.ts";

/** As K3s: renewed when fewer days are left. */
export const RENEW_DAYS = 120;
/** How often a running server or agent looks whether one is due. */
const RENEWAL_INTERVAL = 12 * 3_600_000;

interface Followed {
  readonly request: LeafRequest;
  readonly renewal: Renewal;
  cert: string;
}

/** Asks for every followed certificate again from time to time; who issues it decides whether it is due. */
export function createRenewals(issue: (request: LeafRequest) => Promise<KeyPair>, warn: (message: string) => void) {
  const followed = new Set<Followed>();
  let timer: NodeJS.Timeout | undefined;

  async function look(entry: Followed): Promise<void> {
    try {
      const pair = await issue(entry.request);
      if (pair.cert === entry.cert) return;
      entry.cert = pair.cert;
      entry.renewal.onRenewed(pair);
    } catch (error) {
      warn(`the certificate ${entry.request.name} was not renewed: ${messageOf(error)}`);
    }
  }

  return {
    follow(request: LeafRequest, renewal: Renewal, { cert }: KeyPair): void {
      if (renewal.signal.aborted) return;
      const entry: Followed = { request, renewal, cert };
      followed.add(entry);
      timer ??= setInterval(() => followed.forEach((one) => void look(one)), RENEWAL_INTERVAL).unref();
      renewal.signal.addEventListener("abort", () => {
        followed.delete(entry);
        if (followed.size > 0) return;
        clearInterval(timer);
        timer = undefined;
      }, { once: true });
    },
  };
}

/** Names alone prove nothing: a CA that was replaced may have kept its name. */
export const isIssuedBy = (cert: X509Certificate, ca: X509Certificate): boolean => cert.checkIssued(ca) && cert.verify(ca.publicKey);

/** Whether a leaf may be used as it is: it is what was asked for, and will be for longer than a renewal may take. */
export function stillGood(pem: string, request: LeafRequest, ca: string, key: KeyObject, now: Date): boolean {
  const [cert] = certificatesOf(pem);
  return cert !== undefined && cert.validToDate.getTime() - now.getTime() > RENEW_DAYS * 86_400_000 && cert.validFromDate <= now && isFor(cert, request, ca, key);
}

/** It is of this key, by this CA, and says what was asked for. */
export function isFor(cert: X509Certificate, { commonName, organizations = [], sans = [] }: LeafRequest, ca: string, key: KeyObject): boolean {
  const groups = [...cert.subject.matchAll(/^O=(.*)$/gm)].map((m) => m[1]);
  return (
    cert.checkPrivateKey(key) &&
    isIssuedBy(cert, new X509Certificate(ca)) &&
    cert.subject.split("\n").includes(`CN=${commonName}`) &&
    groups.sort().join() === [...organizations].sort().join() &&
    new Set(sans).isSubsetOf(new Set(sansOf(cert)))
  );
}

/** Undefined also for one that a power cut has left empty: a leaf is made again. */
export function existingKey(path: string): string | undefined {
  const text = existsSync(path) ? readKeyFile(path) : "";
  return text.includes("PRIVATE KEY") ? text : undefined;
}

/** The key first: a certificate without its key would look complete at the next start. */
export function writePair(certPath: string, cert: string, keyPath: string, key: string, isDurable: boolean): void {
  writeAtomic(keyPath, key, 0o600, isDurable);
  writeAtomic(certPath, cert, 0o644, isDurable);
}

/** Durable is what cannot be made again: waiting for the disk takes milliseconds, and there are many leaves. */
export function writeAtomic(path: string, text: string, mode: number, isDurable: boolean): void {
  const fresh = openSync(`${path}.tmp`, "w", mode);
  try {
    writeFileSync(fresh, text);
    if (isDurable) fsyncSync(fresh);
  } finally {
    closeSync(fresh);
  }
  renameSync(`${path}.tmp`, path);
  if (!isDurable) return;
  const folder = openSync(dirname(path), "r");
  fsyncSync(folder);
  closeSync(folder);
}

export function read(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (cause) {
    throw k3spError("K3SP_PERMISSION_DENIED", { message: `cannot read ${path}`, cause });
  }
}
