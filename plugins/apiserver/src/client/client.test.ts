import { AsyncLocalStorage } from "node:async_hooks";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { configMaps, defineResource, isConflict, isForbidden, isNotFound, leases, pods, secrets, type ConfigMap, type Lease } from "@k3s-p/plugin-api/kube";
import type { KubeClient, WatchEvent } from "@k3s-p/plugin-api/kube";
import { toResourceDef } from "../server/native.ts";
import { startTestServer, type TestServer } from "../server/testing.ts";

let api: TestServer;
let kube: KubeClient;
beforeEach(async () => {
  api = await startTestServer();
  kube = api.kube;
});
afterEach(() => api.close());

const configMap = (name: string, data: Record<string, string> = {}, labels: Record<string, string> = {}): ConfigMap =>
  ({ metadata: { name, namespace: "default", labels }, data });

describe("the client", () => {
  test("reads the cache's own objects, frozen", async () => {
    await kube.create(configMaps, configMap("a", { x: "1" }));
    const one = await kube.get(configMaps, "a", "default");
    expect(await kube.get(configMaps, "a", "default")).toBe(one);
    expect((await kube.list(configMaps, { namespace: "default" })).items[0]).toBe(one);
    expect(() => { one.data!["x"] = "2"; }).toThrow(TypeError);
    expect(() => { one.metadata.labels = {}; }).toThrow(TypeError);
  });

  test("asks for what a field selector leaves, so that a node sees its own pods and no others", async () => {
    const node = api.client({ name: "system:node:n1", groups: ["system:nodes", "system:authenticated"] });
    const own = node.informer(pods, { fieldSelector: "spec.nodeName=n1" });
    await own.synced;
    own.stop();
    expect(() => node.informer(pods)).toThrow("can only list/watch pods with spec.nodeName field selector");
    await expect(node.list(pods, { fieldSelector: "spec.nodeName=n2" })).rejects.toSatisfy(isForbidden);
    expect((await node.list(pods, { fieldSelector: "spec.nodeName=n1" })).items).toEqual([]);
  });

  test("does not change what it is given", async () => {
    const given = configMap("a");
    const before = structuredClone(given);
    await kube.create(configMaps, given);
    expect(given).toEqual(before);
  });

  test("creates, updates, patches and deletes with the server's rules", async () => {
    const made = await kube.create(configMaps, configMap("a"));
    const updated = await kube.update(configMaps, { ...made, data: { x: "1" } });
    await expect(kube.update(configMaps, { ...made, data: { x: "2" } })).rejects.toSatisfy(isConflict);
    const patched = await kube.patch(configMaps, "a", { data: { y: "2" } }, { namespace: "default" });
    expect(patched.data).toEqual({ x: "1", y: "2" });
    expect(Number(patched.metadata.resourceVersion)).toBeGreaterThan(Number(updated.metadata.resourceVersion));
    await kube.delete(configMaps, "a", { namespace: "default" });
    await expect(kube.get(configMaps, "a", "default")).rejects.toSatisfy(isNotFound);
    await kube.create(configMaps, configMap("b", {}, { x: "y" }));
    await kube.deleteCollection(configMaps, { namespace: "default", labelSelector: "x=y" });
    expect((await kube.list(configMaps, { namespace: "default" })).items).toHaveLength(0);
  });

  test("acts under its own user's rights", async () => {
    const stranger = api.client({ name: "stranger", groups: ["system:authenticated"] });
    await expect(stranger.list(secrets)).rejects.toSatisfy(isForbidden);
    await expect(stranger.create(configMaps, configMap("a"))).rejects.toThrow('User "stranger" cannot create resource "configmaps" in API group "" in the namespace "default"');
    expect(() => stranger.informer(secrets)).toThrow("forbidden");
  });

  test("reaches any path of the API", async () => {
    expect(await kube.request("GET", "/version")).toMatchObject({ status: 200, body: { minor: "36" } });
    expect(await kube.request("POST", "/api/v1/namespaces/default/configmaps", configMap("raw"))).toMatchObject({ status: 201 });
    expect(await kube.request("GET", "/api/v1/namespaces/default/configmaps/none")).toMatchObject({ status: 404, body: { reason: "NotFound" } });
  });

  test("watches until it is aborted", async () => {
    const events: WatchEvent<ConfigMap>[] = [];
    const abort = new AbortController();
    const watching = kube.watch(configMaps, { namespace: "default", signal: abort.signal }, (event) => events.push(event));
    await kube.create(configMaps, configMap("a"));
    abort.abort();
    await watching;
    await kube.create(configMaps, configMap("b"));
    expect(events.map((event) => event.type)).toEqual(["ADDED"]);
  });
});

