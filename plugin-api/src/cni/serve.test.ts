/** A network of functions, called as the runtime calls it: by executing the program that it finds. */
import { spawn, spawnSync } from "node:child_process";
import { copyFileSync, existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { serveCni, type CniCall, type CniService } from "./serve.ts";
import { cniShim, shimMachines } from "./shim.ts";

const reason = (shimMachines as readonly string[]).includes(process.arch) ? undefined : `the program is made for ${shimMachines.join(" and ")}`;
if (reason) console.log(`skipped: CNI of functions: ${reason}`);

interface Outcome {
  readonly code: number | null;
  readonly output: string;
}

let dir: string;
let undos: (() => void | Promise<void>)[];
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "cni-"));
  undos = [];
});
afterEach(async () => {
  await stop();
  rmSync(dir, { recursive: true });
});
const stop = async (): Promise<void> => {
  for (const undo of undos.splice(0).reverse()) await undo();
};

const serve = (service: Partial<CniService> = {}) => serveCni(
  { needs: { runtime: { cni: { confDir: join(dir, "net.d"), binDir: join(dir, "bin") } } }, dirs: { run: dir }, defer: (undo) => void undos.push(undo) },
  { name: "net", add: async () => ({}), del: async () => {}, ...service },
);

const pod = { CNI_CONTAINERID: "c1", CNI_NETNS: "/run/netns/x", CNI_IFNAME: "eth0" };
const version = { cniVersion: "1.0.0", name: "net", type: "net" };

function call(env: Record<string, string>, config: object | string = version, program = join(dir, "bin/net")): Promise<Outcome> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, { env: { PATH: "/bin", ...env } });
    let output = "";
    child.stdout.setEncoding("utf8").on("data", (chunk: string) => (output += chunk));
    child.on("error", reject).on("close", (code) => resolve({ code, output }));
    child.stdin.on("error", () => {});
    child.stdin.end(typeof config === "string" ? config : JSON.stringify(config));
  });
}

const failed = (code: number, msg: string, more: object = {}): Outcome => ({ code: 1, output: `${JSON.stringify({ cniVersion: "1.0.0", code, msg, ...more })}\n` });

