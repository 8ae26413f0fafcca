/** The cluster's certificate authorities and leaf certificates as files, made once and renewed before they expire. */
import { X509Certificate, createPrivateKey, createPublicKey, type KeyObject } from "node:crypto";
import { closeSync, existsSync, fsyncSync, mkdirSync, openSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { certificatesOf, k3spError, messageOf } from "@k3s-p/plugin-api";
import type { CaName, KeyPair, LeafRequest, Pki, Renewal } from "@k3s-p/plugin-api/slots";
import { readKeyFile } from "./key-file.ts";
import { issueCertificate, keyPem, newKey, sansOf } from "./x509.ts";

/** K3s's lifetimes: CAs 10 years; leaves 365 days, renewed when fewer than 120 days are left. */
const CA_DAYS = 3650;
const LEAF_DAYS = Number(process.env.CATTLE_NEW_SIGNED_CERT_EXPIRATION_DAYS) || 365;
export const RENEW_DAYS = 120;
/** How often a running server looks whether one is due. */
const RENEWAL_INTERVAL = 12 * 3_600_000;

const caNames: Readonly<Record<CaName, string>> = {
  "server-ca": "k3s-server-ca", "client-ca": "k3s-client-ca", "request-header-ca": "k3s-request-header-ca",
};

export interface PkiOptions {
  readonly now?: () => Date;
  /** Told of a renewal that failed while the server runs; it is tried again. */
  readonly warn?: (message: string) => void;
}

interface Authority {
  readonly cert: string;
  readonly key: string;
  readonly certPath: string;
  readonly keyPath: string;
}

type Certified = Parameters<Pki["certify"]>[1];

export function createPki(tlsDir: string, { now = () => new Date(), warn = () => {} }: PkiOptions = {}): Pki {
  const cas = new Map<CaName, Authority>();
  const renewals = createRenewals(issue, warn);
  let ready = false;

  /** The folder is made on first use, so that commands that only plan touch nothing. */
  function prepare(): void {
    if (ready) return;
    mkdirSync(tlsDir, { recursive: true, mode: 0o700 });
    ready = true;
  }

  function authority(name: CaName) {
    const known = cas.get(name);
    if (known) return known;
    prepare();
    const certPath = join(tlsDir, `${name}.crt`);
    const keyPath = join(tlsDir, `${name}.key`);
    if (!existsSync(certPath) || !existsSync(keyPath)) {
      const key = newKey();
      const commonName = `${caNames[name]}@${Math.floor(now().getTime() / 1000)}`;
      writePair(certPath, issueCertificate({ commonName, usage: "ca", days: CA_DAYS, now: now(), key }), keyPath, keyPem(key), true);
    }
    const loaded = { cert: read(certPath), key: readKeyFile(keyPath), certPath, keyPath };
    checkAuthority(loaded);
    cas.set(name, loaded);
    return loaded;
  }

  /** The CA follows the leaf, as in K3s, so that a client can present the whole chain. */
  function certificateFor(key: KeyObject, { ca, commonName, organizations = [], usage, sans = [] }: Certified): string {
    const issuer = authority(ca);
    return issueCertificate({ commonName, organizations, usage, sans, days: LEAF_DAYS, now: now(), key, issuer }) + issuer.cert;
  }

  async function issue(request: LeafRequest, renewal?: Renewal): Promise<KeyPair> {
    const dir = request.dir ?? tlsDir;
    prepare();
    mkdirSync(dir, { recursive: true, mode: 0o700 });
    const certPath = join(dir, `${request.name}.crt`);
    const keyPath = join(dir, `${request.name}.key`);
    const ca = authority(request.ca);
    const keyText = existingKey(keyPath) ?? keyPem(newKey());
    const key = createPrivateKey(keyText);
    if (!existsSync(certPath) || !stillGood(read(certPath), request, ca.cert, key, now())) {
      writePair(certPath, certificateFor(key, request), keyPath, keyText, false);
    }
    const pair = { cert: read(certPath), key: keyText, certPath, keyPath };
    if (renewal) renewals.follow(request, renewal, pair);
    return pair;
  }

  return {
    ca: (name) => ({ cert: authority(name).cert, certPath: authority(name).certPath }),
    issue,
    async certify(csr, request) {
      const { requestedKey } = await import("./csr.ts");
      return certificateFor(requestedKey(csr), request);
    },
    async serviceAccountKey() {
      prepare();
      const path = join(tlsDir, "service.key");
      if (!existsSync(path)) writeAtomic(path, keyPem(newKey()), 0o600, true);
      const privateKey = readKeyFile(path);
      return { privateKey, publicKey: createPublicKey(privateKey).export({ type: "spki", format: "pem" }) as string, path };
    },
  };
}

interface Followed {
  readonly request: LeafRequest;
  readonly renewal: Renewal;
  cert: string;
}

/** Asks for every followed certificate again from time to time; who issues it decides whether it is due. */
function createRenewals(issue: (request: LeafRequest) => Promise<KeyPair>, warn: (message: string) => void) {
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

function checkAuthority({ cert, key, certPath, keyPath }: Authority): void {
  const [first] = certificatesOf(cert);
  const isKey = key.includes("PRIVATE KEY");
  if (first?.ca && isKey && first.checkPrivateKey(createPrivateKey(key))) return;
  const problem = !first ? `${certPath} holds no certificate`
    : !first.ca ? `the first certificate in ${certPath} is not one of a CA`
    : !isKey ? `${keyPath} holds no private key`
    : `${certPath} does not belong to the key beside it`;
  throw k3spError("K3SP_CERTIFICATE_INVALID", { message: problem, fix: "restore the pair from a backup, or see k3s-p certificate rotate-ca" });
}

/** Names alone prove nothing: a CA that was replaced may have kept its name. */
export const isIssuedBy = (cert: X509Certificate, ca: X509Certificate): boolean => cert.checkIssued(ca) && cert.verify(ca.publicKey);

function stillGood(pem: string, request: LeafRequest, ca: string, key: KeyObject, now: Date): boolean {
  const [cert] = certificatesOf(pem);
  if (!cert) return false;
  const wanted = new Set(request.sans ?? []);
  const organizations = [...cert.subject.matchAll(/^O=(.*)$/gm)].map((m) => m[1]);
  return (
    cert.validToDate.getTime() - now.getTime() > RENEW_DAYS * 86_400_000 &&
    cert.validFromDate <= now &&
    cert.checkPrivateKey(key) &&
    isIssuedBy(cert, new X509Certificate(ca)) &&
    cert.subject.split("\n").includes(`CN=${request.commonName}`) &&
    organizations.join() === (request.organizations ?? []).join() &&
    wanted.isSubsetOf(new Set(sansOf(cert)))
  );
}

/** Undefined also for one that a power cut has left empty: a leaf is made again. */
function existingKey(path: string): string | undefined {
  const text = existsSync(path) ? readKeyFile(path) : "";
  return text.includes("PRIVATE KEY") ? text : undefined;
}

/** The key first: a certificate without its key would look complete at the next start. */
function writePair(certPath: string, cert: string, keyPath: string, key: string, isDurable: boolean): void {
  writeAtomic(keyPath, key, 0o600, isDurable);
  writeAtomic(certPath, cert, 0o644, isDurable);
}

/** Durable is what cannot be made again: waiting for the disk takes milliseconds, and there are many leaves. */
function writeAtomic(path: string, text: string, mode: number, isDurable: boolean): void {
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

function read(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (cause) {
    throw k3spError("K3SP_PERMISSION_DENIED", { message: `cannot read ${path}`, cause });
  }
}
