import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { startTestServer, type TestAnswer, type TestServer } from "../server/testing.ts";
import { withoutConstructors } from "./construct.ts";

let api: TestServer;
const ADMISSION = "/apis/admissionregistration.k8s.io/v1";
const MAPS = "/api/v1/namespaces/default/configmaps";

beforeEach(async () => {
  api = await startTestServer();
});
afterEach(() => api.close());

const configMapRules = [{ operations: ["CREATE", "UPDATE", "DELETE"], apiGroups: [""], apiVersions: ["v1"], resources: ["configmaps"] }];
const post = async (path: string, body: object): Promise<TestAnswer> => {
  const answer = await api.http("POST", path, body);
  expect(answer.status, answer.text).toBe(201);
  return answer;
};

/** What goes away is not changed before. */
const written = { reinvocationPolicy: "Never", matchConstraints: { resourceRules: configMapRules.map((rule) => ({ ...rule, operations: ["CREATE", "UPDATE"] })) } };

/** A policy `p` with a binding `b`. */
async function enforce(kind: "validating" | "mutating", spec: object, binding: object = {}, name = "p"): Promise<void> {
  await post(`${ADMISSION}/${kind}admissionpolicies`, { metadata: { name }, spec: { matchConstraints: { resourceRules: configMapRules }, ...(kind === "mutating" && written), ...spec } });
  await post(`${ADMISSION}/${kind}admissionpolicybindings`, { metadata: { name: "b" + name.slice(1) }, spec: { policyName: name, ...(kind === "validating" && { validationActions: ["Deny"] }), ...binding } });
}

const create = (name: string, data: object = {}, labels: object = {}): Promise<TestAnswer> => api.http("POST", MAPS, { metadata: { name, labels }, data });
const outcome = ({ status, body }: TestAnswer): [number, string] => [status, status < 400 ? "" : body.message];
const denied = (why: string, name = "a"): string => `configmaps "${name}" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: ${why}`;

