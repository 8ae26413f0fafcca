/** Server side of the runner: the `runner` reference that plugins get. */
import { fork, type ChildProcess } from "node:child_process";
import type { RunOptions, RunResult, Runner, RunningProcess, SpawnOptions } from "@k3s-p/plugin-api/slots";
import { findTool, isTool } from "../tools/bundled.ts";
import type { Reply, Request } from "./protocol.ts";

type Waiting = (reply: Reply) => void;

export interface RunnerHandle extends Runner {
  stop(): void;
}

/** Starts the runner process on first use, and again if it should die. */
export function createRunner(): RunnerHandle {
  const waiting = new Map<number, Waiting>();
  let child: ChildProcess | undefined;
  let nextId = 1;

  function process_(): ChildProcess {
    if (child) return child;
    child = fork(new URL("./child.ts", import.meta.url), [], {
      serialization: "advanced", stdio: ["ignore", "inherit", "inherit", "ipc"], detached: true,
      execArgv: ["--max-semi-space-size=1", "--max-old-space-size=64"],
    });
    child.on("message", (reply: Reply) => waiting.get(reply.id)?.(reply));
    child.on("exit", () => {
      child = undefined;
      for (const [id, settle] of [...waiting]) settle({ id, type: "error", code: "ERUNNER", message: "the runner process ended" });
    });
    // The server's life does not depend on the runner's.
    child.unref();
    child.channel?.unref();
    return child;
  }

  const post = (request: Request): void => void process_().send(request);

  async function run(command: string, args: readonly string[], options: RunOptions = {}): Promise<RunResult> {
    const program = await programOf(command);
    const id = nextId++;
    return new Promise((resolve, reject) => {
      waiting.set(id, (reply) => {
        waiting.delete(id);
        if (reply.type === "result") resolve({ code: reply.code, stdout: reply.stdout, stderr: reply.stderr });
        else reject(startError(command, reply));
      });
      const { stdin, env, cwd, timeout = 30_000 } = options;
      post({ op: "run", id, command: program, args: [...args], timeout, ...(stdin !== undefined && { stdin }), ...(env && { env }), ...(cwd && { cwd }) });
    });
  }

  async function spawn(command: string, args: readonly string[], options: SpawnOptions = {}): Promise<RunningProcess> {
    const program = await programOf(command);
    const id = nextId++;
    return new Promise((resolve, reject) => {
      const exit = Promise.withResolvers<{ code: number | null; signal: string | null }>();
      const { onOutput, ...rest } = options;
      waiting.set(id, (reply) => {
        if (reply.type === "spawned") resolve(handleOf(id, reply.pid, exit.promise, post));
        else if (reply.type === "output") onOutput?.(reply.chunk, reply.stream);
        else {
          waiting.delete(id);
          exit.resolve(reply.type === "exited" ? reply : { code: null, signal: "SIGKILL" });
          if (reply.type === "error") reject(startError(command, reply));
        }
      });
      post({ op: "spawn", id, command: program, args: [...args], ...rest });
    });
  }

  return {
    run,
    spawn,
    stop() {
      child?.disconnect();
    },
  };
}

/** kubectl and helm come with the server, for machines that lack them. */
const programOf = async (command: string): Promise<string> => (isTool(command) ? findTool(command) : command);

function handleOf(id: number, pid: number, exited: RunningProcess["exited"], post: (request: Request) => void): RunningProcess {
  return {
    pid,
    exited,
    write: (data) => post({ op: "write", id, data }),
    closeStdin: () => post({ op: "end", id }),
    kill: (signal = "SIGTERM") => post({ op: "kill", id, signal }),
  };
}

function startError(command: string, reply: Reply): Error {
  const { message, code } = reply.type === "error" ? reply : { message: "unexpected reply", code: "" };
  return Object.assign(new Error(`cannot run ${command}: ${message}`), { code });
}
