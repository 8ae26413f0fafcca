/** Patches of each kind, and server-side apply with several managers, over the wire. */
import { beforeAll, describe, expect, test } from "vitest";
import { type Body, usable, useCluster } from "./api.ts";

const api = useCluster({ controllers: ["serviceaccount"] });
beforeAll(() => usable(api, "default"));

const deployments = "/apis/apps/v1/namespaces/default/deployments";
const labels = { app: "a" };
const main = { name: "main", image: "example.com/main" };

const deployment = (name: string, spec: object = {}, pod: object = {}): Body => ({
  apiVersion: "apps/v1", kind: "Deployment", metadata: { name },
  spec: { selector: { matchLabels: labels }, template: { metadata: { labels }, spec: { containers: [main], ...pod } }, ...spec },
});
const send = (name: string, body: object, query: string) => api.call("PATCH", `${deployments}/${name}?${query}`, body, { "content-type": "application/apply-patch+yaml" });
async function apply(name: string, manager: string, body: object, query = ""): Promise<Body> {
  const { status, body: answer } = await send(name, body, `fieldManager=${manager}${query}`);
  if (status > 201) throw new Error(answer.message);
  return answer;
}
const part = (name: string, spec: object): Body => ({ apiVersion: "apps/v1", kind: "Deployment", metadata: { name }, spec });
const containers = (object: Body): Body[] => object.spec.template.spec.containers;
const entryOf = (object: Body, manager: string, subresource?: string): Body =>
  object.metadata.managedFields.find((entry: Body) => entry.manager === manager && entry.subresource === subresource);

