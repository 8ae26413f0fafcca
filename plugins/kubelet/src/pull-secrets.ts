/** The credentials that a pod's pull secrets hold for an image, found by upstream's rules of which registry an entry is for. */
import type { Pod, Secret } from "@k3s-p/plugin-api/kube";
import type { ImageAuth } from "@k3s-p/plugin-api/slots";
import { namespaceOf } from "./pod.ts";

export interface PullAuths {
  /** In the order in which they are tried. */
  readonly auths: readonly ImageAuth[];
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
    if (object) entries.push(...entriesOf(object));
    else missing.push(name);
  }
  return { auths: authsFor(entries, fullName(image)), missing };
}

interface Entry {
  /** Host, and what the repository's name must begin with: `reg.example:5000/team`. */
  readonly registry: string;
  readonly auth: ImageAuth;
}

/** Backwards by name, so that a longer path goes before a shorter one; Docker Hub's old name counts when nothing else fits. */
function authsFor(entries: readonly Entry[], repository: string): ImageAuth[] {
  const fitting = entries.filter(({ registry }) => registryMatches(registry, repository));
  const hub = repository.startsWith("docker.io/") ? entries.filter(({ registry }) => registry === hubHost) : [];
  const sorted = (fitting.length ? fitting : hub).toSorted((a, b) => (a.registry < b.registry ? 1 : a.registry > b.registry ? -1 : 0));
  const unique = new Map(sorted.map(({ auth }) => [JSON.stringify(auth), auth]));
  return [...unique.values()];
}

const hubHost = "index.docker.io";

/** `busybox:1` is `docker.io/library/busybox`. */
function fullName(image: string): string {
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
function entriesOf({ type = "", data = {} }: Secret): Entry[] {
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
