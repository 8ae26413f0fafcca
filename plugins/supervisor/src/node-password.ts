/** Who came first under a node's name: a password that only that machine knows, and whose hash is a Secret as in K3s. */
import { randomBytes, scrypt, timingSafeEqual, type ScryptOptions } from "node:crypto";
import { readFile } from "node:fs/promises";
import { dirname } from "node:path";
import { makeFolder, replaceFile } from "@k3s-p/plugin-api";
import { apiError, isAlreadyExists, isNotFound, secrets, type KubeClient } from "@k3s-p/plugin-api/kube";

export interface NodePasswords {
  /** The first password given for a name is the node's; rejects with 403 for another one. */
  verify(node: string, password: string): Promise<void>;
  /** Takes the name for this machine, whose password is in the file; it is made when there is none. */
  claim(node: string, file: string): Promise<void>;
  /** Lets the name go to whoever comes next. */
  forget(node: string): Promise<void>;
}

const namespace = "kube-system";
const secretName = (node: string): string => `${node}.node-password.k3s`;

export function createNodePasswords(client: KubeClient): NodePasswords {
  async function storedHash(node: string): Promise<string | undefined> {
    try {
      const { data } = await client.get(secrets, secretName(node), namespace);
      return Buffer.from(data?.hash ?? "", "base64").toString("utf8");
    } catch (error) {
      if (isNotFound(error)) return undefined;
      throw error;
    }
  }

  /** False when somebody was faster. */
  async function store(node: string, password: string): Promise<boolean> {
    const data = { hash: Buffer.from(await hashOf(password)).toString("base64") };
    try {
      await client.create(secrets, { metadata: { name: secretName(node), namespace }, type: "k3s.cattle.io/node-password", immutable: true, data });
      return true;
    } catch (error) {
      if (isAlreadyExists(error)) return false;
      throw error;
    }
  }

  return {
    async verify(node, password) {
      const before = await storedHash(node);
      if (before === undefined && (await store(node, password))) return;
      if (!(await isHashOf(before ?? (await storedHash(node)) ?? "", password))) throw apiError(403, "Forbidden", REJECTED);
    },
    async claim(node, file) {
      if ((await storedHash(node)) === undefined) await store(node, await passwordIn(file));
    },
    async forget(node) {
      try {
        await client.delete(secrets, secretName(node), { namespace });
      } catch (error) {
        if (!isNotFound(error)) throw error;
      }
    },
  };
}

const REJECTED = "Node password rejected, duplicate hostname or contents of '/etc/rancher/node/password' may not match server node-passwd entry, " +
  "try enabling a unique node name with the --with-node-id flag";

async function passwordIn(file: string): Promise<string> {
  const before = (await readFile(file, "utf8").catch(() => "")).trim();
  if (before) return before;
  const password = randomBytes(16).toString("hex");
  await makeFolder(dirname(file));
  await replaceFile(file, `${password}\n`, 0o600);
  return password;
}

/** K3s's: version 1 : salt in hexadecimal : log2 of N : r : p : key in base64 without padding. */
const hashPattern = /^\$1:([0-9a-f]+):(\d+):(\d+):(\d+):([A-Za-z0-9+/]+)$/;
const COST = { log2: 15, r: 8, p: 1 };
const SALT_BYTES = 8;
const KEY_BYTES = 64;

async function hashOf(password: string): Promise<string> {
  const salt = randomBytes(SALT_BYTES);
  const key = await derive(password, salt, KEY_BYTES, COST);
  return `$1:${salt.toString("hex")}:${COST.log2}:${COST.r}:${COST.p}:${key.toString("base64").replaceAll("=", "")}`;
}

/** A hash that K3s wrote is as good; one that costs more than twice ours is somebody's mischief. */
async function isHashOf(hash: string, password: string): Promise<boolean> {
  const [, salt = "", log2 = "", r = "", p = "", key = ""] = hashPattern.exec(hash) ?? [];
  const wanted = Buffer.from(key, "base64");
  const cost = { log2: Number(log2), r: Number(r), p: Number(p) };
  if (wanted.length < 16 || wanted.length > KEY_BYTES || cost.log2 < 1 || memoryOf(cost) * cost.p > 2 * memoryOf(COST)) return false;
  return timingSafeEqual(await derive(password, Buffer.from(salt, "hex"), wanted.length, cost), wanted);
}

const memoryOf = ({ log2, r }: typeof COST): number => 128 * 2 ** log2 * r;

function derive(password: string, salt: Buffer, size: number, cost: typeof COST): Promise<Buffer> {
  const options: ScryptOptions = { N: 2 ** cost.log2, r: cost.r, p: cost.p, maxmem: 2 * memoryOf(cost) + 1024 * 1024 };
  return new Promise((resolve, reject) => scrypt(password, salt, size, options, (error, key) => (error ? reject(error) : resolve(key))));
}
