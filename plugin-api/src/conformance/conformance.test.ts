/** The suites themselves: they pass what keeps the promises, and name what breaks them. */
import { connect, createServer } from "node:net";
import { expect, test } from "vitest";
import { definePlugin, type Plugin } from "../plugin.ts";
import { datastore, dns, ingress, type Datastore } from "../slots/index.ts";
import { memoryDatastore } from "../testing-datastore.ts";
import { datastoreSuite } from "./datastore.ts";
import { dnsSuite } from "./dns.ts";
import { ingressSuite } from "./ingress.ts";
import { lifecycleSuite } from "./lifecycle.ts";
import type { Subject } from "./subject.ts";
import { NotApplicable, runSuite, test as define, type ConformanceTest } from "./suite.ts";

const subjectOf = (plugin: Plugin, provides: readonly string[] = [], id = "memory"): Subject => ({ id, folder: "", plugin, provides, config: {} });
const storeOf = (change: (store: Datastore) => Partial<Datastore>): Subject =>
  subjectOf(definePlugin({ provides: datastore, start: () => { const store = memoryDatastore(); return { ...store, ...change(store) }; } }), ["datastore"]);

async function failures(tests: readonly ConformanceTest[]): Promise<readonly string[]> {
  return (await runSuite(tests)).filter((r) => r.status === "failed").map((r) => r.name);
}

test("the datastore in memory keeps every promise", async () => {
  expect(await failures(datastoreSuite(storeOf(() => ({}))))).toEqual([]);
});

test.each<[string, (store: Datastore) => Partial<Datastore>, string]>([
  ["does not compare", (s) => ({ write: async (op) => {
    const now = (await s.range(op.key)).rows.find((row) => row.key === op.key);
    return s.write({ ...op, expect: now?.modRevision ?? 0 });
  } }), "compare-and-swap refuses a stale revision and shows the current row"],
  ["acknowledges before it tells", (s) => ({ watch: (after, fn) => s.watch(after, (changes) => void setTimeout(() => fn(changes), 1)) }), "a watcher has seen the change when the write resolves"],
  ["drops a change", (s) => ({ watch: (after, fn) => s.watch(after, (changes) => fn(changes.filter((c) => c.revision % 7 !== 0))) }), "every watcher sees the same order while writers race"],
  ["goes on telling", (s) => ({ watch: async (after, fn) => { await s.watch(after, fn); return () => {}; } }), "a watch that was ended gets nothing more"],
  ["forgets compaction", (s) => ({ compact: async () => {}, compactedRevision: () => 0, watch: (after, fn) => s.watch(Math.max(after, 0), fn) }), "compaction: older revisions cannot be watched from nor read, live keys stay"],
  ["knows no past", (s) => ({ range: async (prefix) => s.range(prefix) }), "a range of the past shows the rows as they were then"],
  ["forgets what was replaced", (s) => ({ history: (limit, fn) => s.history!(limit, (all) => fn(all.map((c) => ({ ...c, previous: undefined })))) }), "if it has a history: the last changes, each with the row that it replaced"],
  ["restores over what is there", (s) => ({ restore: async (_, parts) => { for await (const part of parts) for (const { key, value } of part) await s.write({ key, value, expect: 0 }); } }), "if it can be restored: the given rows take the place of all, with their revisions and without history"],
  ["does not sort", (s) => ({ range: async (prefix) => { const { revision, rows } = await s.range(prefix); return { revision, rows: [...rows].reverse() }; } }), "a range is sorted by key, keeps to its prefix, and names its revision"],
])("a datastore that %s is found out", async (_, change, name) => {
  expect(await failures(datastoreSuite(storeOf(change)))).toContain(name);
});

test("a plugin that leaks a timer, one that leaks a server, and one that ignores the abort are found out", async () => {
  const leaky = definePlugin({ start: () => void setTimeout(() => {}, 1 << 30).unref() });
  const only = (plugin: Plugin, start: string) => failures(lifecycleSuite(subjectOf(plugin)).filter((t) => t.name.startsWith(start)));
  expect(await only(leaky, "starting")).toEqual(["starting and stopping 20 times leaks no timer, socket, server, watcher or process"]);
  const open = definePlugin({ start: async () => void createServer().listen(0, "127.0.0.1").unref() });
  expect(await only(open, "starting")).toHaveLength(1);
  const deaf = definePlugin({ start: () => new Promise<void>((resolve) => void setTimeout(resolve, 1_500)) });
  expect(await only(deaf, "an abort")).toEqual(["an abort during the start is honoured within 1 s and leaves nothing"]);
}, 60_000);

test("a plugin that is tidy passes, also with sockets", async () => {
  const tidy = definePlugin({
    async start(ctx) {
      const server = createServer((socket) => socket.end("hello")).listen(0, "127.0.0.1");
      await new Promise((resolve) => server.once("listening", resolve));
      ctx.defer(() => new Promise<void>((resolve) => server.close(() => resolve())));
      const timer = setInterval(() => {}, 1000);
      ctx.defer(() => clearInterval(timer));
      const socket = connect((server.address() as { port: number }).port, "127.0.0.1");
      ctx.defer(() => void socket.destroy());
      await new Promise((resolve) => socket.once("data", resolve));
    },
  });
  expect(await failures(lifecycleSuite(subjectOf(tidy)))).toEqual([]);
});

test("a dns and an ingress that answer nothing fail, and do not hang the run", async () => {
  const silent = definePlugin({ provides: dns, start: () => ({ address: "127.0.0.1", port: 9 }) });
  expect((await failures(dnsSuite(subjectOf(silent, ["dns"])).slice(0, 2))).length).toBe(2);
  const closed = definePlugin({ provides: ingress, start: () => ({ httpPort: 9, ingressClass: "x" }) });
  expect((await failures(ingressSuite(subjectOf(closed, ["ingress"])).slice(0, 1))).length).toBe(1);
});

test("what the machine lacks is skipped with its reason, and undo steps run also after a failure", async () => {
  const undone: string[] = [];
  const fails = define("fails", [], (ctx) => {
    ctx.defer(() => void undone.push("first"));
    ctx.defer(() => void undone.push("second"));
    throw new Error("expected");
  });
  const [result] = await runSuite([fails]);
  expect([result?.status, result?.reason, undone]).toEqual(["failed", "expected", ["second", "first"]]);
  const [other] = await runSuite([define("other", [], () => { throw new NotApplicable("there is no such thing here"); })]);
  expect([other?.status, other?.reason]).toEqual(["skipped", "there is no such thing here"]);
});
