import { describe, expect, it } from "vitest";
import { mandatory } from "../../flowcontrol/defaults.ts";
import { created, NOW, rowOf, statusUpdated, updated } from "../testing.ts";
import type { Obj } from "../types.ts";

const GROUP = "admissionregistration.k8s.io";
const rule = { operations: ["CREATE"], apiGroups: [""], apiVersions: ["v1"], resources: ["pods"] };
const service = { namespace: "n", name: "s" };

describe("a webhook configuration", () => {
  const row = rowOf(GROUP, "validatingwebhookconfigurations");
  const hook = (extra: Obj = {}): Obj => ({ name: "a.example.com", sideEffects: "None", admissionReviewVersions: ["v1"], clientConfig: { service }, rules: [rule], ...extra });
  const of = (...webhooks: Obj[]): Obj => ({ metadata: { name: "w" }, webhooks });
  const rules = (change: Obj): Obj => hook({ rules: [{ ...rule, ...change }] });
  const client = (clientConfig: Obj): Obj => hook({ clientConfig });
  const RULE = "webhooks[0].rules[0]";
  const CLIENT = "webhooks[0].clientConfig";
  it.each<[Obj, ...string[]]>([
    [hook({ name: "" }), "webhooks[0].name: Required value"],
    [hook({ name: "a.b" }), 'webhooks[0].name: Invalid value: "a.b": should be a domain with at least three segments separated by dots'],
    [hook({ sideEffects: undefined }), "webhooks[0].sideEffects: Required value: must specify one of None, NoneOnDryRun"],
    [hook({ sideEffects: "Some" }), 'webhooks[0].sideEffects: Unsupported value: "Some": supported values: "None", "NoneOnDryRun"'],
    [hook({ timeoutSeconds: 31 }), "webhooks[0].timeoutSeconds: Invalid value: 31: the timeout value must be between 1 and 30 seconds"],
    [hook({ failurePolicy: "" }), 'webhooks[0].failurePolicy: Unsupported value: "": supported values: "Fail", "Ignore"'],
    [hook({ admissionReviewVersions: [] }), "webhooks[0].admissionReviewVersions: Required value: must specify one of v1, v1beta1"],
    [
      hook({ admissionReviewVersions: ["v2", "v2"] }), 'webhooks[0].admissionReviewVersions[1]: Invalid value: "v2": duplicate version',
      'webhooks[0].admissionReviewVersions: Invalid value: ["v2","v2"]: must include at least one of v1, v1beta1',
    ],
    [rules({ operations: ["*", "CREATE"] }), `${RULE}.operations: Invalid value: ["*","CREATE"]: if '*' is present, must not specify other operations`],
    [rules({ operations: ["x"] }), `${RULE}.operations[0]: Unsupported value: "x": supported values: "*", "CONNECT", "CREATE", "DELETE", "UPDATE"`],
    [rules({ apiVersions: [""] }), `${RULE}.apiVersions[0]: Required value`],
    [rules({ resources: ["*", "pods"] }), `${RULE}.resources: Invalid value: ["*","pods"]: if '*' is present, must not specify other resources without subresources`],
    [rules({ resources: ["*", "pods/status"] })],
    [rules({ resources: ["pods/*", "pods/status"] }), `${RULE}.resources[1]: Invalid value: "pods/status": if 'pods/*' is present, must not specify pods/status`],
    [rules({ resources: ["*/scale", "pods/scale"] }), `${RULE}.resources[1]: Invalid value: "pods/scale": if '*/scale' is present, must not specify pods/scale`],
    [rules({ resources: ["*/*", "pods"] }), `${RULE}.resources: Invalid value: ["*/*","pods"]: if '*/*' is present, must not specify other resources`],
    [rules({ scope: "x" }), `${RULE}.scope: Unsupported value: "x": supported values: "*", "Cluster", "Namespaced"`],
    [client({}), `${CLIENT}: Required value: exactly one of url or service is required`],
    [client({ service: { port: 0 } }), `${CLIENT}.service.name: Required value: service name is required`, `${CLIENT}.service.namespace: Required value: service namespace is required`, `${CLIENT}.service.port: Invalid value: 0: port is not valid: must be between 1 and 65535, inclusive`],
    [client({ service: { ...service, path: "a//" } }), `${CLIENT}.service.path: Invalid value: "a//": must start with a '/'`, ...[0, 1].map((i) => `${CLIENT}.service.path: Invalid value: "a//": segment[${i}] may not be empty`)],
    [client({ service: { ...service, path: "/a/b/" } })],
    [client({ url: "http://a" }), `${CLIENT}.url: Invalid value: "http": 'https' is the only allowed URL scheme; desired format: https://host[/path]`],
    [client({ url: "https://u@/?a#b" }), `${CLIENT}.url: Invalid value: "": host must be specified; desired format: https://host[/path]`, `${CLIENT}.url: Invalid value: "u": user information is not permitted in the URL`, `${CLIENT}.url: Invalid value: "b": fragments are not permitted in the URL`, `${CLIENT}.url: Invalid value: "a": query parameters are not permitted in the URL`],
    [hook({ matchConditions: [{ name: "a b", expression: " " }] }), "webhooks[0].matchConditions[0].expression: Required value", expect.stringMatching(/^webhooks\[0\].matchConditions\[0\].name: Invalid value: "a b": name part must consist of/)],
  ])("with %j is judged", (webhook, ...errors) => expect(created(row, of(webhook)).errors).toEqual(errors));

  it("names each webhook once", () => expect(created(row, of(hook(), hook())).errors).toEqual(['webhooks[1].name: Duplicate value: "a.example.com"']));

  it("keeps what was once accepted", () => {
    const bad = hook({ sideEffects: "Some", admissionReviewVersions: ["v2"], matchConditions: [{ name: "a", expression: "nonsense(" }] });
    const old = created(row, of(bad, bad)).object;
    expect(updated(row, old, (o) => (o.webhooks[0].timeoutSeconds = 5)).errors).toEqual([]);
    expect(updated(row, created(row, of(hook())).object, (o) => (o.webhooks = [bad])).errors).toHaveLength(3);
  });
});

