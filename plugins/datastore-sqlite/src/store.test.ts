import { spawn } from "node:child_process";
import { once } from "node:events";
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import type { Change } from "@k3s-p/plugin-api/slots";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { CRASH_GAP, VERSION } from "./schema.ts";
import { openStore, type SqliteStore, type StoreOptions } from "./store.ts";

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const text = (value: Uint8Array | null | undefined): string | null => (value ? Buffer.from(value).toString() : null);

let folder: string;
let file: string;
const stores = new Set<SqliteStore>();

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "k3sp-store-"));
  file = join(folder, "db", "state.db");
});
afterEach(async () => {
  for (const store of stores) await store.close().catch(() => {});
  stores.clear();
  rmSync(folder, { recursive: true });
});

async function open(options: Partial<StoreOptions> = {}): Promise<SqliteStore> {
  const store = await openStore({ file, ...options });
  stores.add(store);
  return store;
}

async function close(store: SqliteStore): Promise<void> {
  stores.delete(store);
  await store.close();
}

/** Runs SQL on the closed file; returns the row of the last statement if it has one. */
function sql(text: string): unknown {
  const db = new DatabaseSync(file);
  try {
    return text.startsWith("PRAGMA user_version") && !text.includes("=") ? { ...db.prepare(text).get() } : db.exec(text);
  } finally {
    db.close();
  }
}

const put = (store: SqliteStore, key: string, value: string, expect = 0, tier?: "lazy") =>
  store.write({ key, value: bytes(value), expect, ...(tier && { tier }) });

describe("writes", () => {
  test("get revisions that grow by one, and are read back in key order", async () => {
    const store = await open();
    const results = await Promise.all(["b", "a", "c"].map((key) => put(store, `/x/${key}`, key)));
    expect(results).toEqual([2, 3, 4].map((revision) => ({ ok: true, revision })));
    const { revision, rows } = await store.range("/x/");
    expect(revision).toBe(4);
    expect(rows.map((row) => [row.key, text(row.value), row.createRevision, row.modRevision])).toEqual([
      ["/x/a", "a", 3, 3], ["/x/b", "b", 2, 2], ["/x/c", "c", 4, 4],
    ]);
  });

  test("of any number are read in parts that together are the whole range", async () => {
    const store = await open();
    const keys = Array.from({ length: 2500 }, (_, i) => `/x/${String(i).padStart(5, "0")}`);
    await Promise.all(keys.toReversed().map((key) => put(store, key, key)));
    const parts: string[][] = [];
    const scanned = store.scan!("/x/", (rows) => parts.push(rows.map((row) => `${row.key} ${text(row.value)}`)));
    await put(store, "/x/later", "later");
    expect((await scanned).revision).toBe(2501);
    expect(parts.map((part) => part.length)).toEqual([1000, 1000, 500]);
    expect(parts.flat()).toEqual(keys.map((key) => `${key} ${key}`));
    expect((await store.range("/x/")).rows).toHaveLength(2501);
  });

  test("are refused when the expected revision is not the current one, and show the current row", async () => {
    const store = await open();
    await put(store, "k", "1");
    const again = await put(store, "k", "2");
    expect(again).toMatchObject({ ok: false, current: { key: "k", modRevision: 2 } });
    expect(await put(store, "k", "2", 2)).toEqual({ ok: true, revision: 3 });
    expect(await store.write({ key: "k", value: null, expect: 2 })).toMatchObject({ ok: false });
    expect(await store.write({ key: "k", value: null, expect: 3 })).toEqual({ ok: true, revision: 4 });
    expect(await put(store, "k", "3", 3)).toEqual({ ok: false, current: undefined });
    expect(await put(store, "k", "new")).toEqual({ ok: true, revision: 5 });
  });

  test("of many MiB are committed together, and small ones after them", async () => {
    const store = await open();
    const large = Array.from({ length: 12 }, (_, i) => Buffer.alloc(2 << 20, `${i} `));
    await Promise.all(large.map((value, i) => store.write({ key: `/x/${i}`, value, expect: 0 })));
    await put(store, "/y", "small");
    await close(store);
    const again = await open();
    for (const [i, value] of large.entries()) {
      const { rows } = await again.range(`/x/${i}`);
      expect(rows.find(({ key }) => key === `/x/${i}`)!.value).toEqual(value);
    }
    expect(text((await again.range("/y")).rows[0]!.value)).toBe("small");
  });

  test("let exactly one of many racing writers win", async () => {
    const store = await open();
    const results = await Promise.all(Array.from({ length: 50 }, (_, i) => put(store, "k", String(i))));
    expect(results.filter((result) => result.ok)).toHaveLength(1);
    expect(store.revision()).toBe(2);
  });

  test("keep the revision at which the key was created", async () => {
    const store = await open();
    await put(store, "k", "1");
    await put(store, "k", "2", 2);
    expect((await store.range("k")).rows[0]).toMatchObject({ createRevision: 2, modRevision: 3 });
  });
});

