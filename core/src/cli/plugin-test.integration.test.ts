/** `k3s-p plugin test` runs a plugin where a server would run it: inline, in a process, as a program, over gRPC. */
import { execFile } from "node:child_process";
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, test } from "vitest";

const root = join(import.meta.dirname, "../../..");
let dir: string;
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), "plugin-test-"));
  // Programs run as a user of their own.
  chmodSync(dir, 0o755);
});
afterAll(() => rmSync(dir, { recursive: true }));

interface Outcome {
  readonly status: number | null;
  readonly output: string;
  readonly rows: readonly string[];
}

/** Several run at the same time: much of each is waiting. */
const testPlugin = (path: string, ...more: readonly string[]): Promise<Outcome> => new Promise((resolve) => {
  const child = execFile(process.execPath, [join(import.meta.dirname, "main.ts"), "plugin", "test", path, ...more], (_, stdout, stderr) =>
    resolve({ status: child.exitCode, output: stdout + stderr, rows: stdout.split("\n").filter((line) => /^(ok|FAILED|skipped)/.test(line)) }));
});

function writePlugin(name: string, k3sp: object, file: string, text: string): string {
  const folder = join(dir, name);
  mkdirSync(folder);
  const headings = ["What it does", "Config", "Examples", "Health", "Permissions"].map((heading) => `## ${heading}\n`);
  writeFileSync(join(folder, "README.md"), [`# ${name}`, ...headings].join("\n"));
  writeFileSync(join(folder, "package.json"), JSON.stringify({ name, version: "1.0.0", type: "module", exports: `./${file}`, k3sp: { api: "^0.1.0", ...k3sp } }));
  writeFileSync(join(folder, file), text);
  chmodSync(join(folder, file), 0o755);
  return folder;
}

test.concurrent("a program of the mode rpc is tested as one, by its lifecycle and by its slot", async ({ expect }) => {
  const { status, output, rows } = await testPlugin(join(root, "plugin-api/examples/rpc-node"), "--suite", "lifecycle");
  expect(rows.filter((line) => line.startsWith("ok       lifecycle@rpc")), output).toHaveLength(6);
  expect(status).toBe(0);
});

test.concurrent("a program of the mode exec is started, stopped and restarted", async ({ expect }) => {
  const program = '#!/bin/sh\ntrap "exit 0" TERM\necho listening\nwhile true; do sleep 0.05; done\n';
  const folder = writePlugin("daemon", { isolation: "exec", exec: { ready: "listening" } }, "run.sh", program);
  const { status, output, rows } = await testPlugin(folder);
  expect(rows.filter((line) => line.startsWith("ok       lifecycle@exec")), output).toHaveLength(6);
  expect(status).toBe(0);
});

test.concurrent("code for a process of its own is tested inline and there, where only what it declares is allowed", async ({ expect }) => {
  const text = `
    import { readFileSync } from "node:fs";
    import { definePlugin } from "${root}/plugin-api/src/index.ts";
    export default definePlugin({ start: () => void readFileSync("/etc/hostname") });`;
  const { status, output, rows } = await testPlugin(writePlugin("curious", { isolation: "process" }, "plugin.ts", text));
  expect(rows.filter((line) => /^ok +lifecycle +/.test(line)), output).toHaveLength(6);
  expect(output).toMatch(/FAILED +lifecycle@process .*starts, is healthy, and stops\n.*\/etc\/hostname/);
  expect(status).toBe(1);
});

test.concurrent("a plugin in one file is tested as it is, and reaches the pretended cluster from a process of its own too, with nothing left behind", async ({ expect }) => {
  const file = join(dir, "reader.ts");
  writeFileSync(file, `
    import { definePlugin } from "@k3s-p/plugin-api";
    import { namespaces } from "@k3s-p/plugin-api/kube";
    import { kube } from "@k3s-p/plugin-api/slots";
    export default definePlugin({ needs: { kube }, async start(ctx) {
      const informer = ctx.needs.kube.informer(namespaces);
      ctx.defer(() => informer.stop());
      await informer.synced;
      if (!informer.get("kube-system")) throw new Error("no kube-system");
    } });`);
  const { status, output, rows } = await testPlugin(file);
  expect(rows.filter((line) => /^ok +lifecycle(@process)? /.test(line)), output).toHaveLength(12);
  expect(output).not.toContain("README");
  expect(status).toBe(0);
});

test.concurrent.for<readonly [readonly string[], string]>([
  [["--suite", "dsn"], "K3SP_FLAG_INVALID  --suite dsn: there is none for this plugin\n  fix: use one of lifecycle, cni"],
  [["--isolation", "inline"], "K3SP_FLAG_INVALID  --isolation inline: there is none for this plugin\n  fix: use one of rpc"],
])("a choice that leaves nothing to test is an error, not a pass: %j", async ([flags, message], { expect }) => {
  const { status, output } = await testPlugin(join(root, "plugin-api/examples/rpc-node"), ...flags);
  expect(output).toContain(message);
  expect(status).toBe(1);
});

test.concurrent("what is no plugin is said before anything is tested", async ({ expect }) => {
  expect(await testPlugin(join(dir, "nothing"))).toMatchObject({ status: 1, output: expect.stringContaining("K3SP_PLUGIN_NOT_FOUND"), rows: [] });
});
