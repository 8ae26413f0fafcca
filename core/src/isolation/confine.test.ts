/** What a plugin's program is held to: its user, its capabilities, and the folders that it can pass. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { formatError, isK3spError, type Logger } from "@k3s-p/plugin-api";
import type { Manifest } from "../kernel/manifest.ts";
import { capabilityNames } from "./capabilities.ts";
import { confine, uidOf } from "./confine.ts";
import type { Permissions } from "./declaration.ts";
import { makeFolders } from "./folders.ts";
import { supervise } from "./supervise.ts";

const isRoot = process.getuid?.() === 0;
if (!isRoot) console.log("skipped: users and capabilities of programs need root");

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "confine-"));
  chmodSync(dir, 0o755);
});
afterEach(() => rmSync(dir, { recursive: true }));

function program(script: string, permissions: Permissions = {}, mode = 0o755): Manifest {
  const entry = join(dir, "prog");
  // One stream, so that the order of lines is theirs.
  writeFileSync(entry, `#!/bin/sh\nexec 2>&1\n${script}\n`);
  chmodSync(entry, mode);
  return { id: "prog", version: "1.0.0", isolation: "exec", entry, dir, permissions, exec: {} } as Partial<Manifest> as Manifest;
}

/** Its lines until it ends. */
async function run(manifest: Manifest, env: Record<string, string> = {}): Promise<string[]> {
  const lines: string[] = [];
  const log = { info: (line: string) => void lines.push(line), warn: (line: string) => void lines.push(line) } as unknown as Logger;
  await supervise({ manifest, log, env, onLine: () => false }).ended;
  return lines;
}

const textOf = (fn: () => unknown): string => {
  try {
    return JSON.stringify(fn());
  } catch (error) {
    return isK3spError(error) ? formatError(error).replaceAll(dir, "%DIR%") : String(error);
  }
};

const status = 'grep -E "^(Uid|Gid|Groups|CapInh|CapPrm|CapEff|CapBnd|CapAmb|NoNewPrivs):" /proc/self/status | tr -s "\\t " " "';
const none = "0000000000000000";
const held = (uid: number, caps: string) => [
  `Uid: ${uid} ${uid} ${uid} ${uid}`, `Gid: ${uid} ${uid} ${uid} ${uid}`, "Groups: ",
  ...["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"].map((set) => `${set}: ${caps}`), "NoNewPrivs: 1",
];

