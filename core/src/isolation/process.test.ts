/** Plugins in processes of their own: what they may reach, and how the server lives on when they break. */
import { execFile } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { definePlugin, type HealthResult, type Logger } from "@k3s-p/plugin-api";
import { healthCheck } from "@k3s-p/plugin-api/points";
import { runtime } from "@k3s-p/plugin-api/slots";
import type { KernelOptions } from "../kernel/lifecycle.ts";
import type { Manifest } from "../kernel/manifest.ts";
import { kernelOf, type Fake, type Fakes } from "../kernel/testing.ts";
import { inlineHost } from "../kernel/hosts/inline.ts";
import { processHost } from "./process.ts";

const api = join(import.meta.dirname, "../../../plugin-api/src");
let dir: string;
beforeEach(() => (dir = mkdtempSync(join(tmpdir(), "process-"))));
afterEach(() => rmSync(dir, { recursive: true }));

/** A plugin that lives in a file of its own, as `source` after the imports. */
function onDisk(id: string, source: string, manifest: Partial<Manifest> = {}): Fake {
  mkdirSync(join(dir, id));
  const entry = join(dir, id, "plugin.ts");
  const imports = `import { definePlugin } from "${api}/index.ts";\nimport { cni, kube, runner, runtime } from "${api}/slots/index.ts";\nimport { healthCheck } from "${api}/points/index.ts";\n`;
  writeFileSync(entry, imports + source);
  return { plugin: {}, manifest: { dir: join(dir, id), entry, isolation: "process", criticality: "optional", ...manifest } };
}

function start(fakes: Fakes, options: { readonly heartbeat?: number; readonly attach?: boolean } & Partial<KernelOptions> = {}) {
  const { heartbeat, attach = false, ...more } = options;
  const dirs = { data: join(dir, "data"), run: join(dir, "run") };
  const test = kernelOf(fakes, {
    dirs, ...more,
    host: (manifest: Manifest, log: Logger) => manifest.isolation === "inline"
      ? inlineHost(manifest, async () => ({ ...test.defaults, ...fakes })[manifest.id]!.plugin)
      : processHost({ manifest, log, dirs, paths: { cniConf: join(dir, "conf") }, connect: async () => ({ url: "https://127.0.0.1:1", ca: "" }), attach, ...(heartbeat && { heartbeat }) }),
  });
  return test;
}

const until = async (look: () => boolean): Promise<void> => {
  for (let i = 0; i < 400 && !look(); i++) await new Promise((resolve) => setTimeout(resolve, 10));
  expect(look()).toBe(true);
};

const net = `export default definePlugin({ provides: cni, start(ctx) {
  ctx.log.info("up as " + process.env.HOME);
  return { confList: { cniVersion: "1.0.0", name: "far", plugins: [] }, status: async () => ({ ready: true, message: String(process.pid) }) };
} });`;

test("a plugin hears in its log why its view of the API server is not current, once", async () => {
  const watcher = `import { nodes, pods } from "${api}/kube/resources.ts";
  export default definePlugin({ needs: { kube }, async start({ needs, log }) {
    for (const resource of [nodes, pods]) needs.kube.informer(resource);
    log.info("watching");
    return {};
  } });`;
  const { kernel, lines } = start({ watcher: onDisk("watcher", watcher, { needs: { kube: "^1" }, permissions: { kube: [{ groups: [""], resources: ["nodes", "pods"], verbs: ["list", "watch"] }] } }) });
  await kernel.start();
  await until(() => lines.some((line) => line.includes("ECONNREFUSED")));
  expect(lines.filter((line) => line.startsWith("watcher:"))).toEqual(["watcher: watching", expect.stringMatching(/^watcher: kube: list of (nodes|pods): connect ECONNREFUSED 127.0.0.1:1$/)]);
  await kernel.stop();
});

test("a slot is provided from another process, without the server's environment, and its process ends with it", async () => {
  const { kernel, lines } = start({ net: onDisk("net", net, { provides: { cni: "1.0" }, criticality: "required" }) });
  await kernel.start();
  const handle = kernel.slot<{ confList: { name: string }; status(): Promise<{ message: string }> }>("cni");
  const { message } = await handle.status();
  const { pid } = kernel.status().find((s) => s.id === "net")!;
  expect([handle.confList.name, message, lines.find((l) => l.startsWith("net:"))]).toEqual(["far", String(pid), "net: up as undefined"]);
  await kernel.stop();
  expect(() => process.kill(pid!, 0)).toThrow("ESRCH");
});

