/** The providers of upstream's EncryptionConfiguration, byte for byte: what they store can be opened by upstream and the other way round. */
import { createCipheriv, createDecipheriv, randomBytes } from "node:crypto";
import { xsalsa20poly1305 } from "@noble/ciphers/salsa.js";
import type { Cipher } from "./sealer.ts";

export type ProviderName = "aescbc" | "aesgcm" | "secretbox";

interface Algorithm {
  /** As `secrets-encrypt status` shows it. */
  readonly title: string;
  /** Bytes of a secret. */
  readonly sizes: readonly number[];
  readonly cipher: (secret: Buffer) => Omit<Cipher, "prefix">;
}

const BLOCK = 16;
const GCM_NONCE = 12;
const TAG = 16;
const BOX_NONCE = 24;

export const algorithms: Readonly<Record<ProviderName, Algorithm>> = {
  /** Initialization vector, then the padded text. */
  aescbc: {
    title: "AES-CBC", sizes: [16, 24, 32],
    cipher: (secret) => ({
      seal(raw) {
        const iv = randomBytes(BLOCK);
        const cipher = createCipheriv(`aes-${secret.length * 8}-cbc`, secret, iv);
        return Buffer.concat([iv, cipher.update(raw), cipher.final()]);
      },
      open(sealed) {
        const decipher = createDecipheriv(`aes-${secret.length * 8}-cbc`, secret, sealed.subarray(0, BLOCK));
        return Buffer.concat([decipher.update(sealed.subarray(BLOCK)), decipher.final()]);
      },
    }),
  },
  /** Nonce, text, tag; bound to the key that it is stored under, so that nobody moves it to another. */
  aesgcm: {
    title: "AES-GCM", sizes: [16, 24, 32],
    cipher: (secret) => ({
      seal(raw, key) {
        const nonce = randomBytes(GCM_NONCE);
        const cipher = createCipheriv(`aes-${secret.length * 8 as 256}-gcm`, secret, nonce).setAAD(Buffer.from(key));
        return Buffer.concat([nonce, cipher.update(raw), cipher.final(), cipher.getAuthTag()]);
      },
      open(sealed, key) {
        const decipher = createDecipheriv(`aes-${secret.length * 8 as 256}-gcm`, secret, sealed.subarray(0, GCM_NONCE), { authTagLength: TAG })
          .setAAD(Buffer.from(key)).setAuthTag(sealed.subarray(-TAG));
        return Buffer.concat([decipher.update(sealed.subarray(GCM_NONCE, -TAG)), decipher.final()]);
      },
    }),
  },
  /** Nonce, then the box of NaCl. */
  secretbox: {
    title: "XSalsa20-POLY1305", sizes: [32],
    cipher: (secret) => ({
      seal(raw) {
        const nonce = randomBytes(BOX_NONCE);
        return Buffer.concat([nonce, xsalsa20poly1305(secret, nonce).encrypt(raw)]);
      },
      open: (sealed) => Buffer.from(xsalsa20poly1305(secret, sealed.subarray(0, BOX_NONCE)).decrypt(sealed.subarray(BOX_NONCE))),
    }),
  },
};

export const identity: Cipher = { prefix: Buffer.alloc(0), seal: (raw) => raw, open: (sealed) => sealed };

export const cipherOf = (provider: ProviderName, name: string, secret: Buffer): Cipher =>
  ({ prefix: Buffer.from(`k8s:enc:${provider}:v1:${name}:`), ...algorithms[provider].cipher(secret) });