describe("a watch", () => {
  test("sees every change in order and before the write resolves", async () => {
    const store = await open();
    const seen: number[] = [];
    await store.watch(store.revision(), (changes) => seen.push(...changes.map((change) => change.revision)));
    const writes = Array.from({ length: 200 }, async (_, i) => {
      const result = await put(store, `k${i}`, "v", 0, i % 3 === 0 ? "lazy" : undefined);
      expect(result.ok && seen.includes(result.revision)).toBe(true);
    });
    await Promise.all(writes);
    expect(seen).toEqual(Array.from({ length: 200 }, (_, i) => i + 2));
  });

  test("from an old revision gets the history first, with nothing twice and nothing missing", async () => {
    const store = await open();
    await Promise.all(Array.from({ length: 20 }, (_, i) => put(store, `k${i}`, "v")));
    const seen: Change[] = [];
    const watching = store.watch(11, (changes) => seen.push(...changes));
    const more = Promise.all(Array.from({ length: 20 }, (_, i) => put(store, `l${i}`, "v", 0, i % 2 ? "lazy" : undefined)));
    await watching;
    await more;
    expect(seen.map((change) => change.revision)).toEqual(Array.from({ length: 30 }, (_, i) => i + 12));
  });

  test("ends with its unsubscribe function", async () => {
    const store = await open();
    let count = 0;
    const stop = await store.watch(1, () => count++);
    await put(store, "a", "1");
    stop();
    await put(store, "b", "1");
    expect(count).toBe(1);
  });

  test("of compacted history is refused, and the live rows stay", async () => {
    const store = await open();
    await put(store, "k", "1");
    await put(store, "k", "2", 2);
    await put(store, "gone", "1");
    await store.write({ key: "gone", value: null, expect: 4 });
    await store.compact(5);
    await expect(store.watch(3, () => {})).rejects.toMatchObject({ code: "K3SP_DATASTORE_COMPACTED" });
    const seen: Change[] = [];
    await store.watch(5, (changes) => seen.push(...changes));
    expect((await store.range("")).rows.map((row) => [row.key, text(row.value)])).toEqual([["k", "2"]]);
    await put(store, "k", "3", 3);
    expect(seen.map((change) => change.revision)).toEqual([6]);
    expect((await store.size()).rows).toBe(1);
  });
});

describe("lazy writes", () => {
  test("are visible at once and on disk after a clean close", async () => {
    const store = await open();
    expect(await put(store, "event", "1", 0, "lazy")).toEqual({ ok: true, revision: 2 });
    expect((await store.range("event")).rows).toHaveLength(1);
    await put(store, "event2", "1", 0, "lazy");
    await close(store);
    const again = await open();
    expect((await again.range("")).rows.map((row) => row.key)).toEqual(["event", "event2"]);
    expect(again.revision()).toBe(3);
  });

  test("reach the disk within a second without another write", async () => {
    const store = await open();
    await put(store, "event", "1", 0, "lazy");
    await expect.poll(() => readFileSync(`${file}-wal`).includes("event"), { timeout: 2000 }).toBe(true);
  });

  test("reach it as well when they came, and were due, while a commit took long", async () => {
    const store = await open();
    const other = new DatabaseSync(file);
    other.exec("BEGIN IMMEDIATE");
    const slow = put(store, "slow", "1");
    const late = put(store, "event", "1", 0, "lazy");
    await new Promise((resolve) => setTimeout(resolve, 700));
    other.exec("ROLLBACK");
    other.close();
    await Promise.all([slow, late]);
    await expect.poll(() => readFileSync(`${file}-wal`).includes("event"), { timeout: 2000 }).toBe(true);
  });
});

