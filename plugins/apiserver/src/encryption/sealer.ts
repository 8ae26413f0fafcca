/** How values lie in the datastore: as they are, or sealed under a prefix that names the provider and key, as upstream writes them. */
import { k3spError, type K3spError } from "@k3s-p/plugin-api";

export interface ResourceName {
  readonly group: string;
  readonly plural: string;
}

export interface Sealer {
  /** What is stored under a key; the very same bytes when the resource is not to be sealed. */
  seal(resource: ResourceName, key: string, raw: Buffer): Buffer;
  /** What was sealed. Throws `K3SP_ENCRYPTION_KEY` when no provider of the resource can open it. */
  open(resource: ResourceName, key: string, value: Uint8Array): Uint8Array;
  /** Whether a stored value would be sealed otherwise now: by another key, at all, or not at all. */
  isStale(resource: ResourceName, value: Uint8Array): boolean;
}

/** One key of one provider. `identity` has no prefix and changes nothing. */
export interface Cipher {
  /** `k8s:enc:aesgcm:v1:key1:` */
  readonly prefix: Buffer;
  seal(raw: Buffer, key: string): Buffer;
  /** Throws when it was sealed with another secret, or changed. */
  open(sealed: Buffer, key: string): Buffer;
}

export interface SealRule {
  readonly matches: (resource: ResourceName) => boolean;
  /** The first seals, all open. */
  readonly ciphers: readonly Cipher[];
}

export interface SwitchableSealer extends Sealer {
  /** From now on; the first rule that matches a resource counts. */
  use(rules: readonly SealRule[]): void;
}

const MARK = Buffer.from("k8s:enc:");
/** Stored objects are JSON, so the first letter tells them from sealed ones. */
const isSealed = (value: Uint8Array): boolean => value[0] === MARK[0];

export function createSealer(): SwitchableSealer {
  let rules: readonly SealRule[] = [];
  const ciphersFor = (resource: ResourceName): readonly Cipher[] => rules.find((rule) => rule.matches(resource))?.ciphers ?? [];
  return {
    use: (next) => void (rules = next),
    seal(resource, key, raw) {
      if (rules.length === 0) return raw;
      const cipher = ciphersFor(resource)[0];
      return cipher && cipher.prefix.length > 0 ? Buffer.concat([cipher.prefix, cipher.seal(raw, key)]) : raw;
    },
    isStale(resource, value) {
      if (rules.length === 0) return false;
      const cipher = ciphersFor(resource)[0];
      return cipher && cipher.prefix.length > 0 ? !isSealedBy(cipher, bufferOf(value)) : isSealed(value);
    },
    open(resource, key, value) {
      if (!isSealed(value)) return value;
      const bytes = bufferOf(value);
      const cipher = ciphersFor(resource).find((one) => isSealedBy(one, bytes));
      if (!cipher) throw unreadable(key, `no key ${keyText(bytes)} is configured for it`);
      try {
        const raw = cipher.open(bytes.subarray(cipher.prefix.length), key);
        if (raw[0] === 0x7b) return raw;
      } catch {
        // Falls through to the one answer for everything that the key does not open.
      }
      throw unreadable(key, `the configured key ${keyText(bytes)} does not open it`);
    },
  };
}

const bufferOf = (value: Uint8Array): Buffer => Buffer.from(value.buffer, value.byteOffset, value.byteLength);
const isSealedBy = ({ prefix }: Cipher, value: Buffer): boolean => prefix.length > 0 && value.subarray(0, prefix.length).equals(prefix);

/** The readable part of the prefix: `aescbc "key1"`. */
function keyText(value: Buffer): string {
  const [, provider = "?", name = "?"] = /^k8s:enc:([a-z]+):v\d+:([\x20-\x7e]{0,100}):/.exec(value.subarray(0, 200).toString("latin1")) ?? [];
  return `${provider} "${name}"`;
}

const unreadable = (key: string, why: string): K3spError =>
  k3spError("K3SP_ENCRYPTION_KEY", { message: `${key} cannot be decrypted: ${why}` });
