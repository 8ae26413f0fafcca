import { MessageChannel } from "node:worker_threads";
import { expect, onTestFinished, test } from "vitest";
import { k3spError } from "../errors.ts";
import { createBridge, type Bridge } from "./bridge.ts";

/** Two bridges over a real structured-clone channel. */
function pair(near: Record<string, (...args: any[]) => unknown>, far: Record<string, (...args: any[]) => unknown>): readonly [Bridge, Bridge] {
  const { port1, port2 } = new MessageChannel();
  onTestFinished(() => port1.close());
  const over = (port: typeof port1) => ({
    send: (message: unknown) => port.postMessage(message),
    onMessage: (fn: (message: unknown) => void) => void port.on("message", fn),
  });
  return [createBridge(over(port1), near), createBridge(over(port2), far)];
}

test("data, functions, promises and signals cross, and functions can be called back", async () => {
  const heard: unknown[] = [];
  const [near] = pair({}, {
    async work(input: { n: bigint; bytes: Uint8Array; tell: (x: unknown) => Promise<string>; later: Promise<number>; signal: AbortSignal }) {
      heard.push(await input.tell(input.n + 1n), await input.later);
      input.signal.addEventListener("abort", () => heard.push("aborted"));
      return { bytes: input.bytes, twice: (n: number) => n * 2 };
    },
  });
  const abort = new AbortController();
  const result = (await near.remote("work")({
    n: 1n, bytes: new Uint8Array([1, 2]), tell: (x: unknown) => `told ${x}`, later: Promise.resolve(7), signal: abort.signal,
  })) as { bytes: Uint8Array; twice: (n: number) => Promise<number> };
  expect([await result.twice(21), [...result.bytes], heard]).toEqual([42, [1, 2], ["told 2", 7]]);
  abort.abort();
  await result.twice(1);
  expect(heard.at(-1)).toBe("aborted");
});

test("what returns its undoing can be undone at once, as if it were local", async () => {
  let subscribed = 0;
  const [near] = pair({}, { source: () => ({ subscribe: () => (subscribed++, () => void subscribed--) }) });
  const source = (await near.remote("source")()) as { subscribe: () => () => Promise<void> };
  const end = source.subscribe();
  await end();
  expect(subscribed).toBe(0);
});

test("errors keep their code, their fix and their own fields", async () => {
  const [near] = pair({}, {
    catalogued: () => { throw k3spError("K3SP_PORT_IN_USE", { message: "6443 is in use", detail: ["by x"], fix: "stop x" }); },
    system: () => { throw Object.assign(new Error("gone"), { code: "ENOENT", status: { reason: "NotFound" } }); },
  });
  await expect(near.remote("catalogued")()).rejects.toMatchObject({ code: "K3SP_PORT_IN_USE", message: "6443 is in use", detail: ["by x"], fix: "stop x" });
  await expect(near.remote("system")()).rejects.toMatchObject({ message: "gone", code: "ENOENT", status: { reason: "NotFound" } });
  await expect(near.remote("nothing")()).rejects.toThrow("no function nothing on this side");
});

test("when the other side has gone, calls under way and later ones reject with the reason", async () => {
  const [near] = pair({}, { never: () => new Promise(() => {}) });
  const pending = near.remote("never")();
  near.close(new Error("gone"));
  await expect(pending).rejects.toThrow("gone");
  await expect(near.remote("never")()).rejects.toThrow("gone");
});
