/** What the handlers of the server share: the request, errors with a status, whole answers. */
import { once, type EventEmitter } from "node:events";
import type { IncomingMessage, ServerResponse } from "node:http";

/** What a handler is given: the parts of the path after its prefix, and the query. */
export interface Request {
  readonly req: IncomingMessage;
  readonly res: ServerResponse;
  readonly parts: readonly string[];
  readonly query: URLSearchParams;
}

/** An answer other than 200; the text is the whole body, as upstream's kubelet sends it. */
export class HttpError extends Error {
  readonly status: number;
  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

export function send(res: ServerResponse, body: string | Buffer, type = "text/plain; charset=utf-8", status = 200): void {
  res.writeHead(status, { "Content-Type": type, "Content-Length": Buffer.byteLength(body) });
  res.end(body);
}

/** Resolves when the reader has taken what waits for it, or when it is gone. */
export const drained = (res: EventEmitter, gone: AbortSignal): Promise<unknown> =>
  once(res, "drain", { signal: gone }).catch(() => undefined);
