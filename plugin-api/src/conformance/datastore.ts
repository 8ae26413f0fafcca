/** The promises of the `datastore` slot: revisions, compare-and-swap, ordered and gapless watches, the past, compaction, tiers, restoring. */
import assert from "node:assert/strict";
import type { Change, Datastore, PastChange, Row, WriteOp, WriteResult } from "../slots/datastore.ts";
import { startSubject, type Subject } from "./subject.ts";
import { test, within, type ConformanceContext, type ConformanceTest } from "./suite.ts";

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const text = (value: Uint8Array | null | undefined): string | null => (value ? Buffer.from(value).toString() : null);
const put = (store: Datastore, key: string, value: string | null, expect = 0, more: Partial<WriteOp> = {}): Promise<WriteResult> =>
  store.write({ key, value: value === null ? null : bytes(value), expect, ...more });

async function must(result: Promise<WriteResult>): Promise<number> {
  const got = await result;
  assert.ok(got.ok, "the write was refused although the revision was right");
  return got.revision;
}

export function datastoreSuite(subject: Subject): readonly ConformanceTest[] {
  const each = (name: string, run: (store: Datastore, ctx: ConformanceContext) => Promise<void>): ConformanceTest =>
    test(name, [], async (ctx) => {
      const started = await startSubject<Datastore>(subject, ctx);
      ctx.defer(() => started.stop());
      await run(started.impl, ctx);
    });
  return [
    each("a create succeeds once: expect 0 means that the key must not exist", createOnce),
    each("compare-and-swap refuses a stale revision and shows the current row", compareAndSwap),
    each("exactly one of 50 racing writers wins", race),
    each("a deleted key is gone, and can be created anew with a new create revision", deleteAndCreate),
    each("revisions grow by one for each write over all keys", revisions),
    each("a range is sorted by key, keeps to its prefix, and names its revision", range),
    each("a range of the past shows the rows as they were then", rangeOfThePast),
    each("values are opaque bytes and may be large", opaque),
    each("a watch from a revision gets every later change, in order and without gaps", watchFrom),
    each("a watcher has seen the change when the write resolves", watchBeforeAck),
    each("a watch that was ended gets nothing more", watchEnds),
    each("every watcher sees the same order while writers race", watchOrder),
    each("compaction: older revisions cannot be watched from nor read, live keys stay", compaction),
    each("both tiers are visible at once, in one order", tiers),
    each("if it has a history: the last changes, each with the row that it replaced", history),
    each("if it can be checked: what was written is sound", soundness),
    each("if it can be restored: the given rows take the place of all, with their revisions and without history", restore),
    each("if it can be restored: what fails half way changes nothing", failedRestore),
    each("it is healthy and tells its size", async (store) => {
      await must(put(store, "/a", "1"));
      assert.equal((await store.health()).ok, true);
      assert.equal((await store.size()).rows, 1);
    }),
    ...(subject.id === "memory" ? [] : [restart(subject)]),
  ];
}

async function createOnce(store: Datastore): Promise<void> {
  const revision = await must(put(store, "/a", "1"));
  const again = await put(store, "/a", "2");
  assert.ok(!again.ok, "a second create was taken");
  assert.deepEqual([text(again.current?.value), again.current?.modRevision], ["1", revision]);
}

async function compareAndSwap(store: Datastore): Promise<void> {
  const first = await must(put(store, "/a", "1"));
  const second = await must(put(store, "/a", "2", first));
  const stale = await put(store, "/a", "3", first);
  assert.ok(!stale.ok, "a write over a stale revision was taken");
  assert.deepEqual([text(stale.current?.value), stale.current?.modRevision, stale.current?.createRevision], ["2", second, first]);
  const absent = await put(store, "/none", "1", second);
  assert.deepEqual(absent, { ok: false, current: undefined });
}

async function race(store: Datastore): Promise<void> {
  const results = await Promise.all(Array.from({ length: 50 }, (_, i) => put(store, "/a", String(i))));
  assert.equal(results.filter((result) => result.ok).length, 1);
}

async function deleteAndCreate(store: Datastore): Promise<void> {
  const first = await must(put(store, "/a", "1"));
  const gone = await must(put(store, "/a", null, first));
  assert.deepEqual((await store.range("/a")).rows, []);
  const again = await must(put(store, "/a", "2"));
  assert.ok(again > gone);
  assert.equal((await store.range("/a")).rows[0]?.createRevision, again);
}

async function revisions(store: Datastore): Promise<void> {
  const start = store.revision();
  const got = await Promise.all(["/b", "/a", "/c"].map((key) => must(put(store, key, key))));
  assert.deepEqual(got, [start + 1, start + 2, start + 3]);
  assert.equal(store.revision(), start + 3);
}

