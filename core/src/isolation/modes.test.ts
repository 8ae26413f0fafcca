/** One slot, provided over each isolation mode: the same promises hold wherever the code runs. */
import { spawnSync } from "node:child_process";
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { definePlugin, type Logger } from "@k3s-p/plugin-api";
import { apiserver, runtime, type Cni } from "@k3s-p/plugin-api/slots";
import { createHosts } from "../kernel/hosts/index.ts";
import { inlineHost } from "../kernel/hosts/inline.ts";
import { readManifest, type Manifest } from "../kernel/manifest.ts";
import { kernelOf } from "../kernel/testing.ts";

const examples = join(import.meta.dirname, "../../../plugin-api/examples");
const api = join(import.meta.dirname, "../../../plugin-api/src");
const python = spawnSync("/usr/bin/python3", ["-c", "import grpc, google.protobuf"]).status === 0;
if (!python) console.log("skipped: rpc from Python needs python3-grpcio and python3-protobuf");

/** The folders of these tests are for their owner alone. */
const permissions = process.getuid?.() === 0 ? { uid: 0 } : {};

let dir: string;
beforeEach(() => (dir = mkdtempSync(join(tmpdir(), "modes-"))));
afterEach(() => rmSync(dir, { recursive: true }));

const typescript = (first = "") => `
  import { writeFileSync, rmSync, existsSync, mkdirSync } from "node:fs";
  import { join } from "node:path";
  import { definePlugin } from "${api}/index.ts";
  import { cni, runtime } from "${api}/slots/index.ts";
  export default definePlugin({ provides: cni, needs: { runtime }, async start(ctx) {
    ${first}
    let file;
    function install() {
      const { confDir } = ctx.needs.runtime.cni;
      mkdirSync(confDir, { recursive: true });
      if (file) rmSync(file);
      file = join(confDir, "10-x.conflist");
      writeFileSync(file, "{}");
    }
    install();
    ctx.onReplaced(runtime, install);
    ctx.defer(() => rmSync(file));
    const ipam = { ranges: [[{ subnet: ctx.config.subnet }]] };
    return { confList: { cniVersion: "1.0.0", name: "x", plugins: [{ type: "bridge", ipam }] }, status: async () => ({ ready: existsSync(file) }) };
  }, health: () => ({ ok: true }) });`;

/** A shell that waits to be ended, for the mode that runs any program. */
const shell = `#!/bin/sh
mkdir -p "$1" && echo '{}' > "$1/10-x.conflist"
trap 'rm "$1/10-x.conflist"; exit 0' TERM
echo "listening for $2"
while true; do sleep 0.05; done
`;

function write(name: string, text: string): string {
  mkdirSync(join(dir, "plugin"), { recursive: true });
  writeFileSync(join(dir, "plugin", name), text);
  chmodSync(join(dir, "plugin", name), 0o755);
  return join(dir, "plugin", name);
}

const example = (name: string): Partial<Manifest> => {
  const manifest = readManifest({ kind: "user", label: "--plugin", path: join(examples, name) }, [])!;
  const { uid: _, ...declared } = manifest.permissions;
  return { ...manifest, id: "net", permissions: { ...declared, ...permissions } };
};

const confDir = () => join(dir, "conf");
const nextConfDir = () => join(dir, "next-conf");
const code = (isolation: "inline" | "process"): Partial<Manifest> => ({ isolation, entry: write("plugin.ts", typescript()), dir: join(dir, "plugin"), permissions: { fs: { write: [confDir(), nextConfDir()] } } });

const modes: Readonly<Record<string, { readonly manifest: () => Partial<Manifest>; readonly skip?: boolean }>> = {
  inline: { manifest: () => code("inline") },
  process: { manifest: () => code("process") },
  exec: {
    manifest: () => ({
      isolation: "exec", permissions, entry: write("run.sh", shell), dir: join(dir, "plugin"),
      exec: { args: [confDir(), "{config.subnet}"], ready: "listening", provides: { confList: { cniVersion: "1.0.0", name: "x", plugins: [{ type: "bridge", ipam: { ranges: [[{ subnet: "10.78.0.0/24" }]] } }] } } },
    }),
  },
  "exec with a module": {
    manifest() {
      write("run.sh", "#!/bin/sh\necho listening for $1\nsleep 1000\n");
      const entry = write("plugin.ts", typescript('await ctx.program({ args: [ctx.config.subnet], ready: "listening for 10.78" });'));
      return { isolation: "exec", permissions, entry, dir: join(dir, "plugin"), exec: { program: "./run.sh" } };
    },
  },
  "rpc from Node": { manifest: () => example("rpc-node") },
  "rpc from Python": { manifest: () => example("rpc-python"), skip: !python },
};

