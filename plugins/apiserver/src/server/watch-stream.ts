/**
 * The sending side of watches. Events gather for one turn of the event loop, or longer when there are many watchers and
 * many events, and go out as one piece, which is made once for all watchers that get the same; a slow client is waited
 * for, and cut off when it leaves too much unread.
 */
import type { Writable } from "node:stream";
import type { CacheEvent } from "../store/collection.ts";
import type { Entry } from "../store/entry.ts";
import type { WatchType } from "../verbs/watch.ts";
import type { ApiResponse } from "./request.ts";
import { sendHead } from "./respond.ts";
import type { WatchEncoder } from "./watch-encoder.ts";

/** A client that leaves this much unread is cut off; it lists and watches again. */
const MAX_UNREAD = 16 << 20;
/** Encoded bytes that wait for the client; all beyond waits as references to stored objects. */
const MAX_ENCODED = 1 << 20;
const MAX_PIECE = 256 << 10;

/** After so many milliseconds of sending, others come first for as long, but not for longer than MAX_PAUSE. */
const LONG = 1;
const MAX_PAUSE = 10;

/** Runs steps together at the end of the turn, after the writers have been answered. */
export interface Turn {
  atEnd(step: () => void): void;
}

/**
 * Sending to hundreds of watchers takes milliseconds. When events come faster than they can be sent one by one, they
 * gather while requests are served, and each watcher gets several at the price of one.
 */
export function createTurn(now: () => number = () => performance.now()): Turn {
  let steps: (() => void)[] = [];
  let notBefore = 0;
  const run = (): void => {
    const start = now();
    const due = steps;
    steps = [];
    for (const step of due) step();
    const end = now();
    notBefore = end - start < LONG ? 0 : end + Math.min(end - start, MAX_PAUSE);
  };
  return {
    atEnd(step) {
      if (steps.push(step) > 1) return;
      const pause = notBefore === 0 ? 0 : notBefore - now();
      if (pause > 0) setTimeout(run, pause);
      else setImmediate(run);
    },
  };
}

interface WatchItem {
  readonly type: WatchType;
  readonly entry: Entry;
  readonly shared: CacheEvent | undefined;
}

export interface WatchStream {
  /** Sends the head; the first event does so too. */
  begin(): void;
  event(item: WatchItem): void;
  /** Bookmarks and errors. */
  send(chunk: Buffer): void;
  /** The events until now are the state to begin with, which may be of any size. */
  started(): void;
  /** Sends what is queued, unless the client is behind, and ends the response. */
  end(): void;
  /** Steps to take when the stream ends; at once when it has. */
  undo(fn: () => void): void;
  readonly ended: Promise<void>;
}

export function openStream(res: ApiResponse, encoder: WatchEncoder, turn: Turn): WatchStream {
  const { promise: ended, resolve } = Promise.withResolvers<void>();
  const steps: (() => void)[] = [];
  let queue: (WatchItem | Buffer)[] = [];
  let unread = 0;
  let isStarting = true;
  let isScheduled = false;
  let isBehind = false;
  let isEnded = false;
  let out: Outlet | undefined;

  function end(): void {
    if (isEnded) return;
    if (!isBehind && !res.writableEnded) flush();
    close();
  }

  function close(): void {
    if (isEnded) return;
    isEnded = true;
    queue = [];
    for (const step of steps) step();
    if (!res.writableEnded) res.end();
    resolve();
  }

  function begin(): void {
    if (out) return;
    sendHead(res, 200, { "content-type": encoder.contentType, "cache-control": "no-cache, private" });
    res.flushHeaders();
    res.on("close", close);
    res.on("error", close);
    out = outletOf(res);
  }

  function push(item: WatchItem | Buffer, bytes: number): void {
    if (isEnded) return;
    queue.push(item);
    if (!isStarting && (unread += bytes) + res.writableLength > MAX_UNREAD) {
      res.destroy();
      return close();
    }
    if (isScheduled || isBehind) return;
    isScheduled = true;
    turn.atEnd(() => {
      isScheduled = false;
      flush();
    });
  }

  function flush(): void {
    if (isEnded) return;
    begin();
    let at = 0;
    while (at < queue.length && !isBehind) {
      const parts: Buffer[] = [];
      for (let size = 0; at < queue.length && size < MAX_PIECE; at++) {
        const item = queue[at]!;
        const part = Buffer.isBuffer(item) ? item : encoder.event(item.type, item.entry, item.shared);
        size += parts[parts.push(part) - 1]!.length;
      }
      out!.write(parts);
      if (out!.pending() > MAX_ENCODED) wait();
    }
    queue = at === queue.length ? [] : queue.slice(at);
    if (queue.length === 0) unread = 0;
  }

  function wait(): void {
    isBehind = true;
    out!.drained(() => {
      isBehind = false;
      flush();
    });
  }

  return {
    begin, end, ended,
    event: (item) => push(item, item.entry.bytes.length),
    send: (chunk) => push(chunk, chunk.length),
    started: () => void (isStarting = false),
    undo(fn) {
      if (isEnded) fn();
      else steps.push(fn);
    },
  };
}

/** Where pieces go. */
interface Outlet {
  write(parts: readonly Buffer[]): void;
  /** Bytes that the client has not taken yet. */
  pending(): number;
  drained(fn: () => void): void;
}

function outletOf(res: ApiResponse): Outlet {
  const drained = (fn: () => void): void => void res.once("drain", fn);
  const socket = chunkedSocket(res);
  // A piece is framed once and goes past the response to its socket: framing it for each watcher is most of the work.
  if (socket) {
    return { write: (parts) => void socket.write(joined(parts, true)), pending: () => socket.writableLength, drained: (fn) => void socket.once("drain", fn) };
  }
  if (res.isMessages) return { write: (parts) => parts.forEach((part) => res.write(part)), pending: () => 0, drained };
  return { write: (parts) => void res.write(joined(parts, false)), pending: () => res.writableLength, drained };
}

/** The socket of an HTTP/1.1 response in chunked encoding whose turn it is and whose head is out. */
function chunkedSocket(res: ApiResponse): Writable | undefined {
  const { chunkedEncoding, socket } = res as { readonly chunkedEncoding?: boolean; readonly socket?: Writable | null };
  return chunkedEncoding && socket ? socket : undefined;
}

let last: { readonly parts: readonly Buffer[]; readonly isFramed: boolean; readonly bytes: Buffer } | undefined;
const CRLF = Buffer.from("\r\n");

/** Parts as one piece; watchers are served one after another, so the last piece is the next one's too. */
function joined(parts: readonly Buffer[], isFramed: boolean): Buffer {
  if (last?.isFramed === isFramed && last.parts.length === parts.length && parts.every((part, i) => part === last!.parts[i])) return last.bytes;
  const size = parts.reduce((sum, part) => sum + part.length, 0);
  const bytes = isFramed ? Buffer.concat([Buffer.from(`${size.toString(16)}\r\n`), ...parts, CRLF])
    : parts.length === 1 ? parts[0]! : Buffer.concat(parts, size);
  last = size <= MAX_PIECE ? { parts, isFramed, bytes } : undefined;
  return bytes;
}
