import { existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { installCni } from "./install.ts";

test("the list and the plugin's own programs are put in place, and a stop takes back these and nothing else", async () => {
  const dir = mkdtempSync(join(tmpdir(), "cni-"));
  onTestFinished(() => rmSync(dir, { recursive: true }));
  const cni = { confDir: join(dir, "net.d"), binDir: join(dir, "bin") };
  for (const folder of Object.values(cni)) mkdirSync(folder);
  writeFileSync(join(cni.binDir, "bridge"), "the distribution's");
  writeFileSync(join(cni.confDir, "99-users-own.conflist"), "{}");
  writeFileSync(join(cni.confDir, "05-former.conflist"), "{}");
  writeFileSync(join(cni.confDir, ".installed"), "05-former.conflist\n");
  const program = join(dir, "mine");
  writeFileSync(program, "#!/bin/sh\n");
  const undos: (() => void | Promise<void>)[] = [];
  const confList = { cniVersion: "1.0.0", name: "mine", plugins: [{ type: "mine" }] };
  await installCni({ needs: { runtime: { cni } }, defer: (undo) => void undos.push(undo) }, { confList, fileName: "10-mine.conflist", binaries: [program] });
  expect(readdirSync(cni.confDir).sort()).toEqual([".installed", "10-mine.conflist", "99-users-own.conflist"]);
  expect(JSON.parse(readFileSync(join(cni.confDir, "10-mine.conflist"), "utf8"))).toEqual(confList);
  expect([readFileSync(join(cni.binDir, "mine"), "utf8"), statSync(join(cni.binDir, "mine")).mode & 0o777]).toEqual(["#!/bin/sh\n", 0o755]);
  for (const undo of undos.reverse()) await undo();
  expect([readdirSync(cni.confDir).sort(), readdirSync(cni.binDir), existsSync(program)]).toEqual([[".installed", "99-users-own.conflist"], ["bridge"], true]);
});
