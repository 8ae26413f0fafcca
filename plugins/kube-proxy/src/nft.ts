/** Feeds nftables: one long-lived `nft -i` takes a change in a millisecond, where starting nft for each would take twenty. */
import { k3spError, type Logger } from "@k3s-p/plugin-api";
import type { Runner, RunningProcess } from "@k3s-p/plugin-api/slots";

export interface Nft {
  /** Applies one transaction; rejects with nft's text, in which case nothing of it was applied. */
  apply(transaction: string): Promise<void>;
  /** The elements of sets with timeouts, ready to be added again; sets that do not exist have none. */
  clients(table: string, sets: readonly string[]): Promise<ReadonlyMap<string, readonly string[]>>;
  stop(): void;
}

interface Pending {
  readonly marker: string;
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
}

/** Longer transactions go to an own `nft -f -`, whose start no longer matters then. */
const interactiveLimit = 128 * 1024;

/**
 * `nft -i` says nothing when a line went well. So each is followed by the listing of a table that does not exist: its
 * error names a number, and comes after all errors of the line before.
 */
export function openNft(runner: Runner, log: Logger): Nft {
  let process: Promise<RunningProcess> | undefined;
  let pending: Pending | undefined;
  let errors = "";
  let count = 0;
  let tail: Promise<unknown> = Promise.resolve();
  let stopped = false;

  function onOutput(chunk: string, stream: "stdout" | "stderr"): void {
    if (stream === "stdout" || !pending) return;
    errors += chunk;
    const end = errors.indexOf(pending.marker);
    if (end < 0) return;
    // Before it there may still be the underline of the marker before.
    const said = errors.slice(0, end).replace(/^[\s^]+/, "").replace(/Error: No such file or directory[^\n]*\nlist table ip $/, "").trim();
    const { resolve, reject } = pending;
    pending = undefined;
    errors = "";
    if (said) reject(new Error(said));
    else resolve();
  }

  function open(): Promise<RunningProcess> {
    return (process ??= start());
  }

  async function start(): Promise<RunningProcess> {
    const child = await runner.spawn("nft", ["-i"], { onOutput }).catch((cause) => {
      process = undefined;
      throw missingNft(cause);
    });
    void child.exited.then(({ code, signal }) => {
      process = undefined;
      if (!stopped) log.warn({ code, signal }, "nft ended: starting it again with the next change");
      pending?.reject(new Error(`nft ended (${code ?? signal}) ${errors}`));
      pending = undefined;
      errors = "";
    });
    return child;
  }

  async function interactive(line: string): Promise<void> {
    const child = await open();
    const marker = `k3sp-marker-${++count}-`;
    return new Promise((resolve, reject) => {
      pending = { marker, resolve, reject };
      child.write(`${line}\nlist table ip ${marker}\n`);
    });
  }

  async function once(text: string): Promise<void> {
    const result = await runner.run("nft", ["-f", "-"], { stdin: text, timeout: 120_000 }).catch((cause) => {
      throw missingNft(cause);
    });
    if (result.code !== 0) throw new Error(result.stderr.trim().slice(0, 2000));
  }

  return {
    apply(transaction) {
      const multiline = transaction.includes("\n") || transaction.length > interactiveLimit;
      const run = () => (multiline ? once(transaction) : interactive(transaction));
      const done = tail.then(run, run);
      tail = done;
      return done;
    },
    async clients(table, sets) {
      const lists = await Promise.all(sets.map((set) => runner.run("nft", ["-j", "list", "set", "ip", table, set]).catch(() => undefined)));
      return new Map(sets.map((set, i) => [set, lists[i]?.code === 0 ? setElements(lists[i].stdout) : []]));
    },
    stop() {
      stopped = true;
      void process?.then((child) => child.closeStdin());
    },
  };
}

/** `{ "nftables": [..., { "set": { "elem": [{ "elem": { "val": "192.0.2.1", "timeout": 10800, "expires": 120 } }] } }] }` */
export function setElements(json: string): string[] {
  interface Entry {
    readonly set?: { readonly elem?: readonly { readonly elem?: { readonly val: string; readonly timeout: number; readonly expires: number } }[] };
  }
  const { nftables } = JSON.parse(json) as { readonly nftables: readonly Entry[] };
  const elements = nftables.flatMap((each) => each.set?.elem ?? []).map((each) => each.elem);
  return elements.filter((each) => each !== undefined && each.expires > 0).map((each) => `${each!.val} timeout ${each!.timeout}s expires ${each!.expires}s`);
}

const missingNft = (cause: unknown) =>
  k3spError("K3SP_PROGRAM_MISSING", { message: '"nft" cannot be run', fix: "apt-get install nftables", cause, plugin: "kube-proxy" });
