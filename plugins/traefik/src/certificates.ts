/** Certificates by server name, from the Secrets that Ingresses name; a default one for every other name. */
import { X509Certificate } from "node:crypto";
import { createSecureContext, type SecureContext } from "node:tls";
import type { Ingress, Informer, Secret } from "@k3s-p/plugin-api/kube";

export interface CertificateStore {
  /** The certificate for a server name (SNI). */
  contextFor(serverName: string): SecureContext;
  readonly fallback: PemPair;
  /** Another certificate for every other name. */
  renew(fallback: PemPair): void;
  /** Reads Secrets and Ingresses again at the next handshake; connections that are open keep what they have. */
  invalidate(): void;
}

export interface PemPair {
  readonly cert: string;
  readonly key: string;
}

export interface StoreOptions {
  readonly ingresses: () => readonly Ingress[];
  readonly secrets: Informer<Secret>;
  readonly fallback: PemPair;
  readonly onInvalid: (ingress: Ingress, message: string) => void;
}

interface Loaded {
  readonly version: string;
  readonly context: SecureContext;
  readonly names: readonly string[];
}

export function createCertificateStore({ ingresses, secrets, onInvalid, ...options }: StoreOptions): CertificateStore {
  let { fallback } = options;
  const loaded = new Map<string, Loaded>();
  let byName: Map<string, SecureContext> | undefined;
  let fallbackContext: SecureContext | undefined;

  function load(key: string, secret: Secret): Loaded {
    const version = `${secret.metadata.uid} ${secret.metadata.resourceVersion}`;
    const known = loaded.get(key);
    if (known?.version === version) return known;
    const [cert, privateKey] = ["tls.crt", "tls.key"].map((name) => Buffer.from(secret.data?.[name] ?? "", "base64"));
    const fresh = { version, context: createSecureContext({ cert: cert!, key: privateKey! }), names: namesOf(cert!) };
    loaded.set(key, fresh);
    return fresh;
  }

  function build(): Map<string, SecureContext> {
    const map = new Map<string, SecureContext>();
    for (const ingress of ingresses()) {
      for (const { secretName, hosts = [] } of ingress.spec?.tls ?? []) {
        if (!secretName) continue;
        const secret = secrets.get(secretName, ingress.metadata.namespace);
        if (!secret) continue;
        try {
          const { context, names } = load(`${ingress.metadata.namespace}/${secretName}`, secret);
          for (const name of [...names, ...hosts.map((host) => host.toLowerCase())]) if (!map.has(name)) map.set(name, context);
        } catch (error) {
          onInvalid(ingress, `Secret ${secretName} holds no usable certificate: ${(error as Error).message}`);
        }
      }
    }
    return map;
  }

  return {
    get fallback() {
      return fallback;
    },
    renew(pair) {
      fallback = pair;
      fallbackContext = undefined;
    },
    contextFor(serverName) {
      byName ??= build();
      const name = serverName.toLowerCase();
      const found = byName.get(name) ?? byName.get(`*${name.slice(name.indexOf("."))}`);
      return found ?? (fallbackContext ??= createSecureContext(fallback));
    },
    invalidate() {
      byName = undefined;
    },
  };
}

/** DNS names of the certificate, `*.example.com` included. */
function namesOf(pem: Buffer): readonly string[] {
  const text = new X509Certificate(pem).subjectAltName ?? "";
  return text.split(", ").flatMap((part) => (part.startsWith("DNS:") ? [part.slice(4).toLowerCase()] : []));
}
