import { describe, expect, test } from "vitest";
import type { UserInfo } from "@k3s-p/plugin-api/slots";
import type { Obj } from "../resources/types.ts";
import { type ApiResponse, parseRequestInfo } from "../server/request.ts";
import { createClassifier, toSchema } from "./classify.ts";
import { defaultLevels, defaultSchemas, reconcileFlow } from "./defaults.ts";
import { createInflightLimits } from "./inflight.ts";
import { createFlowControl, isLongRunning, type FlowControlOptions, type Ticket } from "./index.ts";

const everybody = "system:authenticated";
const user = (name: string, ...groups: string[]): UserInfo => ({ name, groups: [...groups, everybody] });
const account = (namespace: string, name: string): UserInfo =>
  user(`system:serviceaccount:${namespace}:${name}`, "system:serviceaccounts", `system:serviceaccounts:${namespace}`);
const info = (line: string) => parseRequestInfo(...(line.split(" ") as [string, string]));

describe("the default FlowSchemas", () => {
  const { classify } = createClassifier(defaultSchemas.map(toSchema));
  const LEASE = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/x";
  test.each<[string, UserInfo, string, string]>([
    ["an admin", user("root", "system:masters"), "GET /api/v1/pods", "exempt"],
    ["anybody who asks for health", { name: "system:anonymous", groups: ["system:unauthenticated"] }, "GET /readyz", "probes"],
    ["a health check of its own", user("joe"), "GET /readyz/etcd", "global-default"],
    ["an election of the scheduler", user("system:kube-scheduler"), `PUT ${LEASE}`, "system-leader-election"],
    ["a controller of endpoints", account("kube-system", "endpoint-controller"), "POST /api/v1/namespaces/a/endpoints", "endpoint-controller"],
    ["the lease of a node", user("system:node:a", "system:nodes"), "PUT /apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/a", "system-node-high"],
    ["the status of a node", user("system:node:a", "system:nodes"), "PATCH /api/v1/nodes/a/status", "system-node-high"],
    ["a kubelet otherwise", user("system:node:a", "system:nodes"), "GET /api/v1/namespaces/a/secrets/b", "system-nodes"],
    ["the scheduler otherwise", user("system:kube-scheduler"), "GET /api/v1/pods", "kube-scheduler"],
    ["an account of kube-system", account("kube-system", "coredns"), "GET /api/v1/services", "kube-system-service-accounts"],
    ["another account", account("a", "b"), `PUT ${LEASE}`, "service-accounts"],
    ["a user", user("joe"), "GET /api/v1/pods", "global-default"],
    ["somebody without any group", { name: "x", groups: [] }, "GET /api/v1/pods", "catch-all"],
  ])("%s", (_, who, line, schema) => {
    expect(classify(who, info(line)).name).toBe(schema);
  });

  test("have a level each, and are what upstream has", () => {
    const levels = new Set(defaultLevels.map((level) => level.metadata!.name));
    expect(defaultSchemas.filter((schema) => !levels.has(schema.spec.priorityLevelConfiguration.name))).toEqual([]);
    expect([defaultSchemas.length, defaultLevels.length]).toEqual([13, 8]);
  });

  test("come back when somebody changes them, unless that is said or only suggested", () => {
    const [exempt] = defaultSchemas as [Obj];
    const system = defaultLevels.find((level) => level.metadata?.name === "system")!;
    const changed = (object: Obj, auto: string): Obj => ({
      ...object, metadata: { ...object.metadata, generation: 2, annotations: { "apf.kubernetes.io/autoupdate-spec": auto } }, spec: { ...object.spec, type: "Exempt", matchingPrecedence: 7 },
    });
    expect(reconcileFlow(exempt, { ...exempt, spec: { ...exempt.spec, defaulted: 1 } })).toBeUndefined();
    expect(reconcileFlow(exempt, changed(exempt, "false"))?.spec).toEqual(exempt.spec);
    expect(reconcileFlow(system, changed(system, "true"))?.spec).toEqual(system.spec);
    expect(reconcileFlow(system, changed(system, "false"))).toBeUndefined();
  });
});

