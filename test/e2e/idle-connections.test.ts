/** 10,000 clients that keep their connections and ask nothing: the others do not notice, and nothing of them stays. */
import { execFileSync, fork, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { freePort } from "@k3s-p/plugin-api/testing";
import { type ApiProcess, credentials, startApiProcess } from "../kit/api-process.ts";
import type { IdleCommand, IdleReport } from "../kit/idle-clients.ts";

const CONNECTIONS = 10_000;
/** Descriptors beside those of connections. */
const SPARE = 500;
/** Bytes of the heap: a connection that is kept by anything has more than 1 KiB. */
const MAY_STAY = CONNECTIONS * 200;
const maps = "/api/v1/namespaces/default/configmaps";

const allowed = execFileSync("sh", ["-c", "ulimit -Hn"], { encoding: "utf8" }).trim();
const reason = Number(allowed) < CONNECTIONS + SPARE ? `needs ${CONNECTIONS + SPARE} descriptors a process, and the hard limit is ${allowed}` : undefined;
if (reason) console.log(`skipped: ${CONNECTIONS} idle connections ${reason}`);

let dir: string;
let api: ApiProcess;
let clients: readonly ChildProcess[];
let inspector: Inspector;
let tls: Extract<IdleCommand, { open: number }>["tls"];

describe.skipIf(reason)("a server with 10,000 idle connections", () => {
  beforeAll(async () => {
    dir = mkdtempSync(join(tmpdir(), "k3sp-idle-"));
    const port = await freePort();
    api = await startApiProcess({ dir, port, node: ["--inspect=0"] });
    inspector = await inspect(api);
    tls = { host: "127.0.0.1", port, ...credentials(dir) };
    clients = [0, 1].map(() => fork(join(import.meta.dirname, "../kit/idle-clients.ts"), { execArgv: [] }));
  });
  afterAll(async () => {
    inspector?.close();
    clients?.forEach((client) => client.kill());
    await api?.stop("SIGKILL");
    rmSync(dir, { recursive: true });
  });

  test("answers as fast as before, spends little on each and nothing on their silence, and forgets them when they go", async () => {
    // What the first connections cost once: code, pools, caches.
    await open(500);
    await latency();
    await closeAll();
    const before = await look();
    const quick = await latency();

    await open(CONNECTIONS);
    const full = await look();
    const perConnection = { memory: (full.memory - before.memory) / CONNECTIONS, heap: (full.heap - before.heap) / CONNECTIONS };
    const spent = cpu();
    await sleep(2000);
    const idle = cpu() - spent;
    const busy = await latency();
    const event = await eventDelay();
    await closeAll();
    let after = await look();
    // Native parts are released behind the collection.
    for (let i = 0; i < 20 && after.heap - before.heap > MAY_STAY; i++) {
      await sleep(500);
      after = await look();
    }
    await open(2000);
    const again = await look();

    const kib = (bytes: number): string => `${(bytes / 1024).toFixed(1)} KiB`;
    console.log(`${CONNECTIONS} idle connections: ${kib(perConnection.memory)} each, of it ${kib(perConnection.heap)} JavaScript; ${(full.cpu - before.cpu) / 1000} s of CPU to open them, ` +
      `${idle} ms in 2 s of silence; a GET takes ${busy.toFixed(2)} ms (${quick.toFixed(2)} without them), an event ${event.toFixed(1)} ms; ` +
      `when they are gone ${kib(after.heap - before.heap)} of JavaScript stay, and 2,000 more take ${kib((again.memory - after.memory) / 2000)} each`);

    expect(full.descriptors - before.descriptors).toBe(CONNECTIONS);
    expect(perConnection.memory).toBeLessThan(128 * 1024);
    expect(idle).toBeLessThan(200);
    expect(busy).toBeLessThan(3 * quick + 1);
    expect(event).toBeLessThan(100);
    expect(after.descriptors).toBe(before.descriptors);
    expect(after.heap - before.heap).toBeLessThan(MAY_STAY);
    // The C library keeps what has been freed, for those that come next.
    expect(again.memory).toBeLessThan(1.1 * full.memory);
  });
});

/** Half of them HTTP/2. */
async function open(count: number): Promise<void> {
  const reports = await Promise.all([tell(clients[0]!, { open: count / 2, protocol: "h2", tls }), tell(clients[1]!, { open: count / 2, protocol: "http/1.1", tls })]);
  expect(reports).toEqual([{ open: count / 2 }, { open: count / 2 }]);
}

async function closeAll(): Promise<void> {
  await Promise.all(clients.map((client) => tell(client, { close: true })));
  await sleep(300);
}

async function tell(client: ChildProcess, command: IdleCommand): Promise<IdleReport> {
  client.send(command);
  const [report] = await once(client, "message");
  return report as IdleReport;
}

/** The median of a GET, in milliseconds. */
async function latency(): Promise<number> {
  const times: number[] = [];
  for (let i = 0; i < 300; i++) {
    const start = performance.now();
    expect((await api.request("GET", "/api/v1/namespaces/default")).status).toBe(200);
    times.push(performance.now() - start);
  }
  return times.sort((a, b) => a - b)[150]!;
}

/** From an acknowledged write to its event, the median of 20. */
async function eventDelay(): Promise<number> {
  const received = new Map<string, number>();
  void api.watch(`${maps}?watch=1`, ({ object }) => received.set(object.metadata.name, performance.now()));
  const times: number[] = [];
  for (let i = 0; i < 20; i++) {
    const name = `event-${i}`;
    expect((await api.request("POST", maps, { metadata: { name } })).status).toBe(201);
    const written = performance.now();
    for (let wait = 0; !received.has(name) && wait < 1000; wait++) await sleep(1);
    times.push(Math.max(0, received.get(name)! - written));
  }
  return times.sort((a, b) => a - b)[10]!;
}

/** Of the server after a collection: bytes of memory and of the heap, milliseconds of CPU, descriptors. */
async function look(): Promise<{ readonly memory: number; readonly heap: number; readonly cpu: number; readonly descriptors: number }> {
  const heap = await inspector.heap();
  const [, memory] = /^Pss:\s+(\d+) kB/m.exec(proc("smaps_rollup"))!;
  return { memory: Number(memory) * 1024, heap, cpu: cpu(), descriptors: readdirSync(`/proc/${api.child.pid}/fd`).length };
}

function cpu(): number {
  const fields = proc("stat").split(") ")[1]!.split(" ");
  return (Number(fields[11]) + Number(fields[12])) * 10;
}

const proc = (file: string): string => readFileSync(`/proc/${api.child.pid}/${file}`, "utf8");

interface Inspector {
  /** Bytes in use after a collection. */
  heap(): Promise<number>;
  close(): void;
}

async function inspect({ output }: ApiProcess): Promise<Inspector> {
  const [, url] = /Debugger listening on (ws:\S+)/.exec(output())!;
  const socket = new WebSocket(url!);
  await once(socket, "open");
  let last = 0;
  const call = (method: string): Promise<Record<string, number>> => new Promise((resolve) => {
    const id = ++last;
    socket.addEventListener("message", function answered({ data }) {
      const message = JSON.parse(String(data));
      if (message.id !== id) return;
      socket.removeEventListener("message", answered);
      resolve(message.result);
    });
    socket.send(JSON.stringify({ id, method }));
  });
  return {
    async heap() {
      await call("HeapProfiler.collectGarbage");
      return (await call("Runtime.getHeapUsage"))["usedSize"]!;
    },
    close: () => socket.close(),
  };
}
