import { describe, expect, it } from "vitest";
import { created, fakeContext, rowOf, updated } from "../resources/testing.ts";
import type { Obj } from "../resources/types.ts";
import { ruleProblems } from "./rule-check.ts";
import type { SchemaProps } from "./schema.ts";
import { cronTabs } from "./testing.ts";

const row = rowOf("apiextensions.k8s.io", "customresourcedefinitions");
const errorsOf = (crd: Obj): readonly string[] => created(row, crd).errors;
const at = "spec.validation.openAPIV3Schema";
const withSchema = (schema: object, more: object = {}): Obj => cronTabs((version) => {
  Object.assign(version, { schema: { openAPIV3Schema: schema }, selectableFields: undefined, subresources: undefined, ...more });
});
const withField = (x: object): Obj => withSchema({ type: "object", properties: { x } });

describe("a CustomResourceDefinition", () => {
  it("is taken as it should be", () => {
    const { object, errors } = created(row, cronTabs());
    expect(errors).toEqual([]);
    expect(object.status).toEqual({ acceptedNames: { kind: "", plural: "" }, conditions: [], storedVersions: ["v1"] });
    expect(object.spec).toMatchObject({ names: { listKind: "CronTabList", singular: "crontab" }, conversion: { strategy: "None" } });
  });

  it.each<[string, (version: Obj, spec: Obj, crd: Obj) => void, string]>([
    ["group", (_, spec) => { spec.group = "local"; }, 'spec.group: Invalid value: "local": should be a domain with at least one dot'],
    ["scope", (_, spec) => { spec.scope = "World"; }, 'spec.scope: Unsupported value: "World": supported values: "Cluster", "Namespaced"'],
    ["storage", (version) => { version.storage = false; }, "must have exactly one version marked as storage version"],
    ["version name", (version) => { version.name = "V1"; }, 'spec.versions[0].name: Invalid value: "V1": a DNS-1035 label must consist of'],
    ["schema", (version) => { delete version.schema; }, `spec.versions[0].schema.openAPIV3Schema: Required value: schemas are required`],
    ["kind", (_, spec) => { spec.names.kind = "Cron_Tab"; }, 'spec.names.kind: Invalid value: "Cron_Tab": may have mixed case, but should otherwise match: a DNS-1035 label'],
    ["listKind", (_, spec) => { spec.names.listKind = "CronTab"; }, 'spec.names.listKind: Invalid value: "CronTab": kind and listKind may not be the same'],
    ["short name", (_, spec) => { spec.names.shortNames = ["C"]; }, 'spec.names.shortNames[0]: Invalid value: "C"'],
    ["unknown fields everywhere", (_, spec) => { spec.preserveUnknownFields = true; }, "spec.preserveUnknownFields: Invalid value: true: cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead"],
    ["scale", (version) => { version.subresources.scale.specReplicasPath = ".replicas"; }, 'spec.subresources.scale.specReplicasPath: Invalid value: ".replicas": should be a json path under .spec'],
    ["scale path", (version) => { version.subresources.scale.specReplicasPath = ".spec.a[0]"; }, "must be a simple json path without array notation"],
    ["column type", (version) => { version.additionalPrinterColumns[0].type = "text"; }, 'spec.additionalPrinterColumns[0].type: Invalid value: "text": must be one of boolean,date,integer,number,string'],
    ["column path", (version) => { version.additionalPrinterColumns[0].jsonPath = "spec"; }, 'spec.additionalPrinterColumns[0].JSONPath: Invalid value: "spec": must be a simple json path starting with .'],
    ["deprecation", (version) => { version.deprecationWarning = "x"; }, 'deprecationWarning: Invalid value: "x": can only be set for deprecated versions'],
    ["selectable", (version) => { version.selectableFields = [{ jsonPath: ".spec.nope" }]; }, 'spec.selectableFields[0].jsonPath: Invalid value: ".spec.nope": is an invalid path: does not refer to a valid field'],
    ["webhook", (_, spec) => { spec.conversion = { strategy: "Webhook" }; }, "spec.conversion.webhookClientConfig: Required value: required when strategy is set to Webhook"],
    ["no webhook", (_, spec) => { spec.conversion = { strategy: "None", webhook: { clientConfig: {} } }; }, "spec.conversion.webhookClientConfig: Forbidden: should not be set when strategy is not set to Webhook"],
    ["webhook's place", (_, spec) => { spec.conversion = { strategy: "Webhook", webhook: { clientConfig: { url: "http://a" }, conversionReviewVersions: ["v1"] } }; }, `spec.conversion.webhookClientConfig.url: Invalid value: "http": 'https' is the only allowed URL scheme`],
    ["reviews", (_, spec) => { spec.conversion = { strategy: "Webhook", webhook: { clientConfig: { url: "https://a" }, conversionReviewVersions: ["v2", "v2"] } }; }, 'spec.conversion.conversionReviewVersions[1]: Invalid value: "v2": duplicate version'],
    ["one version's column", (version, spec) => { spec.versions.push({ ...version, name: "v2", storage: false, additionalPrinterColumns: [{ name: "a", type: "string", jsonPath: "a" }] }); }, 'spec.versions[1].additionalPrinterColumns[0].JSONPath: Invalid value: "a": must be a simple json path'],
    ["one version's schema", (version, spec) => { spec.versions.push({ ...version, name: "v2", storage: false, schema: { openAPIV3Schema: { type: "array" } } }); }, 'spec.versions[1].schema.openAPIV3Schema.type: Invalid value: "array": must be object at the root'],
    ["unprintable warning", (version) => { Object.assign(version, { deprecated: true, deprecationWarning: "a\n" }); }, "must only contain printable UTF-8 characters; non-printable character found at index 1"],
    ["versions twice", (version, spec) => { spec.versions.push({ ...version, storage: false }); }, "must contain unique version names"],
    ["community group", (_, spec) => { spec.group = "stable.k8s.io"; }, 'metadata.annotations[api-approved.kubernetes.io]: Required value: protected groups must have approval annotation "api-approved.kubernetes.io"'],
  ])("is refused for its %s", (_, change, want) => {
    const errors = errorsOf(cronTabs((version, spec) => change(version, spec, {} as Obj)));
    expect(errors.join("\n")).toContain(want);
  });

  it("warns of formats of strings that nothing is known of", () => {
    const x = { type: "object", properties: { a: { type: "string", format: "odd" }, b: { type: "array", items: { type: "string", format: "odd" } }, c: { type: "integer", format: "int64" }, d: { type: "string", format: "date" } } };
    expect(row.warnings!(created(row, withField(x)).object)).toEqual(['unrecognized format "odd"']);
  });

  it("has the name of its plural and group", () => {
    expect(errorsOf({ ...cronTabs(), metadata: { name: "x" } })).toEqual(['metadata.name: Invalid value: "x": must be spec.names.plural+"."+spec.group']);
  });

  it("keeps its identity and its stored versions", () => {
    const old = created(row, cronTabs()).object;
    old.status.conditions = [{ type: "Established", status: "True" }];
    expect(updated(row, old, (crd) => { crd.spec.scope = "Cluster"; crd.spec.names.kind = "Other"; }).errors).toEqual([
      'spec.scope: Invalid value: "Cluster": field is immutable', 'spec.names.kind: Invalid value: "Other": field is immutable',
    ]);
    expect(updated(row, old, (crd) => { crd.spec.versions[0].name = "v2"; }).errors.join()).toMatch("status.storedVersions[0]: Invalid value: \"v1\": missing from spec.versions;");
    const { object } = updated(row, old, (crd) => { crd.spec.versions.push({ ...crd.spec.versions[0], name: "v2" }); crd.spec.versions[0].storage = false; });
    expect(object.status.storedVersions).toEqual(["v1", "v2"]);
  });

  it("waits for its objects when it is deleted", () => {
    const crd = created(row, cronTabs()).object;
    row.prepareDelete!(crd, fakeContext().now);
    expect(crd.metadata!.finalizers).toEqual(["customresourcecleanup.apiextensions.k8s.io"]);
    expect(crd.status.conditions).toMatchObject([{ type: "Terminating", status: "True", reason: "InstanceDeletionPending" }]);
  });
});

