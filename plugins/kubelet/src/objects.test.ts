import { expect, test } from "vitest";
import { apiError, persistentVolumeClaims, persistentVolumes, type KubeClient } from "@k3s-p/plugin-api/kube";
import { fakeKube } from "@k3s-p/plugin-api/kube/fake";
import { referencedObjects } from "./objects.ts";

test("a claim or volume is missing when the API server says so, not when it cannot be asked", async () => {
  const kube = fakeKube();
  kube.put(persistentVolumeClaims, { metadata: { name: "data", namespace: "web" } });
  kube.put(persistentVolumes, { metadata: { name: "pv" } });
  let away = false;
  const get: KubeClient["get"] = (...args) => (away ? Promise.reject(apiError(503, "ServiceUnavailable", "the server is away")) : kube.get(...args));
  const objects = referencedObjects({ ...kube, get }, () => {});
  expect([(await objects.claim("web", "data"))?.metadata.name, (await objects.volume("pv"))?.metadata.name]).toEqual(["data", "pv"]);
  expect([await objects.claim("web", "none"), await objects.volume("none")]).toEqual([undefined, undefined]);
  away = true;
  await expect(objects.claim("web", "data")).rejects.toThrow("the server is away");
  await expect(objects.volume("pv")).rejects.toThrow("the server is away");
});
