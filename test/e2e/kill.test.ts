/** kill -9 while 32 clients write, 50 times over: nothing acknowledged is lost, nothing is half there, no revision comes twice. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { freePort } from "@k3s-p/plugin-api/testing";
import { startApiProcess, type ApiProcess } from "../kit/api-process.ts";

/** Two servers die in turn: while one starts, the other works. */
const SERVERS = 2;
const LIVES = 25;
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

/** All that is known of one server over its lives. */
interface World {
  readonly writers: readonly Known[];
  /** Revision -> what was acknowledged or seen under it. */
  readonly given: Map<number, string>;
  /** Revisions that the watch has shown. */
  readonly seen: Set<number>;
  readonly wrong: string[];
  acknowledged: number;
  numbers: number;
}

const newWorld = (): World => ({
  writers: Array.from({ length: WRITERS }, () => ({ revision: 0, done: 0, asked: undefined })),
  given: new Map(), seen: new Set(), wrong: [], acknowledged: 0, numbers: 0,
});

const stateText = (number: number): string => `state ${number} `.repeat(100);
const objectOf = (writer: number, number: number, revision?: number): object => ({
  apiVersion: "v1", kind: "ConfigMap",
  metadata: { name: `w${writer}`, namespace: "default", labels: { test: "kill" }, ...(revision && { resourceVersion: String(revision) }) },
  data: { number: String(number), text: stateText(number) },
});

function note({ given, wrong }: World, revision: number, what: string): void {
  if ((given.get(revision) ?? what) !== what) wrong.push(`${revision} was given to ${given.get(revision)} and to ${what}`);
  given.set(revision, what);
}

/** Creates, updates and deletes one object in turn until the server is gone. */
async function writeUntilDead(world: World, api: ApiProcess, index: number): Promise<void> {
  const known = world.writers[index]!;
  for (;;) {
    const isDelete = known.done !== 0 && world.numbers % 5 === 0;
    const number = ++world.numbers;
    known.asked = isDelete ? 0 : number;
    const answer = await (isDelete ? api.request("DELETE", `${maps}/w${index}`)
      : known.done === 0 ? api.request("POST", maps, objectOf(index, number))
      : api.request("PUT", `${maps}/w${index}`, objectOf(index, number, known.revision))).catch(() => undefined);
    if (!answer) return;
    if (answer.status >= 300) return void world.wrong.push(JSON.stringify(answer.body));
    world.acknowledged++;
    known.done = known.asked;
    known.asked = undefined;
    if (isDelete) continue;
    known.revision = Number(answer.body.metadata.resourceVersion);
    note(world, known.revision, `w${index} ${number}`);
  }
}

/** The state of each object is the acknowledged one or the one that was asked for, whole. */
function compare(world: World, items: readonly any[]): void {
  const stored = new Map(items.map((item) => [item.metadata.name as string, item]));
  for (const [index, known] of world.writers.entries()) {
    const item = stored.get(`w${index}`);
    const number = item ? Number(item.data.number) : 0;
    expect([known.done, known.asked], `w${index} after an acknowledged write`).toContain(number);
    if (item) {
      expect(item.data.text).toBe(stateText(number));
      known.revision = Number(item.metadata.resourceVersion);
      note(world, known.revision, `w${index} ${number}`);
    }
    known.done = number;
    known.asked = undefined;
  }
}

test.concurrent.for(Array.from({ length: SERVERS }, (_, i) => i + 1))(`${LIVES} lives of a server under ${WRITERS} writers (%d of ${SERVERS})`, { timeout: 600_000 }, async (_, { onTestFinished }) => {
  const dir = mkdtempSync(join(tmpdir(), "k3sp-kill-"));
  let server: ApiProcess | undefined;
  onTestFinished(async () => {
    await server?.stop("SIGKILL");
    rmSync(dir, { recursive: true, force: true });
  });
  const world = newWorld();
  const { writers, given, seen, wrong } = world;
  const port = await freePort();
  let highest = 0;
  let watchFrom = 0;
  for (let life = 0; life < LIVES; life++) {
    const api = (server = await startApiProcess({ dir, port }));
    const { body: list } = await api.request("GET", `${maps}?labelSelector=test%3Dkill`);
    expect(Number(list.metadata.resourceVersion)).toBeGreaterThan(highest);
    compare(world, list.items);
    highest = Number(list.metadata.resourceVersion);
    watchFrom ||= highest;
    const watching = api.watch(`${maps}?watch=1&labelSelector=test%3Dkill&resourceVersion=${watchFrom}`, ({ type, object }) => {
      const revision = Number(object.metadata?.resourceVersion);
      if (type === "ERROR" || !(revision > watchFrom)) return void wrong.push(`${type} after ${watchFrom}: ${JSON.stringify(object)}`);
      watchFrom = revision;
      seen.add(revision);
      if (type !== "DELETED") note(world, revision, `${object.metadata.name} ${object.data.number}`);
    });
    const enough = world.acknowledged + 25 + Math.floor(Math.random() * 40);
    const writing = writers.map((_, index) => writeUntilDead(world, api, index));
    while (world.acknowledged < enough && wrong.length === 0) await new Promise((resolve) => setTimeout(resolve, 5));
    expect(await api.stop("SIGKILL")).toBe(137);
    await Promise.all([...writing, watching]);
    expect(wrong).toEqual([]);
    highest = Math.max(highest, ...writers.map((known) => known.revision));
  }
  const api = (server = await startApiProcess({ dir, port }));
  compare(world, (await api.request("GET", `${maps}?labelSelector=test%3Dkill`)).body.items);
  expect(world.acknowledged).toBeGreaterThan(LIVES * 20);
  // It was resumed in each life where it had been cut, so it has seen every revision up to its last.
  const first = Math.min(...seen);
  expect([...given.keys()].filter((revision) => revision > first && revision < watchFrom && !seen.has(revision))).toEqual([]);
  expect(seen.size).toBeGreaterThan(LIVES * 10);
});
