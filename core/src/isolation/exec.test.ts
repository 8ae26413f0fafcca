/** A program with a module: what the module is given, and what becomes of both when one of them ends. */
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { definePlugin, formatError, isK3spError, type Logger } from "@k3s-p/plugin-api";
import { rightsOf } from "../approval/rights.ts";
import type { PluginHost } from "../kernel/hosts/host.ts";
import { inlineHost } from "../kernel/hosts/inline.ts";
import { readManifest, type Manifest } from "../kernel/manifest.ts";
import { kernelOf } from "../kernel/testing.ts";
import { planFrom, readSettings } from "../plan.ts";
import { execHost } from "./exec.ts";

const api = join(import.meta.dirname, "../../../plugin-api/src");
const permissions = process.getuid?.() === 0 ? { uid: 0 } : {};

let dir: string;
beforeEach(() => (dir = mkdtempSync(join(tmpdir(), "exec-"))));
afterEach(() => rmSync(dir, { recursive: true }));

function write(name: string, text: string): string {
  writeFileSync(join(dir, name), text);
  chmodSync(join(dir, name), 0o755);
  return join(dir, name);
}

/** A plugin whose module has `start` as its body, beside a shell script. */
function prepare(script: string, start: string, program = "./run.sh") {
  write("run.sh", `#!/bin/sh\n${script}\n`);
  const entry = write("plugin.ts", `import { definePlugin } from "${api}/index.ts";\nimport { existsSync, writeFileSync } from "node:fs";\nexport default definePlugin({ async start(ctx) { ${start} } });`);
  return kernelFor({ id: "prog", isolation: "exec", entry, dir, permissions, exec: { program } });
}

function kernelFor(manifest: Partial<Manifest> & { readonly id: string }) {
  const dirs = { data: join(dir, "data"), run: join(dir, "run") };
  const { id } = manifest;
  const kernel = kernelOf({ [id]: { plugin: {}, manifest } }, {
    dirs,
    host: (m: Manifest, log: Logger): PluginHost => m.id === id ? execHost({ manifest: m, log, dirs, paths: {}, connect: async () => ({}) })
      : inlineHost(m, async () => kernel.defaults[m.id]!.plugin),
  });
  return kernel;
}

const refusal = (start: Promise<unknown>): Promise<string> => start.then(() => "it started", (error: unknown) => (isK3spError(error) ? formatError(error) : String(error)).replaceAll(dir, "%DIR%"));

const until = async (look: () => boolean): Promise<void> => {
  for (let i = 0; i < 500 && !look(); i++) await new Promise((resolve) => setTimeout(resolve, 10));
  expect(look()).toBe(true);
};

test("the module says how it is run, and learns its process when the text is printed", async () => {
  const { kernel, lines } = prepare('echo "$1 $GREETING $K3SP_PLUGIN"; echo up; sleep 1000', 'const { pid } = await ctx.program({ args: ["hello"], env: { GREETING: "you" }, ready: "up" }); ctx.log.info("pid " + pid);');
  await kernel.start();
  const { pid } = kernel.status().find((s) => s.id === "prog")!;
  expect(lines).toEqual(expect.arrayContaining(["prog: hello you prog", "prog: up", `prog: pid ${pid}`]));
  await kernel.stop();
  expect(() => process.kill(pid!, 0)).toThrow("ESRCH");
});

test("a socket that listens is a sign of life too, and the output may go to a file", async () => {
  write("listen.mjs", 'import { createServer } from "node:net"; console.log("soon"); setTimeout(() => createServer().listen(process.argv[2]), 50);');
  const { kernel, lines } = prepare("", `const socket = "${dir}/s.sock"; await ctx.program({ args: [socket], ready: { socket }, logFile: "${dir}/out.log" }); ctx.log.info("listens " + existsSync(socket));`, "./listen.mjs");
  await kernel.start();
  expect(lines.filter((line) => line.startsWith("prog:"))).toEqual(["prog: listens true"]);
  await kernel.stop();
  expect(readFileSync(join(dir, "out.log"), "utf8")).toBe("soon\n");
});

