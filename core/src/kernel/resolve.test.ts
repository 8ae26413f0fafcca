import { describe, expect, test } from "vitest";
import type { Manifest } from "./manifest.ts";
import { resolvePlan, type ResolveInput } from "./resolve.ts";

function manifest(id: string, more: Partial<Manifest> & { user?: string } = {}): Manifest {
  const { user, ...rest } = more;
  return {
    id, name: id, version: "1.0.0", description: "", dir: `/${id}`, entry: `/${id}/plugin.ts`, roles: ["server", "agent"],
    provides: {}, needs: {}, wants: {}, contributes: [], permissions: {}, exec: {}, criticality: "required", onDependencyRestart: "keep", isolation: "inline", schema: {}, example: {}, flags: {},
    source: user ? { kind: "user", label: user, path: `/${id}` } : { kind: "default", label: "the default plugins", path: `/${id}` },
    ...rest,
  };
}

const base = [
  manifest("datastore-sqlite", { provides: { datastore: "1.0" } }),
  manifest("apiserver", { provides: { apiserver: "1.0" }, needs: { datastore: "^1" } }),
  manifest("flannel", { provides: { cni: "1.0" }, needs: { kube: "^1" } }),
];
const plan = (manifests: readonly Manifest[], more: Partial<ResolveInput> = {}) =>
  resolvePlan({ manifests, role: "server", roles: ["server", "agent"], disabled: new Map(), slots: new Map(), ...more });

describe("which plugin gets a slot", () => {
  test("the one named with --plugin takes the default's place, and the plan says so", () => {
    const result = plan([...base, manifest("my-cni", { provides: { cni: "1.1" }, user: "--plugin ./my-cni" })]);
    expect(result.choices.find((c) => c.slot === "cni")).toEqual({ slot: "cni", plugin: "my-cni", version: "1.0.0", replaces: "flannel" });
    expect(result.leftOut).toEqual([{ plugin: "flannel", why: "replaced by my-cni for the slot cni" }]);
  });

  test("two that the user named are a conflict that names both and the flag that decides", () => {
    const two = [manifest("my-cni", { provides: { cni: "1.0" }, user: "--plugin ./my-cni" }), manifest("other", { provides: { cni: "1.0" }, user: "/etc/rancher/k3s/config.yaml:14" })];
    expect(() => plan([...base, ...two])).toThrow(expect.objectContaining({
      code: "K3SP_SLOT_CONFLICT", message: 'two plugins want the slot "cni"', fix: "choose one with  --slot cni=my-cni",
      detail: ["my-cni 1.0.0            from --plugin ./my-cni", "other 1.0.0             from /etc/rancher/k3s/config.yaml:14"],
    }));
    expect(plan([...base, ...two], { slots: new Map([["cni", "other"]]) }).choices.find((c) => c.slot === "cni")?.plugin).toBe("other");
  });

  test("an explicit default wins over --plugin, and none leaves the slot empty", () => {
    const mine = manifest("my-cni", { provides: { cni: "1.0" }, user: "--plugin ./my-cni" });
    expect(plan([...base, mine], { slots: new Map([["cni", "flannel"]]) }).choices.find((c) => c.slot === "cni")?.plugin).toBe("flannel");
    expect(plan(base, { slots: new Map([["cni", "none"]]) }).choices.some((c) => c.slot === "cni")).toBe(false);
  });
});

describe("what is refused", () => {
  test("a required slot whose provider is disabled", () => {
    expect(() => plan(base, { disabled: new Map([["datastore-sqlite", "--disable datastore-sqlite"]]) })).toThrow(expect.objectContaining({
      code: "K3SP_SLOT_MISSING", message: 'the role "server" cannot run without the slot "datastore"',
      detail: ['plugins that provide "datastore": datastore-sqlite', "datastore-sqlite is disabled (--disable datastore-sqlite)"],
    }));
  });

  test("a need that nothing provides", () => {
    expect(() => plan([...base, manifest("kubelet", { needs: { runtime: "^1" } })])).toThrow('kubelet needs the slot "runtime", and nothing provides it');
  });

  test("a contract whose major does not fit", () => {
    expect(() => plan([...base, manifest("old", { needs: { cni: "^2" } })])).toThrow("old 1.0.0 needs cni ^2, but flannel provides cni 1.0");
  });

  test("two plugins of one name", () => {
    expect(() => plan([...base, manifest("flannel", { user: "--plugin ./flannel" })])).toThrow('two plugins are named "flannel"');
  });
});

test("a default plugin goes with what it needs; one that the user named is missed", () => {
  const disabled = new Map([["containerd", "--disable containerd"]]);
  const node = [manifest("containerd", { provides: { runtime: "1.0" } }), manifest("kubelet", { provides: { kubelet: "1.0" }, needs: { runtime: "^1" } })];
  expect(plan([...base, ...node], { disabled }).leftOut).toEqual([
    { plugin: "containerd", why: "--disable containerd" },
    { plugin: "kubelet", why: "needs the slot runtime, and containerd is disabled" },
  ]);
  const mine = manifest("mine", { needs: { runtime: "^1" }, user: "--plugin ./mine" });
  expect(() => plan([...base, ...node, mine], { disabled })).toThrow('mine needs the slot "runtime", and nothing provides it');
});

test("kube is a view of the apiserver: who needs it starts after it", () => {
  expect(plan(base).edges.get("flannel")).toEqual(["apiserver"]);
});
