import { Duplex } from "node:stream";
import { constants, inflateSync } from "node:zlib";
import { describe, expect, test } from "vitest";
import { startSession } from "./spdy.ts";

/** A socket whose written bytes are kept and whose read bytes the test pushes. */
function socket() {
  const written: Buffer[] = [];
  const made = new Duplex({ read() {}, write(chunk, _, done) { written.push(chunk); done(); } });
  return { made, written };
}

const u32 = (value: number): Buffer => Buffer.from([value >>> 24, value >>> 16, value >>> 8, value]);
const dataFrame = (id: number, text: string, flags = 0): Buffer => Buffer.concat([u32(id), u32(flags * 0x1000000 + text.length), Buffer.from(text)]);
const controlFrame = (type: number, payload: Buffer): Buffer => Buffer.concat([u32(0x80030000 + type), u32(payload.length), payload]);
const settled = () => new Promise((resolve) => setImmediate(resolve));

describe("a SPDY session", () => {
  test("opens streams with odd ids and headers that any zlib reads", () => {
    const { made, written } = socket();
    const session = startSession(made, Buffer.alloc(0));
    session.open({ streamType: "stdin" }, {});
    session.open({ streamType: "error" }, {});
    expect(written.map((frame) => [frame.readUInt32BE(0), frame.readUInt32BE(4) + 8 - frame.length, frame.readUInt32BE(8)]))
      .toEqual([[0x80030001, 0, 1], [0x80030001, 0, 3]]);
    // One compressed stream runs through all header blocks.
    const blocks = Buffer.concat(written.map((frame) => frame.subarray(18)));
    const pair = (name: string, value: string): Buffer => Buffer.concat([u32(1), u32(name.length), Buffer.from(name), u32(value.length), Buffer.from(value)]);
    expect(inflateSync(blocks, { finishFlush: constants.Z_SYNC_FLUSH })).toEqual(Buffer.concat([pair("streamtype", "stdin"), pair("streamtype", "error")]));
  });

  test("gives each stream its bytes and its end, in whatever pieces they come", async () => {
    const frames = Buffer.concat([dataFrame(1, "hello "), controlFrame(2, Buffer.alloc(12)), dataFrame(3, "other"), dataFrame(1, "world", 1), controlFrame(3, Buffer.concat([u32(3), u32(1)]))]);
    for (let size = 1; size <= frames.length; size++) {
      const { made } = socket();
      const session = startSession(made, Buffer.alloc(0));
      const seen: [string, string] = ["", ""];
      for (const i of [0, 1] as const) session.open({}, { data: (chunk) => (seen[i] += chunk), end: () => (seen[i] += "|") });
      for (let at = 0; at < frames.length; at += size) made.push(frames.subarray(at, at + size));
      await settled();
      expect(seen, `pieces of ${size}`).toEqual(["hello world|", "other|"]);
    }
  });

  test("answers a ping with its own id", async () => {
    const { made, written } = socket();
    startSession(made, Buffer.alloc(0));
    made.push(controlFrame(6, u32(42)));
    await settled();
    expect(written).toEqual([controlFrame(6, u32(42))]);
  });

  test.each([["a control frame without end", controlFrame(4, Buffer.alloc(70_000))], ["another version", Buffer.from([0x80, 2, 0, 1, 0, 0, 0, 0])]])("%s ends it", async (_, bytes) => {
    const { made } = socket();
    const session = startSession(made, Buffer.alloc(0));
    made.push(bytes);
    await session.closed;
    expect(made.destroyed).toBe(true);
  });
});
