/** Hashes of node passwords in K3s's form, so that either server reads those of the other. */
import { randomBytes, scrypt, timingSafeEqual, type ScryptOptions } from "node:crypto";

export interface Cost {
  /** Logarithm of N. */
  readonly log2: number;
  readonly r: number;
  readonly p: number;
}

/** Version 1 : salt in hexadecimal : log2 of N : r : p : key in base64 without padding. */
const pattern = /^\$1:([0-9a-f]+):(\d+):(\d+):(\d+):([A-Za-z0-9+/]+)$/;
const COST: Cost = { log2: 15, r: 8, p: 1 };
const SALT_BYTES = 8;
const KEY_BYTES = 64;

/** Takes a tenth of a second, in a thread of its own. */
export async function hashOf(password: string, cost = COST): Promise<string> {
  const salt = randomBytes(SALT_BYTES);
  const key = await derive(password, salt, KEY_BYTES, cost);
  return `$1:${salt.toString("hex")}:${cost.log2}:${cost.r}:${cost.p}:${key.toString("base64").replaceAll("=", "")}`;
}

/** False also for what is no hash, or costs more than twice as much as ours: whoever wrote that wants the server to be busy. */
export async function isHashOf(hash: string, password: string): Promise<boolean> {
  const [, salt = "", log2 = "", r = "", p = "", key = ""] = pattern.exec(hash) ?? [];
  const wanted = Buffer.from(key, "base64");
  const cost = { log2: Number(log2), r: Number(r), p: Number(p) };
  if (wanted.length < 16 || wanted.length > KEY_BYTES || cost.log2 < 1 || memoryOf(cost) * cost.p > 2 * memoryOf(COST)) return false;
  return timingSafeEqual(await derive(password, Buffer.from(salt, "hex"), wanted.length, cost), wanted);
}

const memoryOf = ({ log2, r }: Cost): number => 128 * 2 ** log2 * r;

function derive(password: string, salt: Buffer, size: number, cost: Cost): Promise<Buffer> {
  const options: ScryptOptions = { N: 2 ** cost.log2, r: cost.r, p: cost.p, maxmem: 2 * memoryOf(cost) + 1024 * 1024 };
  return new Promise((resolve, reject) => scrypt(password, salt, size, options, (error, key) => (error ? reject(error) : resolve(key))));
}
