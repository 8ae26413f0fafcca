/**
 * The client's side of SPDY/3.1, as kubelets and runtimes speak it: several streams of bytes on one connection.
 * Headers of answers are not read: that a stream was opened shows in its data, and that it was not in its reset.
 */
import type { Duplex } from "node:stream";

export interface StreamEvents {
  data?(chunk: Buffer): void;
  /** The other side sends no more, or refused the stream. */
  end?(): void;
}

export interface SpdyStream {
  /** False when the caller should wait until the session's `drained`. */
  write(chunk: Buffer): boolean;
  /** Nothing more comes from this side. */
  end(): void;
}

export interface SpdySession {
  open(headers: Readonly<Record<string, string>>, events: StreamEvents): SpdyStream;
  /** Stops reading until the returned function is called. */
  pause(): () => void;
  drained(fn: () => void): void;
  close(): void;
  /** The connection is gone. */
  readonly closed: Promise<void>;
}

const CONTROL = 0x8003;
const TYPE = { synStream: 1, reset: 3, ping: 6 } as const;
const FIN = 1;
const HEAD = 8;
/** Control frames are small; one that claims to be larger is not SPDY. */
const MAX_CONTROL = 64 * 1024;
const MAX_DATA = 256 * 1024;

/** `head` is what came with the answer that switched protocols. */
export function startSession(socket: Duplex, head: Buffer): SpdySession {
  const streams = new Map<number, StreamEvents>();
  const { promise: closed, resolve } = Promise.withResolvers<void>();
  let lastId = -1;

  const send = (first: number, flags: number, payload: Buffer, type = 0): boolean => {
    const frame = Buffer.allocUnsafe(HEAD + payload.length);
    if (type) frame.writeUInt32BE(CONTROL * 0x10000 + type, 0);
    else frame.writeUInt32BE(first, 0);
    frame.writeUInt32BE(flags * 0x1000000 + payload.length, 4);
    payload.copy(frame, HEAD);
    return socket.destroyed || socket.write(frame);
  };
  const finish = (id: number): void => {
    const events = streams.get(id);
    streams.delete(id);
    events?.end?.();
  };
  const read = frameReader({
    data(id, chunk, isLast) {
      if (chunk.length > 0) streams.get(id)?.data?.(chunk);
      if (isLast) finish(id);
    },
    control(type, payload) {
      if (type === TYPE.ping && payload.length >= 4) send(0, 0, payload, TYPE.ping);
      if (type === TYPE.reset && payload.length >= 4) finish(payload.readUInt32BE(0));
    },
    broken: () => socket.destroy(),
  });

  socket.on("data", read);
  socket.on("error", () => {});
  socket.on("end", () => socket.end());
  socket.on("close", () => resolve());
  if (head.length > 0) read(head);
  return {
    closed,
    open(headers, events) {
      const id = (lastId += 2);
      streams.set(id, events);
      const start = Buffer.alloc(10);
      start.writeUInt32BE(id, 0);
      send(0, 0, Buffer.concat([start, headerBlock(headers, id === 1)]), TYPE.synStream);
      return {
        write: (chunk) => pieces(chunk).reduce((_, piece) => send(id, 0, piece), true),
        end: () => void send(id, FIN, Buffer.alloc(0)),
      };
    },
    pause() {
      socket.pause();
      return () => socket.resume();
    },
    drained: (fn) => void socket.once("drain", fn),
    close: () => socket.destroy(),
  };
}

interface Frames {
  /** Large frames come in parts. */
  data(id: number, chunk: Buffer, isLast: boolean): void;
  control(type: number, payload: Buffer): void;
  broken(): void;
}

function frameReader(frames: Frames): (chunk: Buffer) => void {
  let buffer: Buffer = Buffer.alloc(0);
  /** Of the data frame that has begun. */
  let open: { readonly id: number; readonly isLast: boolean; left: number } | undefined;

  const takeData = (): void => {
    const part = buffer.subarray(0, open!.left);
    buffer = buffer.subarray(part.length);
    open!.left -= part.length;
    const { id, isLast, left } = open!;
    if (left === 0) open = undefined;
    frames.data(id, part, left === 0 && isLast);
  };
  /** False when more bytes are needed. */
  const takeFrame = (): boolean => {
    if (buffer.length < HEAD) return false;
    const first = buffer.readUInt32BE(0);
    const flags = buffer[4]!;
    const size = buffer.readUInt32BE(4) & 0xffffff;
    if (first < 0x80000000) {
      open = { id: first, isLast: (flags & FIN) !== 0, left: size };
      buffer = buffer.subarray(HEAD);
      takeData();
      return true;
    }
    if (size > MAX_CONTROL || first >>> 16 !== CONTROL) {
      buffer = Buffer.alloc(0);
      frames.broken();
      return false;
    }
    if (buffer.length < HEAD + size) return false;
    const payload = buffer.subarray(HEAD, HEAD + size);
    buffer = buffer.subarray(HEAD + size);
    frames.control(first & 0xffff, payload);
    return true;
  };
  return (chunk) => {
    buffer = buffer.length > 0 ? Buffer.concat([buffer, chunk]) : chunk;
    while (buffer.length > 0 && (open ? (takeData(), true) : takeFrame()));
  };
}

/**
 * Names and values with their lengths, in zlib's format. Stored blocks need no compressor; the empty block at the end
 * makes the reader hand over what it has.
 */
function headerBlock(headers: Readonly<Record<string, string>>, isFirst: boolean): Buffer {
  const entries = Object.entries(headers);
  const text = (value: string): Buffer[] => [uint32(Buffer.byteLength(value)), Buffer.from(value)];
  const plain = Buffer.concat([uint32(entries.length), ...entries.flatMap(([name, value]) => [...text(name.toLowerCase()), ...text(value)])]);
  return Buffer.concat([Buffer.from(isFirst ? [0x78, 0x01] : []), storedBlock(plain), storedBlock(Buffer.alloc(0))]);
}

function storedBlock(bytes: Buffer): Buffer {
  const head = Buffer.alloc(5);
  head.writeUInt16LE(bytes.length, 1);
  head.writeUInt16LE(bytes.length ^ 0xffff, 3);
  return Buffer.concat([head, bytes]);
}

function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

function pieces(chunk: Buffer): readonly Buffer[] {
  if (chunk.length <= MAX_DATA) return [chunk];
  return Array.from({ length: Math.ceil(chunk.length / MAX_DATA) }, (_, i) => chunk.subarray(i * MAX_DATA, (i + 1) * MAX_DATA));
}
