import { expect, test } from "vitest";
import { secrets, type KubeClient } from "@k3s-p/plugin-api/kube";
import { fakeKube } from "@k3s-p/plugin-api/kube/fake";
import { createNodePasswords } from "./node-password.ts";

const REFUSED = { status: { code: 403 } };
const minute = 60_000;
const cost = { log2: 4, r: 8, p: 1 };

function passwordsAt(...names: readonly string[]) {
  let time = Date.parse("2026-01-01T00:00:00Z");
  const kube = fakeKube({ now: () => new Date(time) });
  const alive = new Set(names);
  const timers = new Map<() => void, number>();
  const after = (ms: number, fn: () => void) => {
    timers.set(fn, time + ms);
    return () => void timers.delete(fn);
  };
  const pass = (ms: number): void => {
    time += ms;
    for (const [fn, due] of timers) if (due <= time && timers.delete(fn)) fn();
  };
  return { kube, alive, timers, pass, passwords: createNodePasswords({ client: kube, isNode: (name) => alive.has(name), now: () => time, after, cost }) };
}

const hashesOf = async (kube: KubeClient) => (await kube.list(secrets)).items.map(({ metadata }) => metadata.name);

test("a name that nobody came with in ten minutes goes to the next, and is that one's for as long", async () => {
  const { passwords, pass } = passwordsAt();
  await passwords.verify("a", "first");
  pass(10 * minute);
  await expect(passwords.verify("a", "second")).rejects.toMatchObject(REFUSED);
  await passwords.verify("a", "first");
  pass(1);
  await passwords.verify("a", "second");
  await expect(passwords.verify("a", "first")).rejects.toMatchObject(REFUSED);
});

test("the name of a Node stays its own, however old", async () => {
  const { passwords, pass } = passwordsAt("a");
  await passwords.verify("a", "first");
  pass(365 * 24 * 60 * minute);
  await expect(passwords.verify("a", "second")).rejects.toMatchObject(REFUSED);
});

test("the name of a Node that was deleted is whoever's comes next, when its machine was not at work", async () => {
  const { passwords, kube, alive } = passwordsAt("a");
  await passwords.verify("a", "first");
  alive.delete("a");
  await passwords.release("a", false);
  expect(await hashesOf(kube)).toEqual([]);
  await passwords.release("a", false);
  await passwords.verify("a", "second");
});

test("a machine that was at work keeps the name of its deleted Node, which it registers again", async () => {
  const { passwords, pass, kube, alive } = passwordsAt("a");
  await passwords.verify("a", "first");
  pass(60 * minute);
  alive.delete("a");
  await passwords.release("a", true);
  await expect(passwords.verify("a", "second")).rejects.toMatchObject(REFUSED);
  alive.add("a");
  pass(30_000);
  expect(await hashesOf(kube)).toEqual(["a.node-password.k3s"]);
  await expect(passwords.verify("a", "second")).rejects.toMatchObject(REFUSED);
});

test("when it does not come again in half a minute, or its Node is deleted once more, the name is free", async () => {
  const { passwords, pass, kube, alive, timers } = passwordsAt();
  for (const end of [async () => pass(30_000), () => passwords.release("a", false)]) {
    await passwords.verify("a", "first");
    await passwords.release("a", true);
    pass(29_999);
    expect(await hashesOf(kube)).toEqual(["a.node-password.k3s"]);
    await end();
    await expect.poll(() => hashesOf(kube)).toEqual([]);
    expect([timers.size, alive.size]).toEqual([0, 0]);
  }
});

test("who takes the name after the Secret was deleted by hand keeps it, and a stop leaves no timer", async () => {
  const { passwords, pass, kube, timers } = passwordsAt();
  await passwords.verify("a", "first");
  await passwords.release("a", true);
  await kube.delete(secrets, "a.node-password.k3s", { namespace: "kube-system" });
  await passwords.verify("a", "second");
  pass(minute);
  await passwords.verify("a", "second");
  await passwords.release("a", true);
  passwords.stop();
  expect(timers.size).toBe(0);
});

test("of two that want an orphan's name at once one gets it", async () => {
  const { passwords, pass } = passwordsAt();
  await passwords.verify("a", "first");
  pass(11 * minute);
  const results = await Promise.allSettled(["second", "third"].map((password) => passwords.verify("a", password)));
  expect(results.map(({ status }) => status).sort()).toEqual(["fulfilled", "rejected"]);
});

test("a claim is for a name without a password alone, and reads no file when there is one", async () => {
  const { passwords } = passwordsAt();
  let reads = 0;
  const read = async (): Promise<string> => (reads++, "mine");
  await passwords.claim("a", read);
  await passwords.claim("a", read);
  await passwords.claim("a", "another");
  expect(reads).toBe(1);
  await passwords.verify("a", "mine");
  await expect(passwords.verify("a", "another")).rejects.toMatchObject(REFUSED);
});

test("what fails otherwise than by a refusal is no refusal, and stores nothing", async () => {
  const { kube, passwords } = passwordsAt();
  const broken = { ...kube, get: async () => { throw new Error("ECONNRESET"); } } as typeof kube;
  await expect(createNodePasswords({ client: broken, isNode: () => false, cost }).verify("a", "p")).rejects.toThrow("ECONNRESET");
  expect((await kube.list(secrets)).items).toEqual([]);
  await passwords.verify("a", "p");
});
