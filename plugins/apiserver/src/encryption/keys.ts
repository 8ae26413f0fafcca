/** The keys of the configuration that `secrets-encrypt` keeps: for Secrets, in the order in which they are tried. */
import { createHash, randomBytes } from "node:crypto";
import { algorithms, type ProviderName } from "./ciphers.ts";
import type { EncryptionConfiguration, ProviderRule } from "./config.ts";

export interface Key {
  readonly provider: ProviderName;
  readonly name: string;
  /** Base64. */
  readonly secret: string;
}

/** `isEnabled` = the first key seals; else Secrets are written as they are. */
export interface KeyRing {
  readonly keys: readonly Key[];
  readonly isEnabled: boolean;
}

export const newKey = (provider: ProviderName, name: string): Key => ({ provider, name, secret: randomBytes(32).toString("base64") });

/** K3s's name of a first key, and of one that takes its place. */
export const keyName = (provider: ProviderName, made?: Date): string => `${provider}key${made ? `-${made.toISOString().slice(0, 19)}Z` : ""}`;

/** `AES-CBC  aescbckey` in two parts. */
export const describeKey = ({ provider, name }: Key): { readonly type: string; readonly name: string } => ({ type: algorithms[provider].title, name });

export function ringOf(config: EncryptionConfiguration): KeyRing {
  const rule = config.resources.find(({ resources }) => resources.includes("secrets"));
  const providers = rule?.providers ?? [];
  const keys = providers.flatMap((entry) =>
    (Object.keys(algorithms) as ProviderName[]).flatMap((provider) => (entry[provider]?.keys ?? []).map(({ name, secret }) => ({ provider, name, secret }))));
  return { keys, isEnabled: providers[0] !== undefined && !providers[0].identity };
}

/** K3s's form: Secrets alone, and `identity` so that what is not sealed can be read. */
export function configurationOf({ keys, isEnabled }: KeyRing): EncryptionConfiguration {
  const sealing: ProviderRule[] = [];
  for (const { provider, name, secret } of keys) {
    const last = sealing.at(-1)?.[provider];
    if (last) sealing[sealing.length - 1] = { [provider]: { keys: [...last.keys, { name, secret }] } };
    else sealing.push({ [provider]: { keys: [{ name, secret }] } });
  }
  return {
    kind: "EncryptionConfiguration", apiVersion: "apiserver.config.k8s.io/v1",
    resources: [{ resources: ["secrets"], providers: isEnabled ? [...sealing, { identity: {} }] : [{ identity: {} }, ...sealing] }],
  };
}

/** By which servers compare their configurations. */
export const hashOf = (text: string): string => createHash("sha256").update(text).digest("hex");