async function range(store: Datastore): Promise<void> {
  for (const key of ["/x/b", "/x/a", "/y/a", "/x/c"]) await must(put(store, key, key));
  const { revision, rows } = await store.range("/x/");
  assert.deepEqual(rows.map((row) => row.key), ["/x/a", "/x/b", "/x/c"]);
  assert.equal(revision, store.revision());
}

async function rangeOfThePast(store: Datastore): Promise<void> {
  const first = await must(put(store, "/p/a", "1"));
  const second = await must(put(store, "/p/b", "1"));
  const third = await must(put(store, "/p/a", "2", first));
  const fourth = await must(put(store, "/p/b", null, second));
  await must(put(store, "/p/b", "3"));
  const then = async (at: number) => {
    const { revision, rows } = await store.range("/p/", at);
    assert.equal(revision, at);
    return rows.map((row) => [row.key, text(row.value), row.createRevision, row.modRevision]);
  };
  assert.deepEqual(await then(first), [["/p/a", "1", first, first]]);
  assert.deepEqual(await then(second), [["/p/a", "1", first, first], ["/p/b", "1", second, second]]);
  assert.deepEqual(await then(fourth), [["/p/a", "2", first, third]]);
  assert.deepEqual((await then(store.revision())).map(([key, value]) => [key, value]), [["/p/a", "2"], ["/p/b", "3"]]);
  await assert.rejects(store.range("/p/", store.revision() + 1), { code: "K3SP_DATASTORE_FAILED" });
}

async function opaque(store: Datastore): Promise<void> {
  const value = Uint8Array.from({ length: 1 << 20 }, (_, i) => i % 256);
  assert.ok((await store.write({ key: "/big", value, expect: 0 })).ok);
  const [row] = (await store.range("/big")).rows;
  assert.ok(row && Buffer.from(row.value).equals(Buffer.from(value)), "other bytes came back");
}

async function watchFrom(store: Datastore, ctx: ConformanceContext): Promise<void> {
  const first = await must(put(store, "/a", "1"));
  const second = await must(put(store, "/b", "2"));
  const seen: Change[] = [];
  ctx.defer(await store.watch(first, (changes) => void seen.push(...changes)));
  const third = await must(put(store, "/a", null, first));
  await within(1000, () => assert.deepEqual(seen.map((c) => [c.revision, c.key, text(c.value)]), [[second, "/b", "2"], [third, "/a", null]]));
}

async function watchBeforeAck(store: Datastore, ctx: ConformanceContext): Promise<void> {
  const seen: number[] = [];
  ctx.defer(await store.watch(store.revision(), (changes) => void seen.push(...changes.map((c) => c.revision))));
  for (let i = 0; i < 20; i++) {
    const revision = await must(put(store, `/k${i}`, "x"));
    assert.equal(seen.at(-1), revision, "the write was acknowledged before the watcher was told");
  }
}

async function watchEnds(store: Datastore): Promise<void> {
  let seen = 0;
  const stop = await store.watch(store.revision(), (changes) => void (seen += changes.length));
  await must(put(store, "/a", "1"));
  stop();
  await must(put(store, "/b", "1"));
  assert.equal(seen, 1);
}

async function watchOrder(store: Datastore, ctx: ConformanceContext): Promise<void> {
  const start = store.revision();
  const logs: number[][] = [[], [], []];
  for (const log of logs) ctx.defer(await store.watch(start, (changes) => void log.push(...changes.map((c) => c.revision))));
  await Promise.all(Array.from({ length: 300 }, (_, i) => must(put(store, `/k${i}`, "x"))));
  const wanted = Array.from({ length: 300 }, (_, i) => start + 1 + i);
  for (const log of logs) assert.deepEqual(log, wanted);
}

async function compaction(store: Datastore): Promise<void> {
  const first = await must(put(store, "/a", "1"));
  const second = await must(put(store, "/a", "2", first));
  await must(put(store, "/b", "3"));
  await store.compact(second);
  assert.equal(store.compactedRevision(), second);
  await assert.rejects(store.watch(first, () => {}), { code: "K3SP_DATASTORE_COMPACTED" });
  await assert.rejects(store.range("/", first), { code: "K3SP_DATASTORE_COMPACTED" });
  assert.deepEqual((await store.range("/", second)).rows.map((row) => row.key), ["/a"]);
  assert.deepEqual((await store.range("/")).rows.map((row) => [row.key, text(row.value)]), [["/a", "2"], ["/b", "3"]]);
  const seen: string[] = [];
  const stop = await store.watch(second, (changes) => void seen.push(...changes.map((c) => c.key)));
  await within(1000, () => assert.deepEqual(seen, ["/b"]));
  stop();
}