test("it uses slots of others: data at once, methods by promise, callbacks and their undoing, and hears of a swap", async () => {
  let subscribed = 0;
  let fail!: (error: Error) => void;
  const rt = definePlugin({ provides: runtime, start: (ctx) => {
    fail = ctx.fail;
    return { name: "fake", cni: { confDir: "/x" }, subscribe: (fn: (e: object) => void) => (subscribed++, fn({ type: "started" }), () => void subscribed--) } as never;
  } });
  const { kernel, lines, clock } = start({
    rt: { plugin: rt },
    user: onDisk("user", `export default definePlugin({ needs: { runtime }, start(ctx) {
      const { runtime: rt } = ctx.needs;
      const end = rt.subscribe((event) => ctx.log.info("event " + event.type), () => {});
      ctx.defer(() => end());
      ctx.onReplaced(runtime, () => ctx.log.info("replaced by " + rt.name));
      ctx.log.info(rt.name + " " + rt.cni.confDir);
    } });`, { needs: { runtime: "^1" } }),
  });
  await kernel.start();
  await until(() => lines.includes("user: event started"));
  expect(lines).toContain("user: fake /x");
  fail(new Error("boom"));
  await clock.pass(1000);
  await until(() => lines.includes("user: replaced by fake"));
  expect(subscribed).toBe(1);
  await kernel.stop();
  expect(subscribed).toBe(0);
});

test("its health is asked for in its process", async () => {
  const { kernel, clock, state } = start({ far: onDisk("far", 'export default definePlugin({ start() {}, health: () => ({ ok: false, message: "no link of " + process.pid }) });') });
  await kernel.start();
  const far = () => kernel.status().find((s) => s.id === "far")!;
  for (let polls = 1; polls <= 3; polls++) {
    await clock.pass(10_000);
    await until(() => far().health.length === polls);
  }
  expect([state("far"), far().health]).toEqual(["degraded", Array.from({ length: 3 }, () => ({ ok: false, message: `no link of ${far().pid}` }))]);
  await kernel.stop();
});

test("one that asks for a restart gets a new process", async () => {
  const { kernel, lines, state } = start({ far: onDisk("far", 'export default definePlugin({ start(ctx) { ctx.log.info("up"); ctx.tap(ctx.hooks.serverReady, () => ctx.restart("another range")); } });') });
  const ups = () => lines.filter((line) => line === "far: up").length;
  await kernel.start();
  const { pid } = kernel.status().find((s) => s.id === "far")!;
  await until(() => ups() === 2 && state("far") === "ready");
  expect(lines).toContain("far: restart: another range");
  expect(kernel.status().find((s) => s.id === "far")).toMatchObject({ restarts: 0, pid: expect.not.toSatisfy((next: number) => next === pid) });
  await kernel.stop();
});

test("one that asks for it gets a new process when a slot that it uses is taken over", async () => {
  let fail!: (error: Error) => void;
  const rt = definePlugin({ provides: runtime, start: (ctx) => ((fail = ctx.fail), { name: "fake" } as never) });
  const { kernel, clock, state } = start({
    rt: { plugin: rt },
    user: onDisk("user", "export default definePlugin({ needs: { runtime }, start() {} });", { needs: { runtime: "^1" }, onDependencyRestart: "restart" }),
  });
  await kernel.start();
  const pid = () => kernel.status().find((s) => s.id === "user")?.pid;
  const before = pid();
  fail(new Error("boom"));
  await clock.pass(1000);
  await until(() => state("user") === "ready" && pid() !== before);
  expect(() => process.kill(before!, 0)).toThrow("ESRCH");
  await kernel.stop();
});

