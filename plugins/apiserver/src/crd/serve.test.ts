import { customResourceDefinitions, defineResource } from "@k3s-p/plugin-api/kube";
import { memoryDatastore } from "@k3s-p/plugin-api/testing-datastore";
import { describe, expect, it } from "vitest";
import { requestInMemory } from "../client/memory.ts";
import type { Obj } from "../resources/types.ts";
import { adminUser, startTestServer, type TestServer } from "../server/testing.ts";
import { cronTab, cronTabs } from "./testing.ts";

const CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const CRD = `${CRDS}/crontabs.stable.example.com`;
const ITEMS = "/apis/stable.example.com/v1/namespaces/default/crontabs";
const merge = { "content-type": "application/merge-patch+json" };
const table = { accept: "application/json;as=Table;v=v1;g=meta.k8s.io" };

async function withCronTabs(change?: Parameters<typeof cronTabs>[0]): Promise<TestServer & AsyncDisposable> {
  const api = await startTestServer({ bootstrap: true });
  const { status, text } = await api.http("POST", CRDS, cronTabs(change));
  expect(status, text).toBe(201);
  return api;
}

/** Resolves when a look at the server finds what it looks for. */
async function eventually<T>(look: () => Promise<T | undefined | false>): Promise<T> {
  for (let i = 0; i < 200; i++) {
    const found = await look();
    if (found) return found;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  throw new Error("it never happened");
}

const conditionsOf = async (api: TestServer, path = CRD): Promise<Record<string, string>> => {
  const { body } = await api.http("GET", path);
  return Object.fromEntries((body.status?.conditions ?? []).map((c: Obj) => [c.type, `${c.status} ${c.reason}`]));
};

describe("a definition", () => {
  it("is served when its creation is answered", async () => {
    await using api = await withCronTabs();
    expect((await api.http("GET", ITEMS)).body).toMatchObject({ kind: "CronTabList", apiVersion: "stable.example.com/v1", items: [] });
    const { body } = await api.http("GET", "/apis/stable.example.com/v1");
    expect(body.resources.map((r: Obj) => [r["name"], r.kind, r["shortNames"]])).toEqual([
      ["crontabs", "CronTab", ["ct"]], ["crontabs/scale", "Scale", undefined], ["crontabs/status", "CronTab", undefined],
    ]);
  });

  it("states its names and conditions, and has an APIService", async () => {
    await using api = await withCronTabs();
    const { status } = await eventually(async () => (await api.http("GET", CRD)).body.status.conditions.length > 0 && (await api.http("GET", CRD)).body);
    expect(status.acceptedNames).toEqual({ categories: ["all"], kind: "CronTab", listKind: "CronTabList", plural: "crontabs", shortNames: ["ct"], singular: "crontab" });
    expect(status.conditions).toMatchObject([
      { type: "NamesAccepted", status: "True", reason: "NoConflicts", message: "no conflicts found" },
      { type: "Established", status: "True", reason: "InitialNamesAccepted", message: "the initial names have been accepted" },
    ]);
    const service = await eventually(async () => {
      const { status: code, body } = await api.http("GET", "/apis/apiregistration.k8s.io/v1/apiservices/v1.stable.example.com");
      return code === 200 && body;
    });
    expect(service).toMatchObject({ metadata: { labels: { "kube-aggregator.kubernetes.io/automanaged": "true" } }, spec: { groupPriorityMinimum: 1000, versionPriority: 100 } });
  });

  it("waits for names that another one has", async () => {
    await using api = await withCronTabs();
    const rival = cronTabs((_, spec) => { spec.names = { plural: "others", kind: "CronTab", shortNames: ["ct"] }; });
    const path = `${CRDS}/others.stable.example.com`;
    await api.http("POST", CRDS, rival);
    await eventually(async () => (await conditionsOf(api, path))["NamesAccepted"]?.startsWith("False"));
    const { body } = await api.http("GET", path);
    expect(body.status.conditions).toMatchObject([
      { type: "NamesAccepted", reason: "ListKindConflict", message: '"CronTabList" is already in use' }, { type: "Established", status: "False", reason: "NotAccepted", message: "not all names are accepted" },
    ]);
    expect((await api.http("GET", "/apis/stable.example.com/v1/others")).status).toBe(404);
    await api.http("DELETE", CRD);
    expect(await eventually(async () => (await conditionsOf(api, path))["Established"]?.startsWith("True"))).toBe(true);
    expect((await api.http("GET", "/apis/stable.example.com/v1/others")).status).toBe(200);
  });

  it("may not take the names of the server's own resources", async () => {
    await using api = await startTestServer();
    const crd = cronTabs((_, spec) => { spec.group = "apps.example.com"; });
    expect((await api.http("POST", CRDS, crd)).status).toBe(201);
    await api.http("POST", CRDS, cronTabs((_, spec) => { spec.group = "networking.k8s.io"; spec.names = { plural: "ingresses", kind: "Ingress" }; }));
    expect((await api.http("GET", "/apis/networking.k8s.io/v1/ingresses")).body.kind).toBe("IngressList");
  });

  it("is served again after a restart, with its objects", async () => {
    const datastore = memoryDatastore();
    {
      await using api = await startTestServer({ datastore });
      await api.http("POST", CRDS, cronTabs());
      await eventually(async () => (await conditionsOf(api))["Established"]);
      await api.http("POST", ITEMS, cronTab("a"));
    }
    await using api = await startTestServer({ datastore, bootstrap: false });
    expect((await api.http("GET", `${ITEMS}/a`)).body.spec.image).toBe("busybox");
  });

  it("goes when its objects are gone, and takes them along", async () => {
    await using api = await withCronTabs();
    await api.http("POST", ITEMS, cronTab("a"));
    await api.http("POST", ITEMS, cronTab("held", {}, { metadata: { name: "held", finalizers: ["example.com/hold"] } }));
    await eventually(async () => (await conditionsOf(api))["Established"]);
    const { status, body } = await api.http("DELETE", CRD);
    expect([status, body.metadata.finalizers]).toEqual([200, ["customresourcecleanup.apiextensions.k8s.io"]]);
    await eventually(async () => (await api.http("GET", `${ITEMS}/a`)).status === 404);
    expect((await conditionsOf(api))["Terminating"]).toBe("True InstanceDeletionInProgress");
    expect((await api.http("POST", ITEMS, cronTab("b"))).body.message).toBe("create not allowed while custom resource definition is terminating");
    await api.http("PATCH", `${ITEMS}/held`, { metadata: { finalizers: null } }, merge);
    await eventually(async () => (await api.http("GET", CRD)).status === 404);
    expect((await api.http("GET", ITEMS)).status).toBe(404);
    expect((await api.http("GET", "/apis/stable.example.com/v1")).status).toBe(404);
    await eventually(async () => (await api.http("GET", "/apis/apiregistration.k8s.io/v1/apiservices/v1.stable.example.com")).status === 404);
    expect((await api.http("POST", CRDS, cronTabs())).status).toBe(201);
    expect((await api.http("GET", ITEMS)).body.items).toEqual([]);
  });

  it("lets its status be written by patch", async () => {
    await using api = await withCronTabs();
    await eventually(async () => (await conditionsOf(api))["Established"]);
    const condition = { type: "StatusPatched", status: "True", reason: "E2E", message: "patched" };
    const { body } = await api.http("PATCH", `${CRD}/status`, { status: { conditions: [condition] } }, merge);
    expect(body.status.conditions).toMatchObject([condition]);
    await eventually(async () => (await conditionsOf(api))["Established"] === "True InitialNamesAccepted");
    expect((await conditionsOf(api))["StatusPatched"]).toBe("True E2E");
  });
});

describe("custom resources", () => {
  it("are pruned, defaulted and validated", async () => {
    await using api = await withCronTabs();
    const made = await api.http("POST", ITEMS, cronTab("a", { foo: 1, note: null }));
    expect(made.body.spec).toEqual({ cronSpec: "* * * * */5", image: "busybox", note: null, replicas: 1 });
    expect(made.headers["warning"]).toEqual(['299 - "unknown field \\"spec.foo\\""']);
    const strict = await api.http("POST", `${ITEMS}?fieldValidation=Strict`, cronTab("b", { foo: 1 }, { bar: 2 }));
    expect([strict.status, strict.body.message]).toEqual([400, 'CronTab in version "v1" cannot be handled as a CronTab: strict decoding error: unknown field "spec.foo", unknown field "bar"']);
    const bad = await api.http("POST", ITEMS, cronTab("b", { replicas: "x" }));
    expect([bad.status, bad.body.message]).toEqual([422, 'CronTab.stable.example.com "b" is invalid: spec.replicas: Invalid value: "string": spec.replicas in body must be of type integer: "string"']);
    expect(bad.body.details.causes).toEqual([{ reason: "FieldValueTypeInvalid", message: 'Invalid value: "string": spec.replicas in body must be of type integer: "string"', field: "spec.replicas" }]);
    const { body } = await api.http("PATCH", `${ITEMS}/a`, { spec: { policy: "Never", gone: 1 } }, merge);
    expect(body.message).toBe('CronTab.stable.example.com "a" is invalid: spec.policy: Unsupported value: "Never": supported values: "Allow", "Forbid"');
  });

  it("are pruned and defaulted for clients in the process, too", async () => {
    await using api = await withCronTabs();
    const resource = defineResource("stable.example.com", "v1", "crontabs", "CronTab", "namespaced");
    const made = await api.kube.create(resource, cronTab("a", { foo: 1 }), { namespace: "default" });
    expect((made as Obj)["spec"]).toEqual({ cronSpec: "* * * * */5", image: "busybox", replicas: 1 });
  });

  it("get new defaults when they are read", async () => {
    await using api = await withCronTabs();
    await api.http("POST", ITEMS, cronTab("a"));
    const stored = await api.http("GET", `${ITEMS}/a`);
    const { body: crd } = await api.http("GET", CRD);
    crd.spec.versions[0].schema.openAPIV3Schema.properties.spec.properties.policy.default = "Forbid";
    expect((await api.http("PUT", CRD, crd)).status).toBe(200);
    const { body } = await api.http("GET", `${ITEMS}/a`);
    expect(body.spec.policy).toBe("Forbid");
    expect(body.metadata.resourceVersion).toBe(stored.body.metadata.resourceVersion);
    expect((await api.http("GET", ITEMS)).body.items[0].spec.policy).toBe("Forbid");
    expect((await api.http("PATCH", `${ITEMS}/a`, { metadata: { labels: { a: "b" } } }, merge)).body.metadata.generation).toBe(1);
  });

  it("have a status of its own, and a generation", async () => {
    await using api = await withCronTabs();
    const made = await api.http("POST", ITEMS, cronTab("a", {}, { status: { replicas: 5 } }));
    expect([made.body.status, made.body.metadata.generation]).toEqual([undefined, 1]);
    const status = await api.http("PATCH", `${ITEMS}/a/status`, { metadata: { labels: { x: "y" } }, spec: { replicas: 9 }, status: { replicas: 3, labelSelector: "a=b", junk: 1 } }, merge);
    expect(status.body).toMatchObject({ spec: { replicas: 1 }, status: { labelSelector: "a=b", replicas: 3 }, metadata: { generation: 1 } });
    expect([status.body.metadata.labels, status.body.status.junk]).toEqual([undefined, undefined]);
    const bad = await api.http("PATCH", `${ITEMS}/a/status`, { status: { replicas: "x" } }, merge);
    expect([bad.status, bad.body.details.causes[0].field]).toEqual([422, "status.replicas"]);
    const spec = await api.http("PATCH", `${ITEMS}/a`, { spec: { replicas: 2 }, status: { replicas: 9 } }, merge);
    expect(spec.body).toMatchObject({ spec: { replicas: 2 }, status: { replicas: 3 }, metadata: { generation: 2 } });
  });

  it("can be scaled", async () => {
    await using api = await withCronTabs();
    await api.http("POST", ITEMS, cronTab("a", { replicas: 2 }));
    await api.http("PATCH", `${ITEMS}/a/status`, { status: { replicas: 2, labelSelector: "a=b" } }, merge);
    expect((await api.http("GET", `${ITEMS}/a/scale`)).body).toMatchObject({ kind: "Scale", spec: { replicas: 2 }, status: { replicas: 2, selector: "a=b" } });
    await api.http("PATCH", `${ITEMS}/a/scale`, { spec: { replicas: 4 } }, merge);
    expect((await api.http("GET", `${ITEMS}/a`)).body).toMatchObject({ spec: { replicas: 4 }, metadata: { generation: 2 } });
    const bad = await api.http("PATCH", `${ITEMS}/a/scale`, { spec: { replicas: 11 } }, merge);
    expect(bad.body.message).toMatch("spec.replicas: Invalid value: 11: spec.replicas in body should be less than or equal to 10");
  });

  it("are shown in the columns of their definition", async () => {
    await using api = await withCronTabs();
    await api.http("POST", ITEMS, cronTab("a"));
    const { body } = await api.http("GET", ITEMS, undefined, table);
    expect(body.columnDefinitions.map((c: Obj) => [c["name"], c["type"], c["priority"]])).toEqual([["Name", "string", 0], ["Spec", "string", 0], ["Replicas", "integer", 1], ["Age", "date", 0]]);
    expect(body.rows[0].cells.slice(0, 3)).toEqual(["a", "* * * * */5", 1]);
  });

  it("are found by selectable fields, and by no others", async () => {
    await using api = await withCronTabs();
    await api.http("POST", ITEMS, cronTab("a"));
    await api.http("POST", ITEMS, cronTab("b", { image: "nginx" }));
    const names = async (selector: string) => (await api.http("GET", `${ITEMS}?fieldSelector=${selector}`)).body.items?.map((item: Obj) => item.metadata!.name);
    expect(await names("spec.image=nginx")).toEqual(["b"]);
    expect(await names("spec.image!=nginx")).toEqual(["a"]);
    expect((await api.http("GET", `${ITEMS}?fieldSelector=spec.policy=x`)).body.message).toMatch("field label not supported: spec.policy");
  });

  it("take no strategic merge patch, and apply by the schema's keys", async () => {
    await using api = await withCronTabs();
    await api.http("POST", ITEMS, cronTab("a", { env: [{ name: "x", value: "1" }] }));
    const strategic = await api.http("PATCH", `${ITEMS}/a`, {}, { "content-type": "application/strategic-merge-patch+json" });
    expect([strategic.status, strategic.body.message]).toEqual([415, "the body of the request was in an unknown format - accepted media types include: " +
      "application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml"]);
    const applied = await api.http("PATCH", `${ITEMS}/a?fieldManager=me`, { apiVersion: "stable.example.com/v1", kind: "CronTab", metadata: { name: "a" }, spec: { env: [{ name: "y", value: "2" }] } },
      { "content-type": "application/apply-patch+yaml" });
    expect(applied.body.spec.env).toEqual(expect.arrayContaining([{ name: "x", value: "1" }, { name: "y", value: "2" }]));
    expect(applied.body.metadata.managedFields.find((m: Obj) => m["manager"] === "me").fieldsV1).toEqual({ "f:spec": { "f:env": { 'k:{"name":"y"}': { ".": {}, "f:name": {}, "f:value": {} } } } });
  });

  it("are served in every version, and kept in one", async () => {
    await using api = await withCronTabs((version, spec) => {
      const v2: Obj = { ...structuredClone(version), name: "v2", storage: true, deprecated: true, additionalPrinterColumns: [] };
      v2.schema.openAPIV3Schema.properties.spec.properties.extra = { type: "string", default: "e" };
      version.storage = false;
      spec.versions.push(v2);
    });
    const v2 = ITEMS.replace("/v1/", "/v2/");
    await api.http("POST", ITEMS, cronTab("a"));
    const { body, headers } = await api.http("GET", `${v2}/a`);
    expect([body.apiVersion, body.spec.extra]).toEqual(["stable.example.com/v2", "e"]);
    expect(headers["warning"]).toEqual(['299 - "stable.example.com/v2 CronTab is deprecated"']);
    expect(api.engine.store.get("stable.example.com", "crontabs", "a", "default")!.apiVersion).toBe("stable.example.com/v2");
    expect((await api.http("PUT", `${v2}/a`, { ...body, spec: { ...body.spec, extra: "x" } })).status).toBe(200);
    const old = await api.http("GET", `${ITEMS}/a`);
    expect([old.body.apiVersion, old.body.spec.extra]).toEqual(["stable.example.com/v1", undefined]);
    const { body: crd } = await api.http("GET", CRD);
    expect(crd.status.storedVersions).toEqual(["v2"]);
    crd.spec.versions[1].served = false;
    await api.http("PUT", CRD, crd);
    expect((await api.http("GET", `${v2}/a`)).status).toBe(404);
    expect((await api.http("GET", `${ITEMS}/a`)).status).toBe(200);
  });

  it("keep what a stricter schema would refuse, as long as it does not change", async () => {
    await using api = await withCronTabs();
    await api.http("POST", ITEMS, cronTab("a", { replicas: 9 }));
    const { body: crd } = await api.http("GET", CRD);
    crd.spec.versions[0].schema.openAPIV3Schema.properties.spec.properties.replicas.maximum = 5;
    await api.http("PUT", CRD, crd);
    expect((await api.http("PATCH", `${ITEMS}/a`, { spec: { image: "x" } }, merge)).status).toBe(200);
    expect((await api.http("PATCH", `${ITEMS}/a`, { spec: { replicas: 8 } }, merge)).status).toBe(422);
  });

  it("follow rules in CEL", async () => {
    await using api = await withCronTabs((version) => {
      version.schema.openAPIV3Schema.properties.spec["x-kubernetes-validations"] = [
        { rule: "self.replicas <= size(self.tags)", message: "not enough tags" }, { rule: "self.cronSpec == oldSelf.cronSpec", message: "cronSpec is immutable" },
      ];
    });
    expect((await api.http("POST", ITEMS, cronTab("a", { replicas: 2, tags: ["x"] }))).body.message).toBe('CronTab.stable.example.com "a" is invalid: spec: Invalid value: "object": not enough tags');
    expect((await api.http("POST", ITEMS, cronTab("a", { tags: ["x"] }))).status).toBe(201);
    expect((await api.http("PATCH", `${ITEMS}/a`, { spec: { cronSpec: "1 1 1 1 1" } }, merge)).body.message).toMatch('spec: Invalid value: "object": cronSpec is immutable');
  });

  it("are watched until their definition changes", async () => {
    await using api = await withCronTabs();
    await api.http("POST", ITEMS, cronTab("a"));
    const watch = requestInMemory(api.handler, adminUser, "GET", `${ITEMS}?watch=1`);
    await api.http("POST", ITEMS, cronTab("b"));
    await eventually(async () => (await conditionsOf(api))["Established"]);
    await api.http("DELETE", CRD);
    const events = (await watch).text.trim().split("\n").map((line) => JSON.parse(line) as Obj);
    expect(events.map((event) => [event["type"], event["object"].metadata.name])).toEqual([["ADDED", "a"], ["ADDED", "b"], ["DELETED", "a"], ["DELETED", "b"]]);
  });
});

describe("OpenAPI", () => {
  it("has the schemas, and of free kinds nothing but the name", async () => {
    await using api = await withCronTabs();
    await api.http("POST", CRDS, cronTabs((version, spec) => {
      spec.group = "free.example.com";
      version.schema.openAPIV3Schema = { type: "object", "x-kubernetes-preserve-unknown-fields": true };
      delete version.selectableFields;
    }));
    const { definitions } = (await api.http("GET", "/openapi/v2")).body;
    expect(definitions["com.example.stable.v1.CronTab"].properties.spec.properties.cronSpec.description).toBe("When to run.");
    expect(definitions["com.example.free.v1.CronTab"]).toEqual({ type: "object", "x-kubernetes-group-version-kind": [{ group: "free.example.com", version: "v1", kind: "CronTab" }] });
    const v3 = (await api.http("GET", "/openapi/v3/apis/stable.example.com/v1")).body.components.schemas;
    expect(v3["com.example.stable.v1.CronTab"].properties.spec.properties.note).toEqual({ type: "string", nullable: true });
    const index = async () => (await api.http("GET", "/openapi/v3")).body.paths["apis/stable.example.com/v1"]?.serverRelativeURL;
    const before = await index();
    await api.http("PATCH", CRD, [{ op: "replace", path: "/spec/versions/0/schema/openAPIV3Schema/description", value: "Other." }], { "content-type": "application/json-patch+json" });
    expect(await index()).not.toBe(before);
    await api.http("DELETE", CRD);
    await eventually(async () => (await index()) === undefined);
  });
});

it("an idle definition keeps no parsed schema", async () => {
  await using api = await withCronTabs();
  await eventually(async () => (await conditionsOf(api))["Established"]);
  const client = api.client(adminUser);
  const first = await client.get(customResourceDefinitions, "crontabs.stable.example.com");
  await api.http("PATCH", CRD, { metadata: { labels: { a: "b" } } }, merge);
  await new Promise((resolve) => setTimeout(resolve, 20));
  const second = await client.get(customResourceDefinitions, "crontabs.stable.example.com");
  expect(second.spec).toEqual(first.spec);
});
