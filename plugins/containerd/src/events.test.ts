import { EventEmitter } from "node:events";
import { expect, it } from "vitest";
import type { RuntimeEvent } from "@k3s-p/plugin-api/slots";
import type { Envelope } from "./cri.ts";
import { decodeEvent, eventHub, stringField } from "./events.ts";

const text = (field: number, value: string) => Buffer.from([(field << 3) | 2, value.length, ...Buffer.from(value)]);
const number = (field: number, value: number) => Buffer.from([field << 3, value]);
const envelope = (topic: string, ...fields: Buffer[]): Envelope => ({ namespace: "k8s.io", topic, event: { typeUrl: "", value: Buffer.concat(fields) } });

it.each([
  ["/tasks/start", [text(1, "c1"), number(2, 99)], { type: "started", containerId: "c1" }],
  ["/tasks/exit", [text(1, "c1"), text(2, "c1"), number(3, 99)], { type: "exited", containerId: "c1" }],
  ["/tasks/oom", [text(1, "c1")], { type: "oom", containerId: "c1" }],
  ["/containers/create", [text(1, "c1"), text(2, "image")], { type: "created", containerId: "c1" }],
  ["/containers/delete", [text(1, "c1")], { type: "deleted", containerId: "c1" }],
])("decodes %s", (topic, fields, expected) => {
  expect(decodeEvent(envelope(topic, ...fields))).toEqual(expected);
});

it("ignores the end of an exec'ed process and topics of others", () => {
  expect(decodeEvent(envelope("/tasks/exit", text(1, "c1"), text(2, "exec-1")))).toBeUndefined();
  expect(decodeEvent(envelope("/images/create", text(1, "c1")))).toBeUndefined();
});

it("skips fields of every wire type and survives a cut message", () => {
  const fixed = Buffer.concat([Buffer.from([(3 << 3) | 1]), Buffer.alloc(8), Buffer.from([(4 << 3) | 5]), Buffer.alloc(4)]);
  expect(stringField(Buffer.concat([fixed, text(9, "x")]), 9)).toBe("x");
  expect(stringField(Buffer.from([0x0a]), 2)).toBeUndefined();
});

it("connects again after the stream ends, then asks for a fresh list", async () => {
  const streams: EventEmitter[] = [];
  const channel = {
    ready: async () => undefined,
    events: () => (streams.push(new EventEmitter()), Object.assign(streams.at(-1)!, { cancel: () => undefined }) as never),
  };
  const seen: RuntimeEvent[] = [];
  const hub = eventHub({ channel, settle: async () => undefined });
  const resynced = new Promise<void>((resolve) => void hub.subscribe((event) => seen.push(event), resolve));
  streams[0]!.emit("error", new Error("connection reset"));
  await resynced;
  streams[1]!.emit("data", envelope("/tasks/start", text(1, "c2")));
  await new Promise(setImmediate);
  expect(seen).toEqual([{ type: "started", containerId: "c2" }]);
  hub.stop();
});
