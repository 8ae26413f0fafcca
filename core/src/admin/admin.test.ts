import { mkdtempSync, rmSync, statSync } from "node:fs";
import { createConnection } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { k3spError, type Logger } from "@k3s-p/plugin-api";
import { ask } from "./client.ts";
import { createLogBook } from "./logs.ts";
import { adminSocket } from "./path.ts";
import { listenAdmin } from "./server.ts";
import type { Operations } from "./operations.ts";

async function serve(operations: Operations): Promise<string> {
  const dir = mkdtempSync(join(tmpdir(), "admin-"));
  const server = await listenAdmin(join(dir, "run/k3s-p.sock"), operations);
  onTestFinished(async () => {
    await server.close();
    rmSync(dir, { recursive: true });
  });
  return server.path;
}

test("a request gets events, then its result, over a socket that only its owner may use", async () => {
  const path = await serve({ async count({ name }, { send }) {
    send(1);
    send(2);
    return `counted ${name}`;
  } });
  const events: unknown[] = [];
  expect([await ask(path, { op: "count", name: "x" }, (e) => void events.push(e)), events]).toEqual(["counted x", [1, 2]]);
  expect(statSync(path).mode & 0o777).toBe(0o600);
});

test("a catalogued error comes back as it was", async () => {
  const path = await serve({ fail: () => Promise.reject(k3spError("K3SP_PLUGIN_NEEDED", { message: "no", detail: ["a"], fix: "b" })) });
  await expect(ask(path, { op: "fail" })).rejects.toMatchObject({ code: "K3SP_PLUGIN_NEEDED", message: "no", detail: ["a"], fix: "b" });
});

test("an operation that is not known is refused", async () => {
  const path = await serve({});
  await expect(ask(path, { op: "toString" })).rejects.toMatchObject({ code: "K3SP_COMMAND_UNKNOWN" });
});

test("no server: says so", async () => {
  await expect(ask("/nowhere/k3s-p.sock", { op: "list" })).rejects.toMatchObject({ code: "K3SP_SERVER_NOT_RUNNING", message: "no server answers at /nowhere/k3s-p.sock" });
});

test("a follower that leaves ends its operation", async () => {
  const ended = Promise.withResolvers<void>();
  const path = await serve({ follow: (_, { send, signal }) => new Promise(() => {
    signal.addEventListener("abort", () => ended.resolve());
    send("here");
  }) });
  const socket = createConnection(path, () => socket.write('{"op":"follow"}\n'));
  socket.once("data", () => socket.destroy());
  await ended.promise;
});

test("servers with other data folders have other sockets", () => {
  expect(adminSocket({ run: "/run/k3s", dataDir: "/var/lib/rancher/k3s" })).toBe("/run/k3s/k3s-p.sock");
  expect(adminSocket({ run: "/run/k3s", dataDir: "/srv/a" })).not.toBe(adminSocket({ run: "/run/k3s", dataDir: "/srv/b" }));
});

test("the log book keeps the last 200 lines of each plugin, with their fields", () => {
  const quiet = { trace() {}, debug() {}, info() {}, warn() {}, error() {} } as Logger;
  const book = createLogBook(() => quiet, () => new Date(0));
  const followed: string[] = [];
  const end = book.follow("a", (line) => followed.push(line.message));
  for (let i = 0; i < 250; i++) book.log("a").info(`line ${i}`);
  end();
  book.log("a").warn({ pod: "x", err: new Error("boom") }, "failed");
  book.log("b").info("other");
  expect([book.last("a").length, book.last("a").at(-1), followed.length, book.last("b")]).toEqual([
    200, { time: "1970-01-01T00:00:00.000Z", level: "warn", message: "failed pod=x boom" }, 250,
    [{ time: "1970-01-01T00:00:00.000Z", level: "info", message: "other" }],
  ]);
});