describe.skipIf(!isRoot)("a program", () => {
  test("runs as a user of its own, without groups and capabilities, and cannot get them back", async () => {
    const manifest = program(status);
    const uid = uidOf(manifest)!;
    expect([uid >= 61_184, uid < 65_520]).toEqual([true, true]);
    expect(await run(manifest)).toEqual(held(uid, none));
  });

  test("has the capabilities that it declares and no others", async () => {
    expect(await run(program(status, { capabilities: ["NET_ADMIN", "NET_RAW"] }))).toEqual(held(uidOf(program(""))!, "0000000000003000"));
  });

  test("that asks for root is root without its powers", async () => {
    expect(await run(program(status, { uid: 0 }))).toEqual([...held(0, none)]);
  });

  test("with all capabilities is root with all that the server may, and so is what it starts", async () => {
    const own = readFileSync("/proc/self/status", "utf8").split("\n").filter((line) => /^(Uid|Gid|CapPrm|CapEff|CapBnd|NoNewPrivs):/.test(line)).map((line) => line.replaceAll(/\s+/g, " "));
    expect(await run(program(status, { uid: 0, capabilities: ["ALL"] }))).toEqual(expect.arrayContaining(own));
  });

  test("cannot do what it did not declare: read root's files, write beside its folders, change the network, signal others", async () => {
    writeFileSync(join(dir, "secret"), "secret", { mode: 0o600 });
    const lines = await run(program(`cat ${dir}/secret; ip link add x type dummy; touch ${dir}/new; chown 0 $0; kill -0 ${process.pid}`));
    for (const refusal of [/secret: Permission denied/, /Operation not permitted/, /cannot touch/, /changing ownership/, /kill:.*Operation not permitted/]) expect(lines.join("\n")).toMatch(refusal);
  });

  test("with the capability may do that one thing", async () => {
    // In a network namespace of its own, so that nothing of this machine changes.
    const text = "unshare -n true && echo made; chown 0 $0 || echo refused";
    expect(await run(program(text, { capabilities: ["SYS_ADMIN"] }))).toEqual(["made", expect.stringContaining("Operation not permitted"), "refused"]);
  });

  test("writes its own folders, also what an earlier version left as another user", async () => {
    const manifest = program('echo mine > "$K3SP_DATA/new" && cat "$K3SP_DATA/old/file"');
    const dirs = { data: join(dir, "plugins/prog"), run: join(dir, "run/prog") };
    mkdirSync(join(dirs.data, "old"), { recursive: true });
    writeFileSync(join(dirs.data, "old/file"), "kept\n", { mode: 0o600 });
    makeFolders(manifest, dirs);
    expect(await run(manifest, { K3SP_DATA: dirs.data })).toEqual(["kept"]);
    expect([readFileSync(join(dirs.data, "new"), "utf8"), statSync(dirs.run).mode & 0o777, statSync(dirname(dirs.run)).mode & 0o777]).toEqual(["mine\n", 0o700, 0o711]);
  });

  test("that its user cannot reach says which folder is closed, and the ways out", () => {
    chmodSync(dir, 0o700);
    const uid = uidOf(program(""))!;
    expect(textOf(() => confine(program(""), []))).toBe(
      `K3SP_PLUGIN_LOAD_FAILED  prog: it runs as the user ${uid}, who may not pass %DIR%\n  fix: chmod o+rx %DIR%, move the plugin, or declare "permissions": { "uid": 0 }`,
    );
    expect(confine(program("", { uid: 0 }), [])).toContain("--reuid=0");
  });
});

test("a program ends with its server, also with one that was killed", async () => {
  const manifest = program("", isRoot ? { uid: 0 } : {});
  const script = `import { supervise } from "${import.meta.dirname}/supervise.ts";
    const { pid } = supervise({ manifest: ${JSON.stringify({ ...manifest, entry: "/usr/bin/sleep" })}, log: {}, args: ["1000"], env: {}, onLine: () => false });
    console.log(pid);
    setInterval(() => {}, 1000);`;
  const server = spawn(process.execPath, ["--input-type=module-typescript", "--eval", script], { stdio: ["ignore", "pipe", "inherit"] });
  const [chunk] = (await once(server.stdout, "data")) as [Buffer];
  const pid = Number(chunk);
  // What makes the bond becomes the program when it has made it.
  const isBegun = (): boolean => readFileSync(`/proc/${pid}/comm`, "utf8") === "sleep\n";
  for (let i = 0; i < 200 && !isBegun(); i++) await sleep(10);
  expect(isBegun()).toBe(true);
  server.kill("SIGKILL");
  for (let i = 0; i < 200 && existsSync(`/proc/${pid}`); i++) await sleep(10);
  expect(existsSync(`/proc/${pid}`)).toBe(false);
});

test.each([
  ["not executable", () => confine(program("", { }, 0o644), []), "K3SP_PLUGIN_LOAD_FAILED  prog: %DIR%/prog is not executable (chmod +x)\n  fix: chmod +x %DIR%/prog"],
  ["gone", () => confine({ ...program(""), entry: join(dir, "none") }, []), "K3SP_PLUGIN_LOAD_FAILED  prog: %DIR%/none: no such file\n  fix: correct the plugin's entry"],
])("a program that is %s says so", (_, fn, text) => expect(textOf(fn)).toBe(text));

test("every capability has its name", () => {
  expect(capabilityNames).toHaveLength(41);
  expect(capabilityNames).toEqual([...new Set(capabilityNames)]);
});
