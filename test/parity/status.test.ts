/** The status of every kind that keeps one apart, written in each way, alone and under policies that change what is written. */
import { execFileSync } from "node:child_process";
import { beforeAll, describe, expect, test, vi } from "vitest";
import { type Body, type PatchKind, usable, useCluster } from "./api.ts";
import { objects } from "./objects.ts";

const condition = { type: "Tested", status: "True", reason: "R", message: "m", lastTransitionTime: "2026-01-01T00:00:00Z" };
const conditions = { conditions: [condition] };
const address = { loadBalancer: { ingress: [{ ip: "192.0.2.7" }] } };
const scaled = { replicas: 2, observedGeneration: 1 };
const autoscaled = { currentReplicas: 1, desiredReplicas: 1 };

/** A status that each kind takes. */
const statuses: Readonly<Record<string, Body>> = {
  "v1/namespaces": conditions,
  "v1/nodes": { ...conditions, addresses: [{ type: "InternalIP", address: "192.0.2.8" }] },
  "v1/persistentvolumeclaims": { phase: "Lost", conditions: [{ type: "Resizing", status: "True" }] },
  "v1/persistentvolumes": { phase: "Available", message: "m" },
  "v1/pods": { phase: "Running", podIPs: [{ ip: "192.0.2.9" }], conditions: [{ type: "Ready", status: "True" }] },
  "v1/replicationcontrollers": scaled,
  "v1/resourcequotas": { hard: { pods: "2" }, used: { pods: "1" } },
  "v1/services": address,
  "admissionregistration.k8s.io/v1/validatingadmissionpolicies": { observedGeneration: 1 },
  "apiextensions.k8s.io/v1/customresourcedefinitions": conditions,
  "apiregistration.k8s.io/v1/apiservices": conditions,
  "apps/v1/daemonsets": { currentNumberScheduled: 1, numberMisscheduled: 0, desiredNumberScheduled: 1, numberReady: 1 },
  "apps/v1/deployments": { ...scaled, updatedReplicas: 1 },
  "apps/v1/replicasets": scaled,
  "apps/v1/statefulsets": scaled,
  "autoscaling/v1/horizontalpodautoscalers": autoscaled,
  "autoscaling/v2/horizontalpodautoscalers": autoscaled,
  "batch/v1/cronjobs": { lastScheduleTime: "2026-01-01T00:00:00Z" },
  "batch/v1/jobs": { active: 1, ready: 0, startTime: "2026-01-01T00:00:00Z" },
  "certificates.k8s.io/v1/certificatesigningrequests": { conditions: [{ type: "Failed", status: "True", reason: "R" }] },
  "flowcontrol.apiserver.k8s.io/v1/flowschemas": conditions,
  "flowcontrol.apiserver.k8s.io/v1/prioritylevelconfigurations": conditions,
  "networking.k8s.io/v1/ingresses": address,
  "networking.k8s.io/v1/servicecidrs": conditions,
  "policy/v1/poddisruptionbudgets": { disruptionsAllowed: 1, currentHealthy: 2, desiredHealthy: 1, expectedPods: 2 },
  "resource.k8s.io/v1/resourceclaims": { allocation: { devices: {} }, reservedFor: [{ resource: "pods", name: "p", uid: "u" }] },
  "storage.k8s.io/v1/volumeattachments": { attached: true },
};

const api = useCluster({ controllers: ["serviceaccount"] });
let resources: readonly Body[] = [];
beforeAll(async () => {
  await usable(api, "default");
  const groups = ["/api/v1", ...(await api.get("/apis")).groups.flatMap((g: Body) => g.versions.map((v: Body) => `/apis/${v.groupVersion}`))];
  resources = (await Promise.all(groups.map(async (root) => (await api.get(root)).resources.map((resource: Body) => ({ id: `${root.replace(/^\/apis?\//, "")}/${resource.name}`, root, ...resource }))))).flat();
});

test("the table has every kind with a status of its own", () => {
  expect(resources.map(({ id }) => id).filter((id) => id.endsWith("/status")).sort()).toEqual(Object.keys(statuses).map((id) => `${id}/status`).sort());
});

