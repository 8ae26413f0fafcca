import { expect, test } from "vitest";
import { addonOwner } from "./addon.ts";
import { lastApplied, ownerHash, withMarks } from "./objectset.ts";

test("the hash label is the one that K3s gives the AddOn coredns", () => {
  expect(ownerHash(addonOwner("coredns"))).toBe("bce283298811743a0386ab510f2f67ef74240c57");
});

test.each([10, 5000])("remembers the configuration in the object (%i bytes)", (size) => {
  const object = { apiVersion: "v1", kind: "ConfigMap", metadata: { name: "a", labels: { x: "y" } }, data: { k: "v".repeat(size) } };
  const marked = withMarks(object, addonOwner("a"));
  expect(marked.metadata!.labels).toMatchObject({ x: "y" });
  expect(marked.metadata!.annotations!["objectset.rio.cattle.io/owner-gvk"]).toBe("k3s.cattle.io/v1, Kind=Addon");
  expect(marked.metadata!.annotations!["objectset.rio.cattle.io/applied"]!.length).toBeLessThan(1200);
  expect(lastApplied(marked)).toMatchObject(object);
  expect(object.metadata).toEqual({ name: "a", labels: { x: "y" } });
});

test("takes over from kubectl apply, and ignores what it cannot read", () => {
  const from = (annotations: Record<string, string>) => lastApplied({ metadata: { name: "a", annotations } });
  expect(from({ "kubectl.kubernetes.io/last-applied-configuration": '{"a":1}' })).toEqual({ a: 1 });
  expect(from({ "objectset.rio.cattle.io/applied": "not base64 gzip" })).toBeUndefined();
});
