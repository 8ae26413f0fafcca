/** `apiserver.config.k8s.io/v1` EncryptionConfiguration: checked with upstream's messages, and made into rules. */
import { k3spError, type K3spError } from "@k3s-p/plugin-api";
import { algorithms, cipherOf, identity, type ProviderName } from "./ciphers.ts";
import type { Cipher, ResourceName, SealRule } from "./sealer.ts";

export interface EncryptionConfiguration {
  readonly apiVersion: "apiserver.config.k8s.io/v1";
  readonly kind: "EncryptionConfiguration";
  readonly resources: readonly ResourceRule[];
}

export interface ResourceRule {
  /** `secrets`, `deployments.apps`, `*.apps`, `*.` for the core group, `*.*` for all. */
  readonly resources: readonly string[];
  readonly providers: readonly ProviderRule[];
}

/** One member: a provider with its keys, or `identity`. */
export type ProviderRule = { readonly [name in ProviderName]?: { readonly keys: readonly KeyRule[] } } & { readonly identity?: object };

export interface KeyRule {
  readonly name: string;
  /** Base64. */
  readonly secret: string;
}

const providerNames = Object.keys(algorithms) as ProviderName[];
const isProvider = (name: string): name is ProviderName => (providerNames as string[]).includes(name);

/** Throws `K3SP_CONFIG_INVALID` that names the file and every wrong field. */
export function checkConfiguration(file: string, value: unknown): EncryptionConfiguration {
  const problems: string[] = [];
  const config = value as Partial<EncryptionConfiguration> | null;
  if (config?.kind !== "EncryptionConfiguration" || config.apiVersion !== "apiserver.config.k8s.io/v1") {
    throw invalid(file, ["apiVersion apiserver.config.k8s.io/v1 and kind EncryptionConfiguration are expected"]);
  }
  if (!isList(config.resources)) problems.push("resources: Required value: at least one resource is required");
  else config.resources.forEach((rule, i) => checkRule(`resources[${i}]`, rule, problems));
  if (problems.length > 0) throw invalid(file, problems);
  return config as EncryptionConfiguration;
}

const isList = (value: unknown): value is readonly unknown[] => Array.isArray(value) && value.length > 0;

function checkRule(path: string, rule: Partial<ResourceRule> | null, problems: string[]): void {
  if (!isList(rule?.resources)) problems.push(`${path}.resources: Required value: at least one resource is required`);
  else rule.resources.forEach((name, i) => {
    if (typeof name !== "string" || !/^(\*|[a-z0-9-]+)(\.[a-z0-9.*-]*)?$/.test(name)) problems.push(`${path}.resources[${i}]: Invalid value: ${JSON.stringify(name)}: a name such as secrets, deployments.apps or *.apps is expected`);
  });
  if (!isList(rule?.providers)) problems.push(`${path}.providers: Required value: at least one provider is required`);
  else rule.providers.forEach((provider, i) => checkProvider(`${path}.providers[${i}]`, provider, problems));
}

function checkProvider(path: string, provider: unknown, problems: string[]): void {
  const names = Object.keys((provider ?? {}) as object);
  if (names.length !== 1) return void problems.push(`${path}: Invalid value: more than one provider specified in a single element, should split into different list elements`);
  const [name = ""] = names;
  if (name === "identity") return;
  if (name === "kms") return void problems.push(`${path}.kms: Forbidden: key management services are not supported; use ${providerNames.join(", ")}`);
  if (!isProvider(name)) return void problems.push(`${path}: Invalid value: unknown provider ${JSON.stringify(name)}; use ${providerNames.join(", ")} or identity`);
  const { keys } = ((provider as ProviderRule)[name] ?? {}) as { keys?: unknown };
  if (!isList(keys)) return void problems.push(`${path}.${name}.keys: Required value: at least one key is required`);
  const seen = new Set<unknown>();
  keys.forEach((key, i) => checkKey(`${path}.${name}.keys[${i}]`, key as Partial<KeyRule> | null, algorithms[name].sizes, seen, problems));
}

function checkKey(path: string, key: Partial<KeyRule> | null, sizes: readonly number[], seen: Set<unknown>, problems: string[]): void {
  if (!key?.name) problems.push(`${path}.name: Required value: key name must be provided`);
  else if (seen.has(key.name)) problems.push(`${path}.name: Invalid value: ${JSON.stringify(key.name)}: key name is used twice`);
  seen.add(key?.name);
  if (!key?.secret) return void problems.push(`${path}.secret: Required value: secret must be provided`);
  const size = decoded(key.secret)?.length;
  if (size === undefined) problems.push(`${path}.secret: Invalid value: "REDACTED": secret must be base64 encoded`);
  else if (!sizes.includes(size)) problems.push(`${path}.secret: Invalid value: "REDACTED": secret is not of the expected length, got ${size}, expected one of [${sizes.join(" ")}]`);
}

function decoded(secret: unknown): Buffer | undefined {
  return typeof secret === "string" && /^[A-Za-z0-9+/\s]*={0,2}\s*$/.test(secret) ? Buffer.from(secret, "base64") : undefined;
}

export const rulesOf = (config: EncryptionConfiguration): SealRule[] =>
  config.resources.map(({ resources, providers }) => ({ matches: matcher(resources), ciphers: providers.flatMap(ciphersOf) }));

function ciphersOf(provider: ProviderRule): Cipher[] {
  const name = providerNames.find((known) => provider[known]);
  return name ? provider[name]!.keys.map((key) => cipherOf(name, key.name, decoded(key.secret)!)) : [identity];
}

function matcher(names: readonly string[]): (resource: ResourceName) => boolean {
  const exact = new Set(names);
  return ({ group, plural }) => exact.has(group ? `${plural}.${group}` : plural) || exact.has(`*.${group}`) || exact.has("*.*");
}

const invalid = (file: string, problems: readonly string[]): K3spError => k3spError("K3SP_CONFIG_INVALID", {
  message: `${file} is not a valid EncryptionConfiguration`, detail: problems, fix: "correct the fields that are named",
});
