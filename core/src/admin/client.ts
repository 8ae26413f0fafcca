/** Asks a running server over its admin socket. */
import { connect } from "node:net";
import { createInterface } from "node:readline";
import { k3spError } from "@k3s-p/plugin-api";
import { fromWire, type Reply, type Request } from "./protocol.ts";

export function ask<T>(path: string, request: Request, onEvent: (event: never) => void = () => {}): Promise<T> {
  return new Promise((resolve, reject) => {
    const socket = connect(path);
    socket.on("error", (error: NodeJS.ErrnoException) => reject(connectError(path, error)));
    socket.on("connect", () => socket.write(`${JSON.stringify(request)}\n`));
    socket.on("close", () => reject(k3spError("K3SP_SERVER_NOT_RUNNING", { message: "the server ended while it was asked" })));
    // The interface repeats the socket's errors, which are dealt with above.
    createInterface({ input: socket }).on("error", () => {}).on("line", (line) => {
      const reply = JSON.parse(line) as Reply;
      if ("event" in reply) return onEvent(reply.event as never);
      if ("error" in reply) reject(fromWire(reply.error));
      else resolve(reply.result as T);
      socket.end();
    });
  });
}

function connectError(path: string, error: NodeJS.ErrnoException): Error {
  if (error.code === "EACCES") return k3spError("K3SP_ROOT_REQUIRED", { message: `${path} is for root alone`, cause: error });
  return k3spError("K3SP_SERVER_NOT_RUNNING", { message: `no server answers at ${path}`, cause: error });
}