describe("a validating policy", () => {
  test("denies with the failed expression, in upstream's words", async () => {
    await enforce("validating", { validations: [{ expression: "object.data.x == '1'" }] });
    expect(outcome(await create("b", { x: "1" }))).toEqual([201, ""]);
    const { status, body } = await create("a", { x: "2" });
    expect([status, body.reason, body.message]).toEqual([422, "Invalid", denied("failed expression: object.data.x == '1'")]);
    expect(body.details).toMatchObject({ name: "a", kind: "configmaps", causes: [{ message: expect.stringContaining("ValidatingAdmissionPolicy 'p'") }] });
  });

  const passes = "";
  test.each<[string, object, string]>([
    ["a message", { validations: [{ expression: "false", message: "not this" }] }, "not this"],
    ["a computed message", { validations: [{ expression: "false", message: "no", messageExpression: "'x is ' + object.data.x" }] }, "x is 1"],
    ["a computed message that fails", { validations: [{ expression: "false", message: "fixed", messageExpression: "object.data.none" }] }, "fixed"],
    ["a computed message that is empty", { validations: [{ expression: "false", messageExpression: "' '" }] }, "failed expression: false"],
    ["variables that build on each other", {
      variables: [{ name: "x", expression: "int(object.data.x)" }, { name: "y", expression: "variables.x + 1" }],
      validations: [{ expression: "variables.y == 3", messageExpression: "'y = ' + string(variables.y)" }],
    }, "y = 2"],
    ["a variable that is never named", { variables: [{ name: "bad", expression: "object.none" }], validations: [{ expression: "true" }] }, passes],
    ["an error", { validations: [{ expression: "object.data.none == 'x'" }] }, "expression 'object.data.none == 'x'' resulted in error: no such key: none"],
    ["an error that may pass", { failurePolicy: "Ignore", validations: [{ expression: "object.data.none == 'x'" }] }, passes],
    ["the request", { validations: [{ expression: "request.operation == 'CREATE' && request.userInfo.username == 'system:admin' && request.namespace == 'default' && request.kind.kind == 'ConfigMap' && !request.dryRun" }] }, passes],
    ["the old object", { validations: [{ expression: "oldObject == null" }] }, passes],
    ["the namespace", { validations: [{ expression: "namespaceObject.metadata.labels['kubernetes.io/metadata.name'] == 'default'" }] }, passes],
    ["the rights of others", { validations: [{ expression: "authorizer.serviceAccount('default', 'default').group('').resource('secrets').namespace('default').check('get').allowed()", message: "no right" }] }, "no right"],
    ["the rights to paths", { validations: [{ expression: "authorizer.path('/metrics').check('get').allowed() && !authorizer.serviceAccount('default', 'default').path('/metrics').check('get').allowed()" }] }, passes],
    ["a condition that holds", { matchConditions: [{ name: "c", expression: "object.metadata.name == 'a'" }], validations: [{ expression: "false", message: "no" }] }, "no"],
    ["a condition that does not", { matchConditions: [{ name: "c", expression: "object.metadata.name != 'a'" }], validations: [{ expression: "false" }] }, passes],
    ["a condition over variables", { variables: [{ name: "v", expression: "object.data.x" }], matchConditions: [{ name: "c", expression: "variables.v == '2'" }], validations: [{ expression: "false" }] }, passes],
    ["another resource", { matchConstraints: { resourceRules: [{ ...configMapRules[0], resources: ["secrets"] }] }, validations: [{ expression: "false" }] }, passes],
    ["an excluded resource", { matchConstraints: { resourceRules: [{ ...configMapRules[0], resources: ["*"] }], excludeResourceRules: configMapRules }, validations: [{ expression: "false" }] }, passes],
    ["a named resource", { matchConstraints: { resourceRules: [{ ...configMapRules[0], resourceNames: ["b"] }] }, validations: [{ expression: "false" }] }, passes],
    ["objects with a label", { matchConstraints: { resourceRules: configMapRules, objectSelector: { matchLabels: { a: "b" } } }, validations: [{ expression: "false", message: "no" }] }, "no"],
    ["another namespace", { matchConstraints: { resourceRules: configMapRules, namespaceSelector: { matchLabels: { a: "b" } } }, validations: [{ expression: "false" }] }, passes],
    ["loops without end", { validations: [{ expression: "[1,2,3,4,5,6,7,8,9,10].all(a, [1,2,3,4,5,6,7,8,9,10].all(b, [1,2,3,4,5,6,7,8,9,10].all(c, [1,2,3,4,5,6,7,8,9,10].all(d, [1,2,3,4,5,6,7,8,9,10].all(e, [1,2,3,4,5,6,7,8,9,10].all(f, a + b + c + d + e + f > 0))))))" }] }, "COST"],
  ])("knows %s", async (_, spec, message) => {
    await enforce("validating", spec);
    const [status, text] = outcome(await create("a", { x: "1" }, { a: "b" }));
    if (message === "COST") expect(text).toMatch(/resulted in error: operation cancelled: actual cost limit exceeded$/);
    else expect([status, text]).toEqual(message ? [422, denied(message)] : [201, ""]);
  });

  test.each<[string, number]>([["Forbidden", 403], ["RequestEntityTooLarge", 413], ["Invalid", 422]])("gives the reason %s its code", async (reason, code) => {
    await enforce("validating", { validations: [{ expression: "false", reason }] });
    const { status, body } = await create("a");
    expect([status, body.reason]).toEqual([code, reason]);
  });

  test("warns, audits and denies as its binding says", async () => {
    await enforce("validating", { validations: [{ expression: "false", message: "hm" }] }, { validationActions: ["Warn", "Audit"] });
    const { status, headers } = await create("a");
    expect([status, headers["warning"]]).toEqual([201, [`299 - "Validation failed for ValidatingAdmissionPolicy 'p' with binding 'b': hm"`]]);
  });

  test("is asked about deletions, where there is no object", async () => {
    await create("a", { keep: "yes" });
    await enforce("validating", { validations: [{ expression: "object != null || !has(oldObject.data.keep)", message: "kept" }] });
    expect(outcome(await api.http("DELETE", `${MAPS}/a`))).toEqual([422, denied("kept")]);
  });

  test("is bound to where its binding says, and does nothing without one", async () => {
    await enforce("validating", { validations: [{ expression: "false" }] }, { matchResources: { namespaceSelector: { matchLabels: { a: "b" } } } });
    expect((await create("a")).status).toBe(201);
    await api.http("PATCH", "/api/v1/namespaces/default", { metadata: { labels: { a: "b" } } });
    expect((await create("b")).status).toBe(422);
    await api.http("DELETE", `${ADMISSION}/validatingadmissionpolicybindings/b`);
    expect((await create("b")).status).toBe(201);
  });

  test("does not concern the configuration of admission", async () => {
    await enforce("validating", { matchConstraints: { resourceRules: [{ operations: ["*"], apiGroups: ["*"], apiVersions: ["*"], resources: ["*"] }] }, validations: [{ expression: "false" }] });
    expect((await create("a")).status).toBe(422);
    expect((await api.http("DELETE", `${ADMISSION}/validatingadmissionpolicies/p`)).status).toBe(200);
    expect((await create("a")).status).toBe(201);
  });
});

