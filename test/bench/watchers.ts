/** Many watchers in a process of their own: connects, counts events by their first bytes, and reports latencies at the end. */
import { connect } from "node:tls";
import { text } from "./load.ts";
import { percentile } from "./report.ts";

export interface WatchersOptions {
  readonly port: number;
  readonly tls: { readonly ca: string; readonly cert: string; readonly key: string };
  readonly watchers: number;
  readonly path: string;
}

export interface ToWatchers {
  readonly start?: WatchersOptions;
  /** Monotonic milliseconds at which each write was acknowledged, in order. */
  readonly acknowledged?: readonly number[];
}

export interface FromWatchers {
  readonly ready?: true;
  readonly result?: { readonly p50: number; readonly p99: number; readonly received: number };
}

const MARK = Buffer.from('{"type":"');
const received: number[][] = [];

function watch({ port, tls, path }: WatchersOptions): Promise<void> {
  const times: number[] = [];
  received.push(times);
  const socket = connect({ port, host: "127.0.0.1", ...tls });
  socket.once("secureConnect", () => socket.write(text("GET", path)));
  return new Promise((resolve, reject) => {
    let tail: Buffer = Buffer.alloc(0);
    socket.on("error", reject);
    socket.once("data", (head: Buffer) => {
      if (!head.toString("latin1").startsWith("HTTP/1.1 200")) reject(new Error(head.toString("latin1")));
      resolve();
    });
    socket.on("data", (chunk: Buffer) => {
      const now = Number(process.hrtime.bigint()) / 1e6;
      const bytes = tail.length ? Buffer.concat([tail, chunk]) : chunk;
      let at = -1;
      while ((at = bytes.indexOf(MARK, at + 1)) >= 0) times.push(now);
      tail = bytes.subarray(Math.max(0, bytes.length - MARK.length + 1));
    });
  });
}

process.on("message", async ({ start, acknowledged }: ToWatchers) => {
  if (start) {
    for (let i = 0; i < start.watchers; i += 20) await Promise.all(Array.from({ length: Math.min(20, start.watchers - i) }, () => watch(start)));
    process.send!({ ready: true } satisfies FromWatchers);
  }
  if (!acknowledged) return;
  const latencies = received.flatMap((times) => times.slice(0, acknowledged.length).map((time, i) => time - acknowledged[i]!));
  const total = received.reduce((sum, times) => sum + times.length, 0);
  process.send!({ result: { p50: percentile(latencies, 50), p99: percentile(latencies, 99), received: total } } satisfies FromWatchers);
});
