/** What plugin new writes passes plugin test at once, and compiles; what is broken makes plugin test fail. */
import { execFile } from "node:child_process";
import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { run as runNew, templates } from "./plugin-new.ts";

const root = dirname(dirname(dirname(import.meta.dirname)));
const main = join(import.meta.dirname, "main.ts");
let dir: string;
/** What was said when the plugin of each slot was written. */
const told = new Map<string, string>();
beforeAll(async () => {
  dir = mkdtempSync(join(tmpdir(), "plugin-new-"));
  for (const slot of Object.keys(templates)) {
    const stdout = vi.spyOn(process.stdout, "write").mockImplementation((text) => Boolean(told.set(slot, (told.get(slot) ?? "") + String(text))));
    expect(await runNew([join(dir, nameFor(slot)), "--slot", slot]).finally(() => stdout.mockRestore())).toBe(0);
  }
});
afterAll(() => rmSync(dir, { recursive: true }));

const nameFor = (slot: string): string => `my-${slot}`;

/** The commands of several templates run at the same time: much of each is waiting. */
function node(...args: readonly string[]): Promise<{ readonly status: number; readonly output: string }> {
  return new Promise((resolve) => {
    const child = execFile(process.execPath, args, { cwd: dir, maxBuffer: 16 << 20 }, (_, stdout, stderr) => resolve({ status: child.exitCode ?? -1, output: stdout + stderr }));
  });
}
const k3sp = (...args: readonly string[]) => node(main, ...args);

/** Which of its suites a plugin is run through; a process of their own is for some of them, as it takes its time. */
const runs = (slot: string): readonly (readonly string[])[] => {
  const { inline, unfinished } = templates[slot]!;
  const suite = unfinished ? ["--suite", "lifecycle"] : [];
  if (slot === "dns") return [["--isolation", "inline"], ["--isolation", "process", "--suite", "dns"]];
  return [slot === "storage" || inline ? suite : ["--isolation", "inline", ...suite]];
};

function passes(slot: string): void {
  const name = nameFor(slot);
  const { unfinished } = templates[slot]!;
  test("is written, with a plugin of at most 60 lines, and " + (unfinished ? "passes the lifecycle suite; that of its slot is the author's to satisfy" : "passes its conformance suites at once"), async ({ expect }) => {
    expect(told.get(slot)).toContain(`next: k3s-p plugin test ${join(dir, name)}`);
    const text = readFileSync(join(dir, name, "src/plugin.ts"), "utf8");
    expect(text.trim().split("\n").length).toBeLessThanOrEqual(60);
    expect(text).not.toContain("TEMPLATE");
    for (const flags of runs(slot)) {
      const { status, output } = await k3sp("plugin", "test", `./${name}`, ...flags);
      expect(output.split("\n").filter((line) => line.startsWith("FAILED"))).toEqual([]);
      expect(status).toBe(0);
      expect(output).toMatch(/[1-9]\d* passed, 0 failed, \d+ skipped/);
    }
  });
}

describe.concurrent.each(Object.keys(templates).filter((slot) => slot !== "cni"))("%s", passes);

test.concurrent("a plugin whose DNS answers nothing fails with exit code 1 and the reason", async ({ expect }) => {
  await k3sp("plugin", "new", "broken", "--slot", "dns");
  writeFileSync(join(dir, "broken/src/dns-zone.ts"), readFileSync(join(dir, "broken/src/dns-zone.ts"), "utf8").replace("return (name) => {", "return (name) => {\n    if (name) return undefined;"));
  const { status, output } = await k3sp("plugin", "test", "./broken", "--suite", "dns", "--isolation", "inline");
  expect(status).toBe(1);
  expect(output).toMatch(/FAILED {3}dns .*A: a Service's name leads to its ClusterIP\n.*ENOTFOUND/);
});

test.concurrent("a plugin that leaks a server is found out, and does not hold the command", async ({ expect }) => {
  await k3sp("plugin", "new", "leaky");
  const file = join(dir, "leaky/src/plugin.ts");
  const leak = '    (await import("node:net")).createServer().listen(0, "127.0.0.1");\n';
  writeFileSync(file, readFileSync(file, "utf8").replace("    const client = ctx.needs.kube;\n", (line) => line + leak));
  const { status, output } = await k3sp("plugin", "test", "./leaky", "--isolation", "inline");
  expect(status).toBe(1);
  expect(output).toMatch(/FAILED {3}lifecycle .*starting and stopping 20 times leaks no timer, socket, server/);
  expect(output).toContain("TCPSERVERWRAP");
});

// Its suite is busy all the time, and holds the plugin to a second: nothing runs beside it.
describe.each(["cni"])("%s", passes);

test("everything that was written compiles in strict mode", async () => {
  const files = Object.keys(templates).map(nameFor).flatMap((name) => readdirSync(join(dir, name, "src")).map((file) => join(dir, name, "src", file)));
  const flags = ["--noEmit", "--strict", "--erasableSyntaxOnly", "--verbatimModuleSyntax", "--allowImportingTsExtensions", "--noUncheckedIndexedAccess", "--skipLibCheck"];
  const target = ["--module", "nodenext", "--target", "esnext", "--lib", "esnext", "--types", "node", "--typeRoots", join(root, "node_modules/@types")];
  expect(await node(join(root, "node_modules/typescript/bin/tsc"), ...flags, ...target, ...files)).toEqual({ status: 0, output: "" });
});

test.each([
  ["an unknown slot", ["new", "x1", "--slot", "cmi"], 'K3SP_SLOT_UNKNOWN  no slot is named "cmi"; did you mean "cni"?'],
  ["a name that cannot be", ["new", "My_Plugin"], 'K3SP_FLAG_INVALID  "My_Plugin" cannot be a plugin\'s name'],
  ["a folder that is not there", ["test", "./nothing"], "K3SP_PLUGIN_NOT_FOUND  ./nothing: no such file or folder"],
  ["a folder that cannot be made", ["new", "/proc/my-x"], "K3SP_PERMISSION_DENIED  /proc/my-x cannot be made: ENOENT"],
  ["no name", ["new"], "K3SP_COMMAND_UNKNOWN  plugin new NAME [--slot SLOT]: 0 arguments, 1 expected"],
])("%s is refused", async (_, args, message) => {
  const { status, output } = await k3sp("plugin", ...args);
  expect(output).toContain(message);
  expect(status).toBe(1);
});
