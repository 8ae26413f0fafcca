import { describe, expect, it } from "vitest";
import { created, fakeContext, rowOf, updated } from "../testing.ts";
import type { Obj } from "../types.ts";

const quotas = rowOf("", "resourcequotas");
const ranges = rowOf("", "limitranges");
const quota = (spec: Obj): Obj => ({ metadata: { name: "q" }, spec });
const range = (...limits: Obj[]): Obj => ({ metadata: { name: "r" }, spec: { limits } });

describe("a ResourceQuota", () => {
  const UNSUPPORTED = "unsupported scope applied to resource";
  it.each<[Obj, ...string[]]>([
    [{ hard: { storage: "1" } }, 'spec.hard[storage]: Invalid value: "storage": must be a standard resource for quota'],
    [{ hard: { pods: "500m" } }, 'spec.hard[pods]: Invalid value: "500m": must be an integer'],
    [{ hard: { "count/deployments.apps": "0.5" } }, 'spec.hard[count/deployments.apps]: Invalid value: "500m": must be an integer'],
    [{ hard: { "count/": "1" } }, 'spec.hard[count/]: Invalid value: "count/": name part must be non-empty', expect.any(String) as unknown as string],
    [{ hard: { "requests.hugepages-2Mi": "2Mi", "requests.example.com/gpu": "1", "gold.storageclass.storage.k8s.io/requests.storage": "1Gi" } }],
    [{ hard: { "requests.ephemeral-storage": "1Gi" }, scopes: ["NotBestEffort"] }, `spec.scopes: Invalid value: ["NotBestEffort"]: ${UNSUPPORTED}`],
    [{ scopes: ["BestEffort", "NotBestEffort"] }, 'spec.scopes: Invalid value: ["BestEffort","NotBestEffort"]: conflicting scopes'],
    [{ scopeSelector: { matchExpressions: [{ scopeName: "Terminating", operator: "Exists" }, { scopeName: "NotTerminating", operator: "Exists" }] } },
      "spec.scopeSelector.matchExpressions: Invalid value: null: conflicting scopes"],
    [{ hard: { services: "1" }, scopeSelector: { matchExpressions: [{ scopeName: "PriorityClass", operator: "In", values: ["a"] }] } },
      `spec.scopeSelector.matchExpressions: Invalid value: {"MatchExpressions":[{"ScopeName":"PriorityClass","Operator":"In","Values":["a"]}]}: ${UNSUPPORTED}`],
  ])("of %j", (spec, ...errors) => expect(created(quotas, quota(spec)).errors).toEqual(errors));

  it("keeps its scopes, in any order", () => {
    const { object } = created(quotas, quota({ scopes: ["Terminating", "BestEffort"] }));
    expect(updated(quotas, object, (o) => o.spec.scopes.reverse()).errors).toEqual([]);
    expect(updated(quotas, object, (o) => o.spec.scopes.pop()).errors).toEqual(['spec.scopes: Invalid value: ["Terminating"]: field is immutable']);
  });

  it("tells of nothing else than quotas count", () => {
    const next = { ...quota({}), status: { hard: { pods: "1" }, used: { foo: "1", pods: "-1" } } };
    expect(quotas.validateStatusUpdate!(next, quota({}), fakeContext()).map((e) => `${e.field}: ${e.message}`)).toEqual([
      'status.used[foo]: Invalid value: "foo": must be a standard resource type or fully qualified',
      'status.used[foo]: Invalid value: "foo": must be a standard resource for quota',
      'status.used[pods]: Invalid value: "-1": must be greater than or equal to 0',
    ]);
  });
});

describe("a LimitRange", () => {
  const at = "spec.limits[0]";
  it.each<[Obj, ...string[]]>([
    [{ type: "foo" }, `${at}.type: Invalid value: "foo": must be a standard limit type or fully qualified`],
    [{ type: "example.com/foo" }],
    [{ type: "Container", max: { storage: "1" } }, `${at}.max[storage]: Invalid value: "storage": must be a standard resource for containers`, `${at}.default[storage]: Invalid value: "storage": must be a standard resource for containers`, `${at}.defaultRequest[storage]: Invalid value: "storage": must be a standard resource for containers`],
    [{ type: "Pod", default: { cpu: "1" } }, `${at}.default: Forbidden: may not be specified when \`type\` is 'Pod'`],
    [{ type: "PersistentVolumeClaim", min: { cpu: "1" } }, `${at}.limits: Required value: either minimum or maximum storage value is required, but neither was provided`],
    [{ type: "Container", default: { cpu: "1" }, min: { cpu: "2" }, defaultRequest: { cpu: "1" } },
      `${at}.defaultRequest[cpu]: Invalid value: "1": min value 2 is greater than default request value 1`,
      `${at}.default[cpu]: Invalid value: "2": min value 2 is greater than default value 1`],
    [{ type: "Container", default: { cpu: "3" }, max: { cpu: "2" }, defaultRequest: { cpu: "1" } }, `${at}.default[cpu]: Invalid value: "2": default value 3 is greater than max value 2`],
    [{ type: "Pod", maxLimitRequestRatio: { cpu: "0" } }, `${at}.maxLimitRequestRatio[cpu]: Invalid value: "0": ratio 0 is less than 1`],
    [{ type: "Pod", min: { cpu: "1" }, max: { cpu: "2" }, maxLimitRequestRatio: { cpu: "3" } }, `${at}.maxLimitRequestRatio[cpu]: Invalid value: "3": ratio 3 is greater than max/min = 2.000000`],
    [{ type: "Container", default: { "example.com/gpu": "2" }, defaultRequest: { "example.com/gpu": "1" } },
      `${at}.defaultRequest[example.com/gpu]: Invalid value: "1": default value 2 must equal to defaultRequest value 1 in example.com/gpu`],
  ])("of %j", (limit, ...errors) => expect(created(ranges, range(limit)).errors).toEqual(errors));

  it("has each type once", () => {
    expect(created(ranges, range({ type: "Pod" }, { type: "Pod" })).errors).toEqual(['spec.limits[1].type: Duplicate value: "Pod"']);
  });

  it("needs no name", () => {
    expect(created(ranges, { metadata: {}, spec: {} }).object.metadata!.name).toBe("uid-1");
  });
});
