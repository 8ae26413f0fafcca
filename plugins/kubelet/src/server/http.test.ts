import { EventEmitter, getEventListeners } from "node:events";
import { expect, it } from "vitest";
import { drained } from "./http.ts";

it("waits for a slow reader, leaves no listener behind, and gives up when the reader is gone", async () => {
  const res = new EventEmitter();
  const gone = new AbortController();
  for (let i = 0; i < 3; i++) {
    setImmediate(() => res.emit("drain"));
    await drained(res, gone.signal);
  }
  expect(getEventListeners(gone.signal, "abort")).toEqual([]);
  const waiting = drained(res, gone.signal);
  gone.abort();
  await waiting;
  await drained(res, gone.signal);
  expect(res.listenerCount("drain")).toBe(0);
});
