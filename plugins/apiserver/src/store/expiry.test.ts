import { events } from "@k3s-p/plugin-api/kube";
import { expect, test } from "vitest";
import { startTestServer } from "../server/testing.ts";
import { removeExpired } from "./expiry.ts";

test("events live for an hour after they were last seen", async () => {
  let now = Date.parse("2026-05-01T10:00:00Z");
  await using api = await startTestServer({ now: () => new Date(now) });
  const event = (name: string, lastTimestamp: string): any => ({
    metadata: { name, namespace: "default" }, involvedObject: { kind: "Pod", name: "p", namespace: "default" }, reason: "R", message: "m",
    type: "Normal", lastTimestamp, source: { component: "c" },
  });
  await api.kube.create(events, event("old", "2026-05-01T10:00:00Z"));
  await api.kube.create(events, event("repeated", "2026-05-01T10:30:00Z"));
  now += 61 * 60_000;
  await removeExpired(api.engine);
  expect((await api.kube.list(events)).items.map((item) => item.metadata.name)).toEqual(["repeated"]);
});