describe("server-side apply", () => {
  test("creates with 201 and changes with 200; the same again writes nothing", async () => {
    const first = await send("created", deployment("created"), "fieldManager=a");
    const again = await send("created", deployment("created"), "fieldManager=a");
    expect([first.status, again.status]).toEqual([201, 200]);
    expect(again.body.metadata.resourceVersion).toBe(first.body.metadata.resourceVersion);
    expect(entryOf(first.body, "a")).toEqual({ manager: "a", operation: "Apply", apiVersion: "apps/v1", time: expect.any(String), fieldsType: "FieldsV1", fieldsV1: expect.objectContaining({ "f:spec": expect.anything() }) });
  });

  test("two managers own each its own; the value of another is a conflict that names both, until forced", async () => {
    await apply("two", "a", deployment("two", { replicas: 1 }));
    await apply("two", "b", part("two", { minReadySeconds: 5 }));
    const { status, body } = await send("two", part("two", { replicas: 2 }), "fieldManager=b");
    expect([status, body.reason, body.message]).toEqual([409, "Conflict", 'Apply failed with 1 conflict: conflict with "a": .spec.replicas']);
    expect(body.details.causes).toEqual([{ reason: "FieldManagerConflict", message: 'conflict with "a"', field: ".spec.replicas" }]);
    const forced = await apply("two", "b", part("two", { replicas: 2, minReadySeconds: 5 }), "&force=true");
    expect(forced.spec.replicas).toBe(2);
    expect(entryOf(forced, "a").fieldsV1["f:spec"]["f:replicas"]).toBeUndefined();
    expect(entryOf(forced, "b").fieldsV1["f:spec"]).toEqual({ "f:minReadySeconds": {}, "f:replicas": {} });
  });

  test("the same value is shared, and goes when its last owner omits it", async () => {
    await apply("shared", "a", deployment("shared", { minReadySeconds: 7 }));
    await apply("shared", "b", part("shared", { minReadySeconds: 7 }));
    expect((await apply("shared", "a", deployment("shared"))).spec.minReadySeconds).toBe(7);
    expect((await apply("shared", "b", part("shared", {}))).spec.minReadySeconds).toBeUndefined();
  });

  test("a default takes the place of what is omitted", async () => {
    await apply("default", "a", deployment("default", { replicas: 3, revisionHistoryLimit: 2 }));
    expect((await apply("default", "a", deployment("default"))).spec).toMatchObject({ replicas: 1, revisionHistoryLimit: 10 });
  });

  test("lists merge by their keys: containers of two managers stand side by side, and go with their own", async () => {
    await apply("lists", "a", deployment("lists"));
    const sidecar = { name: "sidecar", image: "example.com/s", ports: [{ containerPort: 80 }, { containerPort: 80, protocol: "UDP" }] };
    const both = await apply("lists", "b", part("lists", { template: { spec: { containers: [sidecar] } } }));
    expect(containers(both).map(({ name }) => name)).toEqual(["main", "sidecar"]);
    expect(entryOf(both, "b").fieldsV1["f:spec"]["f:template"]["f:spec"]["f:containers"]['k:{"name":"sidecar"}']["f:ports"]).toHaveProperty(['k:{"containerPort":80,"protocol":"UDP"}']);
    const fewer = await apply("lists", "b", part("lists", { template: { spec: { containers: [{ ...sidecar, ports: [{ containerPort: 80 }] }] } } }));
    expect(containers(fewer)[1]!.ports).toEqual([{ containerPort: 80, protocol: "TCP" }]);
    expect(containers(await apply("lists", "b", part("lists", {}))).map(({ name }) => name)).toEqual(["main"]);
  });

  test("status is applied on its subresource, and nothing else is", async () => {
    await apply("status", "a", deployment("status"));
    const status = { observedGeneration: 1, conditions: [{ type: "Available", status: "True", reason: "R", message: "m", lastTransitionTime: "2026-01-01T00:00:00Z", lastUpdateTime: "2026-01-01T00:00:00Z" }] };
    const { body } = await api.call("PATCH", `${deployments}/status/status?fieldManager=c`, { ...part("status", { replicas: 9 }), status }, { "content-type": "application/apply-patch+yaml" });
    expect([body.spec.replicas, body.status.conditions[0].type]).toEqual([1, "Available"]);
    expect(Object.keys(entryOf(body, "c", "status").fieldsV1)).toEqual(["f:status"]);
    expect((await apply("status", "a", { ...deployment("status"), status: { replicas: 5 } })).status.replicas).toBeUndefined();
  });

  test("what an updater wrote is its own, and apply takes it over by force only", async () => {
    await api.call("POST", `${deployments}?fieldManager=u`, deployment("updated", { replicas: 4 }));
    expect((await send("updated", part("updated", { replicas: 5 }), "fieldManager=a")).body.message).toBe('Apply failed with 1 conflict: conflict with "u" using apps/v1: .spec.replicas');
    const forced = await apply("updated", "a", part("updated", { replicas: 5 }), "&force=true");
    expect(entryOf(forced, "u").fieldsV1["f:spec"]["f:replicas"]).toBeUndefined();
    expect(forced.metadata.managedFields.map(({ manager, operation }: Body) => `${manager} ${operation}`)).toEqual(["a Apply", "u Update"]);
  });

  test("a dry run shows the result and stores nothing; a list of one empty entry forgets all managers", async () => {
    await apply("dry", "a", deployment("dry"));
    expect((await apply("dry", "b", part("dry", { minReadySeconds: 3 }), "&dryRun=All")).spec.minReadySeconds).toBe(3);
    expect((await api.get(`${deployments}/dry`)).spec.minReadySeconds).toBeUndefined();
    await api.patch(`${deployments}/dry`, { metadata: { managedFields: [{}] } }, "merge");
    expect((await api.get(`${deployments}/dry`)).metadata.managedFields).toBeUndefined();
  });

  test("zero and empty are owned, though they are not kept", async () => {
    const object = await apply("zero", "a", deployment("zero", { minReadySeconds: 0 }, { hostNetwork: false }));
    expect([object.spec.minReadySeconds, object.spec.template.spec.hostNetwork]).toEqual([undefined, undefined]);
    expect(entryOf(object, "a").fieldsV1["f:spec"]).toHaveProperty("f:minReadySeconds");
  });
});

