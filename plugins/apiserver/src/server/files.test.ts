import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { afterEach, beforeEach, expect, test } from "vitest";
import { followFiles } from "./files.ts";

let folder: string;
let changes = 0;
let stop: () => void;
const failures: unknown[] = [];
const at = (...names: string[]): string => join(folder, ...names);
const follow = (...paths: string[]): void => void (stop = followFiles(paths, { onChange: () => void changes++, onError: (error) => void failures.push(error) }));

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "k3sp-files-"));
  changes = 0;
  failures.length = 0;
});
afterEach(() => {
  stop();
  rmSync(folder, { recursive: true });
});
const soon = { timeout: 4000 };

test("the steps of one replacement are one change, and other files of the folder are none", async () => {
  writeFileSync(at("a"), "1");
  follow(at("a"));
  writeFileSync(at("other"), "1");
  await setTimeout(400);
  expect(changes).toBe(0);
  writeFileSync(at("a.new"), "2");
  writeFileSync(at("a"), "");
  renameSync(at("a.new"), at("a"));
  await expect.poll(() => changes, soon).toBe(1);
  stop();
  writeFileSync(at("a"), "3");
  await setTimeout(400);
  expect(changes).toBe(1);
});

test("what a mounted ConfigMap holds changes by a link, and what a link leads to by itself", async () => {
  for (const dir of ["..1", "..2", "away"]) mkdirSync(at(dir));
  for (const path of [at("..1", "a"), at("..2", "a"), at("away", "b")]) writeFileSync(path, path);
  symlinkSync("..1", at("..data"));
  symlinkSync(join("..data", "a"), at("a"));
  symlinkSync(at("away", "b"), at("b"));
  follow(at("a"), at("b"));
  symlinkSync("..2", at("..data_tmp"));
  renameSync(at("..data_tmp"), at("..data"));
  await expect.poll(() => changes, soon).toBe(1);
  writeFileSync(at("away", "b"), "new");
  await expect.poll(() => changes, soon).toBe(2);
});

test("says when a folder cannot be followed, and follows the others", async () => {
  writeFileSync(at("a"), "1");
  follow(at("none", "b"), at("a"));
  expect(failures).toEqual([expect.objectContaining({ code: "ENOENT" })]);
  writeFileSync(at("a"), "2");
  await expect.poll(() => changes, soon).toBe(1);
});
