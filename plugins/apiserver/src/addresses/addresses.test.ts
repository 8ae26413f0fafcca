import { setTimeout as sleep } from "node:timers/promises";
import { memoryDatastore } from "@k3s-p/plugin-api/testing-datastore";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startTestServer, type TestServer } from "../server/testing.ts";

const IPS = "/apis/networking.k8s.io/v1/ipaddresses";
const CIDRS = "/apis/networking.k8s.io/v1/servicecidrs";
const SERVICES = "/api/v1/namespaces/default/services";
const service = (name: string, spec: object = {}) => ({ metadata: { name }, spec: { ports: [{ port: 80 }], ...spec } });

/** What `look` returns once it is no longer undefined; at most two seconds. */
async function eventually<T>(look: () => Promise<T | undefined>): Promise<T> {
  for (let i = 0; i < 200; i++) {
    const found = await look();
    if (found !== undefined) return found;
    await sleep(10);
  }
  throw new Error(`not within two seconds: ${look}`);
}

describe("IPAddresses", () => {
  let api: TestServer;
  const datastore = memoryDatastore();
  beforeAll(async () => { api = await startTestServer({ datastore }); });
  afterAll(() => api.close());
  const get = async (url: string) => (await api.http("GET", url)).body;
  const found = (ip: string) => eventually(async () => { const body = await get(`${IPS}/${ip}`); return body.kind === "IPAddress" ? body : undefined; });
  const gone = (ip: string) => eventually(async () => ((await get(`${IPS}/${ip}`)).code === 404 ? true : undefined));

  test("come and go with a Service, and name it", async () => {
    const { body } = await api.http("POST", SERVICES, service("a"));
    const ip = body.spec.clusterIP as string;
    expect(await found(ip)).toMatchObject({
      metadata: { name: ip, labels: { "ipaddress.kubernetes.io/ip-family": "IPv4", "ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io" } },
      spec: { parentRef: { resource: "services", namespace: "default", name: "a" } },
    });
    await api.http("DELETE", `${SERVICES}/a`);
    await gone(ip);
  });

  test("belong to the Service kubernetes from the start", async () => {
    expect((await found("10.43.0.1")).spec.parentRef).toMatchObject({ namespace: "default", name: "kubernetes" });
  });

  test("pass on to the next Service that asks for the address at once", async () => {
    await api.http("POST", SERVICES, service("first", { clusterIP: "10.43.0.77" }));
    await found("10.43.0.77");
    await api.http("DELETE", `${SERVICES}/first`);
    expect((await api.http("POST", SERVICES, service("second", { clusterIP: "10.43.0.77" }))).status).toBe(201);
    await eventually(async () => ((await get(`${IPS}/10.43.0.77`)).spec?.parentRef.name === "second" ? true : undefined));
  });

  test("come back when somebody deletes them, and are left to whoever else holds them", async () => {
    await api.http("POST", SERVICES, service("b", { clusterIP: "10.43.0.78" }));
    const { metadata: { uid } } = await found("10.43.0.78");
    await api.http("DELETE", `${IPS}/10.43.0.78`);
    await eventually(async () => { const body = await get(`${IPS}/10.43.0.78`); return body.metadata?.uid && body.metadata.uid !== uid ? true : undefined; });
    const gateway = { group: "gateway.example.com", resource: "gateways", namespace: "default", name: "g" };
    expect((await api.http("POST", IPS, { metadata: { name: "10.43.0.79" }, spec: { parentRef: gateway } })).status).toBe(201);
    const refused = await api.http("POST", SERVICES, service("c", { clusterIP: "10.43.0.79" }));
    expect([refused.status, refused.body.message]).toEqual([422, expect.stringContaining("provided IP is already allocated")]);
    expect((await get(`${IPS}/10.43.0.79`)).spec.parentRef.resource).toBe("gateways");
  });

  test("are repaired at the start of a server", async () => {
    await api.http("POST", SERVICES, service("kept", { clusterIP: "10.43.0.80" }));
    await found("10.43.0.80");
    await api.close();
    // A server without the two kinds knows nothing of addresses: it leaves one behind and makes none.
    const blind = await startTestServer({ datastore, defs: api.registry.list().filter(({ plural }) => plural !== "ipaddresses" && plural !== "servicecidrs") });
    await blind.http("DELETE", `${SERVICES}/kept`);
    await blind.http("POST", SERVICES, service("new", { clusterIP: "10.43.0.81" }));
    await blind.close();
    api = await startTestServer({ datastore });
    await gone("10.43.0.80");
    expect((await found("10.43.0.81")).spec.parentRef.name).toBe("new");
  });
});

describe("ServiceCIDRs", () => {
  let api: TestServer;
  beforeAll(async () => { api = await startTestServer(); });
  afterAll(() => api.close());
  const condition = (name: string, status: string) => eventually(async () => {
    const { body } = await api.http("GET", `${CIDRS}/${name}`);
    return body.status?.conditions?.find((one: { status: string }) => one.status === status);
  });

  test("are ready, and the default one says so", async () => {
    expect(await condition("kubernetes", "True")).toMatchObject({ type: "Ready", reason: "", message: "Kubernetes default Service CIDR is ready" });
    expect((await api.http("GET", `${CIDRS}/kubernetes`)).body).toMatchObject({ metadata: { finalizers: ["networking.k8s.io/service-cidr-finalizer"] }, spec: { cidrs: ["10.43.0.0/16"] } });
  });

  test("can be added, give addresses, and stay until those are free", async () => {
    await api.http("POST", CIDRS, { metadata: { name: "more" }, spec: { cidrs: ["10.99.0.0/28"] } });
    await condition("more", "True");
    expect((await api.http("POST", SERVICES, service("there", { clusterIP: "10.99.0.5" }))).status).toBe(201);
    await eventually(async () => ((await api.http("GET", `${IPS}/10.99.0.5`)).status === 200 ? true : undefined));
    await api.http("DELETE", `${CIDRS}/more`);
    expect(await condition("more", "False")).toMatchObject({ reason: "Terminating" });
    await api.http("DELETE", `${SERVICES}/there`);
    await eventually(async () => ((await api.http("GET", `${CIDRS}/more`)).status === 404 ? true : undefined));
    expect((await api.http("POST", SERVICES, service("late", { clusterIP: "10.99.0.5" }))).status).toBe(422);
  });
});
