/** Every built-in kind, one after the other, through what all of them have in common. */
import { execFileSync } from "node:child_process";
import { beforeAll, describe, expect, test, vi } from "vitest";
import { type Body, usable, useCluster } from "./api.ts";
import { objects } from "./objects.ts";

const api = useCluster({ controllers: ["serviceaccount"] });
let resources: readonly Body[] = [];
beforeAll(async () => {
  await usable(api, "default");
  const groups = ["/api/v1", ...(await api.get("/apis")).groups.flatMap((g: Body) => g.versions.map((v: Body) => `/apis/${v.groupVersion}`))];
  resources = (await Promise.all(groups.map(async (root) => (await api.get(root)).resources.map((resource: Body) => ({ root, ...resource }))))).flat();
});

const key = (root: string, name: string): string => `${root.replace(/^\/apis?\//, "")}/${name}`;

test("the table has every kind that can be created and read", () => {
  const wanted = resources.filter(({ name, verbs }) => !name.includes("/") && ["create", "get", "delete"].every((verb) => verbs.includes(verb)));
  expect(Object.keys(objects).sort()).toEqual(wanted.map(({ root, name }) => key(root, name)).sort());
});

/** What the client states of an object, beside its metadata. */
function content({ metadata: _, status: __, ...rest }: Body): Body {
  return rest;
}

describe.each(Object.entries(objects))("%s", (id, base) => {
  const find = (suffix = ""): Body => resources.find(({ root, name }) => key(root, name) === `${id}${suffix}`);
  const pathOf = (): string => {
    const { root, name, namespaced } = find();
    return namespaced ? `${root}/namespaces/default/${name}` : `${root}/${name}`;
  };
  /** Some kinds have rules for their names. */
  const named = (name: string): Body => {
    const own = base(name, () => execFileSync("openssl", ["req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", "/dev/null", "-subj", "/CN=x"], { stdio: "pipe" }).toString("base64"));
    return { ...own, metadata: { name, labels: { kind: "every" }, ...own.metadata } };
  };

  test("round trip: what is created is read, listed and watched, and an update that changes nothing writes nothing", async () => {
    const path = pathOf();
    const list = await api.get(path);
    const watch = await api.watch(`${path}?labelSelector=kind=every&resourceVersion=${list.metadata.resourceVersion}`);
    const dry = await api.post(`${path}?dryRun=All`, named("every-a"));
    expect(dry.metadata.resourceVersion).toBeUndefined();
    const made = await api.post(path, named("every-a"));
    const at = `${path}/${made.metadata.name}`;
    expect(made).toMatchObject({ kind: find().kind, metadata: { labels: { kind: "every" }, uid: expect.any(String), creationTimestamp: expect.any(String) } });
    expect(await watch.next()).toEqual({ type: "ADDED", object: made });
    expect(content(await api.get(at))).toEqual(content(made));
    expect((await api.get(`${path}?labelSelector=kind=every`)).items).toMatchObject([{ metadata: { uid: made.metadata.uid } }]);
    // Some kinds get their status at once.
    await vi.waitFor(async () => {
      const now = await api.get(at);
      expect((await api.put(at, now)).metadata.resourceVersion).toBe(now.metadata.resourceVersion);
    });
    expect((await api.call("POST", path, named("every-a"))).body).toMatchObject({ code: 409, reason: "AlreadyExists" });
    expect((await api.call("PUT", at, { ...made, metadata: { ...made.metadata, resourceVersion: "1" } })).body).toMatchObject({ code: 409, reason: "Conflict" });
    watch.close();
  });

  test("each kind of patch changes a label and nothing else", async () => {
    const path = pathOf();
    const at = `${path}/${named("every-a").metadata.name}`;
    const old = await api.get(at);
    const { apiVersion, kind } = old;
    const labels: Record<string, string> = { ...old.metadata.labels };
    for (const [type, patch] of [
      ["json", [{ op: "add", path: "/metadata/labels/json", value: "1" }]], ["merge", { metadata: { labels: { merge: "1" } } }],
      ["strategic", { metadata: { labels: { strategic: "1" } } }], ["apply", { apiVersion, kind, metadata: { labels: { apply: "1" } } }],
    ] as const) {
      labels[type] = "1";
      const patched = await api.patch(`${at}${type === "apply" ? "?fieldManager=every" : ""}`, patch, type);
      expect(patched.metadata.labels).toEqual(labels);
      expect(content(patched)).toEqual(content(old));
      // Readers of EndpointSlices go by their labels, too: there a label makes another generation.
      const changes = kind === "EndpointSlice" ? Object.keys(labels).length - Object.keys(old.metadata.labels ?? {}).length : 0;
      expect(patched.metadata.generation).toBe(changes ? old.metadata.generation + changes : old.metadata.generation);
    }
    const { managedFields } = (await api.get(at)).metadata;
    if (old.metadata.managedFields) expect(managedFields).toContainEqual(expect.objectContaining({ manager: "every", operation: "Apply" }));
  });

  test("a status of its own takes no other change", async () => {
    if (!find("/status")) return;
    const at = `${pathOf()}/${named("every-a").metadata.name}`;
    const old = await api.get(`${at}/status`);
    const { spec, metadata } = await api.patch(`${at}/status`, { metadata: { annotations: { status: "1" }, labels: { x: "y" } }, spec: null }, "merge");
    expect(spec).toEqual(old.spec);
    expect(metadata.annotations).toEqual({ ...old.metadata.annotations, status: "1" });
  });

  test("finalizers hold it, preconditions and dry runs spare it, and then it is gone", async () => {
    const path = pathOf();
    const at = `${path}/${named("every-a").metadata.name}`;
    const { metadata } = await api.patch(at, { metadata: { finalizers: ["example.com/hold"] } }, "merge");
    expect((await api.call("DELETE", at, { preconditions: { uid: "other" } })).body).toMatchObject({ code: 409, reason: "Conflict" });
    await api.del(`${at}?dryRun=All`, { gracePeriodSeconds: 0 });
    expect((await api.get(at)).metadata.deletionTimestamp).toBeUndefined();
    const deleting = await api.del(at, { gracePeriodSeconds: 0, preconditions: { uid: metadata.uid } });
    expect(deleting.metadata).toMatchObject({ deletionTimestamp: expect.any(String), finalizers: expect.arrayContaining(["example.com/hold"]) });
    const { status } = await api.call("PATCH", at, { metadata: { finalizers: null } }, { "content-type": "application/merge-patch+json" });
    expect(status).toBe(200);
    if (find().kind === "Namespace") await api.put(`${at}/finalize`, { ...(await api.get(at)), spec: { finalizers: [] } });
    expect((await api.call("GET", at)).status).toBe(404);
  });
});