describe("a structural schema", () => {
  it.each<[string, Obj, string]>([
    ["root type", withSchema({}), `${at}.type: Required value: must not be empty at the root`],
    ["root object", withSchema({ type: "array", items: { type: "string" } }), `${at}.type: Invalid value: "array": must be object at the root`],
    ["root nullable", withSchema({ type: "object", nullable: true }), `${at}.nullable: Forbidden: nullable cannot be true at the root`],
    ["field type", withField({}), `${at}.properties[x].type: Required value: must not be empty for specified object fields`],
    ["item type", withField({ type: "array", items: {} }), `${at}.properties[x].items.type: Required value: must not be empty for specified array items`],
    ["items", withField({ type: "array" }), `${at}.properties[x].items: Required value: must be specified`],
    ["odd type", withField({ type: "text" }), `${at}.properties[x].type: Unsupported value: "text": supported values: "array", "boolean", "integer", "number", "object", "string"`],
    ["null", withField({ type: "null" }), `${at}.properties[x].type: Forbidden: type cannot be set to null, use nullable as an alternative`],
    ["both kinds of properties", withField({ type: "object", properties: { a: { type: "string" } }, additionalProperties: { type: "string" } }), "additionalProperties: Forbidden: additionalProperties and properties are mutual exclusive"],
    ["no additional properties", withField({ type: "object", additionalProperties: false }), "additionalProperties: Forbidden: additionalProperties cannot be set to false"],
    ["unique items", withField({ type: "array", uniqueItems: true, items: { type: "string" } }), "uniqueItems: Forbidden: uniqueItems cannot be set to true since the runtime complexity becomes quadratic"],
    ["references", withField({ type: "string", $ref: "#/x" }), "properties[x].$ref: Forbidden: $ref is not supported"],
    ["type in a junctor", withField({ type: "string", anyOf: [{ type: "string" }] }), `${at}.properties[x].anyOf[0].type: Forbidden: must be empty to be structural`],
    ["field in a junctor only", withField({ type: "object", oneOf: [{ properties: { a: { minimum: 1 } } }] }), `${at}.properties[x].properties[a]: Required value: because it is defined in ${at}.properties[x].oneOf[0].properties[a]`],
    ["metadata", withSchema({ type: "object", properties: { metadata: { type: "object", properties: { labels: { type: "object" } } } } }), `${at}.properties[metadata]: Forbidden: must not specify anything other than name and generateName, but metadata is implicitly specified`],
    ["pattern", withField({ type: "string", pattern: "(" }), `${at}.properties[x].pattern: Invalid value: "(": must be a valid regular expression, but isn't:`],
    ["bad default", withField({ type: "integer", default: "a" }), `${at}.properties[x].default: Invalid value: "string": ${at}.properties[x].default in body must be of type integer: "string"`],
    ["unknown default", withField({ type: "object", default: { a: 1 } }), `${at}.properties[x].default: Invalid value: {"a":1}: must not have unknown fields`],
    ["embedded", withField({ type: "string", "x-kubernetes-embedded-resource": true }), `${at}.properties[x].type: Invalid value: "string": must be object if x-kubernetes-embedded-resource is true`],
    ["list keys", withField({ type: "array", items: { type: "object" }, "x-kubernetes-list-type": "map" }), "x-kubernetes-list-map-keys: Required value: must not be empty if x-kubernetes-list-type is map"],
    ["list key required", withField({ type: "array", items: { type: "object", properties: { k: { type: "string" } } }, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"] }), "items.properties[k].default: Required value: this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property"],
    ["set of maps", withField({ type: "array", items: { type: "object" }, "x-kubernetes-list-type": "set" }), "items.x-kubernetes-map-type: Invalid value: null: must be atomic as item of a list with x-kubernetes-list-type=set"],
    ["list type", withField({ type: "string", "x-kubernetes-list-type": "set" }), 'type: Invalid value: "string": must be array if x-kubernetes-list-type is specified'],
    ["preserve", withField({ type: "object", "x-kubernetes-preserve-unknown-fields": false }), "x-kubernetes-preserve-unknown-fields: Invalid value: false: must be true or undefined"],
    ["rule", withField({ type: "string", "x-kubernetes-validations": [{ rule: "self ==" }] }), "x-kubernetes-validations[0].rule: Invalid value: \"self ==\": compilation failed: ERROR: <input>:"],
    ["rule's type", withField({ type: "string", "x-kubernetes-validations": [{ rule: "1 + 1" }] }), "cel expression must evaluate to a bool"],
    ["rule on items", withField({ type: "array", items: { type: "string", "x-kubernetes-validations": [{ rule: "self == oldSelf" }] } }), `oldSelf cannot be used on the uncorrelatable portion of the schema within ${at}.properties[x]`],
    ["beside status", withSchema({ type: "object", minProperties: 1 }, { subresources: { status: {} } }), "are allowed at the root of the schema if the status subresource is enabled"],
  ])("is refused for its %s", (_, crd, want) => {
    expect(errorsOf(crd).join("\n")).toContain(want);
  });

  it.each<[string, SchemaProps]>([
    ["int or string", { "x-kubernetes-int-or-string": true, anyOf: [{ type: "integer" }, { type: "string" }], pattern: "^[0-9]+%?$" }],
    ["int or string with more", { "x-kubernetes-int-or-string": true, allOf: [{ anyOf: [{ type: "integer" }, { type: "string" }] }, { minimum: 1 }] }],
    ["conditions", { type: "object", properties: { a: { type: "string" }, b: { type: "string" } }, oneOf: [{ required: ["a"] }, { properties: { b: { enum: ["x"] } } }], not: { required: ["a", "b"] } }],
    ["free object", { type: "object", "x-kubernetes-preserve-unknown-fields": true }],
    ["anything", { "x-kubernetes-preserve-unknown-fields": true }],
    ["default object", { type: "object", default: { a: 1 }, properties: { a: { type: "integer" }, b: { type: "string", default: "x" } } }],
  ])("may be %s", (_, schema) => {
    expect(errorsOf(withField(schema))).toEqual([]);
  });
});

describe("rules are checked against the fields of their schema", () => {
  const problem = (rule: string): string | undefined => {
    const schema = { type: "object", "x-kubernetes-validations": [{ rule }], properties: { spec: { type: "object", properties: {
      x: { type: "integer" }, "a-b": { type: "string" }, when: { type: "string", format: "date-time" }, any: { "x-kubernetes-int-or-string": true }, free: { type: "object", "x-kubernetes-preserve-unknown-fields": true },
      map: { type: "object", additionalProperties: { type: "string" } }, list: { type: "array", maxItems: 5, items: { type: "object", properties: { name: { type: "string" }, port: { type: "integer", nullable: true } } } },
    } } } } as const;
    return ruleProblems([{ schema, at: "schema" }])[0]?.message;
  };
  it.each([
    "self.spec.x > 1", "self.metadata.name == 'a' && self.kind != ''", "self.spec.a__dash__b == 'x'", "self.spec.when > timestamp('2026-01-01T00:00:00Z')", "self.spec.any == 5 || self.spec.any == 'x'",
    "self.spec.free.what.ever == 1", "'k' in self.spec.map && self.spec.map['k'] == 'v' && self.spec.map.all(k, k != '')", "self.spec.list.exists_one(i, i.name == 'a' && (i.port == null || i.port > 1))",
    "!has(self.spec.x) || self.spec.?x.orValue(1) < 5", "self.spec.list.map(i, i.name).isSorted() && size(self.spec.list) < 3", "self.spec == null || self.spec.x in [1, 2]", "self.spec.list == [] || self.spec.list[0].name.startsWith('a')",
    "self.spec.x > 1 ? self.spec.map.size() == 1 : oldSelf.spec.whatever == 1", "string(self.spec.x) == '1' && quantity(string(self.spec.x)).isGreaterThan(quantity('0'))", "self.spec.list.all(i, item, item.name != '')",
  ])("and %s is right", (rule) => expect(problem(rule)).toBeUndefined());
  it.each([
    ["self.spec.nope > 1", "1:10: undefined field 'nope'"], ["self.spec.x > 'a'", "1:13: found no matching overload for '_>_' applied to '(int, string)'"], ["has(self.spec.nope)", "1:14: undefined field 'nope'"],
    ["self.spec.list.all(i, i.nope == '')", "1:24: undefined field 'nope'"], ["self.metadata.labels.size() > 0", "1:14: undefined field 'labels'"], ["self.spec.x == true", "1:13: found no matching overload for '_==_' applied to '(int, bool)'"],
  ])("and %s is not", (rule, why) => expect(problem(rule)).toContain(`compilation failed: ERROR: <input>:${why}\n | ${rule}\n | `));
});

describe("rules may cost so much, by estimate", () => {
  const advice = "x (try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared)";
  const counted = (rule: string, more: object = {}): SchemaProps => ({ type: "array", items: { type: "number" }, "x-kubernetes-validations": [{ rule, ...more }] }) as SchemaProps;
  const nested = (bounds: object): Obj => withField({ type: "array", items: { type: "string", "x-kubernetes-validations": [{ rule: "self.contains('abc')" }] }, ...bounds });

  it("each of them", () => {
    expect(errorsOf(withField(counted("self.all(x, true)")))).toEqual([]);
    expect(errorsOf(withField(counted("self.all(x, self.all(y, true))")))).toEqual([
      `${at}.properties[x].x-kubernetes-validations[0].rule: Forbidden: estimated rule cost exceeds budget by factor of more than 100${advice}`,
      `${at}.properties[x].x-kubernetes-validations[0].rule: Forbidden: contributed to estimated rule & messageExpression cost total exceeding cost limit for entire OpenAPIv3 schema`,
      `${at}: Forbidden: x-kubernetes-validations estimated rule & messageExpression cost total for entire OpenAPIv3 schema exceeds budget by factor of more than 100${advice}`,
    ]);
    expect(errorsOf(withField({ ...counted("self.all(x, self.all(y, true))"), maxItems: 100 }))).toEqual([]);
  });

  it("as often as a value can have them", () => {
    expect(errorsOf(nested({ maxItems: 31 }))).toEqual([]);
    expect(errorsOf(nested({ maxItems: 32 }))).toEqual([
      `${at}.properties[x].items.x-kubernetes-validations[0].rule: Forbidden: estimated rule cost exceeds budget by factor of 1.006637${advice}`,
    ]);
    expect(errorsOf(nested({})).join()).toContain("estimated rule cost exceeds budget by factor of more than 100x");
    expect(errorsOf(nested({ items: { type: "string", maxLength: 10, "x-kubernetes-validations": [{ rule: "self.contains('abc')" }] } }))).toEqual([]);
  });

  it("their messages, too", () => {
    const errors = errorsOf(withField({ ...counted("true", { messageExpression: "self.all(x, self.all(y, true)) ? 'a' : 'b'" }), maxItems: 2000 }));
    expect(errors).toEqual([`${at}.properties[x].x-kubernetes-validations[0].messageExpression: Forbidden: estimated messageExpression cost exceeds budget by factor of 1.201000${advice}`]);
  });

  it("all of a schema", () => {
    const fields = (count: number): object => Object.fromEntries(Array.from({ length: count }, (_, i) => [`x${i}`, counted("self.all(x, true)")]));
    expect(errorsOf(withSchema({ type: "object", properties: fields(21) }))).toEqual([]);
    const why = "rule: Forbidden: contributed to estimated rule & messageExpression cost total exceeding cost limit for entire OpenAPIv3 schema";
    expect(errorsOf(withSchema({ type: "object", properties: fields(22) }))).toEqual([
      ...[0, 1, 2, 3].map((i) => `${at}.properties[x${i}].x-kubernetes-validations[0].${why}`),
      `${at}: Forbidden: x-kubernetes-validations estimated rule & messageExpression cost total for entire OpenAPIv3 schema exceeds budget by factor of 1.038090${advice}`,
    ]);
  });

  it("and a schema that does not change keeps what it has", () => {
    const old = created(row, withField(counted("self.all(x, true)"))).object;
    old.spec.versions[0].schema.openAPIV3Schema.properties.x["x-kubernetes-validations"][0].rule = "self.all(x, self.all(y, true))";
    expect(updated(row, old, (crd) => { crd.spec.names.shortNames = ["xx"]; }).errors).toEqual([]);
    expect(updated(row, old, (crd) => { crd.spec.versions[0].schema.openAPIV3Schema.description = "Changed."; }).errors.join()).toContain("estimated rule cost exceeds budget");
  });
});
