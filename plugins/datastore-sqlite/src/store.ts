/**
 * The main thread's side of the store: decides compare-and-swap, assigns revisions, gathers writes into group
 * commits, and hands changes to watchers in revision order.
 *
 * A write gets its revision at once and travels in `tail` until it is emitted: a durable one when the worker has
 * committed it, a lazy one as soon as all before it are. While a commit runs, further writes gather for the next.
 */
import { k3spError, type K3spError } from "@k3s-p/plugin-api";
import type { Change, Datastore, PastChange, Row, WriteOp, WriteResult } from "@k3s-p/plugin-api/slots";
import { decodeRows, encodeRows, type FrameRow } from "./frames.ts";
import { type Ask, connect, type LinkOptions } from "./link.ts";

export interface SqliteStore extends Required<Datastore> {
  /** Writes what is pending and closes the file. */
  close(): Promise<void>;
}

export type StoreOptions = LinkOptions;

interface Revisions { readonly mod: number; readonly created: number }

interface Pending {
  readonly op: WriteOp;
  readonly revision: number;
  readonly created: number;
  readonly before: Revisions | undefined;
  settled: boolean;
  emitted: boolean;
  readonly resolve: (result: WriteResult) => void;
  readonly reject: (error: Error) => void;
}

interface Watcher {
  after: number;
  /** Live changes that wait until the history has been delivered. */
  held: Change[] | undefined;
  readonly onChange: (changes: readonly Change[]) => void;
}

const LAZY_DELAY = 500;
const LAZY_RETRY = 10_000;
/** Bound of what a crash can lose, well below the gap that the next start leaves in the revisions. */
const MAX_LAZY = 2_000;
const MAX_HISTORY = 100_000;
const COMPACT_STEP = 2_000;

