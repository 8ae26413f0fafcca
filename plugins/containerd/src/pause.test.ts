import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it } from "vitest";
import { ownPauseImage, pauseImage, pauseProgram } from "./pause.ts";
import { tar } from "./tar.ts";

it.each([["x64", 62, 222], ["arm64", 183, 248]] as const)("makes a static %s executable", (machine, elfMachine, size) => {
  const program = pauseProgram(machine);
  expect(program.subarray(0, 7).toString("latin1")).toBe("\x7fELF\x02\x01\x01");
  expect([program.readUInt16LE(16), program.readUInt16LE(18), program.length]).toEqual([2, elfMachine, size]);
  expect(program.readBigUInt64LE(24)).toBe(0x400078n);
  expect(program.readBigUInt64LE(program.length - 8)).toBe(0x14002n);
});

it("encodes the arm64 instructions as the architecture manual does", () => {
  const code = pauseProgram("arm64").subarray(120);
  const word = (index: number) => code.readUInt32LE(4 * index).toString(16);
  // mov x8,#135; adr x1,+112; svc #0; cmp x0,#17; b.eq +24; b.lt -36; mov x0,#-1; b.gt -28; b -84
  expect([0, 2, 5, 12, 13, 15, 20, 26, 27].map(word)).toEqual([
    "d28010e8", "10000381", "d4000001", "f100441f", "540000c0", "54fffeeb", "92800000", "54ffff2c", "17ffffeb",
  ]);
});

it.runIf(process.arch === "x64" && process.platform === "linux").each(["SIGTERM", "SIGINT"] as const)("waits, and ends with code 0 on %s", async (signal) => {
  const dir = mkdtempSync(join(tmpdir(), "k3sp-pause-"));
  const file = join(dir, "pause");
  writeFileSync(file, pauseProgram("x64"), { mode: 0o755 });
  const child = spawn(file);
  await once(child, "spawn");
  await new Promise((resolve) => setTimeout(resolve, 50));
  expect(child.exitCode).toBe(null);
  child.kill(signal);
  expect(await once(child, "exit")).toEqual([0, null]);
  rmSync(dir, { recursive: true });
});

it("packs the same image every time, named after its contents", () => {
  const [one, two] = [pauseImage("x64"), pauseImage("x64")];
  expect(one.archive.equals(two.archive)).toBe(true);
  expect(one.name).toMatch(/^docker\.io\/k3s-p\/pause:[0-9a-f]{12}$/);
  expect(pauseImage("arm64").name).not.toBe(one.name);
});

it("writes archives that tar reads", () => {
  const archive = tar([{ path: "a/b.txt", data: "hello", mode: 0o600 }, { path: "empty", data: "" }]);
  const listed = spawnSync("tar", ["tvf", "-"], { input: archive, encoding: "utf8" });
  expect(listed.stdout).toMatch(/-rw------- 0\/0 +5 1970-01-01 00:00 a\/b\.txt\n-rw-r--r-- 0\/0 +0 1970-01-01 00:00 empty/);
});

it.each([
  ["", "reg.io", ""], ["pause:3", "", "pause:3"], ["rancher/pause:3", "reg.io:5000", "reg.io:5000/rancher/pause:3"], ["reg.io/pause:3", "reg.io", "reg.io/pause:3"],
])("takes the image %j with the system's registry %j for %j", (pauseImage, systemDefaultRegistry, wanted) => {
  expect(ownPauseImage({ pauseImage, systemDefaultRegistry })).toBe(wanted);
});