describe("an admission policy", () => {
  const row = rowOf(GROUP, "validatingadmissionpolicies");
  const matchConstraints = { resourceRules: [rule] };
  const of = (spec: Obj): Obj => ({ metadata: { name: "p" }, spec: { matchConstraints, validations: [{ expression: "true" }], ...spec } });
  const both = "validations or auditAnnotations must contain at least one item";
  it.each<[Obj, ...string[]]>([
    [{ validations: [] }, `spec.validations: Required value: ${both}`, `spec.auditAnnotations: Required value: ${both}`],
    [{ matchConstraints: undefined }, "spec.matchConstraints: Required value"],
    [{ matchConstraints: {} }, "spec.matchConstraints.resourceRules: Required value"],
    [{ matchConstraints: { resourceRules: [{ ...rule, resourceNames: ["a/b"] }] } }, `spec.matchConstraints.resourceRules[0].resourceNames[0]: Invalid value: "a/b": may not contain '/'`],
    [{ matchConstraints: { ...matchConstraints, excludeResourceRules: [{ ...rule, resources: [] }] } }, "spec.matchConstraints.excludeResourceRules[0].resources: Required value"],
    [{ paramKind: {} }, "spec.paramKind.apiVersion: Required value", "spec.paramKind.kind: Required value"],
    [{ paramKind: { apiVersion: "a/b/c", kind: "K" } }, 'spec.paramKind.apiVersion: Invalid value: "a/b/c": unexpected GroupVersion string: a/b/c'],
    [{ validations: [{ expression: " " }] }, "spec.validations[0].expression: Required value: expression is not specified"],
    [{ validations: [{ expression: "true", message: "a\nb", reason: "x" }] }, 'spec.validations[0].message: Invalid value: "a\\nb": message must not contain line breaks', 'spec.validations[0].reason: Unsupported value: "x": supported values: "Forbidden", "Invalid", "RequestEntityTooLarge"'],
    [{ auditAnnotations: [{ key: "a", valueExpression: "'b'" }, { key: "a", valueExpression: "" }] }, "spec.auditAnnotations[1].valueExpression: Required value: valueExpression is not specified", 'spec.auditAnnotations[1].key: Duplicate value: "a"'],
    [{ variables: [{ name: "for", expression: "1" }, { expression: "" }] }, 'spec.variables[0].name: Invalid value: "for": name is not a valid CEL identifier', "spec.variables[1].name: Required value: name is not specified", "spec.variables[1].expression: Required value: expression is not specified"],
  ])("with %j is judged", (spec, ...errors) => expect(created(row, of(spec)).errors).toEqual(errors));

  it("has conditions that are right", () => {
    const condition = { type: "Ready", status: "True", reason: "R", lastTransitionTime: NOW };
    expect(statusUpdated(row, of({}), { conditions: [condition], typeChecking: { expressionWarnings: [{ fieldRef: "spec.validations[0]", warning: "" }] } }))
      .toEqual(["status.typeChecking.expressionWarnings[0].warning: Required value"]);
  });

  const mutating = rowOf(GROUP, "mutatingadmissionpolicies");
  const mutation = { patchType: "ApplyConfiguration", applyConfiguration: { expression: "Object{}" } };
  const changes = (spec: Obj): Obj => ({ metadata: { name: "p" }, spec: { matchConstraints, reinvocationPolicy: "Never", mutations: [mutation], ...spec } });
  it.each<[Obj, ...string[]]>([
    [{ reinvocationPolicy: undefined }, "spec.reinvocationPolicy: Required value"],
    [{ reinvocationPolicy: "x" }, 'spec.reinvocationPolicy: Unsupported value: "x": supported values: "Never", "IfNeeded"'],
    [{ mutations: [] }, "spec.mutations: Required value: mutations must contain at least one item"],
    [{ mutations: [{}] }, "spec.mutations[0].patchType: Required value"],
    [{ mutations: [{ ...mutation, patchType: "x" }] }, 'spec.mutations[0].patchType: Unsupported value: "x": supported values: "ApplyConfiguration", "JSONPatch"'],
    [{ mutations: [{ ...mutation, patchType: "JSONPatch" }] }, "spec.mutations[0].jsonPatch: Required value: must be specified when patchType is JSONPatch", 'spec.mutations[0].applyConfiguration: Invalid value: "{applyConfiguration}": must not be specified when patchType is JSONPatch'],
    [{ mutations: [{ ...mutation, applyConfiguration: { expression: " " } }] }, "spec.mutations[0].applyConfiguration.expression: Required value"],
    [{ matchConstraints: { resourceRules: [{ ...rule, operations: ["DELETE"] }] } }, 'spec.matchConstraints.resourceRules.operations: Unsupported value: "DELETE": supported values: "*", "CONNECT", "CREATE", "UPDATE"'],
  ])("that changes objects, with %j, is judged", (spec, ...errors) => expect(created(mutating, changes(spec)).errors).toEqual(errors));
});

