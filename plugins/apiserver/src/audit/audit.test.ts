import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { requestInMemory } from "../client/memory.ts";
import { encodeProtobuf } from "../protobuf/index.ts";
import { readArgs } from "../server/args.ts";
import { adminUser, startTestServer, type TestServer, type TestServerOptions } from "../server/testing.ts";
import { parseRequestInfo } from "../server/request.ts";
import { openLog } from "./file.ts";
import { createAudit } from "./index.ts";
import { auditOf } from "./options.ts";
import { type AuditPolicy, checkPolicy, treatmentOf } from "./policy.ts";

const MAPS = "/api/v1/namespaces/default/configmaps";
const policyOf = (...rules: object[]): AuditPolicy => checkPolicy({ apiVersion: "audit.k8s.io/v1", kind: "Policy", rules });

describe("the audit log", () => {
  let api: TestServer;
  let events: any[];
  const serve = async (policy: AuditPolicy, options: TestServerOptions = {}): Promise<void> => {
    events = [];
    let id = 0;
    api = await startTestServer({ ...options, audit: createAudit({ policy, sink: { write: (line) => void events.push(JSON.parse(line)) }, newId: () => `id-${id++}` }) });
    events.length = 0;
  };
  afterEach(() => api.close());

  test("tells who asked what and what was answered, in stages", async () => {
    await serve(policyOf({ level: "Metadata" }));
    const { headers } = await api.http("POST", `${MAPS}?fieldManager=me`, { metadata: { name: "a" } }, { "x-forwarded-for": "192.0.2.7" });
    expect(events).toMatchObject([{
      kind: "Event", apiVersion: "audit.k8s.io/v1", level: "Metadata", auditID: headers["audit-id"], stage: "RequestReceived",
      requestURI: `${MAPS}?fieldManager=me`, verb: "create", user: { username: "system:admin", groups: ["system:masters", "system:authenticated"] },
      sourceIPs: ["192.0.2.7", "127.0.0.1"], userAgent: "k3s-p", objectRef: { resource: "configmaps", namespace: "default", apiVersion: "v1" },
      requestReceivedTimestamp: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/),
    }, { stage: "ResponseComplete", responseStatus: { code: 201 }, annotations: { "authorization.k8s.io/decision": "allow" } }]);
    expect(events[1].requestObject).toBeUndefined();
  });

  test("keeps the id that a client has given, and tells it to the client", async () => {
    await serve(policyOf({ level: "Metadata" }));
    const long = "x".repeat(70);
    const answers = [await api.http("GET", MAPS, undefined, { "audit-id": "mine" }), await api.http("GET", MAPS, undefined, { "audit-id": long })];
    expect(answers.map(({ headers }) => headers["audit-id"])).toEqual(["mine", long.slice(0, 64)]);
    expect(new Set(events.map(({ auditID }) => auditID))).toEqual(new Set(["mine", long]));
  });

  test("gives every request an id, those too that no policy cares for", async () => {
    await serve(policyOf({ level: "None" }));
    const ids = await Promise.all([MAPS, "/version", "/nowhere", `${MAPS}/missing`].map(async (path) => (await api.http("GET", path)).headers["audit-id"]));
    expect(ids).toEqual(ids.map(() => expect.stringMatching(/^[\da-f]{8}(-[\da-f]{4}){3}-[\da-f]{12}$/)));
    expect([new Set(ids).size, events]).toEqual([4, []]);
  });

  test("holds bodies as the level says", async () => {
    await serve(policyOf({ level: "Request", verbs: ["create"] }, { level: "RequestResponse", omitManagedFields: true, omitStages: ["RequestReceived"] }));
    await api.http("POST", MAPS, { metadata: { name: "a" }, data: { x: "1" } });
    await api.http("PATCH", `${MAPS}/a`, { data: { y: "2" } });
    await expect.poll(() => events.length).toBe(3);
    expect(events).toMatchObject([
      { stage: "RequestReceived" }, { stage: "ResponseComplete", requestObject: { data: { x: "1" } } },
      { requestObject: { data: { y: "2" } }, responseObject: { kind: "ConfigMap", data: { x: "1", y: "2" } } },
    ]);
    expect([events[1].responseObject, events[2].responseObject.metadata.managedFields]).toEqual([undefined, undefined]);
  });

  test("holds bodies that came as protobuf", async () => {
    await serve(policyOf({ level: "None" }));
    const lines: string[] = [];
    const audit = createAudit({ policy: policyOf({ level: "Request", omitStages: ["RequestReceived"] }), sink: { write: (line) => void lines.push(line) } });
    const headers = { "content-type": "application/vnd.kubernetes.protobuf" };
    const record = audit.begin({ method: "POST", url: MAPS, headers, stream: Readable.from([]), remoteAddress: "::ffff:192.0.2.1" }, parseRequestInfo("POST", MAPS), adminUser)!;
    record.body(encodeProtobuf({ apiVersion: "v1", kind: "ConfigMap", metadata: { name: "p" }, data: { z: "3" } }));
    record.complete(201);
    await expect.poll(() => lines.length).toBe(1);
    expect(JSON.parse(lines[0]!)).toMatchObject({ requestObject: { kind: "ConfigMap", data: { z: "3" } }, sourceIPs: ["192.0.2.1"] });
  });

  test("tells of refusals and failures", async () => {
    await serve(policyOf({ level: "Metadata", omitStages: ["RequestReceived"] }));
    await api.http("GET", "/api/v1/secrets", undefined, undefined, { name: "eve", groups: ["system:authenticated"] });
    await api.http("GET", `${MAPS}/none`);
    expect(events).toMatchObject([
      { verb: "list", responseStatus: { status: "Failure", reason: "Forbidden", code: 403 }, annotations: { "authorization.k8s.io/decision": "forbid" } },
      { verb: "get", responseStatus: { status: "Failure", reason: "NotFound", code: 404 } },
    ]);
  });

  test("names the token that is issued, and who uses one that should have been renewed", async () => {
    let time = Date.parse("2026-01-01T00:00:00Z");
    await serve(policyOf({ level: "Metadata", omitStages: ["RequestReceived"] }), { now: () => new Date(time) });
    const ACCOUNTS = "/api/v1/namespaces/default/serviceaccounts";
    await api.http("POST", ACCOUNTS, { metadata: { name: "robot" } });
    await api.http("POST", "/api/v1/namespaces/default/pods", { metadata: { name: "p" }, spec: { serviceAccountName: "robot", containers: [{ name: "c", image: "i" }] } });
    events.length = 0;
    const { body } = await api.http("POST", `${ACCOUNTS}/robot/token`, { spec: { expirationSeconds: 3607, boundObjectRef: { apiVersion: "v1", kind: "Pod", name: "p" } } });
    const { jti } = JSON.parse(Buffer.from(body.status.token.split(".")[1], "base64url").toString());
    const use = () => requestInMemory(api.handler, undefined as never, "GET", "/version", undefined, { authorization: `Bearer ${body.status.token}` });
    await use();
    time += 3_700_000;
    await use();
    expect(events.map(({ annotations }) => ({ ...annotations, "authorization.k8s.io/decision": undefined }))).toEqual([
      { "authentication.kubernetes.io/issued-credential-id": `JTI=${jti}` }, {},
      { "authentication.k8s.io/stale-token": "subject: system:serviceaccount:default:robot, seconds after warning threshold: 93" },
    ]);
    expect(events[2].user.extra["authentication.kubernetes.io/credential-id"]).toEqual([`JTI=${jti}`]);
  });

  test("holds what policies have to say", async () => {
    await serve(policyOf({ level: "Metadata", verbs: ["create"], omitStages: ["RequestReceived"], resources: [{ group: "", resources: ["configmaps"] }] }));
    const ADMISSION = "/apis/admissionregistration.k8s.io/v1";
    const rules = [{ operations: ["*"], apiGroups: [""], apiVersions: ["v1"], resources: ["configmaps"] }];
    await api.http("POST", `${ADMISSION}/validatingadmissionpolicies`, { metadata: { name: "p" }, spec: { matchConstraints: { resourceRules: rules }, validations: [{ expression: "false", message: "no" }] } });
    await api.http("POST", `${ADMISSION}/validatingadmissionpolicybindings`, { metadata: { name: "b" }, spec: { policyName: "p", validationActions: ["Audit"] } });
    expect((await api.http("POST", MAPS, { metadata: { name: "a" } })).status).toBe(201);
    expect(JSON.parse(events[0].annotations["validation.policy.admission.k8s.io/validation_failure"])).toEqual([
      { message: "no", policy: "p", binding: "b", expressionIndex: "0", validationActions: ["Audit"] },
    ]);
  });
});

