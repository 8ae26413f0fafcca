import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { EventEmitter } from "node:events";
import { Readable } from "node:stream";
import type { ApiResponse } from "./request.ts";
import { adminUser, startTestServer, type TestServer } from "./testing.ts";

const CM = "/api/v1/namespaces/default/configmaps";
const merge = { "content-type": "application/merge-patch+json" };

let api: TestServer;
beforeEach(async () => void (api = await startTestServer()));
afterEach(() => api.close());

/** A client that keeps what it gets, line by line. */
class Watcher extends EventEmitter {
  statusCode = 0;
  headersSent = false;
  writableEnded = false;
  writableLength = 0;
  destroyed = false;
  events: any[] = [];
  writeHead(status: number): void {
    this.statusCode = status;
    this.headersSent = true;
  }
  setHeader(): void {}
  getHeader(): void {}
  flushHeaders(): void {}
  write(chunk: Buffer | string): boolean {
    for (const line of chunk.toString().trim().split("\n")) this.events.push(JSON.parse(line));
    return true;
  }
  end(chunk?: Buffer | string): void {
    if (chunk) this.write(chunk);
    this.writableEnded = true;
    this.emit("close");
  }
  destroy(): void {
    this.destroyed = true;
    this.emit("close");
  }
  get seen(): string[] {
    return this.events.map(({ type, object }) => `${type} ${object.metadata?.name ?? object.reason ?? ""}`);
  }
}

function watch(url: string, headers: Record<string, string> = {}): Watcher {
  const watcher = new Watcher();
  void api.handler.handle(
    { method: "GET", url, headers, stream: Readable.from([]), remoteAddress: "", user: adminUser },
    watcher as unknown as ApiResponse,
  );
  return watcher;
}

/** Watchers get their events at the end of the turn. */
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
const http = async (...args: Parameters<TestServer["http"]>): ReturnType<TestServer["http"]> => {
  const answer = await api.http(...args);
  await turn();
  return answer;
};
const create = (name: string, labels: object = {}): Promise<any> => http("POST", CM, { metadata: { name, labels } });
const revision = async (): Promise<string> => (await api.http("GET", CM)).body.metadata.resourceVersion;