test.each<[string, object, string, RegExp]>([
  ["does not parse", { validations: [{ expression: "object." }] }, "spec.validations[0].expression", /^Invalid value: "object\.": compilation failed: ERROR: /],
  ["names what is not there", { validations: [{ expression: "nothing == 1" }] }, "spec.validations[0].expression", /compilation failed: .*nothing/],
  ["is no bool", { validations: [{ expression: "'x'" }] }, "spec.validations[0].expression", /must evaluate to bool$/],
  ["is no text", { validations: [{ expression: "true", messageExpression: "1" }] }, "spec.validations[0].messageExpression", /must evaluate to string$/],
  ["is a broken condition", { matchConditions: [{ name: "c", expression: "(" }], validations: [{ expression: "true" }] }, "spec.matchConditions[0].expression", /compilation failed/],
  ["is a broken variable", { variables: [{ name: "a-b", expression: "1" }], validations: [{ expression: "true" }] }, "spec.variables[0].name", /not a valid CEL identifier/],
])("a policy is refused whose expression %s", async (_, spec, field, message) => {
  const { status, body } = await api.http("POST", `${ADMISSION}/validatingadmissionpolicies`, { metadata: { name: "p" }, spec: { matchConstraints: { resourceRules: configMapRules }, ...spec } });
  expect([status, body.details.causes.length, body.details.causes[0].field]).toEqual([422, 1, field]);
  expect(body.details.causes[0].message).toMatch(message);
});

describe("parameters", () => {
  const spec = { paramKind: { apiVersion: "v1", kind: "ConfigMap" }, matchConditions: [{ name: "not-a-param", expression: "!object.metadata.name.startsWith('limits')" }], validations: [{ expression: "int(object.data.x) <= int(params.data.max)", messageExpression: "'more than ' + params.data.max" }] };

  test("are found by name", async () => {
    await create("limits", { max: "5" });
    await enforce("validating", spec, { paramRef: { name: "limits", parameterNotFoundAction: "Deny" } });
    expect(outcome(await create("b", { x: "5" }))).toEqual([201, ""]);
    expect(outcome(await create("a", { x: "6" }))).toEqual([422, denied("more than 5")]);
    await api.http("PATCH", `${MAPS}/limits`, { data: { max: "7" } });
    expect((await create("a", { x: "6" })).status).toBe(201);
  });

  test("are all taken that a selector selects", async () => {
    await create("limits-1", { max: "5" }, { limit: "yes" });
    await create("limits-2", { max: "3" }, { limit: "yes" });
    await enforce("validating", spec, { paramRef: { selector: { matchLabels: { limit: "yes" } }, parameterNotFoundAction: "Deny" } });
    expect(outcome(await create("a", { x: "4" }))).toEqual([422, denied("more than 3")]);
  });

  test.each<[string, object, string]>([
    ["Deny", {}, "failed to configure binding: no params found for policy binding with `Deny` parameterNotFoundAction"],
    ["Allow", { parameterNotFoundAction: "Allow" }, ""],
  ])("may be missing with %s", async (_, change, message) => {
    await enforce("validating", spec, { paramRef: { name: "limits", parameterNotFoundAction: "Deny", ...change } });
    expect(outcome(await create("a", { x: "4" }))).toEqual(message ? [422, denied(message)] : [201, ""]);
  });

  test("of a kind that is not served are an error", async () => {
    await enforce("validating", { ...spec, paramKind: { apiVersion: "example.com/v1", kind: "Limit" } }, { paramRef: { name: "limits", parameterNotFoundAction: "Deny" } });
    expect(outcome(await create("a", { x: "4" }))).toEqual([422, denied("failed to configure policy: failed to find resource referenced by paramKind: 'example.com/v1, Kind=Limit'")]);
  });
});

