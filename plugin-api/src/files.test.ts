import { open, type FileHandle } from "node:fs/promises";
import { mkdtempSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test, vi } from "vitest";
import { makeFolder, replaceFile, replaceFileDurably } from "./files.ts";

const dir = mkdtempSync(join(tmpdir(), "files-"));
afterAll(() => rmSync(dir, { recursive: true }));

test("replaces a file with the mode that is asked for, also twice at once", async () => {
  const path = join(dir, "a");
  writeFileSync(path, "old", { mode: 0o644 });
  await Promise.all([replaceFile(path, "new"), replaceFile(path, "new")]);
  expect([readFileSync(path, "utf8"), statSync(path).mode & 0o777]).toEqual(["new", 0o600]);
});

test("leaves nothing of a write that fails", async () => {
  mkdirSync(join(dir, "folder", "full"), { recursive: true });
  await expect(replaceFile(join(dir, "folder"), "text")).rejects.toThrow();
  expect(readdirSync(dir).sort()).toEqual(["a", "folder"]);
});

test("a file that must outlast a power cut is on the disk before it takes the old one's place, and then its name", async () => {
  const path = join(dir, "durable");
  writeFileSync(path, "old");
  const handle = await open(path);
  const prototype = Object.getPrototypeOf(handle) as FileHandle;
  await handle.close();
  const seen: string[] = [];
  const sync = vi.spyOn(prototype, "sync").mockImplementation(async () => void seen.push(readFileSync(path, "utf8")));
  try {
    await replaceFile(path, "between");
    expect(seen).toEqual([]);
    await replaceFileDurably(path, "new");
  } finally {
    sync.mockRestore();
  }
  expect([seen, statSync(path).mode & 0o777]).toEqual([["between", "new"], 0o600]);
});

test("makes the folders that are missing, and the last one with the mode that is asked for", async () => {
  await Promise.all([makeFolder(join(dir, "x/y/z"), 0o700), makeFolder(join(dir, "x/y/z"), 0o700)]);
  expect([statSync(join(dir, "x/y/z")).mode & 0o777, statSync(join(dir, "x/y")).mode & 0o700]).toEqual([0o700, 0o700]);
});

test.each([["/proc/x/y", "ENOENT"], ["/dev/null/x", "ENOTDIR"], ["/dev/null", "EEXIST"]])("says that no folder %s can be made", async (path, code) => {
  await expect(makeFolder(path)).rejects.toMatchObject({ code });
});
