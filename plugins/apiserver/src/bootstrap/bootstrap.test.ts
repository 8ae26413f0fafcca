import { describe, expect, it } from "vitest";
import type { KubeClient, Resource } from "@k3s-p/plugin-api/kube";
import type { ClusterSettings } from "@k3s-p/plugin-api/slots";
import { builtinResources } from "../resources/index.ts";
import type { Obj } from "../resources/types.ts";
import { bootstrap } from "./index.ts";
import { localApiServices } from "./objects.ts";

const cluster = {
  serviceCidr: ["10.43.0.0/16"], advertiseAddress: "192.0.2.7", httpsListenPort: 6443,
} as unknown as ClusterSettings;
const deps = { cluster, defs: builtinResources, authorities: { client: "client-ca-pem", requestHeader: "request-header-ca-pem" } };

function fakeClient() {
  const store = new Map<string, Obj>();
  const calls = { create: 0, update: 0, delete: 0 };
  const key = (r: Resource, o: Obj) => `${r.plural}.${r.group}/${o.metadata!.namespace ?? ""}/${o.metadata!.name}`;
  const client = {
    list: async (r: Resource) => ({
      metadata: {}, items: [...store].filter(([k]) => k.startsWith(`${r.plural}.${r.group}/`)).map(([, o]) => o),
    }),
    create: async (r: Resource, o: Obj) => {
      calls.create++;
      const namespace = o.metadata!.namespace;
      if (namespace && !store.has(`namespaces.//${namespace}`)) throw new Error(`namespace ${namespace} missing`);
      store.set(key(r, o), o);
      return o;
    },
    update: async (r: Resource, o: Obj) => (calls.update++, store.set(key(r, o), o), o),
    delete: async (r: Resource, name: string, o: { namespace?: string }) =>
      (calls.delete++, void store.delete(`${r.plural}.${r.group}/${o.namespace ?? ""}/${name}`)),
  } as unknown as KubeClient;
  return { client, store, calls };
}

describe("bootstrap", () => {
  it("creates everything once, and does nothing the second time", async () => {
    const { client, store, calls } = fakeClient();
    await bootstrap(client, deps);
    expect(calls.update).toBe(0);
    expect(store.get("services./default/kubernetes")?.spec).toMatchObject({
      clusterIP: "10.43.0.1", ports: [{ name: "https", port: 443, targetPort: 6443 }],
    });
    expect(store.get("endpointslices.discovery.k8s.io/default/kubernetes")?.endpoints).toEqual([{ addresses: ["192.0.2.7"], conditions: { ready: true } }]);
    expect(store.get("configmaps./kube-system/extension-apiserver-authentication")?.data["client-ca-file"]).toBe("client-ca-pem");
    const created = calls.create;
    await bootstrap(client, deps);
    expect(calls).toEqual({ create: created, update: 0, delete: 0 });
  });

  it("brings back rules and subjects that were taken away, and keeps those that were added", async () => {
    const { client, store, calls } = fakeClient();
    await bootstrap(client, deps);
    const role = store.get("clusterroles.rbac.authorization.k8s.io//system:kube-dns")!;
    const extra = { verbs: ["get"], apiGroups: [""], resources: ["nodes"] };
    store.set("clusterroles.rbac.authorization.k8s.io//system:kube-dns", { ...role, rules: [extra] });
    const binding = store.get("clusterrolebindings.rbac.authorization.k8s.io//system:discovery")!;
    store.set("clusterrolebindings.rbac.authorization.k8s.io//system:discovery", { ...binding, subjects: [] });
    await bootstrap(client, deps);
    expect(calls.update).toBe(2);
    expect(store.get("clusterroles.rbac.authorization.k8s.io//system:kube-dns")?.rules).toEqual([extra, ...role.rules]);
    expect(store.get("clusterrolebindings.rbac.authorization.k8s.io//system:discovery")?.subjects).toEqual(binding.subjects);
  });

  it("leaves an object alone that says autoupdate: false", async () => {
    const { client, store, calls } = fakeClient();
    await bootstrap(client, deps);
    const role = store.get("clusterroles.rbac.authorization.k8s.io//view")!;
    store.set("clusterroles.rbac.authorization.k8s.io//view", {
      ...role, rules: [], metadata: { name: "view", annotations: { "rbac.authorization.kubernetes.io/autoupdate": "false" } },
    });
    await bootstrap(client, deps);
    expect(calls.update).toBe(0);
  });

  it("makes a binding anew when its role was changed", async () => {
    const { client, store, calls } = fakeClient();
    await bootstrap(client, deps);
    const key = "clusterrolebindings.rbac.authorization.k8s.io//cluster-admin";
    const binding = store.get(key)!;
    store.set(key, { ...binding, roleRef: { ...binding.roleRef, name: "view" } });
    await bootstrap(client, deps);
    expect(calls.delete).toBe(1);
    expect(store.get(key)?.roleRef.name).toBe("cluster-admin");
  });

  it("follows a changed listen port and address", async () => {
    const { client, store } = fakeClient();
    await bootstrap(client, deps);
    await bootstrap(client, { ...deps, cluster: { ...cluster, httpsListenPort: 7443, advertiseAddress: "192.0.2.8" } });
    expect(store.get("services./default/kubernetes")?.spec.ports[0].targetPort).toBe(7443);
    expect(store.get("endpoints./default/kubernetes")?.subsets[0]).toMatchObject({ addresses: [{ ip: "192.0.2.8" }], ports: [{ port: 7443 }] });
  });

  it("registers an APIService for each built-in group and version", () => {
    const names = localApiServices(builtinResources).map((o) => o.metadata!.name);
    expect(names.slice(0, 3)).toEqual(["v1.", "v1.apps", "v1.events.k8s.io"]);
    expect(names.indexOf("v2.autoscaling")).toBeLessThan(names.indexOf("v1.autoscaling"));
  });
});