export async function openStore(options: StoreOptions): Promise<SqliteStore> {
  const link = connect(options);
  const opened = await link.ask({ op: "open" }).catch(async (error: unknown) => {
    await link.end();
    throw error;
  });
  const mods = new Map<string, Revisions>();
  remember(opened.frame!);
  let next = opened.revision!;
  let visible = next;
  let compacted = opened.compacted!;
  let tail: Pending[] = [];
  let unsent: Pending[] = [];
  let committing = false;
  let timer: NodeJS.Timeout | undefined;
  let failure: string | undefined;
  const watchers = new Set<Watcher>();

  function remember(keys: Uint8Array): void {
    mods.clear();
    for (const row of decodeRows(keys)) mods.set(row.key, { mod: row.revision, created: row.createRevision });
  }

  function accept(op: WriteOp, resolve: Pending["resolve"], reject: Pending["reject"]): void {
    const before = mods.get(op.key);
    if ((before?.mod ?? 0) !== op.expect) {
      void current(op.key).then((row) => resolve({ ok: false, current: row }), reject);
      return;
    }
    if (op.tier === "lazy" && unsent.length >= MAX_LAZY && failure) return reject(failed(failure));
    const revision = ++next;
    const created = before?.created ?? revision;
    if (op.value) mods.set(op.key, { mod: revision, created });
    else mods.delete(op.key);
    const pending: Pending = { op, revision, created, before, settled: op.tier === "lazy", emitted: false, resolve, reject };
    tail.push(pending);
    unsent.push(pending);
    if (!pending.settled || unsent.length >= MAX_LAZY) flush();
    else {
      schedule(LAZY_DELAY);
      emit();
    }
  }

  function schedule(delay: number): void {
    timer ??= setTimeout(() => {
      timer = undefined;
      flush();
    }, delay);
  }

  /** What comes in while a commit is under way is committed together. */
  function flush(): void {
    if (committing || unsent.length === 0) return;
    clearTimeout(timer);
    timer = undefined;
    committing = true;
    const batch = unsent;
    unsent = [];
    link.commit(batch.map(toFrameRow)).then(
      () => {
        failure = undefined;
        for (const pending of batch) pending.settled = true;
        emit();
        bound();
        // What is coming in on this turn of the loop goes along with what has waited.
        setImmediate(() => {
          committing = false;
          if (unsent.some((p) => !p.settled) || unsent.length >= MAX_LAZY) flush();
          else if (unsent.length > 0) schedule(LAZY_DELAY);
        });
      },
      (error: K3spError) => {
        committing = false;
        rollBack(batch, error);
      },
    );
  }

  /** Hands over the settled front of the tail, then resolves its writes. */
  function emit(): void {
    let count = 0;
    while (count < tail.length && tail[count]!.settled) count++;
    if (count === 0) return;
    const ready = tail.slice(0, count);
    tail = count === tail.length ? [] : tail.slice(count);
    visible = ready.at(-1)!.revision;
    for (const pending of ready) pending.emitted = true;
    const changes = ready.map(toChange);
    for (const watcher of [...watchers]) deliver(watcher, changes);
    for (const pending of ready) pending.resolve({ ok: true, revision: pending.revision });
  }

  /** Nothing of a failed batch stays, except lazy writes that watchers have seen: those are tried again. */
  function rollBack(batch: readonly Pending[], error: K3spError): void {
    failure = error.message;
    const lost = tail;
    for (const { op, before } of lost.toReversed()) {
      if (before) mods.set(op.key, before);
      else mods.delete(op.key);
    }
    next = visible;
    tail = [];
    unsent = [...batch, ...unsent].filter((pending) => pending.emitted);
    if (unsent.length > 0) schedule(LAZY_RETRY);
    for (const pending of lost) pending.reject(error);
  }

  function bound(): void {
    if (visible - compacted > MAX_HISTORY) void compact(visible - MAX_HISTORY / 2).catch(() => {});
  }

  async function compact(revision: number, shrink = false): Promise<void> {
    const to = Math.min(revision, visible);
    while (compacted < to) {
      const step = Math.min(compacted + COMPACT_STEP, to);
      await link.ask({ op: "compact", revision: step });
      compacted = Math.max(compacted, step);
    }
    if (shrink) await link.ask({ op: "shrink" });
  }

  async function current(key: string): Promise<Row | undefined> {
    const rows = await ordered({ op: "get", key });
    const row = rows[0];
    return row && toRow(row);
  }

  /** Reads see every write that was accepted before them: what is pending goes to the worker first. */
  async function ordered(request: Ask): Promise<readonly FrameRow[]> {
    if (unsent.length > 0) await settle();
    return decodeRows((await link.ask(request)).frame!);
  }

  async function scan(prefix: string, onRows: (rows: readonly Row[]) => void, at?: number): Promise<{ readonly revision: number }> {
    if (unsent.length > 0) await settle();
    const answer = await link.parts({ op: "range", prefix, at }, (frame) => onRows(decodeRows(frame).map(toRow)));
    return { revision: at ?? answer.revision! };
  }

  async function history(limit: number, onChanges: (changes: readonly PastChange[]) => void): Promise<{ readonly after: number }> {
    if (unsent.length > 0) await settle();
    const changes = pastChanges(onChanges);
    const answer = await link.parts({ op: "history", limit }, changes.take);
    changes.end();
    return { after: answer.after! };
  }

  async function restore(revision: number, rows: AsyncIterable<readonly Row[]>): Promise<void> {
    if (watchers.size > 0 || tail.length > 0) throw failed("the store is in use, so nothing can be put in its place");
    await settle();
    try {
      await link.ask({ op: "restoreBegin" });
      for await (const part of rows) {
        const frame = encodeRows(part.map(fromRow));
        await link.ask({ op: "restoreAdd", frame }, [frame.buffer]);
      }
      await link.ask({ op: "restoreEnd", revision });
    } catch (error) {
      await link.ask({ op: "restoreAbort" });
      throw error;
    }
    remember((await link.ask({ op: "keys" })).frame!);
    next = visible = compacted = revision;
  }

  async function settle(): Promise<void> {
    while (unsent.length > 0 && !failure) {
      flush();
      await link.ask({ op: "size" });
    }
  }

  return {
    revision: () => visible,
    compactedRevision: () => compacted,
    async range(prefix, at) {
      const rows: Row[] = [];
      const { revision } = await scan(prefix, (part) => part.forEach((row) => rows.push(row)), at);
      return { revision, rows };
    },
    scan: (prefix, onRows) => scan(prefix, onRows),
    write: (op) => new Promise((resolve, reject) => accept(op, resolve, reject)),
    async watch(after, onChange) {
      const watcher: Watcher = { after, held: after < visible ? [] : undefined, onChange };
      if (after < compacted) throw compactedError(after, compacted);
      watchers.add(watcher);
      if (watcher.held) {
        try {
          const history = (await ordered({ op: "since", after })).map(fromHistory);
          const held = watcher.held;
          watcher.held = undefined;
          deliver(watcher, history);
          deliver(watcher, held);
        } catch (error) {
          watchers.delete(watcher);
          throw error;
        }
      }
      return () => void watchers.delete(watcher);
    },
    history,
    compact,
    async check() {
      await settle();
      return (await link.ask({ op: "check" })).findings!;
    },
    restore,
    health: async () => (failure ? { ok: false, message: failure } : { ok: true }),
    async size() {
      const { bytes = 0, rows = 0 } = await link.ask({ op: "size" });
      return { bytes, rows };
    },
    async close() {
      await settle();
      clearTimeout(timer);
      await link.ask({ op: "close" });
      await link.end();
    },
  };
}

