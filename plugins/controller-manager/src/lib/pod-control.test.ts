/** Many pods at once: after failures a controller may go on at once, and waits for the rest to show in its cache. */
import type { Informer, Pod } from "@k3s-p/plugin-api/kube";
import { expect, test } from "vitest";
import { createExpectations } from "./expectations.ts";
import { createPodBatches, type Owner, type PodControl } from "./pod-control.ts";

const owner: Owner = { metadata: { name: "owner", namespace: "default" } };
const key = "default/owner";
const pod = (name: string): Pod => ({ metadata: { name, namespace: "default", uid: name } });

/** `refused` names the pods that the server refuses to create or delete; `cached` those that the cache shows. */
function setUp({ refused = [], cached = [] }: { refused?: readonly string[]; cached?: readonly string[] }) {
  const expectations = createExpectations(() => new Date(0));
  const asked: string[] = [];
  const ask = async (_: Owner, { metadata }: Pod): Promise<void> => {
    asked.push(metadata.name!);
    if (refused.includes(metadata.name!)) throw new Error(`no ${metadata.name}`);
  };
  const control: PodControl = { create: async (o, p) => (await ask(o, p), p), remove: ask };
  const cache = { get: (name: string) => (cached.includes(name) ? pod(name) : undefined) } as Informer<Pod>;
  return { expectations, asked, batches: createPodBatches(control, expectations, cache) };
}

test("expects of a batch that fails only the pods that were created", async () => {
  const { batches, expectations, asked } = setUp({ refused: ["b"] });
  expect(await batches.create(owner, ["a", "b", "c", "d", "e"].map(pod))).toEqual({ done: 2, error: new Error("no b") });
  expect(asked).toEqual(["a", "b", "c"]);
  expectations.creationObserved(key);
  expect(expectations.satisfied(key)).toBe(false);
  expectations.creationObserved(key);
  expect(expectations.satisfied(key)).toBe(true);
});

test("expects no deletion that failed, and none that the cache has seen already", async () => {
  const { batches, expectations } = setUp({ refused: ["b"], cached: ["a", "b"] });
  expect(await batches.remove(owner, ["a", "b", "gone"].map(pod))).toEqual({ done: 2, error: new Error("no b") });
  expect(expectations.satisfied(key)).toBe(false);
  expectations.deletionObserved(key, "a");
  expect(expectations.satisfied(key)).toBe(true);
});
