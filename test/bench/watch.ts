/** Fan-out: one writer, many watchers, from the acknowledged write to the received event. */
import { fork, type ChildProcess } from "node:child_process";
import { join } from "node:path";
import { open, text } from "./load.ts";
import { cpuSeconds, inBenchDir, pss, startApi, type ApiServerProcess } from "./process.ts";
import { record } from "./report.ts";
import type { FromWatchers, ToWatchers, WatchersOptions } from "./watchers.ts";

const WATCHERS = 500;
const SECONDS = 8;
/** HTTP/2 clients keep all their watches on one connection: a node has about ten. */
const modes = [{ title: "on 50 HTTP/2 connections", perConnection: 10 }, { title: "on 500 HTTP/1.1 connections", perConnection: 1 }] as const;
type Mode = (typeof modes)[number];
const maps = "/api/v1/namespaces/default/configmaps";

export const benchWatch = (): Promise<void> => inBenchDir(async (dir) => {
  const server = await startApi(dir, 17453);
  try {
    for (const mode of modes) for (const rate of [50, 200]) await measure(server, rate, mode);
    record({ name: "memory (PSS) after it", value: pss(server.child.pid!), unit: "MiB" });
  } finally {
    await server.stop();
  }
});

async function measure(server: ApiServerProcess, rate: number, { title, perConnection }: Mode): Promise<void> {
  const { port, tls } = server;
  const name = `fan-out-${rate}-${perConnection}`;
  const writer = await open({ port, tls });
  await writer.send(text("POST", maps, object(name, 0)));
  const child = fork(join(import.meta.dirname, "watchers.ts"), { stdio: "inherit" });
  const options: WatchersOptions = { port, tls, watchers: WATCHERS, perConnection, path: `${maps}?watch=true&fieldSelector=&resourceVersion=` };
  const ready = answer(child, "ready");
  child.send({ start: { ...options, path: `${options.path}${await revision(server)}` } } satisfies ToWatchers);
  await ready;
  const [before, start] = [cpuSeconds(server.child.pid!), performance.now()];
  const acknowledged = await write(rate, (i) => writer.send(text("PUT", `${maps}/${name}`, object(name, i))));
  const seconds = (performance.now() - start) / 1000;
  await new Promise((resolve) => setTimeout(resolve, 500));
  const cpu = cpuSeconds(server.child.pid!) - before;
  const result = answer(child, "result");
  child.send({ acknowledged } satisfies ToWatchers);
  const { p50, p99, received } = (await result).result!;
  child.kill();
  writer.end();
  const all = acknowledged.length * WATCHERS;
  if (received !== all) throw new Error(`${received} of ${all} events arrived`);
  const what = `${WATCHERS} watchers ${title}`;
  record({ name: `${what}: writes/s reached of ${rate}`, value: acknowledged.length / seconds, unit: "/s" });
  record({ name: `  ${rate} writes/s, acknowledged to received, p50`, value: p50, unit: "ms", ...(rate === 50 && { against: "upstream 9 ms (design)" }) });
  record({ name: `  ${rate} writes/s, acknowledged to received, p99`, value: p99, unit: "ms", ...(rate === 200 && { goal: "< 20 ms at 200/s", met: p99 < 20 && acknowledged.length / seconds >= rate * 0.95 }) });
  record({ name: `  ${rate} writes/s, server CPU per event and watcher`, value: (cpu / all) * 1e6, unit: "us", against: `${((cpu / seconds) * 100).toFixed(0)} % of a core` });
}

const object = (name: string, i: number): string =>
  JSON.stringify({ apiVersion: "v1", kind: "ConfigMap", metadata: { name }, data: { i: String(i), note: "n".repeat(500) } });

async function revision({ port, tls }: ApiServerProcess): Promise<string> {
  const connection = await open({ port, tls }, true);
  const { body } = await connection.send(text("GET", `${maps}?limit=1`));
  connection.end();
  return /"resourceVersion":"(\d+)"/.exec(body!)![1]!;
}

/** Writes at an even pace, never two at a time; returns when each was acknowledged. */
async function write(rate: number, put: (i: number) => Promise<unknown>): Promise<number[]> {
  const acknowledged: number[] = [];
  const start = performance.now();
  for (let i = 1; i <= rate * SECONDS; i++) {
    const wait = start + (i * 1000) / rate - performance.now();
    if (wait > 0) await new Promise((resolve) => setTimeout(resolve, wait));
    await put(i);
    acknowledged.push(Number(process.hrtime.bigint()) / 1e6);
  }
  return acknowledged;
}

function answer(child: ChildProcess, key: keyof FromWatchers): Promise<FromWatchers> {
  return new Promise((resolve, reject) => {
    child.once("exit", (code) => reject(new Error(`the watchers ended with ${code}`)));
    child.on("message", (message: FromWatchers) => {
      if (message[key] !== undefined) resolve(message);
    });
  });
}
