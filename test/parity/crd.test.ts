/** CustomResourceDefinitions: their life, their objects, and what of them is published. */
import { expect, vi } from "vitest";
import { type Body, useCluster } from "./api.ts";
import { behaviour } from "./behaviours.ts";

const api = useCluster();
const root = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const soon = (check: () => Promise<void>): Promise<void> => vi.waitFor(check, { timeout: 5_000, interval: 20 });

type Version = { readonly name: string; readonly served?: boolean; readonly storage?: boolean; readonly schema?: object };
const open = { type: "object", "x-kubernetes-preserve-unknown-fields": true };

function definition(group: string, kind: string, versions: readonly Version[], labels: Record<string, string> = {}) {
  const plural = `${kind.toLowerCase()}s`;
  return {
    apiVersion: "apiextensions.k8s.io/v1", kind: "CustomResourceDefinition", metadata: { name: `${plural}.${group}`, labels },
    spec: {
      group, scope: "Namespaced", names: { plural, singular: kind.toLowerCase(), kind, listKind: `${kind}List` },
      versions: versions.map(({ name, served = true, storage = false, schema = open }, i) =>
        ({ name, served, storage: storage || (i === 0 && versions.length === 1), schema: { openAPIV3Schema: schema } })),
    },
  };
}

/** Creates it and waits until it can be used; the path of its objects in `default`. */
async function establish(crd: ReturnType<typeof definition>, version = crd.spec.versions[0]!.name): Promise<string> {
  const { name } = (await api.post(root, crd)).metadata;
  await soon(async () => expect((await api.get(`${root}/${name}`)).status.conditions).toContainEqual(expect.objectContaining({ type: "Established", status: "True" })));
  return `/apis/${crd.spec.group}/${version}/namespaces/default/${crd.spec.names.plural}`;
}

const object = (path: string, kind: string, name: string, more: object = {}): object => {
  const [, , group, version] = path.split("/");
  return { apiVersion: `${group}/${version}`, kind, metadata: { name }, ...more };
};

behaviour("crd-create-delete", async () => {
  const crd = definition("life.example.com", "Life", [{ name: "v1" }]);
  const path = await establish(crd);
  await api.post(path, object(path, "Life", "one"));
  expect(await api.del(`${root}/lifes.life.example.com`)).toMatchObject({ kind: "CustomResourceDefinition", status: { conditions: expect.arrayContaining([expect.objectContaining({ type: "Terminating" })]) } });
  await soon(async () => expect((await api.call("GET", `${root}/lifes.life.example.com`)).status).toBe(404));
  expect((await api.call("GET", path)).status).toBe(404);
});

behaviour("crd-list", async () => {
  for (const kind of ["Ant", "Bee", "Cow"]) await establish(definition("list.example.com", kind, [{ name: "v1" }], { list: "yes" }));
  const listed = async () => (await api.get(`${root}?labelSelector=list=yes`)).items.map((item: Body) => item.metadata.name);
  expect(await listed()).toEqual(["ants.list.example.com", "bees.list.example.com", "cows.list.example.com"]);
  await api.del(`${root}?labelSelector=list=yes`);
  await soon(async () => expect(await listed()).toEqual([]));
});

behaviour("crd-status", async () => {
  await establish(definition("status.example.com", "State", [{ name: "v1" }]));
  const path = `${root}/states.status.example.com`;
  const read = await api.get(`${path}/status`);
  expect(read.status.acceptedNames.kind).toBe("State");
  const condition = { type: "StatusUpdate", status: "True", reason: "E2E", message: "set by a test" };
  read.status.conditions.push(condition);
  expect((await api.put(`${path}/status`, read)).status.conditions).toContainEqual(expect.objectContaining(condition));
  const patched = await api.patch(`${path}/status`, { spec: { group: "ignored" }, status: { conditions: [{ type: "StatusPatched", status: "True", reason: "E2E", message: "patched" }] } }, "merge");
  expect(patched.status.conditions).toContainEqual(expect.objectContaining({ type: "StatusPatched" }));
  expect(patched.spec.group).toBe("status.example.com");
});

behaviour("crd-discovery", async () => {
  const { groups } = await api.get("/apis");
  const group = groups.find((g: Body) => g.name === "apiextensions.k8s.io");
  expect(group.versions).toContainEqual({ groupVersion: "apiextensions.k8s.io/v1", version: "v1" });
  expect((await api.get("/apis/apiextensions.k8s.io")).name).toBe("apiextensions.k8s.io");
  expect((await api.get("/apis/apiextensions.k8s.io/v1")).resources.map((r: Body) => r.name)).toContain("customresourcedefinitions");
});

