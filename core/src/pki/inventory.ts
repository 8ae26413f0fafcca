/** Which certificates lie where, whose they are, and how long they are good: what `k3s-p certificate` works on. */
import { X509Certificate } from "node:crypto";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { certificatesOf, k3spError } from "@k3s-p/plugin-api";
import type { Paths } from "@k3s-p/plugin-api/slots";
import { didYouMean } from "../kernel/manifest.ts";
import { RENEW_DAYS } from "./leaves.ts";

/** K3s's names of services, and the base names of their files. What is not listed is a service of its own name. */
const files: Readonly<Record<string, readonly string[]>> = {
  admin: ["client-admin"],
  "api-server": ["client-kube-apiserver", "serving-kube-apiserver"],
  "auth-proxy": ["client-auth-proxy"],
  "kube-proxy": ["client-kube-proxy"],
  kubelet: ["client-kubelet", "serving-kubelet"],
  "metrics-server": ["client-metrics-server", "serving-metrics-server"],
};
export interface LeafFile {
  readonly service: string;
  /** Of the certificate; the key lies beside it. */
  readonly path: string;
}

const serviceOf = (name: string): string =>
  Object.keys(files).find((service) => files[service]!.includes(name)) ?? name;

/** Leaves below `server/tls` and `agent`, in order of their paths; CAs are not among them. */
export function leafFiles({ tls, agent }: Pick<Paths, "tls" | "agent">): LeafFile[] {
  const found = [tls, agent].flatMap((dir) => (existsSync(dir) ? readdirSync(dir) : [])
    .filter((name) => name.endsWith(".crt"))
    .map((name) => ({ service: serviceOf(basename(name, ".crt")), path: join(dir, name) })));
  return found.filter(({ path }) => !(certificatesOf(readFileSync(path, "utf8"))[0]?.ca ?? true))
    .sort((a, b) => (a.path < b.path ? -1 : 1));
}

/** Those of the named services; of all when none is named. */
export function ofServices(leaves: readonly LeafFile[], services: readonly string[]): LeafFile[] {
  const known = [...new Set([...Object.keys(files), ...leaves.map((leaf) => leaf.service)])].sort();
  for (const service of services) {
    if (known.includes(service)) continue;
    throw k3spError("K3SP_FLAG_INVALID", { message: `--service: "${service}" is no service${didYouMean(service, known)}`, fix: `use some of ${known.join(", ")}` });
  }
  return leaves.filter((leaf) => services.length === 0 || services.includes(leaf.service));
}

export interface CertificateState {
  readonly filename: string;
  readonly subject: string;
  readonly issuer: string;
  readonly usages: readonly string[];
  readonly notBefore: Date;
  readonly expiryTime: Date;
  readonly residualTime: string;
  readonly status: "OK" | "WARNING" | "EXPIRED" | "NOT YET VALID";
}

const usageNames: Readonly<Record<string, string>> = { "1.3.6.1.5.5.7.3.1": "ServerAuth", "1.3.6.1.5.5.7.3.2": "ClientAuth" };
const DAY = 86_400_000;

/** One entry for every certificate of the file: the leaf, then the CAs that follow it. */
export const describeFile = (path: string, now: Date): CertificateState[] =>
  certificatesOf(readFileSync(path, "utf8")).map((cert) => describeCertificate(cert, path, now));

function describeCertificate(cert: X509Certificate, filename: string, now: Date): CertificateState {
  const left = cert.validToDate.getTime() - now.getTime();
  return {
    filename, subject: goName(cert.subject), issuer: goName(cert.issuer),
    usages: cert.ca ? ["CertSign"] : (cert.keyUsage ?? []).map((oid) => usageNames[oid] ?? oid),
    notBefore: cert.validFromDate, expiryTime: cert.validToDate, residualTime: residual(left),
    status: cert.validFromDate > now ? "NOT YET VALID" : left <= 0 ? "EXPIRED" : left <= RENEW_DAYS * DAY ? "WARNING" : "OK",
  };
}

/** `O=a\nCN=b` as Go prints it: `CN=b,O=a`. */
const goName = (name: string): string => name.split("\n").reverse().join(",");

function residual(ms: number): string {
  const units: readonly (readonly [number, string])[] = [[365 * DAY, "year"], [DAY, "day"], [DAY / 24, "hour"], [60_000, "minute"]];
  const [size, name] = units.find(([unit]) => ms >= unit) ?? [0, ""];
  if (size === 0) return "0";
  const count = Math.floor(ms / size);
  return `${count} ${name}${count === 1 ? "" : "s"}`;
}