describe.skipIf(reason)("a network of functions", () => {
  test("ADD, DEL and CHECK reach the functions with all that the runtime says, and give their results", async () => {
    const calls: CniCall[] = [];
    const note = async (each: CniCall): Promise<void> => void calls.push(each);
    await serve({ add: async (each) => (await note(each), { ips: [{ address: "10.0.0.2/24", interface: 0 }] }), del: note, check: note });
    const env = { ...pod, CNI_ARGS: "IgnoreUnknown=1;K8S_POD_NAME=a" };
    expect(await call({ ...env, CNI_COMMAND: "ADD" })).toEqual({ code: 0, output: '{"cniVersion":"1.0.0","ips":[{"address":"10.0.0.2/24","interface":0}]}\n' });
    expect(await call({ ...env, CNI_COMMAND: "DEL", CNI_NETNS: "" }, { ...version, prevResult: { ips: [] } })).toEqual({ code: 0, output: "" });
    expect(await call({ ...pod, CNI_COMMAND: "CHECK" })).toEqual({ code: 0, output: "" });
    const args = { IgnoreUnknown: "1", K8S_POD_NAME: "a" };
    expect(calls).toEqual([
      { containerId: "c1", netns: "/run/netns/x", ifname: "eth0", args, portMappings: [], config: version },
      { containerId: "c1", netns: "", ifname: "eth0", args, portMappings: [], config: { ...version, prevResult: { ips: [] } } },
      { containerId: "c1", netns: "/run/netns/x", ifname: "eth0", args: {}, portMappings: [], config: version },
    ]);
  });

  test("host ports are read as the convention writes them, and as containerd does", async () => {
    const seen: unknown[] = [];
    await serve({ add: async ({ portMappings }) => (seen.push(portMappings), {}) });
    const portMappings = [{ HostPort: 8080, ContainerPort: 80, Protocol: "tcp", HostIP: "" }, { hostPort: 53, containerPort: 5353, protocol: "UDP", hostIP: "192.0.2.1" }];
    await call({ ...pod, CNI_COMMAND: "ADD" }, { ...version, runtimeConfig: { portMappings } });
    expect(seen).toEqual([[{ hostPort: 8080, containerPort: 80, protocol: "tcp" }, { hostPort: 53, containerPort: 5353, protocol: "udp", hostIP: "192.0.2.1" }]]);
  });

  test("STATUS, GC and VERSION are those of the specification 1.1", async () => {
    let ready = true;
    const kept: unknown[] = [];
    const impl = await serve({ status: async () => (ready ? { ready } : { ready, message: "no pod CIDR" }), gc: async (valid) => void kept.push(valid) });
    expect(await call({ CNI_COMMAND: "STATUS" })).toEqual({ code: 0, output: "" });
    ready = false;
    expect(await call({ CNI_COMMAND: "STATUS" })).toEqual(failed(50, "no pod CIDR"));
    expect(await impl.status()).toEqual({ ready: false, message: "no pod CIDR" });
    const valid = [{ containerID: "c1", ifname: "eth0" }];
    expect(await call({ CNI_COMMAND: "GC" }, { ...version, "cni.dev/valid-attachments": valid })).toEqual({ code: 0, output: "" });
    expect(kept).toEqual([valid]);
    expect(await call({ CNI_COMMAND: "GC" }, { ...version, "cni.dev/valid-attachments": null })).toEqual({ code: 0, output: "" });
    expect(kept).toEqual([valid, []]);
    expect(await call({ CNI_COMMAND: "VERSION" }, { cniVersion: "1.1.0" })).toEqual({ code: 0, output: '{"cniVersion":"1.1.0","supportedVersions":["0.3.1","0.4.0","1.0.0","1.1.0"]}\n' });
  });

  test.each([
    ["an unknown command", { ...pod, CNI_COMMAND: "MOVE" }, version, failed(4, 'CNI_COMMAND "MOVE" is none of ADD, DEL, CHECK, STATUS, GC, VERSION')],
    ["no variables at all", {}, version, failed(4, 'CNI_COMMAND "" is none of ADD, DEL, CHECK, STATUS, GC, VERSION')],
    ["variables that are missing", { CNI_COMMAND: "ADD", CNI_IFNAME: "eth0" }, version, failed(4, "CNI_CONTAINERID, CNI_NETNS are not set")],
    ["input that is no JSON", { ...pod, CNI_COMMAND: "ADD" }, "{", failed(6, "the network configuration is not valid JSON", { details: "Expected property name or '}' in JSON at position 1 (line 1 column 2)" })],
    ["an unknown version", { ...pod, CNI_COMMAND: "ADD" }, { cniVersion: "9.0.0" }, { code: 1, output: '{"cniVersion":"9.0.0","code":1,"msg":"the version 9.0.0 is not supported","details":"supported: 0.3.1, 0.4.0, 1.0.0, 1.1.0"}\n' }],
    ["a GC that does not say what is valid", { CNI_COMMAND: "GC" }, version, failed(7, 'GC needs "cni.dev/valid-attachments", a list of { containerID, ifname }')],
    ["a GC with attachments that are none", { CNI_COMMAND: "GC" }, { ...version, "cni.dev/valid-attachments": ["c1"] }, failed(7, 'GC needs "cni.dev/valid-attachments", a list of { containerID, ifname }')],
    ["a function that throws", { ...pod, CNI_COMMAND: "ADD" }, version, failed(999, "no address is free")],
    ["a function that throws a code", { ...pod, CNI_COMMAND: "DEL" }, version, failed(11, "later")],
  ])("%s is an error of the specification", async (_, env, config, expected) => {
    await serve({ gc: async () => {}, add: async () => { throw new Error("no address is free"); }, del: async () => { throw Object.assign(new Error("later"), { code: 11 }); } });
    expect(await call(env as Record<string, string>, config)).toEqual(expected);
  });

  test("the list names the program, what is chained after it, and whether CHECK means anything", async () => {
    const { confList } = await serve({ chain: [{ type: "portmap" }] });
    expect(confList).toEqual({ cniVersion: "1.0.0", name: "net", disableCheck: true, plugins: [{ type: "net" }, { type: "portmap" }] });
    expect(JSON.parse(readFileSync(join(dir, "net.d/10-net.conflist"), "utf8"))).toEqual(confList);
    await stop();
    expect([readdirSync(join(dir, "bin")), existsSync(join(dir, "net.d/10-net.conflist"))]).toEqual([[], false]);
  });

  test("a list offers 1.1.0 when there is a gc that a runtime could call, and no other program that may not know it", async () => {
    const offers = async (more: Partial<CniService>) => (await serve(more)).confList.cniVersions;
    const gc = async () => {};
    expect([await offers({}), await offers({ gc }), await offers({ gc, chain: [{ type: "portmap" }] })]).toEqual([undefined, ["1.0.0", "1.1.0"], undefined]);
    const { confList } = await serve({ capabilities: { portMappings: true } });
    expect(confList.plugins).toEqual([{ type: "net", capabilities: { portMappings: true } }]);
  });

  test("code 11 tells the runtime to try again when the plugin is down, and when it goes down during a call", async () => {
    const down = failed(11, "the network plugin net is not running");
    let reached = (): void => {};
    await serve({ add: () => new Promise(() => reached()) });
    const called = new Promise<void>((resolve) => (reached = resolve));
    const adding = call({ ...pod, CNI_COMMAND: "ADD" });
    await called;
    // As after a crash, which undoes nothing.
    copyFileSync(join(dir, "bin/net"), join(dir, "left"));
    await stop();
    expect(await adding).toEqual(down);
    expect(await call({ ...pod, CNI_COMMAND: "ADD" }, version, join(dir, "left"))).toEqual(down);
    await serve();
    expect((await call({ ...pod, CNI_COMMAND: "ADD" })).code).toBe(0);
  });

  test("50 calls at once, with input and output of any size", async () => {
    await serve({ add: async ({ config }) => ({ dns: { search: [String(config.note).length, "x".repeat(300_000)] } }) });
    const answers = await Promise.all(Array.from({ length: 50 }, (_, i) => call({ ...pod, CNI_COMMAND: "ADD" }, { ...version, note: "n".repeat(i * 5000) })));
    const found = answers.map(({ output }) => (JSON.parse(output) as { dns: { search: [number, string] } }).dns.search);
    expect(found.map(([length, text]) => [length, text.length])).toEqual(answers.map((_, i) => [i * 5000, 300_000]));
  });
});

