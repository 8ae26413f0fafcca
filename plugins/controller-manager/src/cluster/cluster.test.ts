import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { apiError, configMaps, namespaces, nodes, pods, secrets, serviceAccounts, services } from "@k3s-p/plugin-api/kube";
import { createHarness, type Harness } from "../testing/harness.ts";
import { start as startNamespace } from "./namespace.ts";
import { start as startPodGc } from "./pod-gc.ts";
import { start as startRootCa } from "./root-ca.ts";
import { start as startServiceAccount } from "./serviceaccount.ts";
import { start as startTokenCleaner } from "./token-cleaner.ts";

let h: Harness;
beforeEach(() => void (h = createHarness()));
afterEach(() => h.stop());
const ns = (name: string) =>
  h.client.put(namespaces, { metadata: { name }, spec: { finalizers: ["kubernetes"] }, status: { phase: "Active" } });

describe("serviceaccount", () => {
  it("makes the default account in every namespace, and again when it is deleted", async () => {
    ns("a");
    await h.start(startServiceAccount);
    ns("b");
    await h.settle();
    await h.client.delete(serviceAccounts, "default", { namespace: "a" });
    await h.settle();
    expect(h.client.all(serviceAccounts).map((s) => s.metadata.namespace).sort()).toEqual(["a", "b"]);
  });

  it("does not insist in a namespace that is being deleted", async () => {
    const refused = apiError(403, "Forbidden", "being terminated", { causes: [{ reason: "NamespaceTerminating" }] });
    h.client.onWrite = ({ verb }) => {
      if (verb === "create") throw refused;
    };
    ns("a");
    await h.start(startServiceAccount);
    await h.advance(10);
    expect(h.client.writes).toHaveLength(1);
    expect(h.problems).toEqual([]);
  });
});

describe("token-cleaner", () => {
  const token = (name: string, expiration?: string, type = "bootstrap.kubernetes.io/token", namespace = "kube-system") => h.client.put(secrets, {
    metadata: { name, namespace }, type, data: expiration === undefined ? {} : { expiration: Buffer.from(expiration).toString("base64") },
  });
  const left = () => h.client.all(secrets).map((secret) => secret.metadata.name).sort();

  it("deletes bootstrap tokens when their time is over, and nothing else", async () => {
    token("past", "2025-12-31T00:00:00Z");
    token("soon", "2026-01-01T00:10:00Z");
    token("for-ever");
    token("unreadable", "some day");
    token("other-type", "2025-12-31T00:00:00Z", "Opaque");
    token("elsewhere", "2025-12-31T00:00:00Z", undefined, "default");
    await h.start(startTokenCleaner);
    expect(left()).toEqual(["elsewhere", "for-ever", "other-type", "soon", "unreadable"]);
    await h.advance(599);
    expect(left()).toContain("soon");
    await h.advance(2);
    expect(left()).toEqual(["elsewhere", "for-ever", "other-type", "unreadable"]);
  });
});

describe("root-ca-certificate-publisher", () => {
  it("publishes the server's CA and repairs a changed copy", async () => {
    ns("a");
    await h.start(startRootCa);
    expect(h.client.all(configMaps)[0]).toMatchObject({
      metadata: { name: "kube-root-ca.crt", namespace: "a" },
      data: { "ca.crt": "CERT server-ca" },
    });
    h.client.edit(configMaps, "kube-root-ca.crt", "a", (m) => void (m.data = { "ca.crt": "forged", other: "x" }));
    await h.settle();
    expect(h.client.all(configMaps)[0].data).toEqual({ "ca.crt": "CERT server-ca" });
  });
});

