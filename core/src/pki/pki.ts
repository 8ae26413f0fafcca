/** The cluster's certificate authorities and leaf certificates as files, made once and renewed before they expire. */
import { createPrivateKey, createPublicKey, type KeyObject, type X509Certificate } from "node:crypto";
import { existsSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { certificatesOf, k3spError } from "@k3s-p/plugin-api";
import type { CaName, KeyPair, LeafRequest, Pki, Renewal } from "@k3s-p/plugin-api/slots";
import { readKeyFile } from "./key-file.ts";
import { createRenewals, existingKey, read, stillGood, writeAtomic, writePair } from "./leaves.ts";
import { issueCertificate, keyPem, newKey } from "./x509.ts";

/** K3s's lifetimes: CAs 10 years; leaves 365 days. */
const CA_DAYS = 3650;
const LEAF_DAYS = Number(process.env.CATTLE_NEW_SIGNED_CERT_EXPIRATION_DAYS) || 365;

/** Before this k3s-p was written no clock is right: what it certifies would have expired when somebody sets it. */
const EARLIEST = new Date("2026-01-01T00:00:00Z");

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
      if (now() < EARLIEST) throw wrongClock(`no CA can be made at ${seconds(now())}`, "set the clock of this machine first");
      const key = newKey();
      const commonName = `${caNames[name]}@${Math.floor(now().getTime() / 1000)}`;
      writePair(certPath, issueCertificate({ commonName, usage: "ca", days: CA_DAYS, now: now(), key }), keyPath, keyPem(key), true);
    }
    const loaded = { cert: read(certPath), key: readKeyFile(keyPath), certPath, keyPath };
    checkAuthority(loaded, now());
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

function checkAuthority({ cert, key, certPath, keyPath }: Authority, now: Date): void {
  const [first] = certificatesOf(cert);
  const isKey = key.includes("PRIVATE KEY");
  if (first?.ca && isKey && first.checkPrivateKey(createPrivateKey(key))) return checkTime(first, certPath, now);
  const problem = !first ? `${certPath} holds no certificate`
    : !first.ca ? `the first certificate in ${certPath} is not one of a CA`
    : !isKey ? `${keyPath} holds no private key`
    : `${certPath} does not belong to the key beside it`;
  throw k3spError("K3SP_CERTIFICATE_INVALID", { message: problem, fix: "restore the pair from a backup, or see k3s-p certificate rotate-ca" });
}

/** Nobody would believe the server: clients say no more than that a certificate is not valid. */
function checkTime({ validFromDate, validToDate }: X509Certificate, path: string, now: Date): void {
  if (now < validFromDate) throw wrongClock(`${path} is valid from ${seconds(validFromDate)} on, and the clock of this machine says ${seconds(now)}`, "set the clock, then start again");
  if (now > validToDate) throw wrongClock(`${path} expired at ${seconds(validToDate)}, and the clock of this machine says ${seconds(now)}`, "set the clock if it is wrong; else put new CAs in place with k3s-p certificate rotate-ca --force");
}

const wrongClock = (message: string, fix: string) => k3spError("K3SP_CERTIFICATE_INVALID", { message, fix });

const seconds = (date: Date): string => date.toISOString().replace(/\.\d+Z$/, "Z");