test("who listens is called in its own context, whoever writes: a stray error is charged to the listener", async () => {
  const context = new AsyncLocalStorage<string>();
  const seen: (string | undefined)[] = [];
  const note = (): void => void seen.push(context.getStore());
  const abort = new AbortController();
  await context.run("listener", async () => {
    const informer = kube.informer(configMaps, { namespace: "default" });
    await informer.synced;
    informer.on({ added: note, updated: note, deleted: note });
    void kube.watch(configMaps, { namespace: "default", signal: abort.signal }, note);
  });
  await context.run("writer", async () => {
    await kube.create(configMaps, configMap("a"));
    await kube.patch(configMaps, "a", { data: { x: "1" } }, { namespace: "default" });
    await kube.delete(configMaps, "a", { namespace: "default" });
  });
  abort.abort();
  expect(seen).toEqual(Array.from({ length: 6 }, () => "listener"));
});

describe("an informer", () => {
  test("replays what is there, then follows in order", async () => {
    await kube.create(configMaps, configMap("a"));
    const informer = kube.informer(configMaps, { namespace: "default" });
    await informer.synced;
    const seen: string[] = [];
    const stop = informer.on({
      added: (object) => seen.push(`+${object.metadata.name}`),
      updated: (object, previous) => seen.push(`~${object.metadata.name} ${previous.data?.["x"] ?? ""}>${object.data?.["x"]}`),
      deleted: (object) => seen.push(`-${object.metadata.name}`),
    });
    await kube.create(configMaps, configMap("b"));
    await kube.patch(configMaps, "a", { data: { x: "1" } }, { namespace: "default" });
    await kube.patch(configMaps, "a", { data: { x: "2" } }, { namespace: "default" });
    await kube.delete(configMaps, "a", { namespace: "default" });
    stop();
    await kube.create(configMaps, configMap("c"));
    expect(seen).toEqual(["+a", "+b", "~a >1", "~a 1>2", "-a"]);
    expect(informer.list().map((object) => object.metadata.name)).toEqual(["b", "c"]);
    expect(informer.get("b", "default")).toBe(await kube.get(configMaps, "b", "default"));
    expect(informer.get("a", "default")).toBeUndefined();
  });

  test("shows each handler a cache that is exactly at its event", async () => {
    const informer = kube.informer(leases);
    const views: (string | undefined)[][] = [];
    informer.on({
      added: (object) => views.push([object.spec?.holderIdentity, informer.get("l", "default")?.spec?.holderIdentity]),
      updated: (object) => views.push([object.spec?.holderIdentity, informer.get("l", "default")?.spec?.holderIdentity]),
    });
    const lease = { metadata: { name: "l", namespace: "default" }, spec: { holderIdentity: "0" } } as Lease;
    await kube.create(leases, lease);
    await Promise.all([1, 2, 3].map((i) => kube.patch(leases, "l", { spec: { holderIdentity: String(i) } }, { namespace: "default" })));
    expect(views).toHaveLength(4);
    for (const [event, cache] of views) expect(cache).toBe(event);
  });

  test("a handler that writes does not disturb the order of others", async () => {
    const orders: string[][] = [[], []];
    const informers = [kube.informer(leases), kube.informer(leases)];
    informers[0]!.on({
      added: (object) => {
        orders[0]!.push(object.metadata.name!);
        if (object.metadata.name === "first") void kube.create(leases, { metadata: { name: "second", namespace: "default" } } as Lease);
      },
    });
    informers[1]!.on({ added: (object) => void orders[1]!.push(object.metadata.name!) });
    await kube.create(leases, { metadata: { name: "first", namespace: "default" } } as Lease);
    await expect.poll(() => orders).toEqual([["first", "second"], ["first", "second"]]);
  });

  test("keeps indexes", async () => {
    await kube.create(configMaps, configMap("a", {}, { team: "red" }));
    const informer = kube.informer(configMaps, { indexes: { team: (object) => [object.metadata.labels?.["team"] ?? ""].filter(Boolean) } });
    await kube.create(configMaps, configMap("b", {}, { team: "red" }));
    const names = (team: string): string[] => informer.byIndex("team", team).map((object) => object.metadata.name!).sort();
    expect(names("red")).toEqual(["a", "b"]);
    await kube.patch(configMaps, "a", { metadata: { labels: { team: "blue" } } }, { namespace: "default" });
    expect([names("red"), names("blue")]).toEqual([["b"], ["a"]]);
    await kube.delete(configMaps, "b", { namespace: "default" });
    expect(names("red")).toEqual([]);
    expect(() => informer.byIndex("taem", "red")).toThrow('the informer of configmaps has no index "taem"; it was made with team');
  });

  test("with a selector sees objects come and go as they match", async () => {
    const informer = kube.informer(configMaps, { labelSelector: "on=yes" });
    const seen: string[] = [];
    informer.on({ added: () => seen.push("added"), updated: () => seen.push("updated"), deleted: () => seen.push("deleted") });
    await kube.create(configMaps, configMap("a"));
    for (const on of ["yes", "yes2", "yes"]) await kube.patch(configMaps, "a", { metadata: { labels: { on } } }, { namespace: "default" });
    await kube.patch(configMaps, "a", { data: { x: "1" } }, { namespace: "default" });
    expect(seen).toEqual(["added", "deleted", "added", "updated"]);
  });

  test("waits for a resource that is not served yet", async () => {
    const addons = defineResource("k3s.cattle.io", "v1", "addons", "Addon");
    const informer = kube.informer(addons);
    const seen: string[] = [];
    informer.on({ added: (object) => seen.push(object.metadata!.name!) });
    expect(informer.list()).toEqual([]);
    const undo = api.registry.add([toResourceDef({ group: "k3s.cattle.io", version: "v1", kind: "Addon", plural: "addons", namespaced: true })]);
    await informer.synced;
    await kube.create(addons, { apiVersion: "k3s.cattle.io/v1", kind: "Addon", metadata: { name: "x", namespace: "default" } });
    expect(seen).toEqual(["x"]);
    expect((await kube.request("GET", "/apis/k3s.cattle.io/v1")).status).toBe(200);
    undo();
    expect((await kube.request("GET", "/apis/k3s.cattle.io/v1")).status).toBe(404);
    await expect(kube.list(addons)).rejects.toSatisfy(isNotFound);
  });

  test("a handler that throws does not stop the others", async () => {
    const errors: unknown[] = [];
    const own = await startTestServer({ onError: (error) => errors.push(error) });
    const informer = own.kube.informer(configMaps, { namespace: "default" });
    informer.on({ added: () => { throw new Error("broken handler"); } });
    const seen: string[] = [];
    informer.on({ added: (object) => void seen.push(object.metadata.name!) });
    const before = errors.length;
    await own.kube.create(configMaps, configMap("a"));
    expect(seen).toContain("a");
    expect(errors.length).toBe(before + 1);
    await own.close();
  });
});
