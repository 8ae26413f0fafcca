/** History over a restart: a second server on the datastore of a first one. */
import { type ConfigMap, configMaps, namespaces, type WatchEvent } from "@k3s-p/plugin-api/kube";
import type { Datastore } from "@k3s-p/plugin-api/slots";
import { memoryDatastore } from "@k3s-p/plugin-api/testing-datastore";
import { expect, test, vi } from "vitest";
import { startTestServer, type TestServer } from "../server/testing.ts";

const map = (name: string, labels: Record<string, string> = {}): ConfigMap => ({ metadata: { name, namespace: "default", labels } });
const names = (events: readonly WatchEvent<ConfigMap>[]) => events.map(({ type, object }) => `${type} ${object.metadata.name}@${object.metadata.resourceVersion}`);

/** A store in which a is made, labelled and deleted, b made; returns the revision before that. */
async function filled(datastore: Datastore): Promise<number> {
  await using first = await startTestServer({ datastore, bootstrap: false });
  await first.kube.create(namespaces, { metadata: { name: "default" } });
  const { metadata } = await first.kube.create(configMaps, map("a"));
  await first.kube.patch(configMaps, "a", { metadata: { labels: { seen: "yes" } } }, { namespace: "default" });
  await first.kube.create(configMaps, map("b"));
  await first.kube.delete(configMaps, "a", { namespace: "default" });
  return Number(metadata.resourceVersion) - 1;
}

async function watched(api: TestServer, resourceVersion: number, count: number, labelSelector?: string): Promise<string[]> {
  const over = new AbortController();
  const events: WatchEvent<ConfigMap>[] = [];
  const done = api.kube.watch(configMaps, { namespace: "default", resourceVersion: String(resourceVersion), signal: over.signal, ...(labelSelector && { labelSelector }) }, (event) => {
    if (event.type === "BOOKMARK") return;
    events.push(event);
    if (events.length === count) over.abort();
  });
  await done;
  return names(events);
}

test("a watch resumes from a revision before the restart, and goes on with what happens now", async () => {
  const datastore = memoryDatastore();
  const rv = await filled(datastore);
  await using api = await startTestServer({ datastore, bootstrap: false });
  expect(await watched(api, rv, 4)).toEqual([`ADDED a@${rv + 1}`, `MODIFIED a@${rv + 2}`, `ADDED b@${rv + 3}`, `DELETED a@${rv + 4}`]);
  const following = watched(api, rv + 2, 3);
  await api.kube.create(configMaps, map("c"));
  expect(await following).toEqual([`ADDED b@${rv + 3}`, `DELETED a@${rv + 4}`, `ADDED c@${datastore.revision()}`]);
  expect(await watched(api, rv, 2, "seen=yes")).toEqual([`ADDED a@${rv + 2}`, `DELETED a@${rv + 4}`]);
});

test("a list of the past and a continue token are served over a restart", async () => {
  const datastore = memoryDatastore();
  const rv = await filled(datastore);
  await using api = await startTestServer({ datastore, bootstrap: false });
  const { body } = await api.http("GET", `/api/v1/namespaces/default/configmaps?resourceVersion=${rv + 3}&resourceVersionMatch=Exact&limit=1`);
  expect(body.items.map((item: ConfigMap) => item.metadata.name)).toEqual(["a"]);
  await using third = await startTestServer({ datastore, bootstrap: false });
  const rest = await third.http("GET", `/api/v1/namespaces/default/configmaps?continue=${body.metadata.continue}`);
  expect([rest.status, rest.body.items.map((item: ConfigMap) => item.metadata.name)]).toEqual([200, ["b"]]);
});

test("history is read at most once, and not before somebody needs it", async () => {
  const datastore = memoryDatastore();
  const rv = await filled(datastore);
  const history = vi.spyOn(datastore, "history");
  await using api = await startTestServer({ datastore, bootstrap: false });
  await watched(api, rv + 3, 1);
  await api.http("GET", "/api/v1/configmaps");
  expect(history).toHaveBeenCalledTimes(1);
  await Promise.all([watched(api, rv, 4), watched(api, rv + 1, 3)]);
  expect(history).toHaveBeenCalledTimes(1);
});

test("what the datastore has forgotten, or never had, is 410 Expired as before", async () => {
  const datastore = memoryDatastore();
  const rv = await filled(datastore);
  await datastore.compact(rv + 2);
  await using compacted = await startTestServer({ datastore, bootstrap: false });
  await expect(watched(compacted, rv + 1, 1)).rejects.toMatchObject({ status: { code: 410, reason: "Expired" } });
  expect(await watched(compacted, rv + 2, 2)).toEqual([`ADDED b@${rv + 3}`, `DELETED a@${rv + 4}`]);
  const { history: _, ...forgetful } = datastore;
  await using without = await startTestServer({ datastore: forgetful, bootstrap: false });
  await expect(watched(without, rv + 2, 1)).rejects.toMatchObject({ status: { code: 410 } });
});

test("a revision that was skipped stands for what was lost: 410, while those around it resume", async () => {
  const datastore = memoryDatastore();
  const rv = await filled(datastore);
  const last = rv + 4;
  /** As after a crash: all changes from the last two on have other numbers. */
  const gapped: Datastore = {
    ...datastore, revision: () => datastore.revision() + 100,
    range: async (prefix) => ({ ...(await datastore.range(prefix)), revision: datastore.revision() + 100 }),
    watch: (after, onChange) => datastore.watch(after - 100, onChange),
  };
  await using api = await startTestServer({ datastore: gapped, bootstrap: false });
  await expect(watched(api, last + 1, 1)).rejects.toMatchObject({ status: { code: 410 } });
  await expect(watched(api, last + 99, 1)).rejects.toMatchObject({ status: { code: 410 } });
  expect(await watched(api, last - 1, 1)).toEqual([`DELETED a@${last}`]);
});
