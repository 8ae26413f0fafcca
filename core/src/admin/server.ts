/** The admin socket of a running server: for root alone, JSON lines, one request a connection. */
import { chmodSync, mkdirSync, rmSync } from "node:fs";
import { createServer, type Socket } from "node:net";
import { dirname } from "node:path";
import { createInterface } from "node:readline";
import { isK3spError, k3spError } from "@k3s-p/plugin-api";
import type { Operations } from "./operations.ts";
import { toWire, type Reply, type Request } from "./protocol.ts";

export interface AdminServer {
  readonly path: string;
  close(): Promise<void>;
}

export async function listenAdmin(path: string, operations: Operations): Promise<AdminServer> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket));
    socket.on("error", () => {});
    serve(socket, operations);
  });
  mkdirSync(dirname(path), { recursive: true, mode: 0o711 });
  // The server holds the lock of its data directory, so a file that is there was left by one that was killed.
  rmSync(path, { force: true });
  const mask = process.umask(0o177);
  try {
    await new Promise<void>((resolve, reject) => server.once("error", reject).listen(path, resolve));
  } finally {
    process.umask(mask);
  }
  chmodSync(path, 0o600);
  server.unref();
  return {
    path,
    async close() {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
      rmSync(path, { force: true });
    },
  };
}

function serve(socket: Socket, operations: Operations): void {
  const gone = new AbortController();
  const send = (reply: Reply): void => void (socket.writable && socket.write(`${JSON.stringify(reply)}\n`));
  socket.on("close", () => gone.abort());
  createInterface({ input: socket }).on("error", () => {}).once("line", (line) => {
    answer(line, operations, { send: (event) => send({ event }), signal: gone.signal })
      .then((result) => send({ result }), (error: unknown) => send({ error: toWire(isK3spError(error) ? error : unexpected(error)) }))
      .finally(() => socket.end());
  });
}

async function answer(line: string, operations: Operations, talk: Parameters<Operations[string]>[1]): Promise<unknown> {
  const request = JSON.parse(line) as Request;
  const operation = Object.hasOwn(operations, request.op) ? operations[request.op] : undefined;
  if (!operation) throw k3spError("K3SP_COMMAND_UNKNOWN", { message: `the running server does not know "${request.op}"`, fix: "use a k3s-p of the server's version" });
  return operation(request, talk);
}

const unexpected = (cause: unknown) =>
  k3spError("K3SP_PLUGIN_CRASHED", { message: cause instanceof AggregateError ? cause.errors.map((e: Error) => e.message).join("; ") : String((cause as Error)?.message ?? cause), cause });