const request = (): string => execFileSync("openssl", ["req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", "/dev/null", "-subj", "/CN=x"], { stdio: "pipe" }).toString("base64");

/** Everything beside status and metadata. */
const rest = ({ metadata: _, status: __, ...others }: Body): Body => others;

/** Only of a load balancer may the status tell addresses. */
const specs: Readonly<Record<string, object>> = { "v1/services": { type: "LoadBalancer", ports: [{ port: 80 }] } };

async function prepared(id: string): Promise<string> {
  const { root, name, namespaced } = resources.find((resource) => resource.id === id);
  const path = namespaced ? `${root}/namespaces/default/${name}` : `${root}/${name}`;
  const own = objects[id]!("status", request);
  const object = { ...own, ...(specs[id] && { spec: specs[id] }), metadata: { name: "status", ...own.metadata } };
  await api.call("POST", path, object);
  return `${path}/${object.metadata.name}`;
}

/** Controllers of the server have conditions of their own in some kinds. */
const shown = (status: Body): Body => ({ ...status, ...(status.conditions && { conditions: expect.arrayContaining(status.conditions.map((c: Body) => expect.objectContaining(c))) }) });

/** What no write of a status may bring into a spec. */
const other = { paused: true, replicas: 9, finalizers: ["a/b"], cidrs: [] };

/** Some kinds are replaced by nobody who does not know what there is, and the server writes some at the same time. */
async function replaced(path: string, make: () => Promise<Body>): Promise<Body> {
  for (let tries = 1; ; tries++) {
    const { status, body } = await api.call("PUT", path, await make());
    if (status < 300) return body;
    if (status !== 409 || tries === 5) throw new Error(`PUT ${path}: ${status} ${body.message}`);
  }
}

async function writeInEachWay(id: string): Promise<void> {
  const at = await prepared(id);
  const before = await api.get(at);
  const status = { ...before.status, ...statuses[id] };
  const { apiVersion, kind } = before;
  const patches: readonly (readonly [PatchKind, object])[] = [
    ["merge", { spec: other, status }], ["strategic", { spec: other, status }],
    ["json", [{ op: "add", path: "/status", value: status }, { op: "add", path: "/spec", value: before.spec ?? {} }]],
    ["apply", { apiVersion, kind, status }],
  ];
  for (const query of ["fieldManager=dry&dryRun=All", "fieldManager=real"]) {
    const put = await replaced(`${at}/status?${query}`, async () => {
      const { resourceVersion } = (await api.get(at)).metadata;
      return { ...before, metadata: { ...before.metadata, resourceVersion }, spec: { ...before.spec, ...other }, status };
    });
    expect(rest(put)).toEqual(rest(before));
    expect(put.status).toMatchObject(shown(statuses[id]));
    for (const [type, patch] of patches) {
      const patched = await api.patch(`${at}/status?${type === "apply" ? "force=true&" : ""}${query}`, patch, type);
      expect([type, rest(patched)]).toEqual([type, rest(before)]);
      expect(patched.status).toMatchObject(shown(statuses[id]));
      expect(patched.metadata.generation).toBe(before.metadata.generation);
    }
  }
  const after = await api.get(at);
  expect(rest(after)).toEqual(rest(before));
  expect(after.metadata.managedFields.map((entry: Body) => entry.manager)).not.toContain("dry");
}

/** Two kinds of one's own, with a status apart and without. */
async function defineCustom(plural: string, subresources: object): Promise<string> {
  const any = { type: "object", "x-kubernetes-preserve-unknown-fields": true };
  await api.post("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", {
    metadata: { name: `${plural}.status.example.com` },
    spec: {
      group: "status.example.com", scope: "Namespaced", names: { plural, kind: plural.toUpperCase() },
      versions: [{ name: "v1", served: true, storage: true, subresources, schema: { openAPIV3Schema: { type: "object", required: ["spec"], properties: { spec: { ...any, required: ["a"] }, status: any } } } }],
    },
  });
  const path = `/apis/status.example.com/v1/namespaces/default/${plural}`;
  await vi.waitFor(() => api.post(path, { apiVersion: "status.example.com/v1", kind: plural.toUpperCase(), metadata: { name: "one" }, spec: { a: 1 } }));
  return `${path}/one`;
}

