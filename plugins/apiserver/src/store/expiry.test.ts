import { events } from "@k3s-p/plugin-api/kube";
import { memoryDatastore } from "@k3s-p/plugin-api/testing-datastore";
import { expect, test } from "vitest";
import { startTestServer, type TestServer } from "../server/testing.ts";
import { createExpiry } from "./expiry.ts";

const minute = 60_000;
const event = (name: string, lastTimestamp = "2026-05-01T10:00:00Z"): any => ({
  metadata: { name, namespace: "default" }, involvedObject: { kind: "Pod", name: "p", namespace: "default" }, reason: "R", message: "m",
  type: "Normal", lastTimestamp, source: { component: "c" },
});
const names = async (api: TestServer) => (await api.kube.list(events)).items.map((item) => item.metadata.name);

/** A server whose wall clock and running time the test moves apart. */
async function started(datastore = memoryDatastore()) {
  const time = { wall: Date.parse("2026-05-01T10:00:00Z"), running: 0 };
  const api = await startTestServer({ datastore, now: () => new Date(time.wall) });
  const expire = createExpiry(api.engine, () => time.running);
  return {
    api, time,
    async pass(minutes: number) {
      for (let i = 0; i < minutes; i += 5) {
        time.running += 5 * minute;
        time.wall += 5 * minute;
        await expire();
      }
    },
    [Symbol.asyncDispose]: () => api.close(),
  };
}

test("events live for an hour after they were last written", async () => {
  await using server = await started();
  const { api, pass } = server;
  await api.kube.create(events, event("old"));
  await api.kube.create(events, event("repeated"));
  await pass(30);
  await api.kube.patch(events, "repeated", { count: 2 }, { namespace: "default" });
  await pass(25);
  expect(await names(api)).toEqual(["old", "repeated"]);
  await pass(10);
  expect(await names(api)).toEqual(["repeated"]);
  await pass(30);
  expect(await names(api)).toEqual([]);
});

test("a clock that jumps back for a day keeps no event longer, one that jumps forth drops none early", async () => {
  await using server = await started();
  const { api, time, pass } = server;
  await api.kube.create(events, event("a"));
  await pass(20);
  time.wall -= 24 * 60 * minute;
  await pass(20);
  time.wall += 72 * 60 * minute;
  await pass(15);
  expect(await names(api)).toEqual(["a"]);
  await pass(10);
  expect(await names(api)).toEqual([]);
});

test("after a restart the times of the event count, or an hour of running when those are in the future", async () => {
  const datastore = memoryDatastore();
  {
    await using first = await started(datastore);
    await first.api.kube.create(events, event("old", "2026-05-01T10:00:00Z"));
    await first.api.kube.create(events, event("recent", "2026-05-01T10:40:00Z"));
    await first.api.kube.create(events, event("future", "2027-05-01T10:00:00Z"));
  }
  await using server = await started(datastore);
  server.time.wall += 60 * minute;
  await server.pass(5);
  expect(await names(server.api)).toEqual(["future", "recent"]);
  await server.pass(40);
  expect(await names(server.api)).toEqual(["future"]);
  await server.pass(20);
  expect(await names(server.api)).toEqual([]);
});

test("a clock that jumps back changes no order: revisions grow, writes and leases are taken", async () => {
  await using server = await started();
  const { api, time } = server;
  const lease = (renewTime: string): any => ({ apiVersion: "coordination.k8s.io/v1", kind: "Lease", metadata: { name: "l", namespace: "default" }, spec: { holderIdentity: "a", renewTime } });
  const url = "/apis/coordination.k8s.io/v1/namespaces/default/leases";
  const made = await api.http("POST", url, lease("2026-05-01T10:00:00.000000Z"));
  time.wall -= 60 * minute;
  const renewed = await api.http("PUT", `${url}/l`, { ...lease("2026-05-01T09:00:00.000000Z"), metadata: made.body.metadata });
  expect([made.status, renewed.status]).toEqual([201, 200]);
  expect(Number(renewed.body.metadata.resourceVersion)).toBeGreaterThan(Number(made.body.metadata.resourceVersion));
  expect(renewed.body.metadata.creationTimestamp).toBe("2026-05-01T10:00:00Z");
  const later = await api.http("POST", "/api/v1/namespaces/default/configmaps", { metadata: { name: "later" } });
  expect([later.status, later.body.metadata.creationTimestamp]).toEqual([201, "2026-05-01T09:00:00Z"]);
});
