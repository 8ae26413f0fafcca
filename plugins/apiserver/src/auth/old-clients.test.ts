import { expect, test } from "vitest";
import { configMaps } from "@k3s-p/plugin-api/kube";
import { fakeKube } from "@k3s-p/plugin-api/kube/fake";
import { isOldClient, noticeOldClients } from "./old-clients.ts";

test.each([
  ["e2e.test/v1.20.2 (linux/amd64) kubernetes/faecb19 -- [sig-apps] x", true],
  ["kubectl/v1.23.17 (linux/amd64) kubernetes/953be89", true],
  ["kubectl/v1.36.3 (linux/amd64) kubernetes/abc", false],
  ["manager/v0.0.0 (linux/amd64) kubernetes/$Format", false],
  ["e2e.test/v0.0.0 (linux/amd64) kubernetes/faecb19", true],
  ["suite/v0.0.0 (linux/amd64) kubernetes/$Format -- [sig-apps] x", true],
  ["e2e.test/v1.36.0 (linux/amd64) kubernetes/abc -- [sig-apps] x", false],
  ["curl/7.88.1", false],
])("%s is from before 1.24: %s", (agent, old) => expect(isOldClient(agent)).toBe(old));

test("the first old client is noted once, for the token controller to see", async () => {
  const kube = fakeKube();
  const notice = noticeOldClients(kube);
  notice("kubectl/v1.36.3 (linux/amd64) kubernetes/abc");
  notice(undefined);
  expect((await kube.list(configMaps)).items).toEqual([]);
  notice("kubectl/v1.20.2 (linux/amd64) kubernetes/faecb19");
  notice("other/v1.21.0 (linux/amd64) kubernetes/faecb19");
  await new Promise((resolve) => setImmediate(resolve));
  expect((await kube.get(configMaps, "legacy-clients", "kube-system")).data).toEqual({ first: "kubectl/v1.20.2 (linux/amd64) kubernetes/faecb19" });
});
