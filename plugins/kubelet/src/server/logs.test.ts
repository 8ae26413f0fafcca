import { appendFileSync, mkdtempSync, renameSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { beforeEach, describe, expect, it } from "vitest";
import { parseCriLine } from "./log-lines.ts";
import { streamLog, type LogOptions } from "./logs.ts";

const at = (second: number): string => new Date(Date.UTC(2026, 0, 1, 0, 0, second)).toISOString().replace("Z", "000000Z");
const record = (second: number, text: string, tag = "F", stream = "stdout"): string => `${at(second)} ${stream} ${tag} ${text}\n`;

let path: string;
let running: boolean;
let changed: () => void;
beforeEach(() => {
  path = join(mkdtempSync(join(tmpdir(), "logs-")), "0.log");
  running = false;
  changed = () => {};
});

function read(options: Partial<LogOptions> = {}, signal = new AbortController().signal): { done: Promise<void>; text: () => string } {
  let text = "";
  const source = { path, running: () => running, onChange: (fn: () => void) => ((changed = fn), () => {}) };
  const done = streamLog(source, { follow: false, timestamps: false, ...options }, async (part) => void (text += part), signal);
  return { done, text: () => text };
}
const all = async (options: Partial<LogOptions> = {}): Promise<string> => {
  const r = read(options);
  await r.done;
  return r.text();
};
const until = async (condition: () => boolean): Promise<void> => {
  for (let i = 0; i < 400 && !condition(); i++) await new Promise((resolve) => setTimeout(resolve, 5));
  expect(condition()).toBe(true);
};

describe("a record", () => {
  it("has time, stream, tag and content", () => {
    expect(parseCriLine("2026-01-01T00:00:00Z stderr P a b")).toEqual({ time: "2026-01-01T00:00:00Z", stream: "stderr", partial: true, content: "a b" });
    expect(parseCriLine("2026-01-01T00:00:00Z stdout F ")).toMatchObject({ content: "" });
    expect(parseCriLine("junk")).toBeUndefined();
  });
});

describe("a container's log", () => {
  it("joins partial records, and stamps a line once", async () => {
    writeFileSync(path, record(1, "a", "P") + record(1, "b", "F") + record(2, "c"));
    expect(await all()).toBe("ab\nc\n");
    expect(await all({ timestamps: true })).toBe(`${at(1)} ab\n${at(2)} c\n`);
  });

  it("gives the last lines without reading the rest", async () => {
    writeFileSync(path, Array.from({ length: 50_000 }, (_, i) => record(1, `line ${i}`)).join(""));
    expect(await all({ tailLines: 2 })).toBe("line 49998\nline 49999\n");
    expect(await all({ tailLines: 0 })).toBe("");
    expect((await all({ tailLines: 5000 })).split("\n").length).toBe(5001);
    expect((await all()).split("\n").length).toBe(50_001);
  });

  it("filters by time and stream, and ends at the limit", async () => {
    writeFileSync(path, record(1, "old") + record(5, "new") + record(6, "err", "F", "stderr"));
    expect(await all({ since: Date.UTC(2026, 0, 1, 0, 0, 5) })).toBe("new\nerr\n");
    expect(await all({ stream: "stderr" })).toBe("err\n");
    expect(await all({ limitBytes: 6 })).toBe("old\nne");
  });

  it("is followed until the container has ended", async () => {
    running = true;
    writeFileSync(path, record(1, "a"));
    const r = read({ follow: true });
    await until(() => r.text() === "a\n");
    appendFileSync(path, record(2, "b"));
    await until(() => r.text() === "a\nb\n");
    appendFileSync(path, record(3, "last"));
    running = false;
    changed();
    await r.done;
    expect(r.text()).toBe("a\nb\nlast\n");
  });

  it("is followed across a rotation", async () => {
    running = true;
    writeFileSync(path, record(1, "a"));
    const r = read({ follow: true });
    await until(() => r.text() === "a\n");
    renameSync(path, `${path}.1`);
    writeFileSync(path, record(2, "b"));
    await until(() => r.text() === "a\nb\n");
    running = false;
    changed();
    await r.done;
  });

  it("stops being followed when the reader leaves", async () => {
    running = true;
    writeFileSync(path, record(1, "a"));
    const leave = new AbortController();
    const r = read({ follow: true }, leave.signal);
    await until(() => r.text() === "a\n");
    leave.abort();
    await r.done;
  });
});

it("without following ends with what was there when it was asked for", async () => {
  writeFileSync(path, record(1, "one") + record(2, "two"));
  let text = "";
  const source = { path, running: () => true, onChange: () => () => {} };
  await streamLog(source, { follow: false, timestamps: false, tailLines: 1 }, async (part) => {
    text += part;
    appendFileSync(path, record(3, "three"));
  }, new AbortController().signal);
  expect(text).toBe("two\n");
});