behaviour("crd-defaulting", async () => {
  const schema = (properties: object) => ({ type: "object", properties });
  const path = await establish(definition("default.example.com", "Default", [{ name: "v1", schema: schema({ a: { type: "string", default: "A" }, b: { type: "string" } }) }]));
  const made = await api.post(path, object(path, "Default", "one"));
  expect([made.a, made.b]).toEqual(["A", undefined]);
  expect((await api.patch(`${path}/one`, { a: null }, "merge")).a).toBe("A");
  const change = [{ op: "add", path: "/spec/versions/0/schema/openAPIV3Schema/properties/b/default", value: "B" }];
  await api.patch(`${root}/defaults.default.example.com`, change, "json");
  await soon(async () => expect((await api.get(`${path}/one`)).b).toBe("B"));
  expect((await api.get(path)).items[0]).toMatchObject({ a: "A", b: "B" });
});

behaviour("crd-watch", async () => {
  const path = await establish(definition("watch.example.com", "Noxu", [{ name: "v1beta1" }]));
  const all = await api.watch(path);
  const one = await api.watch(`${path}?fieldSelector=metadata.name=name1`);
  for (const name of ["name1", "name2"]) await api.post(path, object(path, "Noxu", name, { content: 1 }));
  for (const name of ["name1", "name2"]) await api.patch(`${path}/${name}`, { content: 2 }, "merge");
  for (const name of ["name1", "name2"]) await api.del(`${path}/${name}`);
  const told = async (watch: typeof all, count: number) => Promise.all(Array.from({ length: count }, async () => { const { type, object: o } = await watch.next(); return `${type} ${o.metadata.name} ${o.content}`; }));
  expect(await told(one, 3)).toEqual(["ADDED name1 1", "MODIFIED name1 2", "DELETED name1 2"]);
  expect(await told(all, 6)).toEqual(["ADDED name1 1", "ADDED name2 1", "MODIFIED name1 2", "MODIFIED name2 2", "DELETED name1 2", "DELETED name2 2"]);
  one.close();
  all.close();
});

/** Waits for the definition in the document of all kinds, and returns it; undefined when `wanted` is false. */
async function published(name: string, wanted = true): Promise<Body> {
  let found: Body;
  await soon(async () => {
    found = (await api.get("/openapi/v2")).definitions[name];
    expect(found !== undefined).toBe(wanted);
  });
  return found;
}

const schema = {
  type: "object", description: "Foo CRD for Testing",
  properties: {
    spec: {
      type: "object", description: "Specification of Foo",
      properties: { bars: { type: "array", description: "List of Bars and their specs.", items: { type: "object", required: ["name"], properties: { name: { type: "string", description: "Name of Bar." }, age: { type: "string" }, feeling: { type: "string", enum: ["Great", "Down"] } } } } },
    },
    status: { type: "object", description: "Status of Foo" },
  },
};

behaviour("openapi-schema", async () => {
  const path = await establish(definition("schema.example.com", "Foo", [{ name: "v1", schema }]));
  expect(await published("com.example.schema.v1.Foo")).toMatchObject({ description: "Foo CRD for Testing", properties: { spec: { description: "Specification of Foo" }, metadata: { $ref: expect.stringContaining("ObjectMeta") } } });
  const create = (spec: object) => api.kubectl(["create", "-f", "-"], JSON.stringify(object(path, "Foo", "f", { spec })));
  expect((await create({ bars: [{ name: "b", unknown: 1 }] })).out).toContain('strict decoding error: unknown field "spec.bars[0].unknown"');
  expect((await create({ bars: [{ age: "10" }] })).out).toMatch(/spec\.bars\[0\]\.name: Required value/);
  expect((await create({ bars: [{ name: "b", feeling: "NonExistent" }] })).out).toContain('Unsupported value: "NonExistent": supported values: "Great", "Down"');
  expect((await create({ bars: [{ name: "b", feeling: "Great" }] })).out).toBe("foo.schema.example.com/f created\n");
  const explained = await Promise.all(["foos", "foos.metadata", "foos.spec", "foos.spec.bars"].map(async (field) => (await api.kubectl(["explain", field])).out));
  for (const [i, text] of [/DESCRIPTION:\s+Foo CRD for Testing/, /ObjectMeta is metadata/, /Specification of Foo/, /List of Bars and their specs[^]*name\s+<string> -required-/].entries()) expect(explained[i]).toMatch(text);
  expect((await api.kubectl(["explain", "foos.spec.bars2"])).code).toBe(1);
});