async function tiers(store: Datastore, ctx: ConformanceContext): Promise<void> {
  const start = store.revision();
  const seen: number[] = [];
  ctx.defer(await store.watch(start, (changes) => void seen.push(...changes.map((c) => c.revision))));
  const all = await Promise.all([0, 1, 2, 3].map((i) => must(put(store, `/t${i}`, "x", 0, { tier: i % 2 ? "lazy" : "durable" }))));
  assert.deepEqual([...all].sort((a, b) => a - b), [1, 2, 3, 4].map((n) => start + n));
  assert.deepEqual(seen, [1, 2, 3, 4].map((n) => start + n));
  assert.equal((await store.range("/t")).rows.length, 4);
}

async function history(store: Datastore): Promise<void> {
  if (!store.history) return;
  const first = await must(put(store, "/h/a", "1"));
  const second = await must(put(store, "/h/a", "2", first));
  const third = await must(put(store, "/h/b", "1"));
  const fourth = await must(put(store, "/h/a", null, second));
  const last = async (limit: number) => {
    const seen: PastChange[] = [];
    const { after } = await store.history!(limit, (changes) => void seen.push(...changes));
    return { after, seen: seen.map((c) => [c.revision, c.key, text(c.value), text(c.previous?.value), c.previous?.modRevision]) };
  };
  assert.deepEqual(await last(3), {
    after: first,
    seen: [[second, "/h/a", "2", "1", first], [third, "/h/b", "1", null, undefined], [fourth, "/h/a", null, "2", second]],
  });
  assert.equal((await last(100)).seen.length, 4);
  await store.compact(third);
  assert.deepEqual(await last(100), { after: third, seen: [[fourth, "/h/a", null, "2", second]] });
}

async function soundness(store: Datastore): Promise<void> {
  if (!store.check) return;
  const first = await must(put(store, "/a", "1"));
  await must(put(store, "/a", "2", first));
  await must(put(store, "/b", "1", 0, { tier: "lazy" }));
  await store.compact(store.revision(), true);
  assert.deepEqual(await store.check(), []);
}

async function* parts(...all: readonly (readonly Row[])[]): AsyncGenerator<readonly Row[]> {
  yield* all;
}

async function restore(store: Datastore, ctx: ConformanceContext): Promise<void> {
  if (!store.restore) return;
  await must(put(store, "/old", "1"));
  const row = (key: string, revision: number): Row => ({ key, value: bytes(key), createRevision: revision - 1, modRevision: revision });
  await assert.rejects(store.restore(store.revision(), parts([])), { code: "K3SP_DATASTORE_FAILED" });
  await assert.rejects(store.restore(500, parts([row("/new/a", 501)])), { code: "K3SP_DATASTORE_FAILED" });
  await store.restore(500, parts([row("/new/a", 300)], [row("/new/b", 200)]));
  assert.deepEqual([store.revision(), store.compactedRevision()], [500, 500]);
  const { rows } = await store.range("/");
  assert.deepEqual(rows.map((r) => [r.key, text(r.value), r.createRevision, r.modRevision]), [["/new/a", "/new/a", 299, 300], ["/new/b", "/new/b", 199, 200]]);
  await assert.rejects(store.watch(499, () => {}), { code: "K3SP_DATASTORE_COMPACTED" });
  const seen: number[] = [];
  ctx.defer(await store.watch(500, (changes) => void seen.push(...changes.map((c) => c.revision))));
  assert.equal(await must(put(store, "/new/a", "2", 300)), 501);
  assert.deepEqual(seen, [501]);
}

async function failedRestore(store: Datastore): Promise<void> {
  if (!store.restore) return;
  const first = await must(put(store, "/kept", "1"));
  async function* broken(): AsyncGenerator<readonly Row[]> {
    yield [{ key: "/new", value: bytes("1"), createRevision: 2, modRevision: 2 }];
    throw new Error("the source ended");
  }
  await assert.rejects(store.restore(1000, broken()), /the source ended/);
  assert.deepEqual((await store.range("/")).rows.map((row) => row.key), ["/kept"]);
  assert.equal(await must(put(store, "/kept", "2", first)), first + 1);
}

const restart = (subject: Subject): ConformanceTest =>
  test("everything is there after a stop and a start, and revisions go on", [], async (ctx) => {
    const before = await startSubject<Datastore>(subject, ctx);
    await must(put(before.impl, "/a", "1"));
    const middle = before.impl.revision();
    const last = await must(put(before.impl, "/b", "2", 0, { tier: "lazy" }));
    await before.stop();
    const after = await startSubject<Datastore>(subject, ctx);
    ctx.defer(() => after.stop());
    assert.deepEqual((await after.impl.range("/")).rows.map((row) => [row.key, text(row.value)]), [["/a", "1"], ["/b", "2"]]);
    if (after.impl.history) {
      const seen: string[] = [];
      ctx.defer(await after.impl.watch(middle, (changes) => void seen.push(...changes.map((c) => c.key))));
      await within(1000, () => assert.deepEqual(seen, ["/b"]));
    }
    assert.ok((await must(put(after.impl, "/c", "3"))) > last, "a revision was given twice");
  });
