import { spawn } from "node:child_process";
import { mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Runner, RunningProcess } from "@k3s-p/plugin-api/slots";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { Desired } from "./desired.ts";
import { createHelm, type Helm } from "./helm.ts";

interface Call {
  readonly command: string;
  readonly args: readonly string[];
  readonly kubeconfig: string;
  readonly modes: readonly number[];
  readonly say: (text: string) => void;
  readonly end: (code: number) => void;
}

let dir: string;
let calls: Call[];
let killed: string[];
let tokens: number[];
let start: (call: Call) => void;

const runner: Runner = {
  run: async () => Promise.reject(new Error("not used")),
  async spawn(command, args, { env = {}, cwd = "", onOutput } = {}): Promise<RunningProcess> {
    const exit = Promise.withResolvers<{ code: number | null; signal: string | null }>();
    const files = ["kubeconfig", "values-000.yaml"].map((name) => join(cwd, name));
    const call: Call = {
      command, args, kubeconfig: await readFile(env.KUBECONFIG!, "utf8"),
      modes: await Promise.all([cwd, ...files].map(async (path) => (await stat(path)).mode & 0o777)),
      say: (text) => onOutput?.(text, "stderr"), end: (code) => exit.resolve({ code, signal: null }),
    };
    calls.push(call);
    start(call);
    const kill = (signal = "SIGTERM"): void => {
      killed.push(signal);
      exit.resolve({ code: null, signal });
    };
    return { pid: 2 ** 22 + 1, write: () => undefined, closeStdin: () => undefined, kill, exited: exit.promise };
  },
};

const desired = (more: Partial<Desired> = {}): Desired => ({
  release: { name: "web", namespace: "site", driver: "secret" }, spec: { chart: "/c" }, values: ["a: 1"], failurePolicy: "reinstall", backOffLimit: 1000,
  timeout: 300_000, hash: "abc", ...more,
});
const helmWith = (more: { grace?: number; runner?: Runner } = {}): Helm => createHelm({
  runner, dir: join(dir, "helm"), server: "https://127.0.0.1:6443", ca: "CA", statics: "/s", newRun: () => "r",
  token: async (seconds) => (tokens.push(seconds), "the-token"), ...more,
});

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "helm-controller-"));
  [calls, killed, tokens] = [[], [], []];
  start = ({ end }) => end(0);
});
afterEach(() => {
  vi.useRealTimers();
  return rm(dir, { recursive: true, force: true });
});

test("runs the steps in their order, in a private folder that goes with them", async () => {
  const helm = helmWith();
  await helm.prepare();
  expect(await helm.perform([{ kind: "rollback", to: 2 }, { kind: "upgrade" }], desired())).toEqual({ ok: true });
  expect(calls.map(({ command, args }) => [command, args[0]])).toEqual([["helm", "rollback"], ["helm", "upgrade"]]);
  expect(calls[0]!.modes).toEqual([0o700, 0o600, 0o600]);
  expect(JSON.parse(calls[0]!.kubeconfig)).toMatchObject({
    clusters: [{ cluster: { server: "https://127.0.0.1:6443", "certificate-authority-data": "Q0E=" } }], users: [{ user: { token: "the-token" } }],
  });
  expect(tokens).toEqual([2520]);
  expect(await readdir(join(dir, "helm"))).toEqual([]);
});

test("a failure ends the run with helm's error, without secrets", async () => {
  start = ({ say, end }) => {
    say("level=WARN msg=something\nError: failed to fetch https://me:word");
    say("@charts.example.com/x with hunter2 : 401\n");
    end(1);
  };
  const helm = helmWith();
  await helm.prepare();
  expect(await helm.perform([{ kind: "uninstall" }, { kind: "upgrade" }], desired({ login: { username: "me", password: "hunter2" } }))).toEqual({
    ok: false, reason: "HelmFailed", message: "failed to fetch https://charts.example.com/x with *** : 401",
  });
  expect(calls).toHaveLength(1);
  start = ({ end }) => end(7);
  expect(await helm.perform([{ kind: "upgrade" }], desired())).toMatchObject({ message: "helm upgrade ended with 7" });
});

