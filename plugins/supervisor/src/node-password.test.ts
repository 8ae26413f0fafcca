import { expect, test } from "vitest";
import { secrets } from "@k3s-p/plugin-api/kube";
import { fakeKube } from "@k3s-p/plugin-api/kube/fake";
import { createNodePasswords } from "./node-password.ts";

const REFUSED = { status: { code: 403 } };
const minute = 60_000;
const cost = { log2: 4, r: 8, p: 1 };

function passwordsAt(...names: readonly string[]) {
  let time = Date.parse("2026-01-01T00:00:00Z");
  const kube = fakeKube({ now: () => new Date(time) });
  const alive = new Set(names);
  return { kube, alive, pass: (ms: number) => void (time += ms), passwords: createNodePasswords({ client: kube, isNode: (name) => alive.has(name), now: () => time, cost }) };
}

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
  await passwords.forget("a");
  await passwords.forget("a");
  await passwords.verify("a", "second");
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