test("it contributes to points and taps hooks of the server", async () => {
  let checks: () => readonly { readonly impl: { name: string; check(): Promise<HealthResult> } }[] = () => [];
  const owner = definePlugin({ start: (ctx) => void (checks = () => ctx.contributions(healthCheck).list()) });
  const { kernel, lines } = start({
    owner: { plugin: owner },
    far: onDisk("far", `export default definePlugin({ start(ctx) {
      ctx.contribute(healthCheck, { name: "far", check: async () => ({ ok: true, message: "from afar" }) });
      ctx.tap(ctx.hooks.serverReady, async () => ctx.log.info("server is ready"));
    } });`),
  });
  await kernel.start();
  const far = checks().find(({ impl }) => impl.name === "far")!;
  expect(await far.impl.check()).toEqual({ ok: true, message: "from afar" });
  await until(() => lines.includes("far: server is ready"));
  await kernel.stop();
  expect(checks().some(({ impl }) => impl.name === "far")).toBe(false);
});

test.each([
  ["throws at import", 'throw new Error("no module");', "far 1.0.0: no module", "quarantined"],
  ["has no plugin", "export default {};", "far 1.0.0: the default export is not a plugin", "quarantined"],
  ["throws in start", 'export default definePlugin({ start() { throw new Error("no cable"); } });', "far 1.0.0 failed to start: no cable", "failed"],
  ["exits in start", "export default definePlugin({ start() { process.exit(3); } });", "far failed: its process ended with exit code 3", "failed"],
  ["reads a file that is not its own", 'export default definePlugin({ async start() { (await import("node:fs")).readFileSync("/etc/passwd"); } });', "far: FileSystemRead of /etc/passwd is not among its permissions", "quarantined"],
  ["writes outside of its folders", 'export default definePlugin({ async start() { (await import("node:fs")).writeFileSync("/tmp/far", ""); } });', "far: FileSystemWrite of /tmp/far is not among its permissions", "quarantined"],
  ["starts a process", 'export default definePlugin({ async start() { (await import("node:child_process")).spawnSync("true"); } });', "far: ChildProcess of true is not among its permissions", "quarantined"],
  ["reads the contributions of others", "export default definePlugin({ start(ctx) { ctx.contributions(healthCheck); } });", 'far: the contributions to "health.check" cannot be read from another process', "failed"],
])("a plugin that %s says so, and the server goes on", async (_, source, error, state) => {
  const { kernel } = start({ far: onDisk("far", source) });
  await kernel.start();
  expect(kernel.status().find((s) => s.id === "far")).toMatchObject({ state, error });
  await kernel.stop();
});

test("a program that the manifest does not name is not run for it", async () => {
  const runs: string[] = [];
  const runner = { run: async (command: string) => (runs.push(command), { code: 0, stdout: "", stderr: "" }), spawn: async () => ({}) };
  const { kernel } = start({
    far: onDisk("far", 'export default definePlugin({ needs: { runner }, async start(ctx) { await ctx.needs.runner.run("ip", []); await ctx.needs.runner.run("rm", ["-rf"]); } });', { needs: { runner: "^1" }, permissions: { exec: ["ip"] } }),
  }, { refs: { runner } });
  await kernel.start();
  expect([runs, kernel.status().find((s) => s.id === "far")?.error]).toEqual([["ip"], 'far may not run "rm"']);
  await kernel.stop();
});

test.each([
  ["an exception", 'setTimeout(() => { throw new Error("late"); }, 150);', "far failed: late"],
  ["a rejection", 'setTimeout(() => { Promise.reject(new Error("stray")); }, 150);', "far failed: stray"],
  ["an exit", "setTimeout(() => process.exit(7), 150);", "far failed: its process ended with exit code 7"],
  ["a signal", 'setTimeout(() => process.kill(process.pid, "SIGKILL"), 150);', "far failed: its process was ended by SIGKILL"],
  ["a full heap", "setTimeout(() => { const all = []; for (;;) all.push(new Array(1000).fill(all.length)); }, 150);", "far failed: its process ran out of memory (limit 32 MB; k3sp.permissions.memory sets another)"],
  ["a blocked event loop", "setTimeout(() => { for (;;); }, 150);", "far failed: its process did not answer for 0.3 s"],
])("%s in the process is a crash of the plugin alone: it is started again", async (what, body, message) => {
  // A busy machine may keep a healthy one from answering so fast.
  const options = what === "a blocked event loop" ? { heartbeat: 300 } : {};
  const { kernel, clock, state, lines } = start({ far: onDisk("far", `export default definePlugin({ start() { ${body} } });`, { permissions: { memory: 32 } }) }, options);
  await kernel.start();
  await until(() => state("far") === "failed");
  expect(lines).toContain(`far: K3SP_PLUGIN_CRASHED ${message}`);
  await until(() => (void clock.pass(1000), kernel.status().find((s) => s.id === "far")!.restarts > 0));
  await kernel.stop();
});