describe("the binding of a policy", () => {
  const row = rowOf(GROUP, "validatingadmissionpolicybindings");
  const param = (paramRef: Obj): Obj => ({ paramRef: { parameterNotFoundAction: "Deny", ...paramRef } });
  const exclusive = "Forbidden: name and selector are mutually exclusive";
  it.each<[Obj, ...string[]]>([
    [{ policyName: "" }, "spec.policyName: Required value"],
    [{ validationActions: [] }, "spec.validationActions: Required value: at least one validation action is required"],
    [{ validationActions: ["Deny", "Warn"] }, 'spec.validationActions: Invalid value: ["Deny","Warn"]: must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers serves no purpose)'],
    [param({}), "spec.paramRef: Required value: one of name or selector must be specified"],
    [param({ name: "a", selector: {} }), `spec.paramRef.name: ${exclusive}`, `spec.paramRef.selector: ${exclusive}`],
    [param({ name: "a", parameterNotFoundAction: "x" }), 'spec.paramRef.parameterNotFoundAction: Unsupported value: "x": supported values: "Deny", "Allow"'],
    [param({ name: "a", parameterNotFoundAction: undefined }), "spec.paramRef.parameterNotFoundAction: Required value"],
  ])("with %j is judged", (spec, ...errors) => expect(created(row, { metadata: { name: "b" }, spec: { policyName: "p", validationActions: ["Deny"], ...spec } }).errors).toEqual(errors));

  it("changes no object that goes away", () => {
    const { errors } = created(rowOf(GROUP, "mutatingadmissionpolicybindings"), { metadata: { name: "b" }, spec: { policyName: "p", matchResources: { resourceRules: [{ ...rule, operations: ["DELETE"] }] } } });
    expect(errors).toEqual(['spec.matchResources.resourceRules.operations: Unsupported value: "DELETE": supported values: "*", "CONNECT", "CREATE", "UPDATE"']);
  });
});