behaviour("openapi-no-schema", async () => {
  const path = await establish(definition("noschema.example.com", "Empty", [{ name: "v1" }]));
  await published("com.example.noschema.v1.Empty");
  expect((await api.kubectl(["create", "-f", "-"], JSON.stringify(object(path, "Empty", "e", { a: { b: [{ c: 1 }] } })))).out).toBe("empty.noschema.example.com/e created\n");
  expect((await api.kubectl(["apply", "-f", "-"], JSON.stringify(object(path, "Empty", "e2", { a: 1 })))).out).toBe("empty.noschema.example.com/e2 created\n");
  expect((await api.kubectl(["explain", "empty"])).out).toMatch(/KIND:\s+Empty[^]*DESCRIPTION:\s+<empty>/);
});

behaviour("openapi-unknown-root", async () => {
  const path = await establish(definition("root.example.com", "Loose", [{ name: "v1", schema: { ...schema, "x-kubernetes-preserve-unknown-fields": true } }]));
  await published("com.example.root.v1.Loose");
  expect((await api.kubectl(["create", "-f", "-"], JSON.stringify(object(path, "Loose", "l", { other: true })))).out).toBe("loose.root.example.com/l created\n");
  expect((await api.get(`${path}/l`)).other).toBe(true);
});

behaviour("openapi-unknown-embedded", async () => {
  const properties = { ...schema.properties, spec: { ...schema.properties.spec, "x-kubernetes-preserve-unknown-fields": true } };
  const path = await establish(definition("embedded.example.com", "Half", [{ name: "v1", schema: { ...schema, properties } }]));
  await published("com.example.embedded.v1.Half");
  const create = (name: string, more: object) => api.kubectl(["create", "-f", "-"], JSON.stringify(object(path, "Half", name, more)));
  expect((await create("in", { spec: { other: 1 } })).out).toBe("half.embedded.example.com/in created\n");
  expect((await create("out", { other: 1 })).out).toContain('unknown field "other"');
});

behaviour("openapi-groups", async () => {
  await establish(definition("one.groups.example.com", "Twin", [{ name: "v1", schema }]));
  await establish(definition("two.groups.example.com", "Twin", [{ name: "v1", schema }]));
  expect(await published("com.example.groups.one.v1.Twin")).toBeDefined();
  expect(await published("com.example.groups.two.v1.Twin")).toBeDefined();
});

behaviour("openapi-kinds", async () => {
  await establish(definition("kinds.example.com", "Left", [{ name: "v1", schema }]));
  await establish(definition("kinds.example.com", "Right", [{ name: "v1", schema }]));
  expect((await published("com.example.kinds.v1.Left"))["x-kubernetes-group-version-kind"]).toEqual([{ group: "kinds.example.com", version: "v1", kind: "Left" }]);
  expect(await published("com.example.kinds.v1.Right")).toBeDefined();
});

behaviour("openapi-versions", async () => {
  await establish(definition("versions.example.com", "Multi", [{ name: "v2", schema, storage: true }, { name: "v3", schema }]));
  expect(await published("com.example.versions.v2.Multi")).toBeDefined();
  expect(await published("com.example.versions.v3.Multi")).toBeDefined();
  expect(Object.keys((await api.get("/openapi/v3")).paths)).toEqual(expect.arrayContaining(["apis/versions.example.com/v2", "apis/versions.example.com/v3"]));
});

behaviour("openapi-renamed", async () => {
  await establish(definition("renamed.example.com", "Name", [{ name: "v2", schema, storage: true }, { name: "v3", schema }]));
  const other = await published("com.example.renamed.v2.Name");
  await api.patch(`${root}/names.renamed.example.com`, [{ op: "replace", path: "/spec/versions/1/name", value: "v4" }], "json");
  await published("com.example.renamed.v4.Name");
  await published("com.example.renamed.v3.Name", false);
  expect(await published("com.example.renamed.v2.Name")).toEqual(other);
});

behaviour("openapi-unserved", async () => {
  await establish(definition("unserved.example.com", "Gone", [{ name: "v5", schema, storage: true }, { name: "v6alpha1", schema }]));
  const other = await published("com.example.unserved.v5.Gone");
  await api.patch(`${root}/gones.unserved.example.com`, [{ op: "replace", path: "/spec/versions/1/served", value: false }], "json");
  await published("com.example.unserved.v6alpha1.Gone", false);
  expect(await published("com.example.unserved.v5.Gone")).toEqual(other);
});
