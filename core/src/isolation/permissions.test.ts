/** What Node's permission flags let the process of a plugin do, by its manifest. */
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Manifest } from "../kernel/manifest.ts";
import type { Permissions } from "./declaration.ts";
import { checkContribution, grantOf, permissionFlags, restrictRunner } from "./permissions.ts";

let dir: string;
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), "permissions-"));
  for (const folder of ["mine", "server", "conf", "data/p", "run/p"]) mkdirSync(join(dir, folder), { recursive: true });
  for (const file of ["mine/plugin.ts", "mine/other.txt", "server/token", "conf/list"]) writeFileSync(join(dir, file), "text");
});
afterAll(() => rmSync(dir, { recursive: true }));

const manifest = (permissions: Permissions, more: object = {}): Manifest =>
  ({ id: "p", dir: join(dir, "mine"), needs: {}, wants: {}, contributes: [], permissions, source: { kind: "user", label: "", path: "" }, ...more }) as unknown as Manifest;

/** `ok`, or the error's code, of a statement that a process with these rights runs. */
function attempt(permissions: Permissions, code: string, more: object = {}): string {
  const flags = permissionFlags(manifest(permissions, more), { cniConf: join(dir, "conf") }, { data: join(dir, "data"), run: join(dir, "run") });
  const program = `const fs = require("node:fs"), net = require("node:net"), cp = require("node:child_process"), { Worker } = require("node:worker_threads");
    const D = ${JSON.stringify(dir)};
    (async () => { ${code} })().then(() => console.log("ok"), (error) => console.log(error.code ?? error.message)).then(() => process.exit());`;
  const { stdout, stderr } = spawnSync(process.execPath, [...flags, "-e", program], { encoding: "utf8" });
  return stdout.trim() || stderr;
}

const denied = "ERR_ACCESS_DENIED";
const single = () => ({ source: { kind: "user", label: "", path: "", entry: join(dir, "mine/plugin.ts") } });

describe("a process", () => {
  test.each([
    ["reads its own code", {}, "fs.readFileSync(D + '/mine/other.txt')", "ok"],
    ["writes its data folder", {}, "fs.writeFileSync(D + '/data/p/x', '')", "ok"],
    ["writes its run folder", {}, "fs.mkdirSync(D + '/run/p/deep/er', { recursive: true })", "ok"],
    ["does not write its own code", {}, "fs.writeFileSync(D + '/mine/plugin.ts', '')", denied],
    ["does not read the server's token", {}, "fs.readFileSync(D + '/server/token')", denied],
    ["does not list the server's folder", {}, "fs.readdirSync(D + '/server')", denied],
    ["does not read /etc/passwd", {}, "fs.readFileSync('/etc/passwd')", denied],
    ["does not get out of its folder by dots", {}, "fs.readFileSync(D + '/data/p/../../server/token')", denied],
    ["does not get out of its folder by a link", {}, "fs.symlinkSync(D + '/server/token', D + '/data/p/link'); fs.readFileSync(D + '/data/p/link')", denied],
    ["does not get out of its folder by a hard link", {}, "fs.linkSync(D + '/server/token', D + '/data/p/hard'); fs.readFileSync(D + '/data/p/hard')", denied],
    ["does not start a program", {}, "cp.spawnSync('true').error && (() => { throw cp.spawnSync('true').error })()", denied],
    ["does not start a thread", {}, "new Worker('1', { eval: true })", denied],
    ["does not load native code", {}, "process.dlopen({ exports: {} }, '/lib/x86_64-linux-gnu/libc.so.6')", "ERR_DLOPEN_DISABLED"],
    ["does not open a socket", {}, "await new Promise((ok, no) => net.connect(1, '127.0.0.1').on('error', no))", denied],
    ["opens a socket when it declares so", { net: true }, "await new Promise((ok, no) => net.connect(1, '127.0.0.1').on('error', no))", "ECONNREFUSED"],
    ["reads a path that it declares, and does not write it", { fs: { read: ["{cniConf}"] } }, "fs.readFileSync(D + '/conf/list'); fs.writeFileSync(D + '/conf/list', '')", denied],
    ["writes a path that it declares", { fs: { write: ["{cniConf}"] } }, "fs.writeFileSync(D + '/conf/new', '')", "ok"],
  ] as readonly (readonly [string, Permissions, string, string])[])("%s", (_, permissions, code, result) => expect(attempt(permissions, code)).toBe(result));

  test("of a single file reads that file, and not what lies beside it", () => {
    expect(attempt({}, "fs.readFileSync(D + '/mine/plugin.ts')", single())).toBe("ok");
    expect(attempt({}, "fs.readFileSync(D + '/mine/other.txt')", single())).toBe(denied);
  });
});

test("the runner runs the programs that are declared and no others", async () => {
  const ran: string[] = [];
  const runner = restrictRunner({ run: async (command: string) => (ran.push(command), { code: 0, stdout: "", stderr: "" }), spawn: async (command: string) => (ran.push(command), {} as never) }, manifest({ exec: ["ip"] }));
  await runner.run("ip", []);
  await runner.run("/usr/sbin/ip", []);
  await expect(runner.run("/tmp/ip", [])).rejects.toThrow('p may not run "/tmp/ip"');
  await expect(runner.spawn("rm", ["-rf"])).rejects.toMatchObject({ code: "K3SP_PERMISSION_DENIED" });
  expect(ran).toEqual(["ip", "/usr/sbin/ip"]);
});

test("rights on the API server are those of the manifest, and none without", () => {
  const rule = { groups: ["apps"], resources: ["deployments"], verbs: ["get"] };
  expect(grantOf(manifest({ kube: [rule] }))).toEqual({ user: "system:serviceaccount:kube-system:k3s-p-p", rules: [{ apiGroups: ["apps"], resources: ["deployments"], verbs: ["get"] }] });
  expect(grantOf(manifest({}))).toBeUndefined();
});

test("a point that the manifest does not name is closed", () => {
  expect(() => checkContribution(manifest({}, { contributes: ["health.check"] }), "health.check")).not.toThrow();
  expect(() => checkContribution(manifest({}), "apiserver.grant")).toThrow('p may not contribute to "apiserver.grant"');
});