describe("flow control", () => {
  const schemas = rowOf("flowcontrol.apiserver.k8s.io", "flowschemas");
  const levels = rowOf("flowcontrol.apiserver.k8s.io", "prioritylevelconfigurations");
  const user = { kind: "User", user: { name: "u" } };
  const resource = { verbs: ["get"], apiGroups: [""], resources: ["pods"], namespaces: ["*"] };
  const flow = (change: Obj): Obj => ({ rules: [{ subjects: [user], resourceRules: [resource], ...change }] });
  const only = (change: Obj): Obj => flow({ resourceRules: [{ ...resource, ...change }] });
  const urls = (...nonResourceURLs: string[]): Obj => flow({ nonResourceRules: [{ verbs: ["get"], nonResourceURLs }] });
  const RULE = "spec.rules[0]";
  it.each<[Obj, ...string[]]>([
    [{ matchingPrecedence: 1 }, "spec.matchingPrecedence: Invalid value: 1: only the schema named 'exempt' may have matchingPrecedence 1"],
    [{ distinguisherMethod: { type: "x" } }, 'spec.distinguisherMethod.type: Unsupported value: {"type":"x"}: supported values: "ByNamespace", "ByUser"'],
    [flow({ subjects: [{ ...user, group: {} }] }), `${RULE}.subjects[0].group: Forbidden: group is forbidden when subject kind is not 'Group'`],
    [flow({ subjects: [{ kind: "ServiceAccount", serviceAccount: { name: "*" } }] }), `${RULE}.subjects[0].serviceAccount.namespace: Required value: must specify namespace for service account`],
    [only({ verbs: ["x"] }), `${RULE}.resourceRules[0].verbs: Unsupported value: ["x"]: supported values: "create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch"`],
    [only({ verbs: ["*", "get"] }), `${RULE}.resourceRules[0].verbs: Invalid value: ["*","get"]: if '*' is present, must not specify other verbs`],
    [only({ apiGroups: [] }), `${RULE}.resourceRules[0].apiGroups: Required value: resource rules must supply at least one api group`],
    [only({ namespaces: [] }), `${RULE}.resourceRules[0].namespaces: Required value: resource rules that are not cluster scoped must supply at least one namespace`],
    [only({ namespaces: ["A"] }), expect.stringMatching(/namespaces\[0\]: Invalid value: "A": each member of this list must be '\*' or a DNS-1123 label; a lowercase/)],
    [urls("*")],
    [urls("a"), `${RULE}.nonResourceRules[0].nonResourceURLs[0]: Invalid value: "a": must start with slash`],
    [urls("/a*"), `${RULE}.nonResourceRules[0].nonResourceURLs[0]: Invalid value: "/a*": wildcard can only do suffix matching`],
    [urls("/a/*", "*"), `${RULE}.nonResourceRules[0].nonResourceURLs: Invalid value: ["/a/*","*"]: if '*' is present, must not specify other non-resource URLs`],
  ])("refuses a schema with %j", (spec, ...errors) => expect(created(schemas, { metadata: { name: "f" }, spec: { priorityLevelConfiguration: { name: "p" }, ...spec } }).errors).toEqual(errors));

  const queue = (queuing: Obj): Obj => ({ type: "Limited", limited: { limitResponse: { type: "Queue", queuing } } });
  it.each<[Obj, ...string[]]>([
    [{ type: "Exempt", exempt: {} }, 'spec.type: Invalid value: "Exempt": must be \'Exempt\' if and only if `name` is \'exempt\''],
    [{ type: "Limited" }, "spec.limited: Required value: must not be empty when type is Limited"],
    [{ ...queue({}), exempt: {} }, "spec.exempt: Forbidden: must be nil if the type is Limited"],
    [queue({ queues: 1024, handSize: 8 }), "spec.limited.limitResponse.queuing.handSize: Invalid value: 8: required entropy bits of deckSize 1024 and handSize 8 should not be greater than 60"],
  ])("refuses a level with %j", (spec, ...errors) => expect(created(levels, { metadata: { name: "l" }, spec }).errors).toEqual(errors));

  it("leaves what every cluster has as it is", () => {
    for (const object of mandatory.schemas) expect(created(schemas, object).errors).toEqual([]);
    for (const object of mandatory.levels) expect(created(levels, object).errors).toEqual([]);
    const [, catchAll] = mandatory.levels;
    const { errors } = updated(levels, created(levels, catchAll!).object, (o) => (o.spec.limited.nominalConcurrencyShares = 9));
    expect(errors.join()).toMatch(/^spec: Invalid value: .*: spec of 'catch-all' must equal the fixed value$/);
  });

  it("states each condition once", () => {
    expect(statusUpdated(schemas, { metadata: { name: "f" }, spec: {} }, { conditions: [{ type: "a" }, { type: "a" }, {}] }))
      .toEqual(['status.conditions[1].type: Duplicate value: "a"', "status.conditions[2].type: Required value: must not be empty"]);
  });
});