/** Nothing listens there; a token is had all the same. */
const fakeApi = { plugin: definePlugin({ provides: apiserver, start: () => ({ url: "https://127.0.0.1:1", client: () => ({ create: async () => ({ status: { token: "a token" } }) }) }) as never }) };
const fakeRuntime = (folder: () => string) => ({ plugin: definePlugin({ provides: runtime, start: () => ({ name: "fake", cni: { confDir: folder(), binDir: "/x" } }) as never }) });

const until = async (look: () => boolean | Promise<boolean>): Promise<void> => {
  for (let i = 0; i < 500 && !(await look()); i++) await new Promise((resolve) => setTimeout(resolve, 10));
  expect(await look()).toBe(true);
};

function start(manifest: () => Partial<Manifest>, limits: { readonly heartbeat?: number; readonly callTimeout?: number } = {}) {
  const ran: unknown[] = [];
  const others = { api: fakeApi, rt: fakeRuntime(confDir) };
  const next = { rt2: fakeRuntime(nextConfDir) };
  const net = { plugin: {}, manifest: { provides: { cni: "1.0" }, needs: { runtime: "^1" }, ...manifest(), id: "net" } };
  const dirs = { data: join(dir, "data"), run: join(dir, "run") };
  const refs = { runner: { run: async (command: string, args: readonly string[]) => (ran.push([command, args]), { code: 0, stdout: "", stderr: "" }) }, pki: { ca: () => ({ cert: "" }) } };
  const hosts = createHosts({ paths: {}, dirs, refs, provider: (slot) => kernel.kernel.slot(slot), ...limits });
  const configs = new Map([["net", { subnet: "10.78.0.0/24" }]]);
  const kernel = kernelOf({ ...others, net }, {
    dirs, refs, configs,
    host: (m: Manifest, log: Logger) => (m.id === "net" ? hosts(m, log) : inlineHost(m, async () => ({ ...kernel.defaults, ...others, ...next })[m.id as "rt"]!.plugin)),
  });
  /** Another plugin takes the slot `runtime` over, on the running kernel. */
  const replaceRuntime = () => kernel.kernel.apply(kernel.planOf({ ...others, net, ...next }, [], { runtime: "rt2" }), configs);
  return { ...kernel, ran, replaceRuntime };
}

const conflists = (folder: string) => existsSync(folder) && ["10-x.conflist", "10-rpc-node.conflist", "10-rpc-python.conflist"].some((name) => existsSync(join(folder, name)));

describe.each(Object.entries(modes))("%s", (mode, { manifest, skip }) => {
  test.skipIf(skip)("the slot's data and methods are there, from its config, and what it did is undone", async () => {
    const { kernel } = start(manifest);
    await kernel.start();
    const net = kernel.slot<Cni>("cni");
    expect(net.confList.plugins[0]).toMatchObject({ type: "bridge", ipam: { ranges: [[{ subnet: "10.78.0.0/24" }]] } });
    if (typeof net.status === "function") expect(await net.status()).toMatchObject({ ready: true });
    expect(conflists(confDir())).toBe(true);
    await kernel.stop();
    expect(conflists(confDir())).toBe(false);
  });

  test.skipIf(skip)("its health is asked for, and a crash of its process restarts it alone", async () => {
    const { kernel, clock, state } = start(manifest);
    await kernel.start();
    await clock.pass(10_000);
    const before = kernel.status().find((s) => s.id === "net")!;
    if (mode !== "exec") await until(() => kernel.status().find((s) => s.id === "net")!.health[0]?.ok === true);
    if (before.pid !== undefined) {
      process.kill(before.pid, "SIGKILL");
      await until(() => state("net") === "failed");
      expect(kernel.status().find((s) => s.id === "net")?.pid).toBeUndefined();
      await until(async () => (await clock.pass(1000), state("net") === "ready"));
      expect(kernel.status().find((s) => s.id === "net")).toMatchObject({ restarts: 1 });
      expect(kernel.slot<Cni>("cni").confList.plugins[0]).toMatchObject({ type: "bridge" });
    }
    await kernel.stop();
  });
});

describe.each(Object.entries(modes).filter(([mode]) => mode !== "exec"))("%s", (_, { manifest, skip }) => {
  test.skipIf(skip)("it hears that a slot which it uses has been replaced, with what the new provider says, and runs on", async () => {
    const { kernel, replaceRuntime, state } = start(manifest);
    await kernel.start();
    const { pid } = kernel.status().find((s) => s.id === "net")!;
    await replaceRuntime();
    await until(() => conflists(nextConfDir()) && !conflists(confDir()));
    expect(kernel.status().find((s) => s.id === "net")).toMatchObject({ state: "ready", restarts: 0, ...(pid !== undefined && { pid }) });
    await kernel.stop();
    expect([conflists(nextConfDir()), state("net")]).toEqual([false, "stopped"]);
  });
});