describe("seats", () => {
  const level = (name: string, shares: number, queuing?: object, more: object = {}): Obj => ({
    metadata: { name, uid: `uid-${name}` },
    spec: { type: "Limited", limited: { nominalConcurrencyShares: shares, lendablePercent: 0, limitResponse: queuing ? { type: "Queue", queuing } : { type: "Reject" }, ...more } },
  });
  const schema = (name: string, to: string, distinguisher = "ByUser"): Obj => ({
    metadata: { name, uid: `uid-${name}` },
    spec: {
      matchingPrecedence: 100, priorityLevelConfiguration: { name: to }, distinguisherMethod: { type: distinguisher },
      rules: [{ subjects: [{ kind: "Group", group: { name } }], resourceRules: [{ verbs: ["*"], apiGroups: ["*"], resources: ["*"], namespaces: ["*"], clusterScope: true }] }],
    },
  });

  /** `catch-all` always has its five shares; the others divide what `seats` adds to them. */
  function world(objects: { readonly schemas: readonly Obj[]; readonly levels: readonly Obj[] }, options: Partial<FlowControlOptions>) {
    const made = createFlowControl({
      view: { get: () => undefined, list: (_, plural) => (plural === "flowschemas" ? objects.schemas : objects.levels) },
      follow: () => {}, seats: 100, sizeOf: () => 0, ...options,
    });
    const enter = (group: string, name = "joe", line = "GET /api/v1/namespaces/a/pods/b", signal = new AbortController().signal) =>
      made.enter({ user: user(name, group), info: info(line), signal });
    return { ...made, enter };
  }
  /** Ten seats for the level under test, as 5 of 10 shares out of 20. */
  const ten = { seats: 20 };

  test("are taken and given back, and name the schema and the level in the answer", () => {
    const { enter, mark, render } = world({ schemas: [schema("g", "l")], levels: [level("l", 5)] }, ten);
    const tickets = Array.from({ length: 10 }, () => enter("g") as Ticket);
    const res: Pick<ApiResponse, "common"> = {};
    mark(user("joe", "g"), info("GET /api/v1/pods"), res);
    expect(res.common).toEqual({ "X-Kubernetes-PF-FlowSchema-UID": "uid-g", "X-Kubernetes-PF-PriorityLevel-UID": "uid-l" });
    expect(render()).toContain('apiserver_flowcontrol_current_executing_seats{priority_level="l"} 10\n');
    for (const ticket of tickets) ticket.leave();
    expect(render()).toContain('apiserver_flowcontrol_current_executing_seats{priority_level="l"} 0\n');
  });

  test("refuse with 429 and Retry-After where nobody may wait", async () => {
    const { enter, render } = world({ schemas: [schema("g", "l")], levels: [level("l", 5)] }, ten);
    for (let i = 0; i < 10; i++) await enter("g");
    await expect(enter("g")).rejects.toMatchObject({ status: { code: 429, reason: "TooManyRequests", details: { retryAfterSeconds: 1 } } });
    expect(render()).toContain('apiserver_flowcontrol_rejected_requests_total{flow_schema="g",priority_level="l",reason="concurrency-limit"} 1\n');
    expect(render()).toContain('apiserver_flowcontrol_dispatched_requests_total{flow_schema="g",priority_level="l"} 10\n');
  });

  test("go round the flows: a quiet user does not wait behind a busy one", async () => {
    const { enter } = world({ schemas: [schema("g", "l")], levels: [level("l", 5, { queues: 8, handSize: 2, queueLengthLimit: 20 })] }, { seats: 2 });
    const first = await enter("g", "busy");
    const order: string[] = [];
    const all = [...Array.from({ length: 5 }, () => "busy"), "quiet"].map(async (name) => {
      const ticket = await enter("g", name);
      order.push(name);
      ticket.leave();
    });
    first.leave();
    await Promise.all(all);
    expect(order).toEqual(["busy", "quiet", "busy", "busy", "busy", "busy"]);
  });

  test("have room for so many of one flow, and for so many in all", async () => {
    const { enter } = world({ schemas: [schema("g", "l")], levels: [level("l", 5, { queues: 3, handSize: 1, queueLengthLimit: 2 })] }, { seats: 2 });
    const first = await enter("g");
    const waiting = ["a", "a", "b", "b", "c", "c"].map((name) => enter("g", name));
    await expect(enter("g", "a")).rejects.toThrow("Too many requests");
    await expect(enter("g", "d")).rejects.toThrow("Too many requests");
    first.leave();
    await Promise.all(waiting.map(async (ticket) => (await ticket).leave()));
  });

  test("are waited for only so long, and not by those who have gone", async () => {
    const { enter, render } = world({ schemas: [schema("g", "l")], levels: [level("l", 5, {})] }, { seats: 2, maxWait: 20 });
    const first = await enter("g");
    const gone = new AbortController();
    const both = [enter("g"), enter("g", "joe", undefined, gone.signal)];
    gone.abort();
    expect((await Promise.allSettled(both)).map(({ status }) => status)).toEqual(["rejected", "rejected"]);
    expect(render()).toContain('reason="time-out"} 1');
    expect(render()).toContain('reason="cancelled"} 1');
    first.leave();
    expect(render()).toContain('apiserver_flowcontrol_current_inqueue_requests{priority_level="l"} 0');
    (await enter("g")).leave();
  });

  test("are shown in upstream's tables: levels, queues, and who waits", async () => {
    const { enter, dump } = world({ schemas: [schema("g", "l")], levels: [level("l", 5, {})] }, { seats: 2, maxWait: 20 });
    const rows = (name: string, withDetails = false) => dump(name, withDetails)!.trim().split("\n").map((line) => line.split(/, */));
    const [first, waiting] = [await enter("g"), enter("g", "jane")];
    const [head, ...levels] = rows("dump_priority_levels");
    expect(head!.slice(0, 4)).toEqual(["PriorityLevelName", "ActiveQueues", "IsIdle", "IsQuiescing"]);
    expect(levels.map(([name]) => name)).toEqual(["catch-all", "exempt", "l"]);
    expect(levels.at(-1)!.slice(1)).toEqual(["1", "false", "false", "1", "1", "1", "0", "0", "0"]);
    expect(rows("dump_queues").slice(1)).toEqual([["l", "0", "1", "<none>", "<none>", "<none>", "1", "1", "<none>"]]);
    const [, one] = rows("dump_requests", true);
    expect([one!.slice(0, 5), one!.slice(9)]).toEqual([["l", "g", "0", "0", "jane"], ["0001-01-01T00:00:00Z", "jane", "get", "/api/v1/namespaces/a/pods/b", "a", "b", "v1", "pods", ""]]);
    expect([rows("dump_requests")[1]!.length, dump("dump_nothing", false)]).toEqual([10, undefined]);
    await expect(waiting).rejects.toThrow();
    expect(rows("dump_priority_levels").at(-1)!.slice(4)).toEqual(["0", "1", "1", "0", "1", "0"]);
    first.leave();
  });

  test("are lent by levels that do not need them, and come back before anybody else gets them", async () => {
    const levels = [level("lender", 10, {}, { lendablePercent: 50 }), level("l", 5, {})];
    const { enter } = world({ schemas: [schema("own", "lender"), schema("g", "l")], levels }, { seats: 20 });
    const borrowed = await Promise.all(Array.from({ length: 10 }, () => enter("g")));
    const late = Promise.resolve(enter("g"));
    const own = await Promise.all(Array.from({ length: 10 }, () => enter("own")));
    borrowed.pop()!.leave();
    own.pop()!.leave();
    const outcome = await Promise.race([late.then(() => "in"), new Promise((resolve) => setTimeout(resolve, 20, "waits"))]);
    expect(outcome).toBe("waits");
    for (const ticket of borrowed.splice(0, 5)) ticket.leave();
    (await late).leave();
    for (const ticket of [...borrowed, ...own]) ticket.leave();
  });

  test("are as many as a list is long", async () => {
    const { enter, render } = world({ schemas: [schema("g", "l")], levels: [level("l", 5, {})] }, { ...ten, sizeOf: () => 550 });
    const ticket = await enter("g", "joe", "GET /api/v1/pods");
    expect(render()).toContain('apiserver_flowcontrol_current_executing_seats{priority_level="l"} 6\n');
    ticket.leave();
    expect(render()).toContain('apiserver_flowcontrol_current_executing_seats{priority_level="l"} 0\n');
  });

  test("cost a microsecond of CPU time, three on a slow machine", () => {
    const made = createFlowControl({
      view: { get: () => undefined, list: (_, plural) => (plural === "flowschemas" ? defaultSchemas : defaultLevels) }, follow: () => {}, seats: 600, sizeOf: () => 0,
    });
    // Tokens bring a new object with every request.
    const request = { get user() { return user("joe"); }, info: info("GET /api/v1/namespaces/a/pods/b"), signal: new AbortController().signal };
    const res: Pick<ApiResponse, "common"> = {};
    const run = (times: number): void => {
      for (let i = 0; i < times; i++) (made.mark(request.user, request.info, res), made.enter(request) as Ticket).leave();
    };
    run(20_000);
    const before = process.cpuUsage();
    run(100_000);
    const { user: spent } = process.cpuUsage(before);
    expect(spent / 100_000).toBeLessThan(3);
  });
});