describe("a policy", () => {
  test.each<[string, object, string, string, boolean]>([
    ["any request", {}, "GET", "/version", true],
    ["a user", { users: ["system:admin"] }, "GET", "/version", true],
    ["another group", { userGroups: ["x"] }, "GET", "/version", false],
    ["verbs", { verbs: ["watch"] }, "GET", `${MAPS}?watch=1`, true],
    ["a resource", { resources: [{ group: "", resources: ["configmaps"] }] }, "GET", MAPS, true],
    ["another group of resources", { resources: [{ group: "apps" }] }, "GET", MAPS, false],
    ["a group", { resources: [{ group: "" }] }, "GET", MAPS, true],
    ["a resource without its subresources", { resources: [{ group: "", resources: ["pods"] }] }, "GET", "/api/v1/namespaces/a/pods/p/log", false],
    ["a subresource", { resources: [{ group: "", resources: ["pods/*"] }] }, "GET", "/api/v1/namespaces/a/pods/p/log", true],
    ["a name", { resources: [{ group: "", resources: ["configmaps"], resourceNames: ["b"] }] }, "GET", `${MAPS}/a`, false],
    ["a namespace", { namespaces: ["kube-system"] }, "GET", MAPS, false],
    ["no resource at all", { nonResourceURLs: ["/version", "/health*"] }, "GET", "/healthz", true],
    ["no resource, asked for one", { nonResourceURLs: ["*"] }, "GET", MAPS, false],
  ])("knows rules for %s", (_, rule, method, url, fits) => {
    const { level } = treatmentOf(policyOf({ level: "Metadata", ...rule }), adminUser, parseRequestInfo(method, url));
    expect(level).toBe(fits ? "Metadata" : "None");
  });

  test.each<[object, string]>([
    [{}, "it is undefined undefined, and should be audit.k8s.io/v1 Policy"],
    [{ apiVersion: "audit.k8s.io/v1", kind: "Policy" }, "it has no rules, so that nothing would be written"],
    [{ apiVersion: "audit.k8s.io/v1", kind: "Policy", rules: [{ level: "All" }] }, 'rules[0].level is "All", and should be one of None, Metadata, Request, RequestResponse'],
    [{ apiVersion: "audit.k8s.io/v1", kind: "Policy", rules: [{ level: "None", omitStages: ["x"] }] }, 'rules[0].omitStages names "x", and should name some of RequestReceived, ResponseStarted, ResponseComplete, Panic'],
  ])("is checked: %j", (policy, message) => {
    expect(() => checkPolicy(policy)).toThrow(message);
  });
});

