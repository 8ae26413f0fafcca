/** Kinds of named groups, each through every operation that the API offers. */
import { execFileSync } from "node:child_process";
import { expect } from "vitest";
import { type Body, useCluster } from "./api.ts";
import { behaviour } from "./behaviours.ts";

const api = useCluster();
const names = (list: Body): string[] => list.items.map((item: Body) => item.metadata.name);

interface Kind {
  readonly group: string;
  readonly kind: string;
  readonly plural: string;
  readonly namespaced: boolean;
  readonly spec: object;
  /** A merge patch of the main resource, and what must then be there. */
  readonly change?: object;
}

/** Discovery, create, get, list here and everywhere, watch, patch, update, delete, deletecollection. */
async function everyOperation({ group, kind, plural, namespaced, spec, change }: Kind): Promise<string> {
  const root = `/apis/${group}/v1`;
  const path = namespaced ? `${root}/namespaces/default/${plural}` : `${root}/${plural}`;
  expect((await api.get("/apis")).groups.map((g: Body) => g.name)).toContain(group);
  expect((await api.get(`/apis/${group}`)).versions).toContainEqual({ groupVersion: `${group}/v1`, version: "v1" });
  expect((await api.get(root)).resources).toContainEqual(expect.objectContaining({ name: plural, kind, namespaced }));
  const label = `parity=${plural}`;
  const make = (name: string) => ({ apiVersion: `${group}/v1`, kind, metadata: { name, labels: { parity: plural } }, ...spec });
  const [first] = [await api.post(path, make(`${plural}-a`)), await api.post(path, make(`${plural}-b`)), await api.post(path, make(`${plural}-c`))];
  expect(await api.get(`${path}/${plural}-a`)).toEqual(first);
  const listed = await api.get(`${path}?labelSelector=${label}`);
  expect(names(listed)).toEqual([`${plural}-a`, `${plural}-b`, `${plural}-c`]);
  if (namespaced) expect(names(await api.get(`${root}/${plural}?labelSelector=${label}`))).toHaveLength(3);
  const watch = await api.watch(`${path}?labelSelector=${label}&resourceVersion=${listed.metadata.resourceVersion}`);
  const patched = await api.patch(`${path}/${plural}-a`, change ?? { metadata: { annotations: { patched: "true" } } }, "merge");
  expect(patched).toMatchObject(change ?? { metadata: { annotations: { patched: "true" } } });
  const updated = await api.put(`${path}/${plural}-a`, { ...patched, metadata: { ...patched.metadata, annotations: { updated: "true" } } });
  expect(updated.metadata.annotations).toEqual({ updated: "true" });
  for (const object of [patched, updated]) expect(await watch.next()).toEqual({ type: "MODIFIED", object });
  await api.del(`${path}/${plural}-a`);
  expect((await api.call("GET", `${path}/${plural}-a`)).status).toBe(404);
  await api.call("DELETE", `${path}?labelSelector=${label}`);
  expect(names(await api.get(`${path}?labelSelector=${label}`))).toEqual([]);
  for (const name of ["a", "b", "c"]) expect(await watch.next()).toMatchObject({ type: "DELETED", object: { metadata: { name: `${plural}-${name}` } } });
  watch.close();
  await api.post(path, make(`${plural}-d`));
  return `${path}/${plural}-d`;
}

behaviour("lease-api", async () => {
  const lease = await everyOperation({
    group: "coordination.k8s.io", kind: "Lease", plural: "leases", namespaced: true,
    spec: { spec: { holderIdentity: "a", leaseDurationSeconds: 30, acquireTime: "2026-01-01T00:00:00.000000Z", renewTime: "2026-01-01T00:00:05.123456Z", leaseTransitions: 0 } },
    change: { spec: { leaseDurationSeconds: 50, holderIdentity: "b" } },
  });
  expect((await api.get(lease)).spec.renewTime).toBe("2026-01-01T00:00:05.123456Z");
});

behaviour("ingress-api", async () => {
  const backend = { service: { name: "web", port: { number: 80 } } };
  const ingress = await everyOperation({
    group: "networking.k8s.io", kind: "Ingress", plural: "ingresses", namespaced: true,
    spec: { spec: { defaultBackend: backend, rules: [{ host: "foo.example", http: { paths: [{ path: "/", pathType: "Prefix", backend }] } }] } },
  });
  const status = { loadBalancer: { ingress: [{ ip: "192.0.2.7" }] } };
  expect((await api.patch(`${ingress}/status`, { metadata: { annotations: { s: "1" } }, status }, "merge")).status).toEqual(status);
  const object = await api.get(`${ingress}/status`);
  object.status.loadBalancer.ingress[0].ip = "192.0.2.8";
  expect((await api.put(`${ingress}/status`, object)).status.loadBalancer.ingress).toEqual([{ ip: "192.0.2.8" }]);
});

behaviour("ingressclass-api", async () => {
  await everyOperation({
    group: "networking.k8s.io", kind: "IngressClass", plural: "ingressclasses", namespaced: false,
    spec: { spec: { controller: "example.com/controller" } },
  });
});

behaviour("runtimeclass-api", async () => {
  await everyOperation({ group: "node.k8s.io", kind: "RuntimeClass", plural: "runtimeclasses", namespaced: false, spec: { handler: "runc" } });
});

behaviour("csr-api", async () => {
  const pem = execFileSync("openssl", ["req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", "/dev/null", "-subj", "/CN=jane"], { stdio: "pipe" });
  const csr = await everyOperation({
    group: "certificates.k8s.io", kind: "CertificateSigningRequest", plural: "certificatesigningrequests", namespaced: false,
    spec: { spec: { request: pem.toString("base64"), signerName: "example.com/mine", expirationSeconds: 3600, usages: ["digital signature", "client auth"] } },
  });
  const condition = { type: "Approved", status: "True", reason: "Fine", message: "by hand" };
  const object = await api.get(`${csr}/approval`);
  const approved = await api.put(`${csr}/approval`, { ...object, status: { conditions: [condition] } });
  expect(approved.status.conditions).toEqual([expect.objectContaining(condition)]);
  const failed = { type: "Failed", status: "True", reason: "Other", message: "later" };
  const patched = await api.patch(`${csr}/status`, { status: { certificate: null, conditions: [...approved.status.conditions, failed] } }, "merge");
  expect(patched.status.conditions).toMatchObject([condition, failed]);
  expect((await api.get(`${csr}/status`)).spec).toMatchObject({ username: "system:admin", groups: expect.arrayContaining(["system:masters"]) });
});