test("a path that is too long for a socket is refused", () => {
  expect(() => cniShim("x64", "/run/".padEnd(108, "x"), "")).toThrow("is too long for a socket: 107 bytes are allowed");
});

const qemu = "qemu-aarch64-static";
const noQemu = process.arch === "arm64" || !spawnSync(qemu, ["--version"]).error ? undefined : `needs ${qemu} in PATH`;
if (noQemu) console.log(`skipped: the program for arm64 is not executed: ${noQemu}`);

test.skipIf(noQemu)("the program for arm64 does the same", async () => {
  const socket = join(dir, "s");
  writeFileSync(join(dir, "shim"), cniShim("arm64", socket, "down"), { mode: 0o755 });
  const command = process.arch === "arm64" ? [join(dir, "shim")] : [qemu, join(dir, "shim")];
  const run = (input: string) => new Promise<Outcome>((resolve) => {
    const child = spawn(command[0]!, command.slice(1), { env: { PATH: process.env.PATH!, CNI_A: "1", CNJ: "2" } });
    let output = "";
    child.stdout.setEncoding("utf8").on("data", (chunk: string) => (output += chunk));
    child.on("close", (code) => resolve({ code, output }));
    child.stdin.end(input);
  });
  expect(await run("{}")).toEqual({ code: 1, output: "down" });
  const server = createServer({ allowHalfOpen: true }, (peer) => {
    let text = "";
    peer.setEncoding("utf8").on("data", (chunk: string) => (text += chunk)).on("end", () => peer.end(`\x03${text}`));
  });
  await new Promise<void>((resolve) => server.listen(socket, resolve));
  undos.push(() => new Promise<void>((resolve) => server.close(() => resolve())));
  const input = "x".repeat(20_000);
  expect(await run(input)).toEqual({ code: 3, output: `CNI_A=1\0\0${input}` });
});