test("a CNI of functions serves the runtime from its process, and the runtime is told to try again while it is down", async () => {
  const cni = { confDir: join(dir, "conf"), binDir: join(dir, "bin") };
  const rt = definePlugin({ provides: runtime, start: () => ({ name: "fake", cni }) as never });
  const { kernel, clock, state } = start({
    rt: { plugin: rt },
    net: onDisk("net", `import { serveCni } from "${api}/cni/index.ts";
      export default definePlugin({ provides: cni, needs: { runtime }, start: (ctx) => serveCni(ctx, { name: "net",
        add: async ({ containerId }) => ({ ips: [{ address: "10.0.0.2/24", interface: 0 }], dns: { search: [containerId, String(process.pid)] } }), del: async () => {} }) });`,
    { provides: { cni: "1.0" }, needs: { runtime: "^1" }, permissions: { net: true, fs: { write: [dir] } } }),
  });
  await kernel.start();
  const add = () => new Promise<{ code?: number; dns: { search: string[] } }>((resolve) => {
    const child = execFile(join(cni.binDir, "net"), { env: { CNI_COMMAND: "ADD", CNI_CONTAINERID: "c1", CNI_NETNS: "/x", CNI_IFNAME: "eth0" } }, (_, stdout) => resolve(JSON.parse(stdout)));
    // It does not read what nobody would answer.
    child.stdin!.on("error", () => {}).end('{"cniVersion":"1.0.0"}');
  });
  const pid = () => kernel.status().find((s) => s.id === "net")!.pid!;
  expect((await add()).dns.search).toEqual(["c1", String(pid())]);
  process.kill(pid(), "SIGKILL");
  await until(() => state("net") === "failed");
  expect(await add()).toEqual({ cniVersion: "1.0.0", code: 11, msg: "the network plugin net is not running" });
  await clock.pass(1000);
  await until(() => state("net") === "ready");
  expect((await add()).dns.search).toEqual(["c1", String(pid())]);
  await kernel.stop();
});

test("with --attach its process waits for a debugger, whose breakpoints no time limit ends", async () => {
  const test = start(
    { far: onDisk("far", "export default definePlugin({ start: () => new Promise((resolve) => setTimeout(resolve, 400)) });", { criticality: "required" }) },
    { startTimeout: 300, heartbeat: 100, attach: true },
  );
  const starting = test.kernel.start();
  const hint = (): string | undefined => test.lines.map((line) => /^far: waits for a debugger: node inspect (\S+), or chrome/.exec(line)?.[1]).find(Boolean);
  await until(() => hint() !== undefined);
  expect([test.state("far"), test.lines.length]).toEqual(["loading", 1]);
  const [target] = (await (await fetch(`http://${hint()}/json/list`)).json()) as { webSocketDebuggerUrl: string }[];
  const inspector = new WebSocket(target!.webSocketDebuggerUrl);
  await new Promise((resolve) => inspector.addEventListener("open", resolve));
  inspector.send(JSON.stringify({ id: 1, method: "Runtime.runIfWaitingForDebugger" }));
  await starting;
  expect(test.state("far")).toBe("ready");
  inspector.close();
  await test.kernel.stop();
});

test("a flooded log is cut to 200 lines a second", async () => {
  const { kernel, lines } = start({ far: onDisk("far", 'export default definePlugin({ start() { for (let i = 0; i < 5000; i++) console.log("line " + i); setTimeout(() => console.log("end"), 1100); } });') });
  await kernel.start();
  await until(() => lines.includes("far: end"));
  expect(lines.filter((l) => l.startsWith("far: line")).length).toBeLessThanOrEqual(400);
  expect(lines.some((l) => /^far: \d+ lines were dropped: at most 200 a second are kept$/.test(l))).toBe(true);
  await kernel.stop();
});
