/** Secrets at rest. Its code is loaded when there is a configuration, when one is wanted, or when an administrator asks. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import type { Encryption, EncryptionOptions } from "./manager.ts";

export interface SecretsEncryption {
  /** Before the store is opened: what is sealed in it needs the keys. */
  start(): Promise<void>;
  open(): Promise<Encryption>;
}

/** K3s's names in `server/cred`. */
export const filesIn = (folder: string): EncryptionOptions["files"] =>
  ({ config: join(folder, "encryption-config.json"), state: join(folder, "encryption-state.json") });

export function secretsEncryption(options: Omit<EncryptionOptions, "now">): SecretsEncryption {
  let opened: Promise<Encryption> | undefined;
  const open = (): Promise<Encryption> =>
    (opened ??= import("./manager.ts").then(({ openEncryption }) => openEncryption({ ...options, now: () => new Date() })));
  return {
    open,
    async start() {
      if (options.isWanted || options.file !== undefined || existsSync(options.files.config)) await open();
    },
  };
}