test("exec: a program that asks for it is run anew when a slot that it uses has been replaced, and nothing else is told to it", async () => {
  const { kernel, replaceRuntime } = start(() => ({ ...modes.exec!.manifest(), onDependencyRestart: "restart" }));
  const net = () => kernel.status().find((s) => s.id === "net")!;
  await kernel.start();
  const { pid } = net();
  await replaceRuntime();
  await until(() => net().state === "ready" && net().pid !== pid);
  expect([net().restarts, conflists(confDir())]).toEqual([0, true]);
  await kernel.stop();
});

test.each([
  ["an old wire", "echo 'k3sp|0|1.0|unix|/x|grpc'; sleep 5", "net 1.0.0: its handshake is not valid: it speaks wire version 0, and this host 1"],
  ["another major of the contract", "echo 'k3sp|1|2.0|unix|/x|grpc'; sleep 5", "net 1.0.0: it speaks cni 2.0, and this host cni 1.0"],
  ["no socket", "echo 'k3sp|1|1.0|tcp|1234|grpc'; sleep 5", 'net 1.0.0: its handshake is not valid: "tcp|1234" is not a unix socket with an absolute path'],
  ["an end before the handshake", "exit 4", "net failed: its process ended with exit code 4"],
  ["no leave to be executed", undefined, "is not executable (chmod +x)"],
])("rpc: %s is refused", async (_, script, message) => {
  const entry = write("x.sh", `#!/bin/sh\n${script}\n`);
  if (!script) chmodSync(entry, 0o644);
  const net = { plugin: {}, manifest: { provides: { cni: "1.0" }, isolation: "rpc" as const, permissions, entry, dir: join(dir, "plugin") } };
  const dirs = { data: join(dir, "data"), run: join(dir, "run") };
  const hosts = createHosts({ paths: {}, dirs, refs: {}, provider: () => ({}) });
  const { kernel, defaults } = kernelOf({ net }, { dirs, host: (m: Manifest, log: Logger) => (m.id === "net" ? hosts(m, log) : inlineHost(m, async () => defaults[m.id]!.plugin)) });
  await expect(kernel.start()).rejects.toThrow(message);
});

test("rpc: calls of a program that stops answering end with an error, and it is ended and started again", async () => {
  const { kernel, clock, state, lines } = start(modes["rpc from Node"]!.manifest, { heartbeat: 600, callTimeout: 1000 });
  await kernel.start();
  const net = () => kernel.status().find((s) => s.id === "net")!;
  const pid = net().pid!;
  const cni = kernel.slot<Cni>("cni");
  process.kill(pid, "SIGSTOP");
  await expect(cni.status()).rejects.toMatchObject({ code: "K3SP_PLUGIN_CRASHED", message: 'net: "status" was not answered within 1 s' });
  await until(() => state("net") === "failed");
  expect(lines.filter((line) => line.startsWith("net: K3SP_"))).toEqual(["net: K3SP_PLUGIN_CRASHED net failed: its process did not answer for 1.8 s"]);
  await until(async () => (await clock.pass(1000), state("net") === "ready"));
  expect(() => process.kill(pid, 0)).toThrow("ESRCH");
  expect([net().restarts, await cni.status()]).toEqual([1, { ready: true }]);
  await kernel.stop();
  expect(lines.filter((line) => line.includes("undo"))).toEqual([]);
});

test("rpc: a program that does not answer its Stop is ended all the same", async () => {
  const { kernel, lines } = start(modes["rpc from Node"]!.manifest);
  await kernel.start();
  const { pid } = kernel.status().find((s) => s.id === "net")!;
  process.kill(pid!, "SIGSTOP");
  await kernel.stop();
  expect(lines.filter((line) => line.startsWith("net: ")).at(-1)).toBe('net: its undo steps failed: net: "Stop" was not answered within 5 s');
  expect(() => process.kill(pid!, 0)).toThrow("ESRCH");
});

test.skipIf(!python)("rpc: a program calls the slots that it needs, and finds a kubeconfig for itself alone", async () => {
  const { kernel, ran } = start(modes["rpc from Python"]!.manifest);
  await kernel.start();
  expect(ran).toEqual([["sh", ["-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"]]]);
  const file = join(dir, "run/net/kubeconfig");
  expect(JSON.parse(readFileSync(file, "utf8"))).toMatchObject({ clusters: [{ cluster: { server: "https://127.0.0.1:1" } }], users: [{ user: { token: "a token" } }] });
  expect([statSync(file).mode & 0o777, statSync(join(dir, "run/net/host.sock")).mode & 0o777]).toEqual([0o600, 0o600]);
  await kernel.stop();
  expect([existsSync(join(dir, "run/net/host.sock")), existsSync(file)]).toEqual([false, false]);
});
