/** Many objects: memory per object, LIST per object from 100 to 50,000 of them, and all of them in pages. */
import { open, text, type Connection } from "./load.ts";
import { load } from "./api.ts";
import { cpuSeconds, inBenchDir, pss, startApi, type ApiServerProcess } from "./process.ts";
import { record } from "./report.ts";

const PODS = 50_000;
const PAGE = 500;
const pods = "/api/v1/namespaces/default/pods";

export const benchScale = (): Promise<void> => inBenchDir(measure);

async function measure(dir: string): Promise<void> {
  const port = 17463;
  const first = await startApi(dir, port);
  const idle = pss(first.child.pid!);
  const { requests, seconds } = await load({ port, tls: first.tls, clients: 32, seconds: 600, requests: PODS, kind: "create", path: pods, prefix: "s" });
  record({ name: `${PODS} durable creates in a row, 32 clients`, value: requests / seconds, unit: "/s" });
  await memory(first, idle, "after creating them");
  await lists(first);
  await memory(first, idle, "after the lists");
  await first.stop();
  const again = await startApi(dir, port);
  record({ name: `exec to /readyz with ${PODS} pods stored`, value: again.readyAfter, unit: "ms" });
  await memory(again, idle, "after a restart");
  await again.stop();
}

/** Bytes of a LIST over all, per object. */
let json = 0;

async function memory({ child, port, tls }: ApiServerProcess, idle: number, when: string): Promise<void> {
  if (json === 0) {
    const connection = await open({ port, tls });
    json = (await connection.send(text("GET", `${pods}?limit=1000`))).bytes / 1000;
    connection.end();
  }
  const now = pss(child.pid!);
  const ratio = ((now - idle) * 1024 * 1024) / PODS / json;
  record({ name: `memory (PSS) with ${PODS} pods, ${when}`, value: now, unit: "MiB", goal: "< 600 MiB", met: now < 600, against: `${(json / 1024).toFixed(1)} KiB of JSON each` });
  record({ name: "  of it for each pod, as a multiple of its JSON", value: ratio, unit: "x", goal: "<= 3 x", met: ratio <= 3 });
}

async function lists(server: ApiServerProcess): Promise<void> {
  const connection = await open(server);
  const pid = server.child.pid!;
  for (const count of [100, 1000, 10_000, PODS]) {
    const { cpu, ms } = await repeated(pid, Math.max(1, Math.round(PODS / count)), () => connection.send(text("GET", `${pods}?limit=${count}`)));
    record({ name: `LIST of ${count}, CPU per object`, value: (cpu / count) * 1e6, unit: "us", against: `${ms.toFixed(1)} ms each` });
  }
  await paged(server, "", () => Promise.resolve());
  let written = 0;
  const write = () => text("PATCH", `${pods}/s-0-0/status`, `{"status":{"message":"written ${written++} times"}}`, "application/merge-patch+json");
  await paged(server, ", a pod written before each", async () => {
    if ((await connection.send(write())).status !== 200) throw new Error("the pod could not be written");
  });
  connection.end();
}

async function repeated(pid: number, times: number, step: () => Promise<unknown>): Promise<{ cpu: number; ms: number }> {
  await step();
  const [before, start] = [cpuSeconds(pid), performance.now()];
  for (let i = 0; i < times; i++) await step();
  return { cpu: (cpuSeconds(pid) - before) / times, ms: (performance.now() - start) / times };
}

/** A list in pages, and what it costs for each object. */
async function paged(server: ApiServerProcess, how: string, before: () => Promise<void>): Promise<void> {
  const connection: Connection = await open(server, true);
  const [cpu, start] = [cpuSeconds(server.child.pid!), performance.now()];
  let [pages, next] = [0, ""];
  do {
    await before();
    const { body } = await connection.send(text("GET", `${pods}?limit=${PAGE}${next && `&continue=${next}`}`));
    next = /"continue":"([^"]+)"/.exec(body!.slice(0, 2000))?.[1] ?? "";
    pages++;
  } while (next);
  const ms = performance.now() - start;
  const each = ((cpuSeconds(server.child.pid!) - cpu) / PODS) * 1e6;
  record({ name: `all ${PODS} in pages of ${PAGE}${how}, CPU per object`, value: each, unit: "us", against: `${pages} pages, ${ms.toFixed(0)} ms` });
  connection.end();
}
