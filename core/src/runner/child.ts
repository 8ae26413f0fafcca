/**
 * The runner process: starts every command for the server, so that no fork copies the server's page tables.
 * It ends when the server's end of the channel closes.
 */
import { spawn, type ChildProcess } from "node:child_process";
import type { Reply, Request } from "./protocol.ts";

/** Milliseconds in which the output of a program that has ended arrives. */
const LAST_WORDS = 200;

const running = new Map<number, ChildProcess>();
const send = (reply: Reply): void => void process.send?.(reply);

process.on("message", (message: Request) => handle(message));
process.on("disconnect", () => process.exit(0));
// The terminal's Ctrl-C reaches the whole group; the server decides when the runner ends.
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => {});

function handle(request: Request): void {
  if (request.op === "run") return run(request);
  if (request.op === "spawn") return start(request);
  const child = running.get(request.id);
  if (request.op === "write") child?.stdin?.write(request.data);
  else if (request.op === "end") child?.stdin?.end();
  else if (child?.pid) kill(child.pid, request.signal);
}

function kill(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch {
    // It has ended already.
  }
}

function run(request: Request & { op: "run" }): void {
  const { id, command, args, stdin, env, cwd, timeout } = request;
  const child = spawn(command, args, { env: { ...process.env, ...env }, cwd, timeout, killSignal: "SIGKILL" });
  const output = { stdout: [] as Buffer[], stderr: [] as Buffer[] };
  child.stdout.on("data", (chunk: Buffer) => output.stdout.push(chunk));
  child.stderr.on("data", (chunk: Buffer) => output.stderr.push(chunk));
  child.stdin.on("error", () => {});
  child.on("error", (error: NodeJS.ErrnoException) => send({ id, type: "error", code: error.code ?? "", message: error.message }));
  child.on("close", (code, signal) => {
    if (child.pid === undefined) return;
    const text = (chunks: readonly Buffer[]) => Buffer.concat(chunks).toString("utf8");
    send({ id, type: "result", code: exitCode(code, signal), stdout: text(output.stdout), stderr: text(output.stderr) });
  });
  child.stdin.end(stdin);
}

function start(request: Request & { op: "spawn" }): void {
  const { id, command, args, env, cwd } = request;
  const child = spawn(command, args, { env: { ...process.env, ...env }, cwd });
  child.stdin.on("error", () => {});
  for (const stream of ["stdout", "stderr"] as const) {
    child[stream].setEncoding("utf8").on("data", (chunk: string) => send({ id, type: "output", stream, chunk }));
  }
  child.on("spawn", () => {
    running.set(id, child);
    send({ id, type: "spawned", pid: child.pid! });
  });
  child.on("error", (error: NodeJS.ErrnoException) => send({ id, type: "error", code: error.code ?? "", message: error.message }));
  child.on("exit", (code, signal) => {
    running.delete(id);
    // What it said last may still be on its way; what it has left behind may hold the pipes open for long.
    const told = setTimeout(tell, LAST_WORDS);
    child.on("close", tell);
    function tell(): void {
      clearTimeout(told);
      child.off("close", tell);
      send({ id, type: "exited", code, signal });
    }
  });
}

const signals: Readonly<Record<string, number>> = { SIGHUP: 1, SIGINT: 2, SIGABRT: 6, SIGKILL: 9, SIGSEGV: 11, SIGTERM: 15 };
const exitCode = (code: number | null, signal: string | null): number => code ?? 128 + (signals[signal ?? ""] ?? 0);
