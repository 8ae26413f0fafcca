/** Many watchers in a process of their own: connects, counts events by their first bytes, and reports latencies at the end. */
import { connect as connectHttp2 } from "node:http2";
import { connect } from "node:tls";
import { text } from "./load.ts";
import { percentile } from "./report.ts";

export interface WatchersOptions {
  readonly port: number;
  readonly tls: { readonly ca: string; readonly cert: string; readonly key: string };
  readonly watchers: number;
  /** Watches on each connection: 1 = HTTP/1.1, more = HTTP/2, as the Go client does. */
  readonly perConnection: number;
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

/** Notes the time of each event whose first bytes are in a chunk. */
function eventTimes(): (chunk: Buffer) => void {
  const times: number[] = [];
  received.push(times);
  let tail: Buffer = Buffer.alloc(0);
  return (chunk) => {
    const now = Number(process.hrtime.bigint()) / 1e6;
    const bytes = tail.length ? Buffer.concat([tail, chunk]) : chunk;
    let at = -1;
    while ((at = bytes.indexOf(MARK, at + 1)) >= 0) times.push(now);
    tail = bytes.subarray(Math.max(0, bytes.length - MARK.length + 1));
  };
}

function watchAlone({ port, tls, path }: WatchersOptions): Promise<void> {
  const note = eventTimes();
  const socket = connect({ port, host: "127.0.0.1", ...tls });
  socket.once("secureConnect", () => socket.write(text("GET", path)));
  return new Promise((resolve, reject) => {
    socket.on("error", reject);
    socket.once("data", (head: Buffer) => {
      if (!head.toString("latin1").startsWith("HTTP/1.1 200")) reject(new Error(head.toString("latin1")));
      resolve();
    });
    socket.on("data", note);
  });
}

async function watchTogether({ port, tls, path, perConnection }: WatchersOptions): Promise<void> {
  const session = connectHttp2(`https://127.0.0.1:${port}`, { ...tls, settings: { initialWindowSize: 1 << 20 } });
  await new Promise<void>((resolve, reject) => session.once("connect", () => resolve()).once("error", reject));
  session.setLocalWindowSize(1 << 24);
  await Promise.all(Array.from({ length: perConnection }, () => new Promise<void>((resolve, reject) => {
    const stream = session.request({ ":path": path });
    stream.on("error", reject).on("data", eventTimes());
    stream.once("response", ({ ":status": status }) => (status === 200 ? resolve() : reject(new Error(`watch answered ${status}`))));
  })));
}

async function start(options: WatchersOptions): Promise<void> {
  const { watchers, perConnection } = options;
  const [connections, together] = [watchers / perConnection, 20];
  for (let i = 0; i < connections; i += together) {
    const open = perConnection > 1 ? watchTogether : watchAlone;
    await Promise.all(Array.from({ length: Math.min(together, connections - i) }, () => open(options)));
  }
}

process.on("message", async ({ start: options, acknowledged }: ToWatchers) => {
  if (options) {
    await start(options);
    process.send!({ ready: true } satisfies FromWatchers);
  }
  if (!acknowledged) return;
  const latencies = received.flatMap((times) => times.slice(0, acknowledged.length).map((time, i) => time - acknowledged[i]!));
  const total = received.reduce((sum, times) => sum + times.length, 0);
  process.send!({ result: { p50: percentile(latencies, 50), p99: percentile(latencies, 99), received: total } } satisfies FromWatchers);
});
