import { mkdtempSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { replaceFile } from "./files.ts";

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
