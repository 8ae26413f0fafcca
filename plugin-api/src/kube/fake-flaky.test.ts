import { expect, test } from "vitest";
import { fakeKube } from "./fake.ts";
import { flaky, seeded } from "./fake-flaky.ts";
import { pods } from "./resources.ts";

test("fails as often as it was told, before and after the call took place, and the same way for the same seed", async () => {
  const run = async () => {
    const kube = fakeKube();
    const client = flaky(kube, { random: seeded(7), failing: 0.5 });
    const outcomes = await Promise.all(Array.from({ length: 200 }, async (_, i) => {
      const said = await client.create(pods, { metadata: { name: `p${i}`, namespace: "default" } }).then(() => "done", (error: Error) => error.message);
      return `${said}, ${kube.read(pods, `p${i}`) ? "there" : "not there"}`;
    }));
    return { outcomes, failures: client.failures };
  };
  const { outcomes, failures } = await run();
  const count = (what: string) => outcomes.filter((outcome) => outcome === what).length;
  expect(count("done, there")).toBeGreaterThan(70);
  expect(count("read ECONNRESET, there")).toBeGreaterThan(30);
  expect(count("read ECONNRESET, not there")).toBeGreaterThan(30);
  expect(failures).toBe(200 - count("done, there"));
  expect((await run()).outcomes).toEqual(outcomes);
});

test("tells informers later, but in order and all of it", async () => {
  const kube = fakeKube();
  kube.put(pods, { metadata: { name: "old", namespace: "default", labels: { app: "a" } } });
  const informer = flaky(kube, { random: seeded(1) }).informer(pods, { indexes: { app: ({ metadata }) => [metadata.labels?.["app"] ?? ""] } });
  await informer.synced;
  const seen: string[] = [];
  informer.on({
    added: ({ metadata }) => seen.push(`+${metadata.name}`), updated: ({ metadata }) => seen.push(`~${metadata.name}`), deleted: ({ metadata }) => seen.push(`-${metadata.name}`),
  });
  kube.put(pods, { metadata: { name: "new", namespace: "default", labels: { app: "b" } } });
  kube.put(pods, { metadata: { name: "old", namespace: "default", labels: { app: "b" } } });
  kube.drop(pods, "new", "default");
  expect([seen, informer.byIndex("app", "a").length]).toEqual([["+old"], 1]);
  await expect.poll(() => seen).toEqual(["+old", "+new", "~old", "-new"]);
  expect([informer.list(), informer.byIndex("app", "b"), informer.byIndex("app", "a")].map((list) => list.length)).toEqual([1, 1, 0]);
  informer.stop();
});