describe("the file", () => {
  test("has K3s's modes", async () => {
    await open();
    expect(statSync(join(folder, "db")).mode & 0o777).toBe(0o700);
    expect(statSync(file).mode & 0o777).toBe(0o600);
    expect(statSync(`${file}-wal`).mode & 0o777).toBe(0o600);
  });

  test("is used by one process at a time", async () => {
    await open();
    await expect(open()).rejects.toMatchObject({ code: "K3SP_DATASTORE_LOCKED", message: expect.stringContaining(file) });
  });

  test("takes nothing after a close", async () => {
    const store = await open();
    await close(store);
    await expect(put(store, "k", "1")).rejects.toMatchObject({ code: "K3SP_DATASTORE_FAILED" });
  });

  test("can be opened again after a close", async () => {
    await close(await open());
    await put(await open(), "k", "1");
  });

  const damages: readonly [string, () => void][] = [
    ["is no database", () => writeFileSync(file, "not a database at all, but long enough to look like one")],
    ["is torn", () => truncateSync(file, 20_000)],
    ["has a broken page", () => {
      const content = readFileSync(file);
      content.fill(0xab, 8192, 16_384);
      writeFileSync(file, content);
    }],
  ];
  test.each(damages)("that %s is named, with the way to restore it, and is not touched", async (_, damage) => {
    const store = await open();
    for (let i = 0; i < 100; i++) await put(store, `key-${i}`, "v".repeat(500));
    await close(store);
    damage();
    const before = readFileSync(file);
    await expect(open()).rejects.toMatchObject({
      code: "K3SP_DATASTORE_CORRUPT", message: expect.stringContaining(file), fix: expect.stringContaining("copy"),
    });
    expect(readFileSync(file).equals(before)).toBe(true);
  });

  test("whose values have changed on the disk is found out by their sums, and by a check", async () => {
    const store = await open();
    for (let i = 0; i < 20; i++) await put(store, `key-${i}`, `value ${i} ${"v".repeat(500)}`);
    await close(store);
    writeFileSync(file, readFileSync(file, "latin1").replaceAll("value 7 ", "value 8 "), "latin1");
    const again = await open();
    expect(await again.check()).toEqual(["key-7 at revision 9 is not what was written"]);
    await expect(again.range("")).rejects.toMatchObject({ code: "K3SP_DATASTORE_CORRUPT", message: expect.stringContaining("key-7 at revision 9") });
  });

  test("whose index does not fit its log is found out by a check", async () => {
    const store = await open();
    await put(store, "lost", "1");
    await put(store, "old", "1");
    await put(store, "old", "2", 3);
    await close(store);
    sql("DELETE FROM live WHERE key = 'lost'; UPDATE live SET rev = 3 WHERE key = 'old'");
    expect(await (await open()).check()).toEqual(["old is said to be at revision 3, and is at 4", "lost at revision 2 is not in the index"]);
  });

  test("of the first version is taken to this one, with all that it holds", async () => {
    mkdirSync(join(folder, "db"));
    sql(`
      CREATE TABLE log (rev INTEGER PRIMARY KEY, key TEXT NOT NULL, created INTEGER NOT NULL, prev INTEGER NOT NULL, value BLOB);
      CREATE TABLE live (key TEXT PRIMARY KEY, rev INTEGER NOT NULL) WITHOUT ROWID;
      CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
      INSERT INTO log VALUES (2, 'a', 2, 0, CAST('1' AS BLOB)), (3, 'a', 2, 2, CAST('2' AS BLOB)), (4, 'b', 4, 0, CAST('1' AS BLOB)), (5, 'b', 4, 4, NULL);
      INSERT INTO live VALUES ('a', 3);
      INSERT INTO meta VALUES ('clean', 1), ('revision', 5), ('compacted', 0)`);
    const store = await open();
    const { revision, rows } = await store.range("");
    expect([revision, rows.map((row) => [row.key, text(row.value), row.createRevision, row.modRevision])]).toEqual([5, [["a", "2", 2, 3]]]);
    expect((await store.range("", 4)).rows.map((row) => [row.key, text(row.value)])).toEqual([["a", "2"], ["b", "1"]]);
    expect(await store.check()).toEqual([]);
    expect(await put(store, "c", "1")).toEqual({ ok: true, revision: 6 });
    await close(store);
    expect(sql("PRAGMA user_version")).toEqual({ user_version: VERSION });
    expect((await (await open()).range("")).rows.map((row) => row.key)).toEqual(["a", "c"]);
  });

  test("of a newer version is refused and not touched", async () => {
    await close(await open());
    sql(`PRAGMA user_version = ${VERSION + 1}`);
    const before = readFileSync(file);
    await expect(open()).rejects.toMatchObject({
      code: "K3SP_DATASTORE_NEWER", message: `${file} has version ${VERSION + 1}, and this k3s-p reads up to ${VERSION}`,
    });
    expect(readFileSync(file).equals(before)).toBe(true);
  });

  test("that another program writes to delays a write, and fails it when that lasts", async () => {
    const store = await open({ busyTimeout: 300 });
    await put(store, "a", "1");
    const other = new DatabaseSync(file);
    other.exec("BEGIN IMMEDIATE");
    await expect(put(store, "b", "1")).rejects.toMatchObject({
      code: "K3SP_DATASTORE_FAILED", message: expect.stringContaining("database is locked"), fix: expect.stringContaining("sqlite3 shell"),
    });
    expect((await store.health()).ok).toBe(false);
    const waiting = put(store, "c", "1");
    other.exec("ROLLBACK");
    expect(await waiting).toMatchObject({ ok: true });
    other.close();
    expect(await store.health()).toEqual({ ok: true });
    expect((await store.range("")).rows.map((row) => row.key)).toEqual(["a", "c"]);
  });

  test("that is full fails the write, leaves nothing half done, and works again when there is room", async () => {
    const store = await open({ maxPages: 40 });
    await put(store, "small", "1");
    const before = store.revision();
    await expect(Promise.all([put(store, "big", "v".repeat(400_000)), put(store, "other", "1")])).rejects.toMatchObject({
      code: "K3SP_DATASTORE_FAILED",
    });
    expect(store.revision()).toBeLessThanOrEqual(before + 1);
    expect(await store.health()).toMatchObject({ ok: false });
    expect(await put(store, "again", "1")).toMatchObject({ ok: true });
    expect(await store.health()).toEqual({ ok: true });
    expect((await store.range("")).rows.map((row) => row.key)).not.toContain("big");
  });
});

