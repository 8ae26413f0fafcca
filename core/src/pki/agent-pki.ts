/** The keys of an agent: it makes them, its server certifies them, and they lie below `agent/` as K3s's do. */
import { createPrivateKey, type KeyObject } from "node:crypto";
import { existsSync, mkdirSync } from "node:fs";
import { isIP } from "node:net";
import { join } from "node:path";
import { certificatesOf, k3spError, messageOf } from "@k3s-p/plugin-api";
import type { CaName, KeyPair, LeafRequest, Pki, Renewal } from "@k3s-p/plugin-api/slots";
import { isLoopback } from "../node/checks.ts";
import type { SupervisorClient } from "../agent/supervisor-client.ts";
import { createRequest } from "./csr.ts";
import { createRenewals, existingKey, isFor, read, stillGood, writeAtomic, writePair } from "./leaves.ts";
import type { PkiOptions } from "./pki.ts";
import { keyPem, newKey } from "./x509.ts";

export interface AgentPkiOptions extends PkiOptions {
  /** The folder of all files, whatever folder a request names. */
  readonly folder: string;
  readonly supervisor: SupervisorClient;
}

type Authorities = ReadonlyMap<CaName, { readonly cert: string; readonly certPath: string }>;

/** Resolves once the CAs are there; from then on the server is asked only for leaves that are missing or near their end. */
export async function createAgentPki({ folder, supervisor, now = () => new Date(), warn = () => {} }: AgentPkiOptions): Promise<Pki> {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const cas = await fetchAuthorities(folder, supervisor);
  const turns = new Map<string, Promise<KeyPair>>();
  const renewals = createRenewals(inTurn, warn);

  function ca(name: CaName) {
    const found = cas.get(name);
    if (!found) throw onServersOnly(`the CA ${name}`);
    return found;
  }

  /** Two at once for the same files would each write a key of its own. */
  function inTurn(request: LeafRequest): Promise<KeyPair> {
    const turn = (turns.get(request.name) ?? Promise.resolve()).catch(() => {}).then(() => pairFor(request));
    turns.set(request.name, turn);
    return turn;
  }

  async function pairFor(request: LeafRequest): Promise<KeyPair> {
    const certPath = join(folder, `${request.name}.crt`);
    const keyPath = join(folder, `${request.name}.key`);
    const issuer = ca(request.ca).cert;
    const keyText = existingKey(keyPath) ?? keyPem(newKey());
    const key = createPrivateKey(keyText);
    const old = existsSync(certPath) ? read(certPath) : "";
    if (!stillGood(old, request, issuer, key, now())) {
      try {
        writePair(certPath, await certified(request, key, issuer, supervisor), keyPath, keyText, false);
      } catch (error) {
        if (!isUsable(old, request, issuer, key, now())) throw error;
        warn(`the certificate ${request.name} was not renewed: ${messageOf(error)}`);
      }
    }
    return { cert: read(certPath), key: keyText, certPath, keyPath };
  }

  return {
    ca,
    async issue(request, renewal?: Renewal) {
      const pair = await inTurn(request);
      if (renewal) renewals.follow(request, renewal, pair);
      return pair;
    },
    certify: () => Promise.reject(onServersOnly("the keys that certificates are signed with")),
    serviceAccountKey: () => Promise.reject(onServersOnly("the key that ServiceAccount tokens are signed with")),
  };
}

async function fetchAuthorities(folder: string, supervisor: SupervisorClient): Promise<Authorities> {
  const names = ["server-ca", "client-ca"] as const;
  return new Map(await Promise.all(names.map(async (name) => {
    const certPath = join(folder, `${name}.crt`);
    const cert = await supervisor.get(`/v1-k3s/${name}.crt`);
    if (!certificatesOf(cert)[0]?.ca) throw refusedAnswer(`${name}.crt is no certificate of a CA`);
    if (!existsSync(certPath) || read(certPath) !== cert) writeAtomic(certPath, cert, 0o644, false);
    return [name, { cert, certPath }] as const;
  })));
}

/** The names come from the server; what it gives must be what was asked for, or it would be asked again at every start. */
async function certified(request: LeafRequest, key: KeyObject, issuer: string, supervisor: SupervisorClient): Promise<string> {
  const ips = request.usage === "client" ? undefined : (request.sans ?? []).filter((san) => isIP(san) && !isLoopback(san));
  const pem = await supervisor.certificate(request.name, createRequest(key), ips);
  const [leaf] = certificatesOf(pem);
  if (leaf && isFor(leaf, request, issuer, key)) return pem;
  const given = leaf ? `${leaf.subject.replaceAll("\n", ", ")} by ${leaf.issuer.replaceAll("\n", ", ")}` : "no certificate";
  throw refusedAnswer(`${request.name}.crt is ${given}, where CN=${request.commonName} of this node's key and the cluster's CA was asked for`);
}

/** One that should be renewed serves until it ends. */
function isUsable(pem: string, request: LeafRequest, issuer: string, key: KeyObject, now: Date): boolean {
  const [leaf] = certificatesOf(pem);
  return leaf !== undefined && leaf.validToDate > now && isFor(leaf, request, issuer, key);
}

const refusedAnswer = (what: string) => k3spError("K3SP_CERTIFICATE_INVALID", {
  message: `the server's answer cannot be used: ${what}`, fix: "restart the agent if the server's CA was replaced; else start the same version of k3s-p on both",
});

const onServersOnly = (what: string) => k3spError("K3SP_PERMISSION_DENIED", {
  message: `${what}: only on a server, and this node is an agent`, fix: "run the plugin that needs it on a server",
});
