import { mkdtempSync, readFileSync, readdirSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { Logger } from "@k3s-p/plugin-api";
import { openLogFile } from "./log-file.ts";

let dir: string;
beforeEach(() => (dir = mkdtempSync(join(tmpdir(), "log-file-"))));
afterEach(() => rmSync(dir, { recursive: true }));

const warnings: string[] = [];
const log = { warn: (line: string) => void warnings.push(line) } as unknown as Logger;
const until = async (look: () => boolean): Promise<void> => {
  for (let i = 0; i < 500 && !look(); i++) await new Promise((resolve) => setTimeout(resolve, 10));
  expect(look()).toBe(true);
};
const read = (name: string): string => readFileSync(join(dir, name), "utf8");

test("a full file is set aside, three are kept, and what was there at the start counts", async () => {
  const path = join(dir, "x.log");
  for (const word of ["one", "two", "three", "four", "five"]) {
    const file = openLogFile(path, log, 5);
    file.write(`${word} 1`);
    file.write(`${word} 2`);
    file.close();
    await until(() => readdirSync(dir).includes("x.log") && read("x.log").endsWith(`${word} 2\n`));
  }
  expect(readdirSync(dir).sort()).toEqual(["x.log", "x.log.1", "x.log.2", "x.log.3"]);
  expect([read("x.log"), read("x.log.1"), read("x.log.2"), read("x.log.3")]).toEqual(["five 2\n", "five 1\n", "four 2\n", "four 1\n"]);
  expect(statSync(path).mode & 0o777).toBe(0o600);
});

test("a file that cannot be opened is an error, and one that cannot be written is told once", async () => {
  expect(() => openLogFile(join(dir, "none/x.log"), log)).toThrow("ENOENT");
  const file = openLogFile("/dev/full", log);
  file.write("a");
  await until(() => warnings.length > 0);
  file.write("b");
  file.close();
  await new Promise((resolve) => setTimeout(resolve, 20));
  expect(warnings).toEqual([expect.stringMatching(/^\/dev\/full: .*ENOSPC/)]);
});