async function writeCustom(at: string): Promise<void> {
  const before = await api.get(at);
  const { resourceVersion } = before.metadata;
  const put = await api.put(`${at}/status`, { ...before, metadata: { ...before.metadata, resourceVersion, labels: { x: "y" } }, spec: { a: 2 }, status: { by: "put" } });
  expect([put.spec, put.status, put.metadata.labels, put.metadata.generation]).toEqual([{ a: 1 }, { by: "put" }, undefined, 1]);
  const patched = [
    await api.patch(`${at}/status`, { spec: { a: 2 }, status: { by: "merge" } }, "merge"),
    await api.patch(`${at}/status`, [{ op: "remove", path: "/spec" }, { op: "replace", path: "/status/by", value: "json" }], "json"),
    await api.patch(`${at}/status?fieldManager=me&force=true`, { apiVersion: before.apiVersion, kind: before.kind, spec: { a: 2 }, status: { by: "apply" } }, "apply"),
  ];
  expect(patched.map(({ spec, status }) => [spec, status.by])).toEqual([[{ a: 1 }, "merge"], [{ a: 1 }, "json"], [{ a: 1 }, "apply"]]);
}

describe("alone", () => {
  test.each(Object.keys(statuses))("%s", writeInEachWay);
  test("a custom kind with a status of its own", async () => writeCustom(await defineCustom("apart", { status: {} })));
  test("a custom kind without one writes it with the rest, and has no such subresource", async () => {
    const at = await defineCustom("whole", {});
    expect(await api.patch(at, { spec: { a: 2 }, status: { by: "merge" } }, "merge")).toMatchObject({ spec: { a: 2 }, status: { by: "merge" }, metadata: { generation: 2 } });
    for (const method of ["GET", "PUT", "PATCH"]) expect((await api.call(method, `${at}/status`, method === "GET" ? undefined : {}, method === "PATCH" ? { "content-type": "application/merge-patch+json" } : {})).status).toBe(404);
  });
});

test("writers that name no resourceVersion all get through, and none takes back another's labels", async () => {
  const at = await prepared("apps/v1/replicasets");
  const { metadata: { resourceVersion: _, ...metadata }, ...old } = await api.get(at);
  await Promise.all(Array.from({ length: 20 }, (_, i) => (i % 2
    ? api.put(`${at}/status`, { ...old, metadata, status: { ...old.status, replicas: i } })
    : api.patch(at, { metadata: { annotations: { [`a${i}`]: "1" } }, spec: { minReadySeconds: i } }, "merge"))));
  const now = await api.get(at);
  expect(now.status.replicas % 2).toBe(1);
  expect(now.spec.minReadySeconds % 2).toBe(0);
});

describe("under a policy that takes the spec and the annotations away", () => {
  beforeAll(async () => {
    const rules = [{ operations: ["UPDATE"], apiGroups: ["*"], apiVersions: ["*"], resources: ["*/status"] }];
    await api.post("/apis/admissionregistration.k8s.io/v1/mutatingadmissionpolicies", {
      metadata: { name: "empty" },
      spec: {
        matchConstraints: { resourceRules: rules }, reinvocationPolicy: "Never", failurePolicy: "Fail",
        mutations: ["/spec", "/metadata/annotations"].map((path) => ({ patchType: "JSONPatch", jsonPatch: { expression: `[JSONPatch{op: "add", path: "${path}", value: {}}]` } })),
      },
    });
    await api.post("/apis/admissionregistration.k8s.io/v1/mutatingadmissionpolicybindings", { metadata: { name: "empty" }, spec: { policyName: "empty" } });
    const at = await prepared("v1/services");
    await api.patch(at, { metadata: { annotations: { a: "b" } } }, "merge");
    await vi.waitFor(async () => expect((await api.patch(`${at}/status`, { status: {} }, "merge")).metadata.annotations).toBeUndefined());
  });

  test.each(Object.keys(statuses).filter((id) => !id.startsWith("admissionregistration")))("%s", writeInEachWay);
  test("a custom kind", async () => writeCustom(await defineCustom("again", { status: {} })));
});