describe("a watch", () => {
  test("without resourceVersion begins with what is there", async () => {
    await create("a");
    const watcher = watch(`${CM}?watch=true`);
    await create("b");
    await http("PATCH", `${CM}/a`, { data: { x: "1" } }, merge);
    await http("DELETE", `${CM}/b`);
    expect(watcher.seen).toEqual(["ADDED a", "ADDED b", "MODIFIED a", "DELETED b"]);
    const revisions = watcher.events.map(({ object }) => Number(object.metadata.resourceVersion));
    expect(revisions).toEqual([...revisions].sort((x, y) => x - y));
    expect(new Set(revisions).size).toBe(4);
  });

  test("from a list's resourceVersion sees exactly what came after it", async () => {
    await create("a");
    const from = await revision();
    await create("b");
    const watcher = watch(`${CM}?watch=1&resourceVersion=${from}`);
    await create("c");
    expect(watcher.seen).toEqual(["ADDED b", "ADDED c"]);
  });

  test("of one namespace does not see others", async () => {
    await http("POST", "/api/v1/namespaces", { metadata: { name: "other" } });
    const watcher = watch(`${CM}?watch=1&resourceVersion=${await revision()}`);
    const all = watch(`/api/v1/configmaps?watch=1&resourceVersion=${await revision()}`);
    await http("POST", "/api/v1/namespaces/other/configmaps", { metadata: { name: "x" } });
    expect([watcher.seen, all.seen]).toEqual([[], ["ADDED x"]]);
  });

  test("with a selector shows what enters as added and what leaves as deleted", async () => {
    await create("a", { on: "yes" });
    const watcher = watch(`${CM}?watch=1&labelSelector=on%3Dyes&resourceVersion=${await revision()}`);
    await create("b");
    await http("PATCH", `${CM}/b`, { metadata: { labels: { on: "yes" } } }, merge);
    const { body } = await http("PATCH", `${CM}/a`, { metadata: { labels: { on: "no" } } }, merge);
    await http("PATCH", `${CM}/a`, { data: { x: "1" } }, merge);
    await http("DELETE", `${CM}/a`);
    await http("DELETE", `${CM}/b`);
    expect(watcher.seen).toEqual(["ADDED b", "DELETED a", "DELETED b"]);
    expect(watcher.events[1].object.metadata).toMatchObject({ labels: { on: "yes" }, resourceVersion: body.metadata.resourceVersion });
  });

  test("of one name by field selector", async () => {
    const watcher = watch(`${CM}?watch=1&fieldSelector=metadata.name%3Db`);
    await create("a");
    await create("b");
    expect(watcher.seen).toEqual(["ADDED b"]);
  });

  test("from beyond the window of history gets one ERROR with 410 and ends", async () => {
    await create("a");
    const from = await revision();
    await create("b");
    await api.engine.store.compact(api.engine.store.revision);
    const watcher = watch(`${CM}?watch=1&resourceVersion=${Number(from) - 1}`);
    await new Promise((resolve) => setImmediate(resolve));
    expect(watcher.statusCode).toBe(200);
    expect(watcher.events).toMatchObject([{ type: "ERROR", object: { kind: "Status", code: 410, reason: "Expired" } }]);
    expect(watcher.writableEnded).toBe(true);
  });

  /** Creates objects until a revision is passed; the server may write, too. */
  async function createBeyond(wanted: number): Promise<{ readonly name: string; readonly revision: number }[]> {
    const created = [];
    for (let last = 0, i = 0; last <= wanted; i++) {
      const { metadata } = (await create(`c-${i}`)).body;
      last = Number(metadata.resourceVersion);
      created.push({ name: metadata.name as string, revision: last });
    }
    return created;
  }

  test("from a version that is not reached yet hears how far it is, and what comes after that version", async () => {
    const from = Number(await revision()) + 60;
    const watcher = watch(`${CM}?watch=1&allowWatchBookmarks=true&resourceVersion=${from}`);
    const quiet = watch(`${CM}?watch=1&resourceVersion=${from}`);
    const expected = (await createBeyond(from + 5)).filter((each) => each.revision > from).map(({ name }) => `ADDED ${name}`);
    expect([watcher.seen, quiet.seen]).toEqual([["BOOKMARK ", ...expected], expected]);
    expect(Number(watcher.events[0].object.metadata.resourceVersion)).toBeLessThan(from);
  });

  test("with sendInitialEvents from such a version waits a little for it, or gets one ERROR with 504 and ends", async () => {
    const from = Number(await revision()) + 60;
    const initial = `${CM}?watch=1&sendInitialEvents=true&allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan`;
    const [soon, never, left] = [from, from + 1000, from + 1000].map((wanted) => watch(`${initial}&resourceVersion=${wanted}`)) as [Watcher, Watcher, Watcher];
    left.emit("close");
    await turn();
    expect(soon.seen).toEqual([]);
    const created = await createBeyond(from + 5);
    const isBookmark = ({ type }: { type: string }): boolean => type === "BOOKMARK";
    await expect.poll(() => soon.events.filter((event) => !isBookmark(event)).length).toBe(created.length);
    expect(Number(soon.events.find(isBookmark).object.metadata.resourceVersion)).toBeGreaterThanOrEqual(from);
    await expect.poll(() => never.writableEnded, { timeout: 5000 }).toBe(true);
    expect(never.events).toMatchObject([{ type: "ERROR", object: {
      code: 504, reason: "Timeout", message: expect.stringContaining(`Too large resource version: ${from + 1000}, current: `), details: { causes: [{ reason: "ResourceVersionTooLarge" }] },
    } }]);
    expect(left.events).toEqual([]);
  });

  test("gets a bookmark each minute, also when there is no news: a client takes silence for death", async () => {
    vi.useFakeTimers({ toFake: ["setInterval", "clearInterval"] });
    try {
      const from = await revision();
      const [watcher, quiet] = [watch(`${CM}?watch=1&allowWatchBookmarks=true&resourceVersion=${from}`), watch(`${CM}?watch=1&resourceVersion=${from}`)];
      vi.advanceTimersByTime(180_000);
      await turn();
      expect([watcher.seen, quiet.seen]).toEqual([["BOOKMARK ", "BOOKMARK ", "BOOKMARK "], []]);
      for (const each of [watcher, quiet]) each.emit("close");
      expect(vi.getTimerCount()).toBe(0);
    } finally {
      vi.useRealTimers();
    }
  });

  test("with sendInitialEvents ends the initial state with an annotated bookmark", async () => {
    await create("a");
    const watcher = watch(`${CM}?watch=1&sendInitialEvents=true&allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan`);
    await create("b");
    expect(watcher.seen).toEqual(["ADDED a", "BOOKMARK ", "ADDED b"]);
    expect(watcher.events[1].object).toMatchObject({
      kind: "ConfigMap", apiVersion: "v1", metadata: { annotations: { "k8s.io/initial-events-end": "true" } },
    });
    expect(Number(watcher.events[1].object.metadata.resourceVersion)).toBeGreaterThan(0);
  });

  test("refuses sendInitialEvents without resourceVersionMatch", async () => {
    const { status, body } = await http("GET", `${CM}?watch=1&sendInitialEvents=true`);
    expect([status, body.message]).toEqual([422, expect.stringContaining("sendInitialEvents requires setting resourceVersionMatch to NotOlderThan")]);
  });

  test("ends after timeoutSeconds with a last bookmark", async () => {
    const watcher = watch(`${CM}?watch=1&timeoutSeconds=1&allowWatchBookmarks=true&resourceVersion=${await revision()}`);
    await create("a");
    await expect.poll(() => watcher.writableEnded, { timeout: 3000 }).toBe(true);
    expect(watcher.seen).toEqual(["ADDED a", "BOOKMARK "]);
  });

  test("stops costing anything when the client goes", async () => {
    const collection = api.engine.store.collection({ group: "", plural: "configmaps" });
    const before = collection.watchers;
    const watcher = watch(`${CM}?watch=1`);
    expect(collection.watchers).toBe(before + 1);
    watcher.emit("close");
    expect(collection.watchers).toBe(before);
  });

  test("that is not read is cut off instead of buffered without end", async () => {
    const watcher = watch(`${CM}?watch=1&resourceVersion=${await revision()}`);
    watcher.writableLength = 100 << 20;
    await create("a");
    expect([watcher.destroyed, watcher.seen]).toEqual([true, []]);
  });

  test("as a table has the columns in the first event only", async () => {
    const watcher = watch(`${CM}?watch=1`, { accept: "application/json;as=Table;v=v1;g=meta.k8s.io" });
    await create("a");
    await create("b");
    expect(watcher.events.map(({ object }) => [object.kind, object.columnDefinitions?.length ?? 0, object.rows[0].cells[0]]))
      .toEqual([["Table", 3, "a"], ["Table", 0, "b"]]);
  });

  test("as metadata only", async () => {
    const watcher = watch(`${CM}?watch=1`, { accept: "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io" });
    await create("a");
    expect(watcher.events[0].object).toMatchObject({ kind: "PartialObjectMetadata", metadata: { name: "a" } });
    expect(watcher.events[0].object.data).toBeUndefined();
  });

  test("as protobuf frames for those who read nothing else", async () => {
    const frames: Buffer[] = [];
    const watcher = watch(`${CM}?watch=1`, { accept: "application/vnd.kubernetes.protobuf;stream=watch" });
    watcher.write = (chunk) => frames.push(chunk as Buffer) > 0;
    await expect.poll(() => watcher.headersSent).toBe(true);
    await create("a");
    expect(frames).toHaveLength(1);
    expect(frames[0]!.readUInt32BE(0)).toBe(frames[0]!.length - 4);
    expect(frames[0]!.includes("ADDED")).toBe(true);
    const list = await http("GET", CM, undefined, { accept: "application/vnd.kubernetes.protobuf" });
    expect([list.headers["content-type"], list.text.slice(0, 4)]).toEqual(["application/vnd.kubernetes.protobuf", "k8s\0"]);
  });

  test("many watchers of one resource share the very same bytes", async () => {
    const chunks: (Buffer | string)[] = [];
    const watchers = [watch(`${CM}?watch=1`), watch(`${CM}?watch=1`)];
    for (const watcher of watchers) watcher.write = (chunk) => chunks.push(chunk) > 0;
    await create("a");
    expect(chunks).toHaveLength(2);
    expect(chunks[0]).toBe(chunks[1]);
  });

  test("the same events reach concurrent watchers in the same order", async () => {
    const watchers = Array.from({ length: 5 }, () => watch(`${CM}?watch=1`));
    await Promise.all(Array.from({ length: 30 }, (_, i) => create(`n${i}`)));
    for (const watcher of watchers) expect(watcher.seen).toEqual(watchers[0]!.seen);
    expect(watchers[0]!.seen).toHaveLength(30);
  });
});
