/** What plugin new writes passes plugin test at once, and compiles; what is broken makes plugin test fail. */
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { templates } from "./plugin-new.ts";

const root = dirname(dirname(dirname(import.meta.dirname)));
const main = join(import.meta.dirname, "main.ts");
let dir: string;
beforeAll(() => void (dir = mkdtempSync(join(tmpdir(), "plugin-new-"))));
afterAll(() => rmSync(dir, { recursive: true }));

function k3sp(...args: readonly string[]) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [main, ...args], { cwd: dir, encoding: "utf8" });
  return { status, output: stdout + stderr };
}

describe.each(Object.entries(templates))("%s", (slot, { unfinished }) => {
  const name = `my-${slot}`;

  test("is written, with a plugin of at most 60 lines", () => {
    const { status, output } = k3sp("plugin", "new", name, "--slot", slot);
    expect(output).toContain(`next: k3s-p plugin test ${name}`);
    expect(status).toBe(0);
    expect(readFileSync(join(dir, name, "src/plugin.ts"), "utf8").trim().split("\n").length).toBeLessThanOrEqual(60);
    expect(readFileSync(join(dir, name, "src/plugin.ts"), "utf8")).not.toContain("TEMPLATE");
  });

  test(unfinished ? "passes the lifecycle suite; that of its slot is the author's to satisfy" : "passes its conformance suites at once", () => {
    // A process of their own is for some of them, as it takes its time.
    const inline = slot === "dns" || slot === "storage" || templates[slot]!.inline ? [] : ["--isolation", "inline"];
    const { status, output } = k3sp("plugin", "test", `./${name}`, ...inline, ...(unfinished ? ["--suite", "lifecycle"] : []));
    expect(output.split("\n").filter((line) => line.startsWith("FAILED"))).toEqual([]);
    expect(status).toBe(0);
    expect(output).toMatch(/[1-9]\d* passed, 0 failed, \d+ skipped/);
  });
});

test("everything that was written compiles in strict mode", () => {
  const files = readdirSync(dir).flatMap((name) => readdirSync(join(dir, name, "src")).map((file) => join(dir, name, "src", file)));
  const flags = ["--noEmit", "--strict", "--erasableSyntaxOnly", "--verbatimModuleSyntax", "--allowImportingTsExtensions", "--noUncheckedIndexedAccess", "--skipLibCheck"];
  const target = ["--module", "nodenext", "--target", "esnext", "--lib", "esnext", "--types", "node", "--typeRoots", join(root, "node_modules/@types")];
  const { status, stdout } = spawnSync(process.execPath, [join(root, "node_modules/typescript/bin/tsc"), ...flags, ...target, ...files], { cwd: dir, encoding: "utf8" });
  expect(stdout).toBe("");
  expect(status).toBe(0);
});

test("a plugin whose DNS answers nothing fails with exit code 1 and the reason", () => {
  k3sp("plugin", "new", "broken", "--slot", "dns");
  writeFileSync(join(dir, "broken/src/dns-zone.ts"), readFileSync(join(dir, "broken/src/dns-zone.ts"), "utf8").replace("return (name) => {", "return (name) => {\n    if (name) return undefined;"));
  const { status, output } = k3sp("plugin", "test", "./broken", "--suite", "dns", "--isolation", "inline");
  expect(status).toBe(1);
  expect(output).toMatch(/FAILED {3}dns .*A: a Service's name leads to its ClusterIP\n.*ENOTFOUND/);
});

test("a plugin that leaks a server is found out, and does not hold the command", () => {
  k3sp("plugin", "new", "leaky");
  const file = join(dir, "leaky/src/plugin.ts");
  const leak = '    (await import("node:net")).createServer().listen(0, "127.0.0.1");\n';
  writeFileSync(file, readFileSync(file, "utf8").replace("    const client = ctx.needs.kube;\n", (line) => line + leak));
  const { status, output } = k3sp("plugin", "test", "./leaky", "--isolation", "inline");
  expect(status).toBe(1);
  expect(output).toMatch(/FAILED {3}lifecycle .*starting and stopping 20 times leaks no timer, socket, server/);
  expect(output).toContain("TCPSERVERWRAP");
});

test.each([
  ["an unknown slot", ["new", "x1", "--slot", "cmi"], 'K3SP_SLOT_UNKNOWN  no slot is named "cmi"; did you mean "cni"?'],
  ["a name that cannot be", ["new", "My_Plugin"], 'K3SP_FLAG_INVALID  "My_Plugin" cannot be a plugin\'s name'],
  ["a folder that is not there", ["test", "./nothing"], "K3SP_PLUGIN_NOT_FOUND  ./nothing: no such file or folder"],
  ["no name", ["new"], "K3SP_COMMAND_UNKNOWN  plugin new NAME [--slot SLOT]: 0 arguments, 1 expected"],
])("%s is refused", (_, args, message) => {
  const { status, output } = k3sp("plugin", ...args);
  expect(output).toContain(message);
  expect(status).toBe(1);
});
