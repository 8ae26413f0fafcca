import { mkdirSync, mkdtempSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it } from "vitest";
import { envFileValue, readVolumeFile } from "./env-file.ts";

const text = `
# made by setup
 DB_ADDRESS='db.example'
  EMPTY='' # nothing

KEY = 'a "b" $c \\ #d'
LINES='one
two'
LAST='z'`;

it.each([
  ["DB_ADDRESS", "db.example"], ["EMPTY", ""], ["KEY", 'a "b" $c \\ #d'], ["LINES", "one\ntwo"], ["LAST", "z"], ["DB", undefined],
])("reads %s as %j", (key, value) => {
  expect(envFileValue(text, key)).toBe(value);
  expect(envFileValue(`${text}\n# end\n\n`, key)).toBe(value);
});

it.each([
  ["A=b", 1], ["A='b'\n\nB=\"c\"\n", 3], ["A='b'\n'c'\n", 2], ["A='open", 1], ["A='b' c\n", 1], ["='x'", 1],
])("says in which line %j is wrong", (broken, line) => {
  expect(() => envFileValue(broken, "Z")).toThrow(`invalid environment variable format at line ${line}: want KEY='value'`);
});

it("reads files of the volume, and nothing that a link names outside of it", async () => {
  const root = mkdtempSync(join(tmpdir(), "envfile-"));
  const volume = join(root, "volume");
  mkdirSync(join(volume, "d"), { recursive: true });
  writeFileSync(join(volume, "d/env"), "A='1'");
  writeFileSync(join(root, "secret"), "A='2'");
  symlinkSync("../secret", join(volume, "out"));
  expect(await readVolumeFile(volume, "d/env")).toBe("A='1'");
  expect(await readVolumeFile(volume, "absent")).toBeUndefined();
  await expect(readVolumeFile(volume, "out")).rejects.toThrow('file "out" not within volume path');
  await expect(readVolumeFile(volume, "d")).rejects.toThrow('"d" is not a file');
});