describe("the file", () => {
  let folder: string;
  beforeEach(() => void (folder = mkdtempSync(join(tmpdir(), "k3sp-audit-"))));
  afterEach(() => rmSync(folder, { recursive: true }));

  test("is private, is put aside when full, and keeps a number of old ones", async () => {
    let second = 0;
    const path = join(folder, "logs", "audit.log");
    const log = await openLog({ path, maxSize: 20, maxBackups: 2, now: () => new Date(Date.UTC(2026, 0, 1, 0, 0, second++)) });
    for (let i = 0; i < 9; i++) log.write(`line number ${i}`);
    await log.close();
    const names = readdirSync(join(folder, "logs")).sort();
    expect(names).toEqual(["audit-2026-01-01T00-00-02.000.log", "audit-2026-01-01T00-00-03.000.log", "audit.log"]);
    expect(names.map((name) => readFileSync(join(folder, "logs", name), "utf8"))).toEqual(["line number 4\nline number 5\n", "line number 6\nline number 7\n", "line number 8\n"]);
    expect(statSync(path).mode & 0o777).toBe(0o600);
  });

  test("is written as the server's options say", async () => {
    const file = join(folder, "policy.yaml");
    const path = join(folder, "audit.log");
    const warnings: string[] = [];
    const open = (...args: string[]) => auditOf(readArgs(args), (text) => void warnings.push(text), (error) => { throw error; });
    expect(await open("audit-log-path=-")).toBeUndefined();
    expect(warnings).toEqual(["an audit log needs both audit-policy-file and audit-log-path"]);
    await expect(open(`audit-policy-file=${file}`, `audit-log-path=${path}`)).rejects.toMatchObject({ code: "K3SP_FLAG_INVALID", message: expect.stringContaining("ENOENT") });
    writeFileSync(file, "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n- level: Metadata\n");
    await expect(open(`audit-policy-file=${file}`, "audit-log-path=/proc/audit/audit.log")).rejects.toMatchObject({
      code: "K3SP_FLAG_INVALID", message: expect.stringContaining("kube-apiserver-arg audit-log-path: /proc/audit/audit.log cannot be written: ENOENT"),
    });
    const opened = (await open(`--audit-policy-file=${file}`, `audit-log-path=${path}`, "audit-log-maxsize=1"))!;
    await using api = await startTestServer({ audit: opened.audit });
    await api.http("GET", "/version");
    await opened.close();
    expect(readFileSync(path, "utf8").trim().split("\n").map((line) => JSON.parse(line).stage)).toEqual(["RequestReceived", "ResponseComplete"]);
  });
});
