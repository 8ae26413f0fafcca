import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { decodeRows } from "./frames.ts";
import { connect, type Link } from "./link.ts";

let dir: string;
let link: Link;
const crashes: Error[] = [];

beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), "k3s-p-link-"));
  crashes.length = 0;
  link = connect({ file: join(dir, "state.db"), onCrash: (error) => crashes.push(error) });
  await link.ask({ op: "open" });
});

afterEach(async () => {
  await link.end();
  rmSync(dir, { recursive: true });
});

const row = (revision: number, key: string) => ({ revision, createRevision: revision, previousRevision: 0, key, value: Buffer.from(key) });

describe("the thread", () => {
  test("answers what was asked before a commit without its rows, and what was asked after it with them", async () => {
    for (let i = 0; i < 300; i++) {
      const before = link.ask({ op: "get", key: `k${i}` });
      const commit = link.commit([row(i + 2, `k${i}`)]);
      const after = link.ask({ op: "get", key: `k${i}` });
      expect(decodeRows((await before).frame!)).toEqual([]);
      expect(decodeRows((await after).frame!)).toMatchObject([{ key: `k${i}`, revision: i + 2 }]);
      await commit;
    }
  });

  test("tells why a commit failed, and makes the next one", async () => {
    await link.commit([row(2, "a")]);
    await expect(link.commit([row(2, "b")])).rejects.toMatchObject({ code: "K3SP_DATASTORE_FAILED", message: expect.stringContaining("UNIQUE") });
    await link.commit([row(3, "b")]);
  });

  test("that ends refuses the commit that was under way, and all after it", async () => {
    const commit = link.commit(Array.from({ length: 20_000 }, (_, i) => row(i + 2, `k${i}`)));
    await Promise.all([link.end(), expect(commit).rejects.toMatchObject({ code: "K3SP_DATASTORE_FAILED" })]);
    await expect(link.commit([row(30_000, "z")])).rejects.toMatchObject({ code: "K3SP_DATASTORE_FAILED", message: "the database is closed" });
    expect(crashes).toEqual([]);
  });
});
