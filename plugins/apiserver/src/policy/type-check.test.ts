import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { createAudit } from "../audit/index.ts";
import { checkPolicy } from "../audit/policy.ts";
import { startTestServer, type TestServer } from "../server/testing.ts";

const POLICIES = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies";
const rule = (apiGroup: string, resource: string, apiVersion = "v1"): object => ({ operations: ["*"], apiGroups: [apiGroup], apiVersions: [apiVersion], resources: [resource] });

let api: TestServer;
let events: any[];
beforeEach(async () => {
  events = [];
  const policy = checkPolicy({ apiVersion: "audit.k8s.io/v1", kind: "Policy", rules: [{ level: "Metadata" }] });
  api = await startTestServer({ audit: createAudit({ policy, sink: { write: (line) => void events.push(JSON.parse(line)) } }) });
});
afterEach(() => api.close());

async function checked(rules: object[], spec: object): Promise<{ fieldRef: string; warning: string }[]> {
  const made = await api.http("POST", POLICIES, { metadata: { name: "p" }, spec: { matchConstraints: { resourceRules: rules }, ...spec } });
  expect(made.status, made.text).toBe(201);
  return vi.waitFor(async () => {
    const { status } = (await api.http("GET", `${POLICIES}/p`)).body;
    expect(status).toMatchObject({ observedGeneration: 1, typeChecking: {} });
    return status.typeChecking.expressionWarnings ?? [];
  });
}

describe("the expressions of a policy are checked against the kinds it names", () => {
  test("and warned of in upstream's words", async () => {
    const warnings = await checked([rule("apps", "deployments")], { validations: [
      { expression: "object.spec.replicas > 1" }, { expression: "object.spec.replicas > '1'" }, { expression: "object.spec.maxRetries < 10" },
      { expression: "object.spec.template.spec.containers.all(c, !has(c.securityContext) || !has(c.securityContext.Privileged))" },
    ] });
    expect(warnings).toEqual([
      { fieldRef: "spec.validations[1].expression", warning: "apps/v1, Kind=Deployment: ERROR: <input>:1:22: found no matching overload for '_>_' applied to '(int, string)'\n | object.spec.replicas > '1'\n | .....................^" },
      { fieldRef: "spec.validations[2].expression", warning: "apps/v1, Kind=Deployment: ERROR: <input>:1:12: undefined field 'maxRetries'\n | object.spec.maxRetries < 10\n | ...........^" },
      { fieldRef: "spec.validations[3].expression", warning: expect.stringContaining("undefined field 'Privileged'") },
    ]);
  });

  test.each<[string, string]>([
    ["fields of all kinds", "oldObject == null || object.metadata.labels['a'] == 'x' && object.metadata.creationTimestamp != ''"],
    ["lists, maps and quantities", "object.spec.template.spec.containers.all(c, c.image.matches('x') && c.resources.limits.exists(k, k == 'cpu') && quantity(c.resources.limits['cpu']).isGreaterThan(quantity('1')))"],
    ["optional fields", "object.spec.?replicas.orValue(1) > 0 && object.spec.template.spec.?securityContext.?runAsUser.hasValue()"],
    ["the request and the authorizer", "request.userInfo.username != '' && authorizer.group('').resource('pods').check('get').allowed() && namespaceObject.metadata.name != ''"],
    ["int or string", "object.spec.strategy.rollingUpdate.maxSurge == '25%'"],
    ["two variables", "object.spec.template.spec.containers.all(i, c, i < 5 && c.name != '')"],
  ])("which finds nothing in %s", async (_, expression) => {
    expect(await checked([rule("apps", "deployments")], { validations: [{ expression }] })).toEqual([]);
  });

  test("of several kinds each says its own, and wildcards say nothing", async () => {
    const [warning] = await checked([{ ...rule("apps", "deployments"), resources: ["daemonsets", "statefulsets"] }], { validations: [{ expression: "object.spec.replicas > 1" }] });
    expect(warning!.warning).toMatch(/^apps\/v1, Kind=DaemonSet: ERROR: <input>:1:12: undefined field 'replicas'\n[^K]*$/);
    await api.http("DELETE", `${POLICIES}/p`);
    expect(await checked([{ ...rule("*", "*"), apiVersions: ["*"] }], { validations: [{ expression: "object.spec.nothing > 1" }] })).toEqual([]);
  });

  test("of custom kinds and parameters by their schemas", async () => {
    const schema = { type: "object", properties: { spec: { type: "object", properties: { size: { type: "integer" }, free: { type: "object", "x-kubernetes-preserve-unknown-fields": true } } } } };
    await api.http("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", { metadata: { name: "boxes.example.com" }, spec: {
      group: "example.com", scope: "Namespaced", names: { plural: "boxes", singular: "box", kind: "Box", listKind: "BoxList" }, versions: [{ name: "v1", served: true, storage: true, schema: { openAPIV3Schema: schema } }],
    } });
    const warnings = await checked([rule("example.com", "boxes")], {
      paramKind: { apiVersion: "v1", kind: "ConfigMap" }, variables: [{ name: "size", expression: "object.spec.size" }, { name: "bad", expression: "object.spec.colour" }],
      validations: [{ expression: "variables.size < int(params.data['max'])" }, { expression: "params.dta == null" }, { expression: "object.spec.free.any.thing == 1 && object.metadata.name != ''" }],
    });
    expect(warnings.map(({ fieldRef, warning }) => [fieldRef, warning.split("\n")[0]])).toEqual([
      ["spec.variables[1].expression", "example.com/v1, Kind=Box: ERROR: <input>:1:12: undefined field 'colour'"],
      ["spec.validations[1].expression", "example.com/v1, Kind=Box: ERROR: <input>:1:7: undefined field 'dta'"],
    ]);
  });

  test("again when they change", async () => {
    await checked([rule("apps", "deployments")], { validations: [{ expression: "object.spec.nothing == 1" }] });
    await api.http("PATCH", `${POLICIES}/p`, { spec: { validations: [{ expression: "true" }] } }, { "content-type": "application/merge-patch+json" });
    await vi.waitFor(async () => expect((await api.http("GET", `${POLICIES}/p`)).body.status).toEqual({ observedGeneration: 2, typeChecking: {} }));
  });
});

