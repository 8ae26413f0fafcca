/** Contents of configMap, secret, downwardAPI and projected volumes as files. */
import { serviceAccounts, type ConfigMap, type KubeClient, type Pod, type Secret, type TokenRequest, type Volume } from "@k3s-p/plugin-api/kube";
import type { Clock } from "../clock.ts";
import { fieldValue, resourceFieldValue } from "../env.ts";
import { namespaceOf, nameOf } from "../pod.ts";
import type { FileProjection, Payload } from "./atomic-writer.ts";

export interface PayloadSources {
  readonly kube: KubeClient;
  readonly clock: Clock;
  configMap(namespace: string, name: string): Promise<ConfigMap | undefined>;
  secret(namespace: string, name: string): Promise<Secret | undefined>;
  readonly tokens: TokenSource;
  readonly podIps: readonly string[];
  readonly nodeName: string;
  readonly hostIps: readonly string[];
  readonly allocatable: Readonly<Record<string, string>>;
}

type Item = { readonly key: string; readonly path: string; readonly mode?: number };
type Contents = ReadonlyMap<string, Uint8Array>;

const DEFAULT_MODE = 0o644;

export async function volumePayload(pod: Pod, volume: Volume, sources: PayloadSources): Promise<Payload> {
  if (volume.configMap) {
    const { name = "", items, optional, defaultMode } = volume.configMap;
    return fromConfigMap(pod, { name, items, optional, defaultMode }, sources);
  }
  if (volume.secret) {
    const { secretName = "", items, optional, defaultMode } = volume.secret;
    return fromSecret(pod, { name: secretName, items, optional, defaultMode }, sources);
  }
  if (volume.downwardAPI) return fromDownward(pod, volume.downwardAPI.items, volume.downwardAPI.defaultMode, sources);
  return fromProjected(pod, volume.projected!, sources);
}

interface KeyedSource {
  readonly name: string;
  readonly items?: readonly Item[] | undefined;
  readonly optional?: boolean | undefined;
  readonly defaultMode?: number | undefined;
}

async function fromConfigMap(pod: Pod, source: KeyedSource, sources: PayloadSources): Promise<Payload> {
  const map = await sources.configMap(namespaceOf(pod), source.name);
  if (!map && !source.optional) throw new Error(`configmap "${source.name}" not found`);
  const contents = new Map<string, Uint8Array>();
  for (const [key, text] of Object.entries(map?.data ?? {})) contents.set(key, Buffer.from(text));
  for (const [key, base64] of Object.entries(map?.binaryData ?? {})) contents.set(key, Buffer.from(base64, "base64"));
  return select(contents, source, "configmap");
}

async function fromSecret(pod: Pod, source: KeyedSource, sources: PayloadSources): Promise<Payload> {
  const secret = await sources.secret(namespaceOf(pod), source.name);
  if (!secret && !source.optional) throw new Error(`secret "${source.name}" not found`);
  const contents = new Map<string, Uint8Array>();
  for (const [key, base64] of Object.entries(secret?.data ?? {})) contents.set(key, Buffer.from(base64, "base64"));
  return select(contents, source, "secret");
}

function select(contents: Contents, source: KeyedSource, kind: string): Payload {
  const mode = source.defaultMode ?? DEFAULT_MODE;
  if (!source.items) return new Map([...contents].map(([key, data]) => [key, { data, mode }]));
  const files = new Map<string, FileProjection>();
  for (const item of source.items) {
    const data = contents.get(item.key);
    if (data) files.set(item.path, { data, mode: item.mode ?? mode });
    else if (!source.optional) throw new Error(`references non-existent ${kind} key: ${item.key}`);
  }
  return files;
}

type DownwardItems = NonNullable<Volume["downwardAPI"]>["items"];

function fromDownward(
  pod: Pod, items: DownwardItems, defaultMode: number | undefined, sources: PayloadSources,
): Payload {
  const files = new Map<string, FileProjection>();
  for (const item of items ?? []) {
    const text = item.fieldRef
      ? fieldValue(pod, item.fieldRef.fieldPath, sources)
      : resourceFieldValue(pod, undefined, item.resourceFieldRef!, sources.allocatable);
    files.set(item.path, { data: Buffer.from(text), mode: item.mode ?? defaultMode ?? DEFAULT_MODE });
  }
  return files;
}

