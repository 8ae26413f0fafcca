/** Who came first under a node's name: a password that only that machine knows, and whose hash is a Secret as in K3s. */
import { randomBytes } from "node:crypto";
import { readFile } from "node:fs/promises";
import { dirname } from "node:path";
import { makeFolder, replaceFile } from "@k3s-p/plugin-api";
import { apiError, isAlreadyExists, isConflict, isNotFound, secrets, type KubeClient, type Secret } from "@k3s-p/plugin-api/kube";
import type { Cost } from "./password-hash.ts";

export interface NodePasswords {
  /** The first password given for a name is the node's; rejects with 403 for another one. */
  verify(node: string, password: string): Promise<void>;
  /** Takes a name that has no password for who has shown otherwise that it is the node's. */
  claim(node: string, password: string | (() => Promise<string>)): Promise<void>;
  /**
   * The Node was deleted: its name goes to whoever comes next. At once, unless its machine was at work: then it registers
   * again by itself, and the name is free only when it has not done so in time.
   */
  release(node: string, wasAtWork: boolean): Promise<void>;
  /** Ends the waiting for those that were at work. */
  stop(): void;
}

export interface NodePasswordDeps {
  readonly client: KubeClient;
  /** Whether there is such a Node. */
  readonly isNode: (name: string) => boolean;
  readonly now?: () => number;
  /** A timer; what it returns ends it. */
  readonly after?: (ms: number, fn: () => void) => () => void;
  /** Told of names that could not be let go. */
  readonly onError?: (error: unknown) => void;
  /** Default: what K3s's take. */
  readonly cost?: Cost;
}

/** Milliseconds in which a machine that has its certificate should have become a Node; K3s waits as long. */
const ORPHANED = 10 * 60_000;
/** Milliseconds in which a kubelet at work has registered its Node again; it looks every ten seconds. */
const RETURNING = 30_000;

const namespace = "kube-system";
const secretName = (node: string): string => `${node}.node-password.k3s`;

export function createNodePasswords({ client, isNode, now = Date.now, after = timer, onError = () => {}, cost }: NodePasswordDeps): NodePasswords {
  /** Names of Nodes that may come again -> what ends the waiting. */
  const expected = new Map<string, () => void>();

  async function stored(node: string): Promise<Secret | undefined> {
    try {
      return await client.get(secrets, secretName(node), namespace);
    } catch (error) {
      if (isNotFound(error)) return undefined;
      throw error;
    }
  }

  /** False when somebody was faster. */
  async function store(node: string, password: string): Promise<boolean> {
    const { hashOf } = await import("./password-hash.ts");
    const data = { hash: Buffer.from(await hashOf(password, cost)).toString("base64") };
    try {
      await client.create(secrets, { metadata: { name: secretName(node), namespace }, type: "k3s.cattle.io/node-password", immutable: true, data });
      // Somebody took the old one away by hand: this one is another machine's.
      expectNoMore(node);
      return true;
    } catch (error) {
      if (isAlreadyExists(error)) return false;
      throw error;
    }
  }

  async function remove(node: string, uid?: string): Promise<void> {
    try {
      await client.delete(secrets, secretName(node), { namespace, ...(uid && { preconditions: { uid } }) });
    } catch (error) {
      if (!isNotFound(error) && !(uid && isConflict(error))) throw error;
    }
  }

  function expectNoMore(node: string): void {
    expected.get(node)?.();
    expected.delete(node);
  }

  /** Of a machine that got a certificate, and never came. */
  const isOrphan = (node: string, { metadata }: Secret): boolean =>
    !isNode(node) && !expected.has(node) && now() - Date.parse(metadata.creationTimestamp!) > ORPHANED;

  async function verify(node: string, password: string): Promise<void> {
    const before = await stored(node);
    if (!before && (await store(node, password))) return;
    const secret = before ?? (await stored(node));
    const { isHashOf } = await import("./password-hash.ts");
    if (secret && (await isHashOf(Buffer.from(secret.data?.hash ?? "", "base64").toString("utf8"), password))) return;
    if (!secret || !isOrphan(node, secret)) throw apiError(403, "Forbidden", REJECTED);
    await remove(node, secret.metadata.uid!);
    // Whoever was faster has a young Secret, so this ends.
    return verify(node, password);
  }

  return {
    verify,
    async claim(node, password) {
      if (!(await stored(node))) await store(node, typeof password === "string" ? password : await password());
    },
    async release(node, wasAtWork) {
      expectNoMore(node);
      if (!wasAtWork) return remove(node);
      expected.set(node, after(RETURNING, () => {
        expected.delete(node);
        if (!isNode(node)) remove(node).catch(onError);
      }));
    },
    stop: () => [...expected.keys()].forEach(expectNoMore),
  };
}

function timer(ms: number, fn: () => void): () => void {
  const timeout = setTimeout(fn, ms).unref();
  return () => clearTimeout(timeout);
}

const REJECTED = "Node password rejected, duplicate hostname or contents of '/etc/rancher/node/password' may not match server node-passwd entry, " +
  "try enabling a unique node name with the --with-node-id flag";

/** What the file holds; a new password is put there first where there is none. */
export async function passwordIn(file: string): Promise<string> {
  const before = (await readFile(file, "utf8").catch(noneYet)).trim();
  if (before) return before;
  const password = randomBytes(16).toString("hex");
  await makeFolder(dirname(file), 0o755);
  await replaceFile(file, `${password}\n`);
  return password;
}

function noneYet(error: NodeJS.ErrnoException): string {
  if (error.code === "ENOENT") return "";
  throw error;
}