describe("a strategic merge patch", () => {
  const pod = { containers: [main, { name: "side", image: "example.com/side", args: ["a", "b"] }], volumes: [{ name: "v", emptyDir: {} }], tolerations: [{ key: "k", operator: "Exists" }] };
  const patched = async (name: string, patch: object): Promise<Body> => {
    await api.post(deployments, { ...deployment(name, { strategy: { type: "RollingUpdate" } }, pod), metadata: { name, finalizers: ["example.com/a", "example.com/b"] } });
    return api.patch(`${deployments}/${name}`, patch);
  };
  const template = (spec: object) => ({ spec: { template: { spec } } });

  test.each<[string, object, (object: Body) => unknown, unknown]>([
    ["merges lists by their key", template({ containers: [{ name: "side", image: "example.com/new" }] }), (o) => containers(o).map(({ name, image }) => [name, image]), [["side", "example.com/new"], ["main", "example.com/main"]].sort()],
    ["deletes an item with $patch: delete", template({ containers: [{ name: "side", $patch: "delete" }] }), (o) => containers(o).map(({ name }) => name), ["main"]],
    ["replaces a list with $patch: replace", template({ containers: [{ name: "only", image: "i" }, { $patch: "replace" }] }), (o) => containers(o).map(({ name }) => name), ["only"]],
    ["orders with $setElementOrder", template({ "$setElementOrder/containers": [{ name: "side" }, { name: "main" }], containers: [{ name: "main", tty: true }] }), (o) => containers(o).map(({ name }) => name), ["side", "main"]],
    ["keeps only the named keys with $retainKeys", { spec: { strategy: { $retainKeys: ["type"], type: "Recreate" } } }, (o) => o.spec.strategy, { type: "Recreate" }],
    ["swaps the source of a volume with $retainKeys", template({ volumes: [{ name: "v", hostPath: { path: "/p" }, $retainKeys: ["name", "hostPath"] }] }), (o) => o.spec.template.spec.volumes, [{ name: "v", hostPath: { path: "/p", type: "" } }]],
    ["takes out of a list of scalars with $deleteFromPrimitiveList", { metadata: { "$deleteFromPrimitiveList/finalizers": ["example.com/a"] } }, (o) => o.metadata.finalizers, ["example.com/b"]],
    ["replaces lists without a key", template({ tolerations: [{ key: "z", operator: "Exists" }] }), (o) => o.spec.template.spec.tolerations, [{ key: "z", operator: "Exists" }]],
    ["removes with null", { spec: { template: { spec: { volumes: null } } } }, (o) => o.spec.template.spec.volumes, undefined],
  ])("%s", async (what, patch, read, wanted) => {
    const name = what.toLowerCase().replace(/[^a-z]+/g, "-").slice(0, 40).replace(/-$/, "");
    const seen = read(await patched(name, patch));
    expect(what.startsWith("merges") ? (seen as string[][]).sort() : seen).toEqual(wanted);
  });
});

describe("a JSON patch", () => {
  const path = "/api/v1/namespaces/default/configmaps/json";
  beforeAll(async () => { await api.post("/api/v1/namespaces/default/configmaps", { metadata: { name: "json" }, data: { a: "1", b: "2" } }); });

  test.each<[Body[], number, unknown]>([
    [[{ op: "test", path: "/data/a", value: "1" }, { op: "move", from: "/data/b", path: "/data/c" }], 200, { a: "1", c: "2" }],
    [[{ op: "copy", from: "/data/a", path: "/data/d" }, { op: "remove", path: "/data/c" }], 200, { a: "1", d: "1" }],
    [[{ op: "test", path: "/data/a", value: "9" }, { op: "remove", path: "/data/a" }], 422, { a: "1", d: "1" }],
    [[{ op: "remove", path: "/data/none" }], 422, { a: "1", d: "1" }],
    [[{ op: "replace", path: "/metadata/name", value: "other" }], 400, { a: "1", d: "1" }],
  ])("%j answers %i", async (operations, status, data) => {
    expect((await api.call("PATCH", path, operations, { "content-type": "application/json-patch+json" })).status).toBe(status);
    expect((await api.get(path)).data).toEqual(data);
  });
});