test("requests that last take no seat", () => {
  const lasting = (line: string) => isLongRunning(info(line));
  expect(["GET /api/v1/pods?watch=1", "GET /api/v1/namespaces/a/pods/b/log", "POST /api/v1/namespaces/a/pods/b/exec"].map(lasting)).toEqual([true, true, true]);
  expect(["GET /api/v1/pods", "GET /readyz", "PUT /api/v1/nodes/a/status"].map(lasting)).toEqual([false, false, false]);
});

describe("plain limits", () => {
  const enter = (limits: ReturnType<typeof createInflightLimits>, line: string, who = user("joe")) =>
    limits.enter({ user: who, info: info(line), signal: new AbortController().signal }) as Ticket;
  test("hold for reading and for writing apart, and never for superusers", () => {
    const limits = createInflightLimits({ readOnly: 2, mutating: 1 });
    const tickets = ["GET /api/v1/pods", "GET /healthz", "POST /api/v1/namespaces/a/pods"].map((line) => enter(limits, line));
    expect(() => enter(limits, "GET /api/v1/pods")).toThrow("Too many requests");
    expect(() => enter(limits, "DELETE /api/v1/namespaces/a/pods/b")).toThrow("Too many requests");
    tickets.push(enter(limits, "GET /api/v1/pods", user("root", "system:masters")));
    expect(limits.render()).toContain('apiserver_current_inflight_requests{request_kind="readOnly"} 3\n');
    expect(limits.render()).toContain('apiserver_dropped_requests_total{request_kind="mutating"} 1\n');
    for (const ticket of tickets) ticket.leave();
    expect(limits.render()).toContain('apiserver_current_inflight_requests{request_kind="readOnly"} 0\n');
    enter(limits, "GET /api/v1/pods").leave();
  });
});