describe("a mutating policy", () => {
  const applying = (expression: string): object => ({ patchType: "ApplyConfiguration", applyConfiguration: { expression } });
  const patching = (expression: string): object => ({ patchType: "JSONPatch", jsonPatch: { expression } });

  test("applies what an expression states", async () => {
    await enforce("mutating", { mutations: [applying(`Object{metadata: Object.metadata{labels: {"team": "x"}}, data: Object.data{y: object.data.x + "!"}}`)] });
    const { body } = await create("a", { x: "1" }, { own: "1" });
    expect([body.data, body.metadata.labels]).toEqual([{ x: "1", y: "1!" }, { own: "1", team: "x" }]);
    expect(body.metadata.managedFields.map(({ manager }: { manager: string }) => manager)).toEqual(["k3s-p"]);
  });

  test("merges lists by their keys, and has the result defaulted", async () => {
    await post("/api/v1/namespaces/default/serviceaccounts", { metadata: { name: "default" } });
    await enforce("mutating", {
      matchConstraints: { resourceRules: [{ operations: ["CREATE"], apiGroups: [""], apiVersions: ["v1"], resources: ["pods"] }] },
      matchConditions: [{ name: "once", expression: "!object.spec.?initContainers.orValue([]).exists(c, c.name == 'proxy')" }],
      mutations: [applying(`Object{spec: Object.spec{initContainers: [Object.spec.initContainers{name: "proxy", image: "p", restartPolicy: "Always"}], containers: object.spec.containers.map(c, Object.spec.containers{name: c.name, env: [Object.spec.containers.env{name: "A", value: "1"}]})}}`)],
    });
    const { body, text } = await api.http("POST", "/api/v1/namespaces/default/pods", { metadata: { name: "a" }, spec: { containers: [{ name: "c", image: "i" }] } });
    expect(body.spec?.initContainers?.[0], text).toMatchObject({ name: "proxy", image: "p", imagePullPolicy: "Always" });
    expect(body.spec.containers[0]).toMatchObject({ name: "c", image: "i", env: [{ name: "A", value: "1" }] });
  });

  test("patches with operations, one mutation after the other", async () => {
    await enforce("mutating", { mutations: [
      patching(`[JSONPatch{op: "add", path: "/metadata/labels/" + jsonpatch.escapeKey("a/b"), value: "c"}]`),
      patching(`"a/b" in object.metadata.labels ? [JSONPatch{op: "test", path: "/data/x", value: "1"}, JSONPatch{op: "replace", path: "/data/x", value: "2"}] : []`),
    ] });
    const { body, text } = await create("a", { x: "1" }, { own: "1" });
    expect([body.data, body.metadata?.labels], text).toEqual([{ x: "2" }, { own: "1", "a/b": "c" }]);
  });

  test("sees what others changed, once more if it wants", async () => {
    const count = (key: string): object => patching(`[JSONPatch{op: "add", path: "/data/${key}", value: string(size(object.data))}]`);
    await enforce("mutating", { mutations: [count("p")], reinvocationPolicy: "IfNeeded" }, {}, "p1");
    await enforce("mutating", { mutations: [count("q")] }, {}, "p2");
    expect((await create("a", { x: "1" })).body.data).toEqual({ x: "1", p: "3", q: "2" });
  });

  test.each<[string, object, number, RegExp]>([
    ["refuses what it cannot compute", { mutations: [applying("Object{data: Object.data{y: object.data.none}}")] }, 403, /^configmaps "a" is forbidden: policy 'p' with binding 'b' denied request: expression '.*' resulted in error: no such key: none$/],
    ["lets pass what it cannot compute, if it may", { failurePolicy: "Ignore", mutations: [patching(`[JSONPatch{op: "remove", path: "/none"}]`)] }, 201, /^$/],
    ["refuses a patch that breaks the object", { mutations: [patching(`[JSONPatch{op: "replace", path: "/data", value: 5}]`)] }, 403, /denied request: /],
  ])("%s", async (_, spec, status, message) => {
    await enforce("mutating", spec);
    const [code, text] = outcome(await create("a", { x: "1" }));
    expect(code).toBe(status);
    expect(text).toMatch(message);
  });
});

test.each([
  ["object.spec.replicas > 1", "object.spec.replicas > 1"],
  [`Object{spec: Object.spec{replicas: 1}}`, `{"spec": {"replicas": 1}}`],
  [`Object{?spec: object.?spec}`, `{?"spec": object.?spec}`],
  [`Object{a: {"b": x}, c: [f(y, z), Object.c{d: p ? q : r}]}`, `{"a": {"b": x}, "c": [f(y, z), {"d": p ? q : r}]}`],
  [`"Object{a: 1}" + JSONPatch{op: "Object{", path: 'x'}`, `"Object{a: 1}" + {"op": "Object{", "path": 'x'}`],
  ["has(object.Object) ? Object{`a-b`: 1} : Object{}", `has(object.Object) ? {"a-b": 1} : {}`],
])("constructors become maps: %s", (expression, expected) => {
  expect(withoutConstructors(expression)).toBe(expected);
});