test.each<[string, string, string]>([
  ["nothing == 1", "1:1", "undeclared reference to 'nothing' (in container '')"],
  ["size(1, 2) == 2", "1:5", "found no matching overload for 'size' applied to '(int, int)'"],
  ["'a' + 1 == ''", "1:5", "found no matching overload for '_+_' applied to '(string, int)'"],
  ["true &&\n  nope", "2:3", "undeclared reference to 'nope' (in container '')"],
  ["has(object.x) && 'a'.matches('b') && zzz", "1:38", "undeclared reference to 'zzz' (in container '')"],
  ["1 +", "1:4", "Syntax error: unexpected token: EOF"],
])("a policy with %j is refused with the place of the mistake", async (expression, place, why) => {
  const { status, body } = await api.http("POST", POLICIES, { metadata: { name: "p" }, spec: { matchConstraints: { resourceRules: [rule("", "pods")] }, validations: [{ expression }] } });
  expect(status).toBe(422);
  expect(body.details.causes[0].message).toContain(`compilation failed: ERROR: <input>:${place}: ${why}\n | `);
});

test("audit annotations of a policy are in the audit log, once for each value, and checks are counted", async () => {
  const MAPS = "/api/v1/namespaces/default/configmaps";
  for (const max of ["3", "5"]) await api.http("POST", MAPS, { metadata: { name: `limits-${max}`, labels: { limits: "yes" } }, data: { max } });
  await api.http("POST", POLICIES, { metadata: { name: "p" }, spec: {
    matchConstraints: { resourceRules: [rule("", "configmaps")] }, paramKind: { apiVersion: "v1", kind: "ConfigMap" },
    validations: [{ expression: "object.data.x != 'no'" }],
    auditAnnotations: [{ key: "limit", valueExpression: "'max ' + params.data.max" }, { key: "none", valueExpression: "null" }, { key: "who", valueExpression: "request.userInfo.username" }],
  } });
  await api.http("POST", `${POLICIES.replace("policies", "policybindings")}`, { metadata: { name: "b" }, spec: { policyName: "p", validationActions: ["Deny"], paramRef: { selector: { matchLabels: { limits: "yes" } }, parameterNotFoundAction: "Deny" } } });
  expect((await api.http("POST", MAPS, { metadata: { name: "a" }, data: { x: "1" } })).status).toBe(201);
  expect((await api.http("POST", MAPS, { metadata: { name: "b" }, data: { x: "no" } })).status).toBe(422);
  const noted = events.filter(({ stage, annotations }) => stage === "ResponseComplete" && annotations?.["p/limit"]);
  expect(noted.map(({ annotations }) => [annotations["p/limit"], annotations["p/who"], annotations["p/none"]])).toEqual([["max 3, max 5", "system:admin", undefined], ["max 3, max 5", "system:admin", undefined]]);
  const { body: metrics } = await api.http("GET", "/metrics");
  expect(metrics).toContain('apiserver_validating_admission_policy_check_total{enforcement_action="allow",error_type="no_error",policy="p",policy_binding="b"} 2\n');
  expect(metrics).toContain('apiserver_validating_admission_policy_check_total{enforcement_action="deny",error_type="no_error",policy="p",policy_binding="b"} 2\n');
});
