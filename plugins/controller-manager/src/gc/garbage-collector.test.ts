import { afterEach, beforeEach, describe, expect, it } from "vitest";
import {
  configMaps, customResourceDefinitions, defineResource, deployments, nodes, pods, replicaSets,
  type OwnerReference, type Resource,
} from "@k3s-p/plugin-api/kube";
import { createHarness, type Harness } from "../testing/harness.ts";
import { start } from "./garbage-collector.ts";

describe("garbage collector", () => {
  let h: Harness;
  beforeEach(() => {
    h = createHarness();
    for (const resource of [pods, replicaSets, deployments, configMaps, nodes, customResourceDefinitions])
      h.client.all(resource as Resource);
  });
  afterEach(() => h.stop());

  const ref = (owner: any, extra: Partial<OwnerReference> = {}): OwnerReference => ({
    apiVersion: owner.apiVersion,
    kind: owner.kind,
    name: owner.metadata.name,
    uid: owner.metadata.uid,
    controller: true,
    blockOwnerDeletion: true,
    ...extra,
  });
  const make = (resource: Resource<any>, name: string, owners: OwnerReference[] = [], namespace = "ns") =>
    h.client.put(resource, {
      metadata: { name, ...(resource.namespaced && { namespace }), ...(owners.length && { ownerReferences: owners }) },
      spec: {},
    });
  const names = (resource: Resource<any>) => h.client.all(resource).map((o) => o.metadata.name);
  const begin = () => h.start(start);

  it("deletes dependents in the background, down the chain", async () => {
    const d = make(deployments, "d");
    const set = make(replicaSets, "rs", [ref(d)]);
    make(pods, "p", [ref(set)]);
    await begin();
    await h.client.delete(deployments, "d", { namespace: "ns" });
    await h.advance(1);
    expect([names(replicaSets), names(pods)]).toEqual([[], []]);
    const gone = h.client.writes.find((a) => a.verb === "delete" && a.resource === "replicasets");
    expect(gone!.body).toMatchObject({ propagationPolicy: "Background", preconditions: { uid: set.metadata!.uid } });
  });

  it("collects what lost its owner before the start", async () => {
    make(pods, "p", [{ apiVersion: "apps/v1", kind: "ReplicaSet", name: "gone", uid: "x" }]);
    make(pods, "free");
    await begin();
    expect(names(pods)).toEqual(["free"]);
  });

  it("keeps an owner in the foreground until its blocking dependents are gone", async () => {
    const set = make(replicaSets, "rs");
    h.client.put(pods, {
      metadata: { name: "p", namespace: "ns", ownerReferences: [ref(set)] },
      spec: { nodeName: "n1" },
      status: { phase: "Running" },
    });
    await begin();
    await h.client.delete(replicaSets, "rs", { namespace: "ns", propagationPolicy: "Foreground" });
    await h.advance(1);
    expect(names(replicaSets)).toEqual(["rs"]);
    expect(h.client.all(pods)[0].metadata.deletionTimestamp).toBeDefined();
    h.client.drop(pods, "p", "ns");
    await h.advance(1);
    expect(names(replicaSets)).toEqual([]);
  });

  it("orphans dependents when asked to", async () => {
    const set = make(replicaSets, "rs");
    make(pods, "p", [ref(set)]);
    await begin();
    await h.client.delete(replicaSets, "rs", { namespace: "ns", propagationPolicy: "Orphan" });
    await h.advance(1);
    expect(names(replicaSets)).toEqual([]);
    expect(h.client.all(pods)[0].metadata.ownerReferences).toEqual([]);
  });

  it("keeps a dependent that has a second, valid owner", async () => {
    const a = make(replicaSets, "a");
    const b = make(replicaSets, "b");
    make(pods, "p", [ref(a), ref(b, { controller: false })]);
    await begin();
    await h.client.delete(replicaSets, "a", { namespace: "ns", propagationPolicy: "Foreground" });
    await h.advance(1);
    expect(names(replicaSets)).toEqual(["b"]);
    expect(h.client.all(pods)[0].metadata.ownerReferences.map((r: OwnerReference) => r.name)).toEqual(["b"]);
  });

  it("is not blocked by a circle of owners", async () => {
    const p1 = make(pods, "p1");
    const p2 = make(pods, "p2", [ref(p1)]);
    const p3 = make(pods, "p3", [ref(p2)]);
    h.client.edit(pods, "p1", "ns", (p) => void (p.metadata.ownerReferences = [ref(p3)]));
    await begin();
    await h.client.delete(pods, "p1", { namespace: "ns", propagationPolicy: "Foreground" });
    await h.advance(5);
    expect(names(pods)).toEqual([]);
  });

  it("treats an owner in another namespace as absent and says so", async () => {
    const far = make(replicaSets, "rs", [], "other");
    make(pods, "p", [ref(far)]);
    await begin();
    await h.advance(1);
    expect(names(pods)).toEqual([]);
    expect(h.events()[0]).toContain("OwnerRefInvalidNamespace");
  });

  it("leaves a cluster-scoped object with a namespaced owner alone", async () => {
    make(nodes, "n", [{ apiVersion: "apps/v1", kind: "ReplicaSet", name: "gone", uid: "x" }]);
    await begin();
    expect(names(nodes)).toEqual(["n"]);
  });

  it("collects objects of a CustomResourceDefinition that came later", async () => {
    await begin();
    const widgets = defineResource("example.com", "v1", "widgets", "Widget");
    h.client.put(customResourceDefinitions, {
      metadata: { name: "widgets.example.com" },
      status: { conditions: [{ type: "Established", status: "True" }] },
      spec: {
        group: "example.com",
        scope: "Namespaced",
        names: { plural: "widgets", kind: "Widget" },
        versions: [{ name: "v1", served: true, storage: true }],
      },
    });
    await h.settle();
    const owner = make(widgets, "w");
    make(configMaps, "c", [ref(owner)]);
    await h.client.delete(widgets, "w", { namespace: "ns" });
    await h.advance(1);
    expect(names(configMaps)).toEqual([]);
  });
});