describe("a restore", () => {
  async function* rows(count: number, size: number) {
    for (let i = 2; i < count + 2; i++) yield [{ key: `new-${i}`, value: bytes("v".repeat(size)), createRevision: i, modRevision: i }];
  }

  test("that does not fit on the disk leaves the store as it was, and a later one works", async () => {
    const store = await open({ maxPages: 60 });
    await put(store, "old", "1");
    await expect(store.restore(1000, rows(100, 20_000))).rejects.toMatchObject({ code: "K3SP_DATASTORE_FAILED", message: expect.stringContaining("full") });
    expect((await store.range("")).rows.map((row) => row.key)).toEqual(["old"]);
    expect(await put(store, "old", "2", 2)).toEqual({ ok: true, revision: 3 });
    await store.restore(1000, rows(3, 10));
    expect((await store.range("")).rows.map((row) => row.key)).toEqual(["new-2", "new-3", "new-4"]);
    await close(store);
    const again = await open();
    expect([again.revision(), again.compactedRevision(), await again.check()]).toEqual([1000, 1000, []]);
  });

  test("of two keys under one revision is refused", async () => {
    const store = await open();
    async function* twice() {
      yield ["a", "b"].map((key) => ({ key, value: bytes("1"), createRevision: 2, modRevision: 2 }));
    }
    await expect(store.restore(1000, twice())).rejects.toMatchObject({ code: "K3SP_DATASTORE_FAILED" });
    expect((await store.size()).rows).toBe(0);
  });

  test("while somebody watches is refused", async () => {
    const store = await open();
    const stop = await store.watch(1, () => {});
    await expect(store.restore(1000, rows(1, 1))).rejects.toMatchObject({ message: expect.stringContaining("in use") });
    stop();
    await store.restore(1000, rows(1, 1));
  });
});

