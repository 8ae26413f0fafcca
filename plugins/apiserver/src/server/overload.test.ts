/** More requests than the server takes at once. */
import { memoryDatastore } from "@k3s-p/plugin-api/testing-datastore";
import { afterEach, describe, expect, test } from "vitest";
import type { ServerLimits } from "./api-server.ts";
import { startTestServer, type TestServer } from "./testing.ts";

const SETTLE = 100;
const joe = { name: "joe", groups: ["system:authenticated"] };
const ann = { ...joe, name: "ann" };
const POST = "/api/v1/namespaces/default/configmaps";

let api: TestServer | undefined;
afterEach(() => api?.close());

/** A server whose writes take a while, in which everybody may do everything. */
async function slowServer(limits: ServerLimits): Promise<TestServer> {
  const datastore = memoryDatastore();
  let delay = 0;
  api = await startTestServer({ limits, datastore: { ...datastore, write: async (op) => { await new Promise((resolve) => setTimeout(resolve, delay)); return datastore.write(op); } } });
  await api.http("POST", "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", {
    metadata: { name: "all" }, roleRef: { apiGroup: "rbac.authorization.k8s.io", kind: "ClusterRole", name: "cluster-admin" }, subjects: [{ apiGroup: "rbac.authorization.k8s.io", kind: "Group", name: "system:authenticated" }],
  });
  await new Promise((resolve) => setTimeout(resolve, SETTLE));
  delay = 50;
  return api;
}

describe("priority and fairness", () => {
  test("lets a busy user wait, refuses what is too much, and serves others meanwhile", async () => {
    const server = await slowServer({ readOnly: 8, mutating: 4 });
    // Shares are 245 in all: `global-default` has one seat of twelve, and what others lend.
    const busy = Array.from({ length: 400 }, (_, i) => server.http("POST", POST, { metadata: { name: `busy-${i}` } }, {}, joe));
    await new Promise((resolve) => setTimeout(resolve, 10));
    const start = performance.now();
    const [quiet, admin] = await Promise.all([server.http("POST", POST, { metadata: { name: "quiet" } }, {}, ann), server.http("POST", POST, { metadata: { name: "admin" } })]);
    expect([quiet.status, admin.status]).toEqual([201, 201]);
    const waited = performance.now() - start;
    const answers = await Promise.all(busy);
    const refused = answers.filter(({ status }) => status === 429);
    // Six queues of 50, and those that ran.
    expect(answers.filter(({ status }) => status === 201).length).toBeGreaterThanOrEqual(300);
    expect(refused.length).toBeGreaterThan(50);
    expect(refused[0]).toMatchObject({ headers: { "retry-after": 1 }, body: { reason: "TooManyRequests", message: "Too many requests, please try again later.", details: { retryAfterSeconds: 1 } } });
    expect(waited).toBeLessThan((performance.now() - start) / 3);
    const { body: schema } = await server.http("GET", "/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas/global-default");
    expect(quiet.headers["x-kubernetes-pf-flowschema-uid"]).toBe(schema.metadata.uid);
    expect((await server.http("GET", "/metrics")).text).toMatch(/apiserver_flowcontrol_rejected_requests_total\{flow_schema="global-default",priority_level="global-default",reason="queue-full"\} \d+/);
  }, 30_000);

  test("keeps its default objects, and says of each schema whether its level exists", async () => {
    const server = await slowServer({});
    const FLOW = "/apis/flowcontrol.apiserver.k8s.io/v1";
    const until = async (look: () => Promise<boolean>): Promise<void> => {
      for (let i = 0; i < 300 && !(await look()); i++) await new Promise((resolve) => setTimeout(resolve, 10));
      expect(await look()).toBe(true);
    };
    const dangling = async (name: string) => (await server.http("GET", `${FLOW}/flowschemas/${name}`)).body.status?.conditions?.find(({ type }: { type: string }) => type === "Dangling");
    await until(async () => (await dangling("probes"))?.status === "False");
    await server.http("POST", `${FLOW}/flowschemas`, { metadata: { name: "mine" }, spec: { priorityLevelConfiguration: { name: "none" }, matchingPrecedence: 7 } });
    await until(async () => (await dangling("mine"))?.status === "True");
    expect((await dangling("mine")).message).toBe('This FlowSchema references the PriorityLevelConfiguration object named "none" but there is no such object');
    // Whom the server refuses learns as well where it belongs.
    await server.http("POST", `${FLOW}/flowschemas`, { metadata: { name: "strangers" }, spec: {
      priorityLevelConfiguration: { name: "catch-all" }, matchingPrecedence: 9, rules: [{ subjects: [{ kind: "User", user: { name: "stranger" } }], nonResourceRules: [{ verbs: ["*"], nonResourceURLs: ["*"] }] }],
    } });
    const refused = await server.http("GET", "/", undefined, {}, { name: "stranger", groups: [] });
    const { body: strangers } = await server.http("GET", `${FLOW}/flowschemas/strangers`);
    expect([refused.status, refused.headers["x-kubernetes-pf-flowschema-uid"]]).toEqual([403, strangers.metadata.uid]);
    await server.http("DELETE", `${FLOW}/prioritylevelconfigurations/system`);
    await until(async () => (await server.http("GET", `${FLOW}/prioritylevelconfigurations/system`)).status === 200);
  });
});

describe("the plain limits", () => {
  test("refuse what is beyond them at once, but no superuser", async () => {
    const server = await slowServer({ readOnly: 5, mutating: 3, fair: false });
    const answers = await Promise.all(Array.from({ length: 10 }, (_, i) => server.http("POST", POST, { metadata: { name: `p-${i}` } }, {}, i === 9 ? undefined : joe)));
    expect(answers.map(({ status }) => status).sort()).toEqual([201, 201, 201, 201, 429, 429, 429, 429, 429, 429]);
    expect(answers[9]!.status).toBe(201);
    expect((await server.http("GET", POST, undefined, {}, joe)).status).toBe(200);
  });
});