function deliver(watcher: Watcher, changes: readonly Change[]): void {
  if (watcher.held) {
    watcher.held.push(...changes);
    return;
  }
  const fresh = changes[0] && changes[0].revision > watcher.after ? changes : changes.filter((c) => c.revision > watcher.after);
  if (fresh.length === 0) return;
  watcher.after = fresh.at(-1)!.revision;
  watcher.onChange(fresh);
}

/** Pairs each change with the row that follows it when that is the one that it replaced. */
function pastChanges(onChanges: (changes: readonly PastChange[]) => void): { take(frame: Uint8Array): void; end(): void } {
  let last: FrameRow | undefined;
  return {
    take(frame) {
      const changes: PastChange[] = [];
      for (const row of decodeRows(frame)) {
        if (last && row.revision < last.revision) {
          changes.push({ ...fromHistory(last), previous: toRow(row) });
          last = undefined;
          continue;
        }
        if (last) changes.push({ ...fromHistory(last), previous: undefined });
        last = row;
      }
      if (changes.length > 0) onChanges(changes);
    },
    end() {
      if (last) onChanges([{ ...fromHistory(last), previous: undefined }]);
    },
  };
}

const toFrameRow = (p: Pending): FrameRow => ({
  revision: p.revision, createRevision: p.created, previousRevision: p.before?.mod ?? 0, key: p.op.key, value: p.op.value,
});
const toChange = (p: Pending): Change => ({ revision: p.revision, key: p.op.key, value: p.op.value, createRevision: p.created });
const fromHistory = (r: FrameRow): Change => ({ revision: r.revision, key: r.key, value: r.value, createRevision: r.createRevision });
const fromRow = (r: Row): FrameRow => ({ revision: r.modRevision, createRevision: r.createRevision, previousRevision: 0, key: r.key, value: r.value });
const toRow = (r: FrameRow): Row => ({ key: r.key, value: r.value!, createRevision: r.createRevision, modRevision: r.revision });

const failed = (message: string): K3spError => k3spError("K3SP_DATASTORE_FAILED", { message });
const compactedError = (after: number, compacted: number): K3spError =>
  k3spError("K3SP_DATASTORE_COMPACTED", { message: `revision ${after} is gone, history begins after ${compacted}` });