describe("a killed process", () => {
  test("loses no acknowledged write and never gives a seen revision twice", async () => {
    const script = join(import.meta.dirname, "crash.fixture.ts");
    const child = spawn(process.execPath, [script, file], { stdio: ["ignore", "pipe", "inherit"] });
    let output = "";
    child.stdout.on("data", (chunk: Buffer) => {
      output += chunk.toString();
      if (output.length > 20_000) child.kill("SIGKILL");
    });
    await once(child, "exit");
    const lines = output.slice(0, output.lastIndexOf("\n")).split("\n").map((line) => line.split(" "));
    const durable = lines.filter(([tier]) => tier === "durable");
    expect(durable.length).toBeGreaterThan(100);
    const highest = Math.max(...lines.map(([, , revision]) => Number(revision)));

    const store = await open();
    const rows = new Map((await store.range("")).rows.map((row) => [row.key, row]));
    for (const [, key, revision] of durable) expect(rows.get(key!)?.modRevision).toBe(Number(revision));
    expect(store.revision()).toBeGreaterThanOrEqual(CRASH_GAP);
    expect(store.revision()).toBeGreaterThan(highest);
    const kept = Math.max(...[...rows.values()].map((row) => row.modRevision));
    const seen: Change[] = [];
    await store.watch(kept - 5, (changes) => seen.push(...changes));
    expect(seen.map((change) => change.revision)).toEqual([1, 2, 3, 4, 5].map((n) => kept - 5 + n));
    for (const lost of [kept + 1, kept + 500, store.revision() - 1]) {
      await expect(store.watch(lost, () => {})).rejects.toMatchObject({ code: "K3SP_DATASTORE_COMPACTED" });
    }
    await store.watch(store.revision(), () => {});
  }, 20_000);

  test("leaves revisions that were lost refused for ever, also after clean stops and further changes", async () => {
    const first = await open();
    await put(first, "a", "1");
    await close(first);
    sql("UPDATE meta SET value = 0 WHERE name = 'clean'");
    const second = await open();
    const start = second.revision();
    expect(start).toBe(2 + CRASH_GAP);
    await put(second, "b", "1");
    await close(second);
    const third = await open();
    await expect(third.watch(3, () => {})).rejects.toMatchObject({ code: "K3SP_DATASTORE_COMPACTED" });
    await expect(third.range("", 3)).rejects.toMatchObject({ code: "K3SP_DATASTORE_COMPACTED" });
    for (const [after, keys] of [[2, ["b"]], [start, ["b"]]] as const) {
      const seen: string[] = [];
      await third.watch(after, (changes) => seen.push(...changes.map((change) => change.key)));
      expect(seen).toEqual(keys);
    }
  });

  test("leaves a file whose copy opens as well", async () => {
    const store = await open();
    await put(store, "k", "1");
    for (const suffix of ["", "-wal"]) copyFileSync(`${file}${suffix}`, join(folder, `copy.db${suffix}`));
    const copy = await openStore({ file: join(folder, "copy.db") });
    stores.add(copy);
    expect((await copy.range("k")).rows).toHaveLength(1);
  });
});