describe("namespace", () => {
  it("empties a namespace and removes its finalizer", async () => {
    ns("a");
    h.client.put(configMaps, { metadata: { name: "c", namespace: "a" } });
    h.client.put(configMaps, { metadata: { name: "c", namespace: "b" } });
    await h.start(startNamespace);
    await h.client.delete(namespaces, "a");
    await h.advance(1);
    expect(h.client.all(namespaces)).toEqual([]);
    expect(h.client.all(configMaps).map((c) => c.metadata.namespace)).toEqual(["b"]);
  });

  it("waits for pods before it deletes the rest, and reports what remains", async () => {
    ns("a");
    h.client.put(pods, {
      metadata: { name: "p", namespace: "a", finalizers: ["x/y"] },
      spec: { nodeName: "n" },
      status: { phase: "Running" },
    });
    h.client.put(services, { metadata: { name: "s", namespace: "a" }, spec: {} });
    await h.start(startNamespace);
    await h.client.delete(namespaces, "a");
    await h.advance(1);
    expect(h.client.all(services)).toHaveLength(1);
    const { phase, conditions } = h.client.all(namespaces)[0].status;
    expect(phase).toBe("Terminating");
    expect(conditions.find((c: any) => c.type === "NamespaceContentRemaining")).toMatchObject({
      status: "True",
      reason: "SomeResourcesRemain",
      message: "Some resources are remaining: pods. has 1 resource instances",
    });
    expect(conditions.find((c: any) => c.type === "NamespaceFinalizersRemaining")).toMatchObject({
      status: "True",
      message: "Some content in the namespace has finalizers remaining: x/y in 1 resource instances",
    });
    h.client.drop(pods, "p", "a");
    await h.settle();
    expect(h.client.all(namespaces)).toEqual([]);
    expect(h.client.all(services)).toEqual([]);
  });

  it("reports a group that cannot be discovered and goes on with the others", async () => {
    ns("a");
    h.client.put(configMaps, { metadata: { name: "c", namespace: "a" } });
    h.client.onRequest = (_, path) => {
      if (path === "/apis")
        return {
          status: 200,
          body: {
            groups: [
              { name: "metrics.k8s.io", versions: [{ groupVersion: "metrics.k8s.io/v1beta1", version: "v1beta1" }] },
            ],
          },
        };
      return path.startsWith("/apis/metrics") ? { status: 503, body: { message: "unavailable" } } : undefined;
    };
    await h.start(startNamespace);
    await h.client.delete(namespaces, "a");
    await h.advance(1);
    expect(h.client.all(configMaps)).toEqual([]);
    expect(h.client.all(namespaces)[0].status.conditions[0]).toMatchObject({
      type: "NamespaceDeletionDiscoveryFailure",
      status: "True",
      reason: "DiscoveryFailed",
    });
    h.client.onRequest = undefined;
    await h.advance(20);
    expect(h.client.all(namespaces)).toEqual([]);
  });
});

describe("pod-garbage-collector", () => {
  const pod = (name: string, nodeName?: string, extra: object = {}) =>
    h.client.put(pods, {
      metadata: { name, namespace: "a", ...extra },
      spec: { ...(nodeName && { nodeName }) },
      status: { phase: "Running" },
    });

  it("removes pods of a node that has been missing for 40 s, marked as disrupted", async () => {
    h.client.put(nodes, { metadata: { name: "n1" } });
    pod("gone", "n2");
    pod("fine", "n1");
    await h.start(startPodGc);
    await h.advance(39);
    expect(h.client.all(pods)).toHaveLength(2);
    await h.advance(2);
    expect(h.client.all(pods).map((p) => p.metadata.name)).toEqual(["fine"]);
    const patch = h.client.writes.find((a) => a.verb === "patch")!;
    expect(patch).toMatchObject({
      resource: "pods/status",
      body: {
        status: {
          phase: "Failed",
          conditions: [expect.objectContaining({ type: "DisruptionTarget", reason: "DeletionByPodGC" })],
        },
      },
    });
  });

  it("removes a terminating pod that was never scheduled", async () => {
    pod("p", undefined, { deletionTimestamp: "2026-01-01T00:00:00Z", deletionGracePeriodSeconds: 30 });
    await h.start(startPodGc);
    await h.settle();
    expect(h.client.writes.find((a) => a.verb === "delete")!.body).toMatchObject({ gracePeriodSeconds: 0 });
  });

  it("keeps only as many finished pods as the threshold", async () => {
    h.client.put(nodes, { metadata: { name: "n1" } });
    for (const name of ["a", "b", "c"]) {
      h.client.put(pods, { metadata: { name, namespace: "a" }, spec: { nodeName: "n1" }, status: { phase: "Succeeded" } });
    }
    await h.start((deps) => startPodGc({ ...deps, tuning: { ...deps.tuning, terminatedPodThreshold: 2 } }));
    expect(h.client.all(pods).map((p) => p.metadata.name)).toEqual(["b", "c"]);
  });
});
