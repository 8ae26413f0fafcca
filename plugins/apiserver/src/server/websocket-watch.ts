/** WATCH over a WebSocket: the same events, one message each, for browsers and other clients that cannot stream HTTP. */
import { EventEmitter } from "node:events";
import type { Duplex } from "node:stream";
import type { WebSocket } from "ws";
import type { RequestHandler } from "./handler.ts";
import type { Incoming } from "./handler.ts";
import type { ApiResponse } from "./request.ts";

export async function upgradeWatch(handler: RequestHandler, incoming: Incoming, socket: Duplex, head: Buffer): Promise<void> {
  const { WebSocketServer } = await import("ws");
  const server = new WebSocketServer({ noServer: true });
  server.handleUpgrade(incoming.stream as never, socket, head, (client) => {
    const response = new WebSocketResponse(client, socket);
    void handler.handle(incoming, response as unknown as ApiResponse);
  });
}

/** Presents a WebSocket as the response that a watch writes to. */
class WebSocketResponse extends EventEmitter {
  readonly isMessages = true;
  statusCode = 200;
  headersSent = false;
  writableEnded = false;
  readonly #client: WebSocket;
  readonly #socket: Duplex;

  constructor(client: WebSocket, socket: Duplex) {
    super();
    this.#client = client;
    this.#socket = socket;
    client.on("close", () => this.emit("close"));
    client.on("error", () => client.terminate());
    client.on("message", () => {});
  }
  get writableLength(): number {
    return this.#client.bufferedAmount + this.#socket.writableLength;
  }
  setHeader(): void {}
  getHeader(): undefined {
    return undefined;
  }
  writeHead(status: number): void {
    this.statusCode = status;
    this.headersSent = true;
  }
  flushHeaders(): void {}
  write(chunk: Uint8Array | string): boolean {
    const text = typeof chunk === "string" ? chunk : Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength).toString("utf8");
    this.#client.send(text.trimEnd());
    return true;
  }
  end(chunk?: Uint8Array | string): void {
    if (chunk) this.write(chunk);
    this.writableEnded = true;
    this.#client.close(1000);
  }
  destroy(): void {
    this.#client.terminate();
  }
}
