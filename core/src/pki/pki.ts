/** The cluster's certificate authorities and leaf certificates as files, made once and renewed before they expire. */
import { X509Certificate, createPrivateKey, createPublicKey, type KeyObject } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { k3spError } from "@k3s-p/plugin-api";
import type { CaName, KeyPair, LeafRequest, Pki } from "@k3s-p/plugin-api/slots";
import { issueCertificate, keyPem, newKey, sansOf } from "./x509.ts";

/** K3s's lifetimes: CAs 10 years; leaves 365 days, renewed at start when fewer than 120 days are left. */
const CA_DAYS = 3650;
const LEAF_DAYS = 365;
const RENEW_DAYS = 120;

const caNames: Readonly<Record<CaName, string>> = {
  "server-ca": "k3s-server-ca", "client-ca": "k3s-client-ca", "request-header-ca": "k3s-request-header-ca",
};

export function createPki(tlsDir: string, now: () => Date = () => new Date()): Pki {
  const cas = new Map<CaName, { cert: string; key: string; certPath: string }>();
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
      writePair(certPath, issueCertificate({ commonName, usage: "ca", days: CA_DAYS, now: now(), key }), keyPath, keyPem(key));
    }
    const loaded = { cert: read(certPath), key: read(keyPath), certPath };
    cas.set(name, loaded);
    return loaded;
  }

  async function issue(request: LeafRequest): Promise<KeyPair> {
    const dir = request.dir ?? tlsDir;
    prepare();
    mkdirSync(dir, { recursive: true, mode: 0o700 });
    const certPath = join(dir, `${request.name}.crt`);
    const keyPath = join(dir, `${request.name}.key`);
    const ca = authority(request.ca);
    const key = existsSync(keyPath) ? createPrivateKey(read(keyPath)) : newKey();
    if (!existsSync(certPath) || !stillGood(read(certPath), request, ca.cert, key, now())) {
      const { commonName, organizations = [], usage, sans = [] } = request;
      const cert = issueCertificate({ commonName, organizations, usage, sans, days: LEAF_DAYS, now: now(), key, issuer: ca });
      // The CA follows the leaf, as in K3s, so that a client can present the whole chain.
      writePair(certPath, cert + ca.cert, keyPath, keyPem(key));
    }
    return { cert: read(certPath), key: read(keyPath), certPath, keyPath };
  }

  return {
    ca: (name) => ({ cert: authority(name).cert, certPath: authority(name).certPath }),
    issue,
    async serviceAccountKey() {
      prepare();
      const path = join(tlsDir, "service.key");
      if (!existsSync(path)) writeSecret(path, keyPem(newKey()));
      const privateKey = read(path);
      return { privateKey, publicKey: createPublicKey(privateKey).export({ type: "spki", format: "pem" }) as string, path };
    },
  };
}

function stillGood(pem: string, request: LeafRequest, ca: string, key: KeyObject, now: Date): boolean {
  const cert = new X509Certificate(pem);
  const wanted = new Set(request.sans ?? []);
  const organizations = [...cert.subject.matchAll(/^O=(.*)$/gm)].map((m) => m[1]);
  return (
    cert.validToDate.getTime() - now.getTime() > RENEW_DAYS * 86_400_000 &&
    cert.validFromDate <= now &&
    cert.checkPrivateKey(key) &&
    cert.checkIssued(new X509Certificate(ca)) &&
    cert.subject.split("\n").includes(`CN=${request.commonName}`) &&
    organizations.join() === (request.organizations ?? []).join() &&
    wanted.isSubsetOf(new Set(sansOf(cert)))
  );
}

/** The key first: a certificate without its key would look complete at the next start. */
function writePair(certPath: string, cert: string, keyPath: string, key: string): void {
  writeSecret(keyPath, key);
  writeAtomic(certPath, cert, 0o644);
}

const writeSecret = (path: string, text: string): void => writeAtomic(path, text, 0o600);

function writeAtomic(path: string, text: string, mode: number): void {
  writeFileSync(`${path}.tmp`, text, { mode });
  renameSync(`${path}.tmp`, path);
}

function read(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (cause) {
    throw k3spError("K3SP_PERMISSION_DENIED", { message: `cannot read ${path}`, cause });
  }
}
