import { EventEmitter } from "node:events";
import { afterEach, describe, expect, test, vi } from "vitest";
import { Entry } from "../store/entry.ts";
import type { ApiResponse } from "./request.ts";
import type { WatchEncoder } from "./watch-encoder.ts";
import { createTurn, openStream } from "./watch-stream.ts";

const encoder: WatchEncoder = {
  contentType: "application/json",
  event: (_, entry) => entry.bytes,
  bookmark: () => Buffer.from("bookmark\n"),
  error: () => Buffer.from("error\n"),
};
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
const item = (text: string) => ({ type: "ADDED", entry: new Entry("", "a", 1, Buffer.from(`${text}\n`)), shared: undefined }) as const;

/** A client that reads when it is told to. */
class Client extends EventEmitter {
  headersSent = false;
  writableEnded = false;
  destroyed = false;
  writableLength = 0;
  readonly pieces: Buffer[] = [];
  readonly isMessages: boolean;
  constructor(isMessages = false) {
    super();
    this.isMessages = isMessages;
  }
  writeHead(): void {}
  flushHeaders(): void {
    this.headersSent = true;
  }
  write(piece: Buffer): boolean {
    this.pieces.push(piece);
    this.writableLength += piece.length;
    return false;
  }
  end(): void {
    this.writableEnded = true;
  }
  destroy(): void {
    this.destroyed = true;
  }
  read(): void {
    this.writableLength = 0;
    this.emit("drain");
  }
}

function open(client = new Client()) {
  const stream = openStream(client as unknown as ApiResponse, encoder, createTurn());
  return { client, stream };
}

describe("a watch's stream", () => {
  test("sends the events of one turn as one piece", async () => {
    const { client, stream } = open();
    stream.event(item("one"));
    stream.event(item("two"));
    expect(client.pieces).toEqual([]);
    await turn();
    expect(client.pieces.map(String)).toEqual(["one\ntwo\n"]);
  });

  test("sends each event as a message of its own where there are messages", async () => {
    const { client, stream } = open(new Client(true));
    stream.event(item("one"));
    stream.event(item("two"));
    await turn();
    expect(client.pieces.map(String)).toEqual(["one\n", "two\n"]);
  });

  test("waits for a slow client with a large state to begin with, and loses nothing", async () => {
    const { client, stream } = open();
    const large = "x".repeat(100_000);
    for (let i = 0; i < 400; i++) stream.event(item(large));
    stream.started();
    stream.event(item("live"));
    await turn();
    expect(client.writableLength).toBeLessThan(2 << 20);
    while (client.writableLength > 0) client.read();
    expect(client.destroyed).toBe(false);
    expect(Buffer.concat(client.pieces).toString()).toBe(`${`${large}\n`.repeat(400)}live\n`);
  });

  test("cuts a client off that leaves too much unread", async () => {
    const { client, stream } = open();
    stream.started();
    for (let i = 0; i < 200; i++) {
      stream.event(item("x".repeat(100_000)));
      await turn();
    }
    expect(client.destroyed).toBe(true);
    await stream.ended;
  });

  test("sends what is queued before it ends", async () => {
    const { client, stream } = open();
    stream.event(item("one"));
    stream.end();
    expect(client.pieces.map(String)).toEqual(["one\n"]);
    expect(client.writableEnded).toBe(true);
    await stream.ended;
  });
});

describe("a turn", () => {
  afterEach(() => void vi.useRealTimers());

  /** Each fan-out takes so many milliseconds; returns when the steps ran that are asked for one after another. */
  function fanOuts(took: number, gaps: readonly number[]): number[] {
    vi.useFakeTimers({ now: 0 });
    const times: number[] = [];
    const turn = createTurn(() => Date.now());
    for (const gap of gaps) {
      vi.advanceTimersByTime(gap);
      turn.atEnd(() => {
        times.push(Date.now());
        vi.setSystemTime(Date.now() + took);
      });
      vi.advanceTimersByTime(0);
    }
    vi.advanceTimersByTime(1000);
    return times;
  }

  test("ends at once when there is little to send", () => {
    expect(fanOuts(0, [0, 0, 1])).toEqual([0, 0, 1]);
  });

  test("leaves as much time to others as sending took, so that events gather", () => {
    expect(fanOuts(6, [0, 0, 1, 2])).toEqual([0, 12, 18, 24]);
  });

  test("waits ten milliseconds at most, and not at all when nothing was sent for a while", () => {
    expect(fanOuts(300, [0, 0])).toEqual([0, 310]);
    expect(fanOuts(6, [0, 20])).toEqual([0, 26]);
  });
});
