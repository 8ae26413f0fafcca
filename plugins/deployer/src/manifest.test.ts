import { expect, test } from "vitest";
import { parseManifest, substitute } from "./manifest.ts";

test("reads documents, flattens lists and skips empty documents", () => {
  const { objects, errors } = parseManifest(`---
# only a comment
---
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: ConfigMap, metadata: {name: a}}
- apiVersion: v1
  kind: ConfigMapList
  items: [{apiVersion: v1, kind: ConfigMap, metadata: {name: b}}]
---
{"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "c"}}
`);
  expect(errors).toEqual([]);
  expect(objects.map((o) => `${o.kind}/${o.metadata!.name}`)).toEqual(["ConfigMap/a", "ConfigMap/b", "Secret/c"]);
});

test("reads values as kubectl does", () => {
  const { objects } = parseManifest(`apiVersion: v1
kind: X
metadata: {name: x}
mode: 0644
on: yes
map: "8080:80"
ports: [22:22]
day: 2001-12-14
base: &b {k: 1}
merged: {<<: *b, l: 2}
`);
  expect(objects[0]).toMatchObject({ mode: 420, map: "8080:80", ports: ["22:22"], day: "2001-12-14", merged: { k: 1, l: 2 } });
  expect((objects[0] as unknown as Record<string, unknown>)["true"] ?? (objects[0] as unknown as Record<string, unknown>)["on"]).toBe(true);
});

test("one bad document does not hide the others", () => {
  const { objects, errors } = parseManifest(`apiVersion: v1
kind: ConfigMap
metadata: {name: a}
---
a: [1, 2
b: }
---
metadata: {name: nokind}
---
apiVersion: v1
kind: ConfigMap
metadata: {}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: z}
`);
  expect(objects.map((o) => o.metadata!.name)).toEqual(["a", "z"]);
  expect(errors).toHaveLength(3);
  expect(errors[0]).toMatch(/^document 2: .*line 6/);
  expect(errors[1]).toBe("document 3: Object 'Kind' is missing");
});

test("replaces the variables it knows", () => {
  expect(substitute("ip: %{CLUSTER_DNS}% %{OTHER}% %{X", { CLUSTER_DNS: "10.43.0.10" })).toBe("ip: 10.43.0.10 %{OTHER}% %{X");
});