test("a machine without helm is told what to install", async () => {
  const helm = helmWith({ runner: { ...runner, spawn: async () => Promise.reject(Object.assign(new Error("cannot run helm: ENOENT"), { code: "ENOENT" })) } });
  await helm.prepare();
  expect(await helm.perform([{ kind: "upgrade" }], desired())).toEqual({
    ok: false, reason: "HelmMissing", message: "cannot run helm: ENOENT; install helm (https://helm.sh) on the server's PATH",
  });
});

test("one that does not end is killed", async () => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
  start = () => undefined;
  const helm = helmWith();
  await helm.prepare();
  const outcome = helm.perform([{ kind: "upgrade" }], desired({ timeout: 10_000 }));
  await vi.waitFor(() => expect(vi.getTimerCount()).toBe(1), { interval: 5 });
  vi.advanceTimersByTime(100_000);
  expect(await outcome).toEqual({ ok: false, reason: "TimedOut", message: "helm upgrade did not end within 100 s and was killed" });
  expect(killed).toEqual(["SIGKILL"]);
});

test("a stop lets helm end by itself for a moment, and starts nothing more", async () => {
  start = () => undefined;
  const helm = helmWith();
  await helm.prepare();
  const outcome = helm.perform([{ kind: "rollback", to: 1 }, { kind: "upgrade" }], desired());
  await vi.waitFor(() => expect(calls).toHaveLength(1));
  const stopped = helm.stop();
  calls[0]!.end(0);
  await stopped;
  expect(await outcome).toMatchObject({ ok: false, reason: "Interrupted" });
  expect([calls.length, killed]).toEqual([1, []]);
});

test("a stop kills a helm that takes its time", async () => {
  start = () => undefined;
  const helm = helmWith({ grace: 10 });
  await helm.prepare();
  const outcome = helm.perform([{ kind: "upgrade" }], desired());
  await vi.waitFor(async () => expect(await readdir(join(dir, "helm"))).toContain("helm.pid"));
  await helm.stop();
  expect([await outcome, killed]).toMatchObject([{ reason: "Interrupted" }, ["SIGKILL"]]);
});

test("an interruption ends the run, and is over with it", async () => {
  start = () => undefined;
  const helm = helmWith();
  await helm.prepare();
  const outcome = helm.perform([{ kind: "rollback", to: 1 }, { kind: "upgrade" }], desired());
  await vi.waitFor(async () => expect(await readdir(join(dir, "helm"))).toContain("helm.pid"));
  helm.interrupt();
  expect([await outcome, calls.length, killed]).toMatchObject([{ ok: false, reason: "Interrupted" }, 1, ["SIGKILL"]]);
  start = ({ end }) => end(0);
  expect(await helm.perform([{ kind: "upgrade" }], desired())).toEqual({ ok: true });
});

test("what a killed server has left behind is ended and removed; another program of that number is not", async () => {
  const helm = helmWith();
  await helm.prepare();
  const folder = join(dir, "helm");
  const left = spawn("sleep", ["100"], { env: { KUBECONFIG: `${folder}/run-x/kubeconfig` } });
  const other = spawn("sleep", ["100"], { env: { KUBECONFIG: "/elsewhere" } });
  try {
    const ended = new Promise((resolve) => left.on("exit", (_, signal) => resolve(signal)));
    await Promise.all([left, other].map((child) => vi.waitFor(async () => expect(await readFile(`/proc/${child.pid}/cmdline`, "utf8")).toContain("sleep"))));
    for (const { pid } of [other, left]) {
      await writeFile(join(folder, "helm.pid"), String(pid));
      await writeFile(join(folder, "left"), "");
      await helm.prepare();
      expect(await readdir(folder)).toEqual([]);
    }
    expect(await ended).toBe("SIGKILL");
    expect(other.exitCode ?? other.signalCode).toBeNull();
  } finally {
    left.kill();
    other.kill();
  }
});
