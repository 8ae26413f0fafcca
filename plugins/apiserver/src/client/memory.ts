/** Requests that never leave the process: the full HTTP path without sockets. */
import { Readable, Writable } from "node:stream";
import type { UserInfo } from "@k3s-p/plugin-api/slots";
import type { RequestHandler } from "../server/handler.ts";
import type { ApiResponse } from "../server/request.ts";

export interface MemoryAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, unknown>>;
  readonly text: string;
}

export async function requestInMemory(
  handler: RequestHandler, user: UserInfo, method: string, url: string, body?: object,
  headers: Readonly<Record<string, string>> = {},
): Promise<MemoryAnswer> {
  const response = new MemoryResponse();
  const finished = new Promise<void>((resolve) => response.once("close", resolve));
  const bytes = body === undefined ? [] : [Buffer.from(JSON.stringify(body))];
  await handler.handle({
    method, url, user, remoteAddress: "127.0.0.1", stream: Readable.from(bytes),
    headers: { accept: "application/json", "user-agent": "k3s-p", ...(body && { "content-type": contentType(method) }), ...headers },
  }, response as unknown as ApiResponse);
  await finished;
  return { status: response.statusCode, headers: response.headers, text: Buffer.concat(response.chunks).toString("utf8") };
}

const contentType = (method: string): string => (method === "PATCH" ? "application/merge-patch+json" : "application/json");

/** The part of a ServerResponse that handlers use. */
class MemoryResponse extends Writable {
  statusCode = 200;
  headersSent = false;
  readonly headers: Record<string, unknown> = {};
  readonly chunks: Buffer[] = [];

  constructor() {
    super({ autoDestroy: true });
    this.on("error", () => {});
  }
  setHeader(name: string, value: unknown): this {
    this.headers[name.toLowerCase()] = value;
    return this;
  }
  getHeader(name: string): unknown {
    return this.headers[name.toLowerCase()];
  }
  writeHead(status: number, headers: Readonly<Record<string, unknown>> = {}): this {
    this.statusCode = status;
    for (const [name, value] of Object.entries(headers)) this.setHeader(name, value);
    this.headersSent = true;
    return this;
  }
  flushHeaders(): void {
    this.headersSent = true;
  }
  override _write(chunk: Buffer | string, encoding: BufferEncoding, done: () => void): void {
    this.chunks.push(typeof chunk === "string" ? Buffer.from(chunk, encoding) : Buffer.from(chunk));
    done();
  }
}
