/** Watches, discovery and content negotiation, as a client sees them. */
import { expect } from "vitest";
import { type Body, type Event, useCluster, type Watch } from "./api.ts";
import { behaviour } from "./behaviours.ts";

const api = useCluster();
const maps = "/api/v1/namespaces/default/configmaps";
const make = (name: string, label: string, data: Record<string, string> = {}) => api.post(maps, { metadata: { name, labels: { watch: label } }, data });
const change = (name: string, data: Record<string, string>) => api.patch(`${maps}/${name}`, { data }, "merge");
const told = ({ type, object }: Event): string => `${type} ${object.metadata.name} ${object.data?.n ?? ""}`.trim();

async function take(watch: Watch, count: number): Promise<string[]> {
  const seen: string[] = [];
  while (seen.length < count) seen.push(told(await watch.next()));
  return seen;
}

behaviour("watch-configmaps", async () => {
  const [a, b, both] = await Promise.all(["watch=a", "watch=b", "watch%20in%20(a,b)"].map((selector) => api.watch(`${maps}?labelSelector=${selector}`)));
  await make("wa", "a");
  await change("wa", { n: "1" });
  await make("wb", "b");
  await change("wa", { n: "2" });
  await api.del(`${maps}/wa`);
  await api.del(`${maps}/wb`);
  const ofA = ["ADDED wa", "MODIFIED wa 1", "MODIFIED wa 2", "DELETED wa 2"];
  expect(await take(a!, 4)).toEqual(ofA);
  expect(await take(b!, 2)).toEqual(["ADDED wb", "DELETED wb"]);
  expect(await take(both!, 6)).toEqual(["ADDED wa", "MODIFIED wa 1", "ADDED wb", "MODIFIED wa 2", "DELETED wa 2", "DELETED wb"]);
  expect([a!.events, b!.events].map((events) => events.length)).toEqual([4, 2]);
  for (const watch of [a, b, both]) watch!.close();
});

behaviour("watch-from-version", async () => {
  await make("from", "from");
  const { metadata } = await change("from", { n: "1" });
  await change("from", { n: "2" });
  await api.del(`${maps}/from`);
  const watch = await api.watch(`${maps}?labelSelector=watch=from&resourceVersion=${metadata.resourceVersion}`);
  expect(await take(watch, 2)).toEqual(["MODIFIED from 2", "DELETED from 2"]);
  watch.close();
});

behaviour("watch-restart", async () => {
  const first = await api.watch(`${maps}?labelSelector=watch=restart`);
  await make("restart", "restart");
  await change("restart", { n: "1" });
  await first.next();
  const last = await first.next();
  first.close();
  await change("restart", { n: "2" });
  await api.del(`${maps}/restart`);
  const again = await api.watch(`${maps}?labelSelector=watch=restart&resourceVersion=${last.object.metadata.resourceVersion}`);
  expect(await take(again, 2)).toEqual(["MODIFIED restart 2", "DELETED restart 2"]);
  again.close();
});

// The event of leaving shows the object as it last matched.
behaviour("watch-selector", async () => {
  const watch = await api.watch(`${maps}?labelSelector=watch=on`);
  const label = (value: string, n: string) => api.patch(`${maps}/moving`, { metadata: { labels: { watch: value } }, data: { n } }, "merge");
  await make("moving", "on");
  await label("off", "1");
  await label("off", "2");
  await label("on", "3");
  await label("on", "4");
  await api.del(`${maps}/moving`);
  expect(await take(watch, 5)).toEqual(["ADDED moving", "DELETED moving", "ADDED moving 3", "MODIFIED moving 4", "DELETED moving 4"]);
  watch.close();
});

behaviour("watch-order", async () => {
  const start = (await api.get(maps)).metadata.resourceVersion as string;
  const writes = async (i: number): Promise<void> => {
    await make(`order-${i}`, "order");
    await change(`order-${i}`, { n: "1" });
    await api.del(`${maps}/order-${i}`);
  };
  const writing = Promise.all(Array.from({ length: 10 }, (_, i) => writes(i)));
  const watches = await Promise.all(Array.from({ length: 8 }, () => api.watch(`${maps}?labelSelector=watch=order&resourceVersion=${start}`)));
  await writing;
  const seen = await Promise.all(watches.map((watch) => take(watch, 30)));
  for (const one of seen) expect(one).toEqual(seen[0]);
  const versions = watches[0]!.events.map(({ object }) => Number(object.metadata.resourceVersion));
  expect(versions).toEqual([...versions].sort((x, y) => x - y));
  for (const watch of watches) watch.close();
});

behaviour("discovery-preferred", async () => {
  const { groups } = await api.get("/apis");
  expect(groups.length).toBeGreaterThan(15);
  for (const group of groups as Body[]) {
    const own = await api.get(`/apis/${group.name}`);
    expect(own).toMatchObject({ kind: "APIGroup", apiVersion: "v1", name: group.name, preferredVersion: group.preferredVersion });
    expect(own.versions).toContainEqual(own.preferredVersion);
    expect((await api.get(`/apis/${own.preferredVersion.groupVersion}`)).resources.length).toBeGreaterThan(0);
  }
});

behaviour("server-version", async () => {
  const version = await api.get("/version");
  expect(version).toMatchObject({ major: "1", minor: "36", gitVersion: expect.stringMatching(/^v1\.36\.\d+\+/), platform: expect.stringMatching(/^linux\//) });
});

behaviour("table-406", async () => {
  const review = { kind: "SelfSubjectAccessReview", apiVersion: "authorization.k8s.io/v1", spec: { resourceAttributes: { namespace: "default", verb: "get", resource: "pods" } } };
  const { status, body } = await api.call("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", review, { accept: "application/json;as=Table;v=v1;g=meta.k8s.io" });
  expect([status, body.reason, body.code]).toEqual([406, "NotAcceptable", 406]);
});
