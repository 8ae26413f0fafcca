import { expect, test } from "vitest";
import { isConflict, isNotFound } from "./errors.ts";
import { fakeKube } from "./fake.ts";
import { deployments, namespaces, nodes, pods } from "./resources.ts";

test("refuses an update of an old version, and a patch meant for another object of the name", async () => {
  const kube = fakeKube();
  const old = kube.put(pods, { metadata: { name: "p", uid: "first" }, spec: {} });
  kube.edit(pods, "p", "default", (pod) => void (pod.metadata.labels = { a: "1" }));
  expect(isConflict(await kube.update(pods, old).catch((error: unknown) => error))).toBe(true);
  const meant = kube.patch(pods, "p", { metadata: { uid: "second" } }, { namespace: "default" });
  expect(isConflict(await meant.catch((error: unknown) => error))).toBe(true);
});

test("a plain write leaves the status alone, a status write the spec, and only the spec counts the generation", async () => {
  const kube = fakeKube();
  const first = kube.put(deployments, { metadata: { name: "d" }, spec: { replicas: 1 }, status: { replicas: 1 } });
  const second = await kube.update(deployments, { ...first, spec: { replicas: 2 } as never, status: { replicas: 9 } });
  expect(second).toMatchObject({ metadata: { generation: 2 }, spec: { replicas: 2 }, status: { replicas: 1 } });
  const third = await kube.patch(deployments, "d", { spec: { replicas: 9 }, status: { replicas: 2 } }, { namespace: "default", subresource: "status" });
  expect(third).toMatchObject({ metadata: { generation: 2 }, spec: { replicas: 2 }, status: { replicas: 2 } });
  expect(kube.writes.map(({ verb, resource, name }) => `${verb} ${resource} ${name}`)).toEqual(["update deployments d", "patch deployments/status d"]);
});

test("a deleted object stays while a finalizer, a grace period or a namespace's content holds it", async () => {
  const kube = fakeKube();
  kube.put(nodes, { metadata: { name: "n", finalizers: ["a/b"] } });
  kube.put(pods, { metadata: { name: "p" }, spec: { nodeName: "n" } });
  kube.put(namespaces, { metadata: { name: "ns" }, spec: { finalizers: ["kubernetes"] } });
  await kube.delete(nodes, "n");
  await kube.delete(pods, "p", { namespace: "default" });
  await kube.delete(namespaces, "ns");
  expect([kube.read(nodes, "n"), kube.read(pods, "p"), kube.read(namespaces, "ns")].map((o) => typeof o?.metadata!.deletionTimestamp)).toEqual(Array(3).fill("string"));
  await kube.patch(nodes, "n", { metadata: { finalizers: null } });
  await kube.delete(pods, "p", { namespace: "default", gracePeriodSeconds: 0 });
  await kube.request("PUT", "/api/v1/namespaces/ns/finalize", { metadata: { name: "ns" }, spec: {} });
  expect([kube.read(nodes, "n"), kube.read(pods, "p"), kube.read(namespaces, "ns")]).toEqual(Array(3).fill(undefined));
});

test("binds pods, and has tokens for accounts that exist only", async () => {
  const kube = fakeKube();
  kube.put(pods, { metadata: { name: "p" }, spec: {} });
  await kube.create(pods, { metadata: { name: "p" }, target: { name: "n" } } as never, { subresource: "binding", name: "p", namespace: "default" });
  expect(kube.read(pods, "p")!.spec!.nodeName).toBe("n");
  const missing = kube.create(pods, {} as never, { subresource: "eviction", name: "no", namespace: "default" });
  expect(isNotFound(await missing.catch((error: unknown) => error))).toBe(true);
});

test("an informer sees an object enter and leave its selector, and what was held back in order", () => {
  const kube = fakeKube();
  const seen: string[] = [];
  const informer = kube.informer(nodes, { labelSelector: "a=1", indexes: { zone: (node) => [node.metadata.labels!["zone"]!] } });
  informer.on({ added: () => seen.push("added"), updated: () => seen.push("updated"), deleted: () => seen.push("deleted") });
  kube.put(nodes, { metadata: { name: "n", labels: { a: "1", zone: "x" } } });
  kube.hold();
  kube.edit(nodes, "n", undefined, (node) => void (node.metadata.labels.zone = "y"));
  expect(informer.byIndex("zone", "x")).toHaveLength(1);
  kube.edit(nodes, "n", undefined, (node) => void (node.metadata.labels = {}));
  kube.release();
  expect(seen).toEqual(["added", "updated", "deleted"]);
  expect(informer.byIndex("zone", "y")).toEqual([]);
  expect(() => informer.byIndex("zoen", "y")).toThrow('the informer of nodes has no index "zoen"; it was made with zone');
});