async function fromProjected(pod: Pod, projected: NonNullable<Volume["projected"]>, sources: PayloadSources): Promise<Payload> {
  const defaultMode = projected.defaultMode ?? DEFAULT_MODE;
  const files = new Map<string, FileProjection>();
  for (const source of projected.sources ?? []) {
    const part = await oneSource(pod, source, defaultMode, sources);
    for (const [path, file] of part) files.set(path, file);
  }
  return files;
}

type ProjectedSource = NonNullable<NonNullable<Volume["projected"]>["sources"]>[number];

async function oneSource(
  pod: Pod, source: ProjectedSource, defaultMode: number, sources: PayloadSources,
): Promise<Payload> {
  const { configMap, secret, downwardAPI, serviceAccountToken } = source;
  if (configMap) return fromConfigMap(pod, { ...configMap, name: configMap.name ?? "", defaultMode }, sources);
  if (secret) return fromSecret(pod, { ...secret, name: secret.name ?? "", defaultMode }, sources);
  if (downwardAPI) return fromDownward(pod, downwardAPI.items, defaultMode, sources);
  if (!serviceAccountToken) throw new Error(`projected volume source is not supported: ${Object.keys(source).join(", ")}`);
  const { audience, expirationSeconds = 3600, path } = serviceAccountToken;
  const token = await sources.tokens.token(pod, audience, expirationSeconds);
  return new Map([[path, tokenFile(pod, token, defaultMode)]]);
}

/** A token is private to the user who runs the pod: 0600 for that uid, 0640 for an fsGroup. */
function tokenFile(pod: Pod, token: string, defaultMode: number): FileProjection {
  const data = Buffer.from(token);
  const fsGroup = pod.spec?.securityContext?.fsGroup;
  if (fsGroup !== undefined) return { data, mode: 0o600 };
  const users = new Set((pod.spec?.containers ?? []).concat(pod.spec?.initContainers ?? [])
    .map((c) => c.securityContext?.runAsUser ?? pod.spec?.securityContext?.runAsUser));
  const [user] = users;
  if (users.size === 1 && user !== undefined) return { data, mode: 0o600, uid: user };
  return { data, mode: defaultMode };
}

export interface TokenSource {
  token(pod: Pod, audience: string | undefined, seconds: number): Promise<string>;
  /** When the earliest token of the pod wants a new one (Unix ms). */
  refreshAt(uid: string): number | undefined;
  forget(uid: string): void;
}

interface Token {
  readonly value: string;
  readonly refreshAt: number;
}

const DAY = 86_400_000;

/** Tokens by TokenRequest, bound to the pod, kept until 80 % of their life (at most a day) has passed. */
export function tokenSource(kube: KubeClient, clock: Clock): TokenSource {
  const tokens = new Map<string, Map<string, Token>>();
  async function request(pod: Pod, audience: string | undefined, seconds: number): Promise<Token> {
    const asked = clock.now();
    const body: TokenRequest = {
      apiVersion: "authentication.k8s.io/v1", kind: "TokenRequest",
      spec: {
        audiences: audience ? [audience] : [], expirationSeconds: seconds,
        boundObjectRef: { apiVersion: "v1", kind: "Pod", name: nameOf(pod), uid: pod.metadata.uid! },
      },
    };
    const name = pod.spec?.serviceAccountName ?? "default";
    const reply = await kube.create(serviceAccounts, body as never, { name, namespace: namespaceOf(pod), subresource: "token" }) as unknown as TokenRequest;
    const life = Date.parse(reply.status?.expirationTimestamp ?? "") - asked || seconds * 1000;
    return { value: reply.status?.token ?? "", refreshAt: asked + Math.min(life * 0.8, DAY) };
  }
  return {
    async token(pod, audience, seconds) {
      const uid = pod.metadata.uid!;
      const key = `${audience ?? ""}/${seconds}`;
      const known = tokens.get(uid)?.get(key);
      if (known && known.refreshAt > clock.now()) return known.value;
      try {
        const fresh = await request(pod, audience, seconds);
        tokens.set(uid, new Map(tokens.get(uid)).set(key, fresh));
        return fresh.value;
      } catch (error) {
        if (!known) throw error;
        tokens.get(uid)!.set(key, { ...known, refreshAt: clock.now() + 60_000 });
        return known.value;
      }
    },
    refreshAt(uid) {
      const times = [...(tokens.get(uid)?.values() ?? [])].map((token) => token.refreshAt);
      return times.length ? Math.min(...times) : undefined;
    },
    forget: (uid) => void tokens.delete(uid),
  };
}
