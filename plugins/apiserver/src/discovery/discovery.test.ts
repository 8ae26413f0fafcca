import { describe, expect, it } from "vitest";
import { builtinResources } from "../resources/index.ts";
import { createRegistry } from "../server/registry.ts";
import { discoveryRoutes, type ExternalVersion } from "./index.ts";
import { compareVersions } from "./priorities.ts";

const registry = createRegistry(builtinResources);
const route = discoveryRoutes(registry, { serverAddress: () => "10.0.0.1:6443" });
const get = (path: string, headers = {}) => JSON.parse(route(path, headers)!.body.toString());
const aggregatedAccept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json";

describe("discoveryRoutes", () => {
  it("names the core versions", () => {
    expect(get("/api")).toEqual({
      kind: "APIVersions", versions: ["v1"], serverAddressByClientCIDRs: [{ clientCIDR: "0.0.0.0/0", serverAddress: "10.0.0.1:6443" }],
    });
    expect(get("/api/")).toEqual(get("/api"));
  });

  it("lists groups in upstream's order, with the preferred version first", () => {
    const { groups } = get("/apis");
    expect(groups.map((g: { name: string }) => g.name).slice(0, 4)).toEqual(["apiregistration.k8s.io", "apps", "events.k8s.io", "authentication.k8s.io"]);
    const autoscaling = get("/apis/autoscaling");
    expect(autoscaling.preferredVersion).toEqual({ groupVersion: "autoscaling/v2", version: "v2" });
    expect(autoscaling.versions).toHaveLength(2);
  });

  it("lists resources with their subresources", () => {
    const list = get("/api/v1");
    const entry = (name: string) => list.resources.find((r: { name: string }) => r.name === name);
    expect(entry("pods")).toEqual({
      name: "pods", singularName: "pod", namespaced: true, kind: "Pod", shortNames: ["po"], categories: ["all"],
      verbs: ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"],
    });
    expect(entry("pods/eviction")).toEqual({
      name: "pods/eviction", singularName: "", namespaced: true, group: "policy", version: "v1", kind: "Eviction", verbs: ["create"],
    });
    expect(entry("serviceaccounts/token")).toMatchObject({ group: "authentication.k8s.io", kind: "TokenRequest" });
    expect(entry("pods/exec")).toMatchObject({ kind: "PodExecOptions", verbs: ["create", "get"] });
    expect(get("/apis/apps/v1").apiVersion).toBe("v1");
  });

  it("answers in the aggregated form when asked", () => {
    const found = route("/apis", { accept: aggregatedAccept })!;
    expect(found.headers["content-type"]).toBe("application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList");
    const { items, apiVersion } = JSON.parse(found.body.toString());
    expect(apiVersion).toBe("apidiscovery.k8s.io/v2");
    const apps = items.find((g: { metadata: { name: string } }) => g.metadata.name === "apps");
    const deployments = apps.versions[0].resources.find((r: { resource: string }) => r.resource === "deployments");
    expect(deployments).toMatchObject({
      scope: "Namespaced", singularResource: "deployment", responseKind: { group: "apps", version: "v1", kind: "Deployment" },
      subresources: [
        { subresource: "scale", responseKind: { group: "autoscaling", version: "v1", kind: "Scale" } }, { subresource: "status" },
      ],
    });
    expect(get("/api", { accept: aggregatedAccept }).items).toHaveLength(1);
    expect(get("/apis", { accept: "application/json" }).kind).toBe("APIGroupList");
  });

  it("answers 304 to a known ETag, and something new after a change", () => {
    const first = route("/apis", {})!;
    expect(route("/apis", { "if-none-match": first.headers.etag })!.status).toBe(304);
    const undo = registry.add([{ ...builtinResources[0]!, group: "example.com", version: "v1beta1", plural: "foos", kind: "Foo" }]);
    expect(route("/apis", { "if-none-match": first.headers.etag })!.status).toBe(200);
    expect(get("/apis").groups.at(-1).name).toBe("example.com");
    undo();
  });

  it("knows nothing of what it does not serve", () => {
    for (const path of ["/apis/nope", "/apis/apps/v9", "/healthz", "/api/v1/pods"]) expect(route(path, {})).toBeUndefined();
  });

  it("includes what other servers answer for", () => {
    const metrics: ExternalVersion = { group: "metrics.k8s.io", version: "v1beta1", groupPriority: 100, versionPriority: 100, resources: undefined };
    const withMetrics = discoveryRoutes(registry, { external: { revision: () => 1, list: () => [metrics] } });
    const groups = JSON.parse(withMetrics("/apis", {})!.body.toString()).groups;
    expect(groups.at(-1)).toEqual({
      name: "metrics.k8s.io", versions: [{ groupVersion: "metrics.k8s.io/v1beta1", version: "v1beta1" }],
      preferredVersion: { groupVersion: "metrics.k8s.io/v1beta1", version: "v1beta1" },
    });
    expect(withMetrics("/apis/metrics.k8s.io/v1beta1", {})).toBeUndefined();
  });

  it("orders versions as Kubernetes does", () => {
    expect(["v1alpha1", "v1", "v2beta1", "foo", "v2", "v1beta2", "v1beta1"].sort(compareVersions))
      .toEqual(["v2", "v1", "v2beta1", "v1beta2", "v1beta1", "v1alpha1", "foo"]);
  });
});