test.each([
  ["ends before it is up", "echo no configuration; exit 3", 'await ctx.program({ ready: "up" });', undefined, "K3SP_PLUGIN_CRASHED  prog failed: its process ended with exit code 3\n  no configuration"],
  ["names the file that has more", "echo no configuration; exit 3", 'await ctx.program({ ready: "up", logFile: ctx.dirs.data + "/x.log" });', undefined, "no configuration\n  fix: see %DIR%/data/prog/x.log"],
  ["ends while the module waits for more", "echo up; sleep 0.2; exit 4", 'await ctx.program({ ready: "up" }); await new Promise(() => {});', undefined, "prog failed: its process ended with exit code 4"],
  ["is not installed", "", "await ctx.program();", "no-such-program", 'K3SP_PROGRAM_MISSING  prog: "no-such-program" is not installed'],
  ["is run twice", "sleep 1000", "await ctx.program(); await ctx.program();", undefined, "K3SP_PLUGIN_START_FAILED  prog runs its program already"],
])("a start whose program %s fails with the reason", async (_, script, start, program, message) => {
  const { kernel } = prepare(script, start, program);
  expect(await refusal(kernel.start())).toContain(message);
  await kernel.stop();
});

test("the end of the program is a crash of the plugin, and its undo steps run", async () => {
  const { kernel, clock, state } = prepare("sleep 1000", `ctx.defer(() => writeFileSync("${dir}/undone", "")); await ctx.program();`);
  await kernel.start();
  process.kill(kernel.status().find((s) => s.id === "prog")!.pid!, "SIGKILL");
  await until(() => state("prog") === "failed");
  await until(() => existsSync(join(dir, "undone")));
  await clock.pass(1000);
  await until(() => state("prog") === "ready");
  expect(kernel.status().find((s) => s.id === "prog")).toMatchObject({ restarts: 1 });
  await kernel.stop();
});

test("the program lives until the module has undone what it did", async () => {
  const { kernel } = prepare(`trap 'rm ${dir}/alive; exit 0' TERM; touch ${dir}/alive; echo up; while true; do sleep 0.02; done`,
    `ctx.defer(() => writeFileSync("${dir}/undone", String(existsSync("${dir}/alive")))); await ctx.program({ ready: "up" });`);
  await kernel.start();
  await kernel.stop();
  expect([readFileSync(join(dir, "undone"), "utf8"), existsSync(join(dir, "alive"))]).toEqual(["true", false]);
});

test("the example of the documentation runs, as a user of its own", async () => {
  const blocks = [...readFileSync(join(api, "../docs/programs.md"), "utf8").matchAll(/^```\w+\n(.*?)^```$/gms)].map(([, text]) => text!);
  chmodSync(dir, 0o755);
  for (const [i, name] of ["package.json", "plugin.ts", "daemon"].entries()) write(name, blocks[i]!);
  const manifest = readManifest({ kind: "user", label: "--plugin", path: dir }, [])!;
  const { kernel, lines } = kernelFor(manifest);
  await kernel.start();
  const { pid } = kernel.status().find((s) => s.id === "my-daemon")!;
  expect(lines).toEqual(expect.arrayContaining(["my-daemon: hello, serving", `my-daemon: the daemon serves as process ${pid}`]));
  if (process.getuid?.() === 0) expect(statSync(`/proc/${pid}`).uid).not.toBe(0);
  await kernel.stop();
});

test("a user allows the module into the server, and is shown what that means", async () => {
  const path = join(import.meta.dirname, "../../../test/fixtures/broken-plugins/module-not-allowed");
  const settings = readSettings(["--config", write("config.yaml", ""), "--profile", "api", "--data-dir", dir, "--plugin", path, "--allow-inline", "module-not-allowed"], {});
  const { plan } = await planFrom(settings);
  const found = plan.plugins.find((m) => m.id === "module-not-allowed")!;
  expect([found.isolation, rightsOf(found)]).toEqual(["exec", ["inline", "run sleep"]]);
});

test("code without a program of its own is told how to have one", async () => {
  const { kernel } = kernelOf({ plain: { plugin: definePlugin({ start: (ctx) => void ctx.program().catch(ctx.fail) }), manifest: { criticality: "optional" } } });
  await kernel.start();
  await until(() => kernel.status().find((s) => s.id === "plain")!.error !== undefined);
  expect(kernel.status().find((s) => s.id === "plain")!.error).toBe("plain has no program to run");
  await kernel.stop();
});
