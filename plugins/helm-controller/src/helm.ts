/** Runs helm as a child of the runner: one at a time, in a private folder, with a token that does not outlive it long. */
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { Runner, RunningProcess } from "@k3s-p/plugin-api/slots";
import { commandsFor, environment, filesFor, type Places } from "./arguments.ts";
import type { Desired } from "./desired.ts";
import type { Step } from "./release.ts";

export interface HelmOptions {
  readonly runner: Runner;
  /** A folder of its own, for what is there only while helm runs. */
  readonly dir: string;
  /** URL of the API server, and its CA (PEM). */
  readonly server: string;
  readonly ca: string;
  readonly statics: string;
  /** Credentials that last for so many seconds. */
  readonly token: (seconds: number) => Promise<string>;
  /** A name for one run, that no other has. */
  readonly newRun: () => string;
  /** Milliseconds in which helm may end by itself when the server stops; default 5,000. */
  readonly grace?: number;
}

export type Outcome = { readonly ok: true } | { readonly ok: false; readonly reason: "HelmFailed" | "HelmMissing" | "TimedOut" | "Interrupted"; readonly message: string };

export interface Helm {
  /** Ends what an earlier server has left behind. */
  prepare(): Promise<void>;
  perform(steps: readonly Step[], desired: Desired): Promise<Outcome>;
  /** Ends what runs now: nobody wants any more what it is for. */
  interrupt(): void;
  stop(): Promise<void>;
}

/** A release has several operations (hooks before and after, the objects), each of which may take its whole time. */
const limitOf = (timeout: number): number => 4 * timeout + 60_000;
/** Tokens cannot last shorter. */
const MIN_TOKEN_SECONDS = 600;
const GRACE = 5_000;
const MAX_MESSAGE = 1_000;

export function createHelm(options: HelmOptions): Helm {
  const { runner, dir, grace = GRACE } = options;
  const pidFile = join(dir, "helm.pid");
  let child: RunningProcess | undefined;
  let interrupted = false;
  let stopping = false;

  async function perform(steps: readonly Step[], desired: Desired): Promise<Outcome> {
    interrupted = false;
    const work = await mkdtemp(join(dir, "run-"));
    const places: Places = { work, statics: options.statics, api: new URL(options.server).host };
    try {
      await write(places, desired);
      for (const command of steps.flatMap((step) => commandsFor(step, desired, places, options.newRun()))) {
        const outcome = await run(command, places, desired);
        if (!outcome.ok) return { ...outcome, message: withoutSecrets(outcome.message, desired) };
      }
      return { ok: true };
    } finally {
      await rm(work, { recursive: true, force: true });
    }
  }

  async function write(places: Places, desired: Desired): Promise<void> {
    const token = await options.token(Math.max(MIN_TOKEN_SECONDS, Math.ceil((2 * limitOf(desired.timeout)) / 1000)));
    const written = new Map([["kubeconfig", kubeconfig(options, token)], ...filesFor(desired, places)]);
    for (const [name, content] of written) {
      const path = join(places.work, name);
      await mkdir(dirname(path), { recursive: true, mode: 0o700 });
      await writeFile(path, content, { mode: 0o600 });
    }
  }

  async function run(args: readonly string[], places: Places, { release, timeout }: Desired): Promise<Outcome> {
    if (stopping || interrupted) return ended;
    const output = { stdout: "", stderr: "" };
    try {
      child = await runner.spawn("helm", args, { env: environment(places, release.driver), cwd: places.work, onOutput: (chunk, stream) => (output[stream] += chunk) });
    } catch (error) {
      const { message, fix } = error as Error & { readonly fix?: string };
      return { ok: false, reason: "HelmMissing", message: [message, fix ?? "install helm (https://helm.sh) on the server's PATH"].join("; ") };
    }
    if (stopping || interrupted) child.kill("SIGKILL");
    await writeFile(pidFile, String(child.pid), { mode: 0o600 });
    child.closeStdin();
    const limit = limitOf(timeout);
    const running = child;
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      running.kill("SIGKILL");
    }, limit);
    const { code } = await running.exited;
    clearTimeout(timer);
    child = undefined;
    await rm(pidFile, { force: true });
    if (code === 0) return { ok: true };
    if (stopping || interrupted) return ended;
    if (late) return { ok: false, reason: "TimedOut", message: `helm ${args[0]} did not end within ${limit / 1000} s and was killed` };
    return { ok: false, reason: "HelmFailed", message: errorIn(output.stderr || output.stdout) || `helm ${args[0]} ended with ${code}` };
  }

  return {
    perform,
    async prepare() {
      await killLeftOver(pidFile, dir);
      // Folders of runs hold values and a token.
      await rm(dir, { recursive: true, force: true });
      await mkdir(dir, { recursive: true, mode: 0o700 });
    },
    interrupt() {
      interrupted = true;
      // Not a signal that helm heeds: it would write down a failure, which may call for another installation.
      child?.kill("SIGKILL");
    },
    async stop() {
      stopping = true;
      const running = child;
      if (!running) return;
      const timer = setTimeout(() => running.kill("SIGKILL"), grace);
      await running.exited;
      clearTimeout(timer);
    },
  };
}

const ended: Outcome = { ok: false, reason: "Interrupted", message: "helm was interrupted" };

/** The helm of a server that was killed goes on without it. */
async function killLeftOver(pidFile: string, dir: string): Promise<void> {
  const pid = Number(await readFile(pidFile, "utf8").catch(() => ""));
  if (!pid) return;
  // Another program may have got its number since.
  const environ = await readFile(`/proc/${pid}/environ`, "utf8").catch(() => "");
  if (environ.includes(`KUBECONFIG=${dir}/`)) process.kill(pid, "SIGKILL");
}

const kubeconfig = ({ server, ca }: HelmOptions, token: string): string => JSON.stringify({
  apiVersion: "v1", kind: "Config", "current-context": "default",
  clusters: [{ name: "default", cluster: { server, "certificate-authority-data": Buffer.from(ca).toString("base64") } }],
  users: [{ name: "default", user: { token } }],
  contexts: [{ name: "default", context: { cluster: "default", user: "default" } }],
});

/** What helm says after `Error:`, without what it logs before. */
function errorIn(output: string): string {
  const from = output.lastIndexOf("Error: ");
  const text = (from < 0 ? output : output.slice(from + "Error: ".length)).trim();
  return text.length > MAX_MESSAGE ? `${text.slice(0, MAX_MESSAGE)}...` : text;
}

function withoutSecrets(message: string, { login }: Desired): string {
  const shown = message.replace(/(\w+:\/\/)[^\s/@]+@/g, "$1");
  return login?.password ? shown.replaceAll(login.password, "***") : shown;
}
