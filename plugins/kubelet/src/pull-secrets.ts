/** The credentials that a pod's pull secrets hold for an image, found by upstream's rules of which registry an entry is for. */
import { createHash } from "node:crypto";
import type { Pod, Secret } from "@k3s-p/plugin-api/kube";
import type { ImageAuth } from "@k3s-p/plugin-api/slots";
import { namespaceOf } from "./pod.ts";

/** Where credentials come from, as the records of pulls name it. */
export interface SecretSource {
  readonly uid: string;
  readonly namespace: string;
  readonly name: string;
  readonly credentialHash: string;
}

export interface PullAuth {
  readonly auth: ImageAuth;
  /** All secrets of the pod that hold it. */
  readonly secrets: readonly SecretSource[];
}

export interface PullAuths {
  /** In the order in which they are tried. */
  readonly auths: readonly PullAuth[];
  /** Names of the secrets that are not there. */
  readonly missing: readonly string[];
}

export async function pullAuths(
  pod: Pod, image: string, secret: (namespace: string, name: string) => Promise<Secret | undefined>,
): Promise<PullAuths> {
  const missing: string[] = [];
  const entries: Entry[] = [];
  for (const { name } of pod.spec?.imagePullSecrets ?? []) {
    if (!name) continue;
    const object = await secret(namespaceOf(pod), name);
    if (object) entries.push(...entriesOf(object).map((entry) => ({ ...entry, secret: sourceOf(object, entry.auth) })));
    else missing.push(name);
  }
  return { auths: authsFor(entries, repositoryOf(image)), missing };
}

const sourceOf = ({ metadata }: Secret, auth: ImageAuth): SecretSource => ({
  uid: metadata?.uid ?? "", namespace: metadata?.namespace ?? "", name: metadata?.name ?? "",
  credentialHash: createHash("sha256").update(JSON.stringify([auth.username, auth.password])).digest("hex"),
});

interface FileEntry {
  /** Host, and what the repository's name must begin with: `reg.example:5000/team`. */
  readonly registry: string;
  readonly auth: ImageAuth;
}

interface Entry extends FileEntry {
  readonly secret: SecretSource;
}

/** Backwards by name, so that a longer path goes before a shorter one; Docker Hub's old name counts when nothing else fits. */
function authsFor(entries: readonly Entry[], repository: string): PullAuth[] {
  const fitting = entries.filter(({ registry }) => registryMatches(registry, repository));
  const hub = repository.startsWith("docker.io/") ? entries.filter(({ registry }) => registry === hubHost) : [];
  const sorted = (fitting.length ? fitting : hub).toSorted((a, b) => (a.registry < b.registry ? 1 : a.registry > b.registry ? -1 : 0));
  const byCredential = Map.groupBy(sorted, ({ auth }) => JSON.stringify(auth));
  return [...byCredential.values()].map((same) => ({ auth: same[0]!.auth, secrets: same.map(({ secret }) => secret) }));
}

const hubHost = "index.docker.io";

/** The image's name in full, without tag and digest: `busybox:1` is `docker.io/library/busybox`. */
export function repositoryOf(image: string): string {
  const name = image.replace(/@.*$/, "").replace(/:[^/:]*$/, "");
  const [first = "", ...rest] = name.split("/");
  if (!rest.length) return `docker.io/library/${name}`;
  if (first === hubHost) return `docker.io/${rest.length > 1 ? "" : "library/"}${rest.join("/")}`;
  return /[.:]|^localhost$/.test(first) ? name : `docker.io/${name}`;
}

/** Each label of the host is a pattern of a shell; the port and the number of labels must be the same. */
function registryMatches(registry: string, repository: string): boolean {
  const [wanted, found] = [splitAddress(registry), splitAddress(repository)];
  return wanted.port === found.port && wanted.labels.length === found.labels.length && found.path.startsWith(wanted.path)
    && wanted.labels.every((label, i) => labelMatches(label, found.labels[i]!));
}

function splitAddress(address: string) {
  const slash = address.indexOf("/");
  const host = slash < 0 ? address : address.slice(0, slash);
  const [, name = host, port = ""] = /^(.*):(\d+)$/.exec(host) ?? [];
  return { labels: name.split("."), port, path: slash < 0 ? "" : address.slice(slash) };
}

function labelMatches(pattern: string, label: string): boolean {
  const escaped = pattern.replace(/[+$.{}()|]/g, "\\$&").replaceAll("*", ".*").replaceAll("?", ".");
  try {
    return new RegExp(`^${escaped}$`).test(label);
  } catch {
    return false;
  }
}

const formats: Readonly<Record<string, { readonly key: string; readonly auths: (config: any) => unknown }>> = {
  "kubernetes.io/dockerconfigjson": { key: ".dockerconfigjson", auths: (config) => config?.auths },
  "kubernetes.io/dockercfg": { key: ".dockercfg", auths: (config) => config },
};

/** A secret that is not of this kind, or not as it should be, has none. */
function entriesOf({ type = "", data = {} }: Secret): FileEntry[] {
  const format = formats[type];
  const text = format && data[format.key];
  if (!text) return [];
  try {
    const auths = format.auths(JSON.parse(Buffer.from(text, "base64").toString("utf8"))) ?? {};
    return Object.entries(auths as Record<string, DockerAuth>).map(([address, entry]) => ({ registry: registryOf(address), auth: authOf(entry) }));
  } catch {
    return [];
  }
}

/** `https://reg.example/v2/team` is `reg.example/team`. */
function registryOf(address: string): string {
  const [, host = "", path = ""] = /^(?:https?:\/\/)?([^/]*)(.*)$/.exec(address)!;
  const below = path.replace(/^\/v[12]\//, "/");
  return below === "/" ? host : host + below;
}

interface DockerAuth {
  readonly username?: string;
  readonly password?: string;
  /** Base64 of `username:password`; it counts before the two. */
  readonly auth?: string;
}

/** Without the address: with one, runtimes give the credentials to no mirror of the registry. */
function authOf({ username = "", password = "", auth }: DockerAuth): ImageAuth {
  if (!auth) return { username, password };
  const text = Buffer.from(auth, "base64").toString("utf8");
  const colon = text.indexOf(":");
  if (colon < 0) throw new Error("auth must be username:password");
  return { username: text.slice(0, colon), password: text.slice(colon + 1) };
}
