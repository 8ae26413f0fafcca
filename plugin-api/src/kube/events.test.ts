import { beforeEach, expect, it } from "vitest";
import { eventRecorder, type EventRecorder } from "./events.ts";
import { fakeKube, type FakeKube } from "./fake.ts";
import { events } from "./resources.ts";

let now: number;
let kube: FakeKube;
let recorder: EventRecorder;
beforeEach(() => {
  now = Date.parse("2026-01-01T00:00:00Z");
  kube = fakeKube();
  recorder = eventRecorder(kube, { component: "test", now: () => new Date(now) });
});

const pod = (name: string) => ({ kind: "Pod", apiVersion: "v1", metadata: { name, namespace: "ns", uid: `uid-${name}` } });
const written = async (): Promise<string[]> => {
  for (let i = 0; i < 200; i++) await Promise.resolve();
  return kube.all(events).map((event) => `${event.involvedObject.name} ${event.message} x${event.count}`);
};
const record = (message: string, name = "p"): void => recorder.record(pod(name), "Warning", "Failed", message);

it("counts equal events in one object, and writes no more than it takes", async () => {
  for (let i = 0; i < 3; i++) record("a");
  record("b");
  record("a", "q");
  expect(await written()).toEqual(["p a x3", "p b x1", "q a x1"]);
  expect(kube.writes).toHaveLength(3);
});

it("combines events of one reason that differ in their text, after the tenth", async () => {
  for (let i = 0; i < 14; i++) record(`try ${i}`);
  record("try 3");
  const all = await written();
  expect(all).toHaveLength(11);
  expect(all).toContain("p (combined from similar events): try 13 x4");
  expect(all).toContain("p try 3 x2");
  now += 601_000;
  record("try 99");
  expect(await written()).toContain("p try 99 x1");
});

it("hears an object that causes too many now and then, with all of them counted", async () => {
  const writes = async (count: number): Promise<number> => {
    for (let i = 0; i < count; i++) {
      record("a");
      await written();
    }
    return kube.writes.length;
  };
  const before = await writes(40);
  expect(before).toBe(25);
  record("a", "q");
  expect(await written()).toEqual(["p a x25", "q a x1"]);
  now += 300_000;
  expect(await writes(10)).toBe(before + 2);
  expect(await written()).toEqual(["p a x41", "q a x1"]);
});
