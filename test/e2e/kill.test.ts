/** kill -9 while 32 clients write, 50 times over: nothing acknowledged is lost, nothing is half there, no revision comes twice. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { freePort } from "@k3s-p/plugin-api/testing";
import { startApiProcess, type ApiProcess } from "../kit/api-process.ts";

const LIVES = 50;
const WRITERS = 32;
const maps = "/api/v1/namespaces/default/configmaps";

/** What a writer knows of its object: the last acknowledged state, and the state that it has asked for. */
interface Known {
  revision: number;
  /** Number of the state that was acknowledged; 0 = deleted or never made. */
  done: number;
  /** Number that is on its way: it is there or not, and nobody knows. */
  asked: number | undefined;
}

const dir = mkdtempSync(join(tmpdir(), "k3sp-kill-"));
let server: ApiProcess | undefined;
afterAll(async () => {
  await server?.stop("SIGKILL");
  rmSync(dir, { recursive: true, force: true });
});

const writers: readonly Known[] = Array.from({ length: WRITERS }, () => ({ revision: 0, done: 0, asked: undefined }));
/** Revision -> what was acknowledged or seen under it. */
const given = new Map<number, string>();
/** Revisions that the watch has shown. */
const seen = new Set<number>();
const wrong: string[] = [];
let acknowledged = 0;
let numbers = 0;

const stateText = (number: number): string => `state ${number} `.repeat(100);
const objectOf = (writer: number, number: number, revision?: number): object => ({
  apiVersion: "v1", kind: "ConfigMap",
  metadata: { name: `w${writer}`, namespace: "default", labels: { test: "kill" }, ...(revision && { resourceVersion: String(revision) }) },
  data: { number: String(number), text: stateText(number) },
});

function note(revision: number, what: string): void {
  if ((given.get(revision) ?? what) !== what) wrong.push(`${revision} was given to ${given.get(revision)} and to ${what}`);
  given.set(revision, what);
}

/** Creates, updates and deletes one object in turn until the server is gone. */
async function writeUntilDead(api: ApiProcess, index: number): Promise<void> {
  const known = writers[index]!;
  for (;;) {
    const isDelete = known.done !== 0 && numbers % 5 === 0;
    const number = ++numbers;
    known.asked = isDelete ? 0 : number;
    const answer = await (isDelete ? api.request("DELETE", `${maps}/w${index}`)
      : known.done === 0 ? api.request("POST", maps, objectOf(index, number))
      : api.request("PUT", `${maps}/w${index}`, objectOf(index, number, known.revision))).catch(() => undefined);
    if (!answer) return;
    if (answer.status >= 300) return void wrong.push(JSON.stringify(answer.body));
    acknowledged++;
    known.done = known.asked;
    known.asked = undefined;
    if (isDelete) continue;
    known.revision = Number(answer.body.metadata.resourceVersion);
    note(known.revision, `w${index} ${number}`);
  }
}

/** The state of each object is the acknowledged one or the one that was asked for, whole. */
function compare(items: readonly any[]): void {
  const stored = new Map(items.map((item) => [item.metadata.name as string, item]));
  for (const [index, known] of writers.entries()) {
    const item = stored.get(`w${index}`);
    const number = item ? Number(item.data.number) : 0;
    expect([known.done, known.asked], `w${index} after an acknowledged write`).toContain(number);
    if (item) {
      expect(item.data.text).toBe(stateText(number));
      known.revision = Number(item.metadata.resourceVersion);
      note(known.revision, `w${index} ${number}`);
    }
    known.done = number;
    known.asked = undefined;
  }
}

test(`${LIVES} lives of a server under ${WRITERS} writers`, async () => {
  const port = await freePort();
  let highest = 0;
  let watchFrom = 0;
  for (let life = 0; life < LIVES; life++) {
    const api = (server = await startApiProcess({ dir, port }));
    const { body: list } = await api.request("GET", `${maps}?labelSelector=test%3Dkill`);
    expect(Number(list.metadata.resourceVersion)).toBeGreaterThan(highest);
    compare(list.items);
    highest = Number(list.metadata.resourceVersion);
    watchFrom ||= highest;
    const watching = api.watch(`${maps}?watch=1&labelSelector=test%3Dkill&resourceVersion=${watchFrom}`, ({ type, object }) => {
      const revision = Number(object.metadata?.resourceVersion);
      if (type === "ERROR" || !(revision > watchFrom)) return void wrong.push(`${type} after ${watchFrom}: ${JSON.stringify(object)}`);
      watchFrom = revision;
      seen.add(revision);
      if (type !== "DELETED") note(revision, `${object.metadata.name} ${object.data.number}`);
    });
    const enough = acknowledged + 25 + Math.floor(Math.random() * 40);
    const writing = writers.map((_, index) => writeUntilDead(api, index));
    while (acknowledged < enough && wrong.length === 0) await new Promise((resolve) => setTimeout(resolve, 5));
    expect(await api.stop("SIGKILL")).toBe(137);
    await Promise.all([...writing, watching]);
    expect(wrong).toEqual([]);
    highest = Math.max(highest, ...writers.map((known) => known.revision));
  }
  const api = (server = await startApiProcess({ dir, port }));
  compare((await api.request("GET", `${maps}?labelSelector=test%3Dkill`)).body.items);
  expect(acknowledged).toBeGreaterThan(LIVES * 20);
  // It was resumed in each life where it had been cut, so it has seen every revision up to its last.
  const first = Math.min(...seen);
  expect([...given.keys()].filter((revision) => revision > first && revision < watchFrom && !seen.has(revision))).toEqual([]);
  expect(seen.size).toBeGreaterThan(LIVES * 10);
}, 600_000);
