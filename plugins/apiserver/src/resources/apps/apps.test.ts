import { describe, expect, it } from "vitest";
import { created, fakeContext, NOW, rowOf, statusUpdated, updated } from "../testing.ts";
import type { Obj } from "../types.ts";

const labels = { app: "web" };
const template = (spec: Obj = {}): Obj => ({ metadata: { labels }, spec: { containers: [{ name: "c", image: "busybox:1" }], ...spec } });
const body = (spec: Obj = {}): Obj => ({ metadata: { name: "web" }, spec: { selector: { matchLabels: labels }, template: template(), ...spec } });
const once = { template: template({ restartPolicy: "Never" }) };

const deployments = rowOf("apps", "deployments");
const jobs = rowOf("batch", "jobs");
const cronJobs = rowOf("batch", "cronjobs");
const cron = (spec: Obj = {}): Obj => ({ metadata: { name: "c" }, spec: { schedule: "*/5 * * * *", jobTemplate: { spec: once }, ...spec } });

describe("defaults", () => {
  it.each<[string, string, Obj, Obj]>([
    ["apps", "deployments", body(), {
      replicas: 1, revisionHistoryLimit: 10, progressDeadlineSeconds: 600,
      strategy: { type: "RollingUpdate", rollingUpdate: { maxUnavailable: "25%", maxSurge: "25%" } },
    }],
    ["apps", "replicasets", body(), { replicas: 1 }],
    ["apps", "daemonsets", body(), { revisionHistoryLimit: 10, updateStrategy: { type: "RollingUpdate", rollingUpdate: { maxUnavailable: 1, maxSurge: 0 } } }],
    ["apps", "statefulsets", body(), {
      replicas: 1, revisionHistoryLimit: 10, podManagementPolicy: "OrderedReady", updateStrategy: { type: "RollingUpdate", rollingUpdate: { partition: 0 } },
      persistentVolumeClaimRetentionPolicy: { whenDeleted: "Retain", whenScaled: "Retain" },
    }],
    ["batch", "jobs", { metadata: { name: "j" }, spec: once }, {
      completions: 1, parallelism: 1, backoffLimit: 6, completionMode: "NonIndexed", suspend: false, podReplacementPolicy: "TerminatingOrFailed",
    }],
    ["batch", "cronjobs", cron(), { concurrencyPolicy: "Allow", suspend: false, successfulJobsHistoryLimit: 3, failedJobsHistoryLimit: 1 }],
    ["", "replicationcontrollers", { metadata: { name: "r" }, spec: { template: template() } }, { replicas: 1, selector: labels }],
  ])("of %s %s", (group, plural, object, spec) => {
    const outcome = created(rowOf(group, plural), object);
    expect(outcome.errors).toEqual([]);
    expect(outcome.object.spec).toMatchObject(spec);
  });

  it("reach the containers of a template, and leave out what only pods get", () => {
    const pod = created(deployments, body()).object.spec.template.spec;
    expect(pod.containers[0].imagePullPolicy).toBe("IfNotPresent");
    expect(pod).not.toHaveProperty("enableServiceLinks");
  });
});

describe("a Deployment", () => {
  it.each<[Obj, ...string[]]>([
    [{ selector: undefined }, "spec.selector: Required value", 'spec.template.metadata.labels: Invalid value: {"app":"web"}: `selector` does not match template `labels`'],
    [
      { selector: { matchExpressions: [{ key: "app", operator: "In" }] } },
      "spec.selector.matchExpressions[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn'",
      'spec.selector: Invalid value: {"matchExpressions":[{"key":"app","operator":"In"}]}: invalid label selector',
    ],
    [{ selector: {} }, 'spec.selector: Invalid value: {}: empty selector is invalid for deployment'],
    [{ selector: { matchLabels: { app: "x" } } }, 'spec.template.metadata.labels: Invalid value: {"app":"web"}: `selector` does not match template `labels`'],
    [{ replicas: -1 }, "spec.replicas: Invalid value: -1: must be greater than or equal to 0"],
    [{ strategy: { type: "x" } }, 'spec.strategy: Unsupported value: {"type":"x"}: supported values: "Recreate", "RollingUpdate"'],
    [{ strategy: { type: "Recreate", rollingUpdate: {} } }, "spec.strategy.rollingUpdate: Forbidden: may not be specified when strategy `type` is 'Recreate'"],
    [{ strategy: { rollingUpdate: { maxSurge: 0, maxUnavailable: 0 } } }, "spec.strategy.rollingUpdate.maxUnavailable: Invalid value: 0: may not be 0 when `maxSurge` is 0"],
    [
      { strategy: { rollingUpdate: { maxSurge: 0, maxUnavailable: "x" } } },
      `spec.strategy.rollingUpdate.maxUnavailable: Invalid value: "x": a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')`,
      'spec.strategy.rollingUpdate.maxUnavailable: Invalid value: "x": may not be 0 when `maxSurge` is 0',
    ],
    [{ strategy: { rollingUpdate: { maxUnavailable: "120%" } } }, 'spec.strategy.rollingUpdate.maxUnavailable: Invalid value: "120%": must not be greater than 100%'],
    [{ minReadySeconds: 700 }, "spec.progressDeadlineSeconds: Invalid value: 600: must be greater than minReadySeconds"],
    [{ template: template({ restartPolicy: "Never" }) }, 'spec.template.spec.restartPolicy: Unsupported value: "Never": supported values: "Always"'],
    [{ template: template({ containers: [] }) }, "spec.template.spec.containers: Required value"],
  ])("is refused with %j", (spec, ...errors) => expect(created(deployments, body(spec)).errors).toEqual(errors));

  it("keeps its selector and its status", () => {
    const old = { ...created(deployments, body()).object, status: { replicas: 1 } };
    const { object, errors } = updated(deployments, old, (o) => {
      o.spec.selector = { matchLabels: { app: "x" } };
      o.spec.template.metadata.labels = { app: "x" };
      o.status = { replicas: 7 };
    });
    expect(errors).toEqual(['spec.selector: Invalid value: {"matchLabels":{"app":"x"}}: field is immutable']);
    expect(object.status).toEqual({ replicas: 1 });
  });

  it("keeps its labels when its status is written", () => {
    const old: Obj = { metadata: { name: "d", labels: { a: "1" } }, spec: {} };
    const next: Obj = { ...old, metadata: { name: "d", labels: { a: "2" } }, status: { replicas: 1 } };
    deployments.prepareStatusUpdate!(next, old, fakeContext());
    expect(next).toMatchObject({ metadata: { labels: { a: "1" } }, status: { replicas: 1 } });
  });
});

describe("a DaemonSet", () => {
  const sets = rowOf("apps", "daemonsets");
  it.each<[Obj, ...string[]]>([
    [{ selector: undefined }, 'spec.template.metadata.labels: Invalid value: {"app":"web"}: `selector` does not match template `labels`'],
    [{ selector: {} }, "spec.selector: Invalid value: {}: empty selector is invalid for daemonset"],
    [{ updateStrategy: { type: "x" } }, 'spec.updateStrategy: Unsupported value: {"type":"x"}: supported values: "RollingUpdate", "OnDelete"'],
    [{ updateStrategy: { rollingUpdate: { maxUnavailable: 0 } } }, "spec.updateStrategy.rollingUpdate.maxUnavailable: Required value: cannot be 0 when maxSurge is 0"],
    [{ updateStrategy: { rollingUpdate: { maxSurge: 1 } } }, "spec.updateStrategy.rollingUpdate.maxSurge: Invalid value: 1: may not be set when maxUnavailable is non-zero"],
    [{ template: template({ activeDeadlineSeconds: 5 }) }, "spec.template.spec.activeDeadlineSeconds: Forbidden: activeDeadlineSeconds in DaemonSet is not Supported"],
  ])("is refused with %j", (spec, ...errors) => expect(created(sets, body(spec)).errors).toEqual(errors));
});

describe("a ControllerRevision", () => {
  const revisions = rowOf("apps", "controllerrevisions");
  it("has data, which never change", () => {
    expect(created(revisions, { metadata: { name: "r" }, revision: -1 }).errors).toEqual([
      "data: Required value: data is mandatory", "revision: Invalid value: -1: must be greater than or equal to 0",
    ]);
    const old = created(revisions, { metadata: { name: "r" }, revision: 1, data: { a: 1 } }).object;
    expect(updated(revisions, old, (o) => (o.revision = 2)).errors).toEqual([]);
    expect(updated(revisions, old, (o) => (o.data = { a: 2 })).errors).toEqual(['data: Invalid value: {"a":2}: field is immutable']);
  });
});

describe("a status", () => {
  it.each<[string, Obj, Obj, ...string[]]>([
    ["deployments", {}, { replicas: 2, updatedReplicas: 2, readyReplicas: 1, availableReplicas: 1 }],
    ["deployments", {}, { replicas: 1, updatedReplicas: 2 }, "status.updatedReplicas: Invalid value: 2: cannot be greater than status.replicas"],
    ["deployments", {}, { replicas: 2, availableReplicas: 1 }, "status.availableReplicas: Invalid value: 1: cannot be greater than readyReplicas"],
    ["deployments", {}, { observedGeneration: -1 }, "status.observedGeneration: Invalid value: -1: must be greater than or equal to 0"],
    ["deployments", { collisionCount: 2 }, { collisionCount: 1 }, "status.collisionCount: Invalid value: 1: cannot be decremented"],
    ["deployments", { collisionCount: 2 }, {}, "status.collisionCount: Invalid value: 0: cannot be decremented"],
    ["replicasets", {}, { replicas: 1, fullyLabeledReplicas: 2 }, "status.fullyLabeledReplicas: Invalid value: 2: cannot be greater than status.replicas"],
    ["statefulsets", {}, { replicas: 2, availableReplicas: 1 }, "status.availableReplicas: Invalid value: 1: cannot be greater than status.readyReplicas"],
    ["daemonsets", {}, { numberReady: -1 }, "status.numberReady: Invalid value: -1: must be greater than or equal to 0"],
  ])("of %s is judged, after %j: %j", (plural, before, status, ...errors) => {
    const old = created(rowOf("apps", plural), body()).object;
    expect(statusUpdated(rowOf("apps", plural), { ...old, status: before }, status)).toEqual(errors);
  });
});

describe("generations", () => {
  it("of a Deployment move with its spec and its annotations", () => {
    const of = (object: Obj) => JSON.stringify(deployments.generationOf!(object));
    const object = created(deployments, body()).object;
    expect(of({ ...object, metadata: { name: "web", annotations: { a: "b" } } })).not.toBe(of(object));
    expect(of({ ...object, status: { replicas: 1 } })).toBe(of(object));
  });

  it("of a DaemonSet's template are kept in an annotation", () => {
    const sets = rowOf("apps", "daemonsets");
    const old = created(sets, body()).object;
    const generation = (o: Obj) => o.metadata!.annotations!["deprecated.daemonset.template.generation"];
    expect(generation(old)).toBe("1");
    expect(generation(updated(sets, old, (o) => (o.spec.template.spec.containers[0].image = "x:1")).object)).toBe("2");
    expect(generation(updated(sets, old, (o) => (o.spec.minReadySeconds = 3)).object)).toBe("1");
  });
});

describe("a StatefulSet", () => {
  const sets = rowOf("apps", "statefulsets");
  const withClaim = body({
    serviceName: "web", volumeClaimTemplates: [{ metadata: { name: "data" }, spec: { accessModes: ["ReadWriteOnce"], resources: { requests: { storage: "1Gi" } } } }],
    template: template({ containers: [{ name: "c", image: "busybox:1", volumeMounts: [{ name: "data", mountPath: "/data" }] }] }),
  });

  it("mounts what its claim templates make", () => {
    const { object, errors } = created(sets, withClaim);
    expect(errors).toEqual([]);
    expect(object.spec.volumeClaimTemplates[0]).toMatchObject({ kind: "PersistentVolumeClaim", spec: { volumeMode: "Filesystem" }, status: { phase: "Pending" } });
  });

  it.each<[Obj, ...string[]]>([
    [{ podManagementPolicy: "x" }, `spec.podManagementPolicy: Invalid value: "x": must be 'OrderedReady' or 'Parallel'`],
    [{ updateStrategy: { rollingUpdate: { maxUnavailable: 0 } } }, "spec.updateStrategy.rollingUpdate.maxUnavailable: Invalid value: 0: cannot be 0"],
    [{ updateStrategy: { type: "OnDelete", rollingUpdate: {} } }, "spec.updateStrategy.rollingUpdate: Invalid value: {}: only allowed for updateStrategy 'RollingUpdate'"],
    [{ persistentVolumeClaimRetentionPolicy: { whenDeleted: "x" } }, 'spec.persistentVolumeClaimRetentionPolicy.whenDeleted: Unsupported value: "x": supported values: "Retain", "Delete"'],
    [
      { serviceName: "a.b" },
      `spec.serviceName: Invalid value: "a.b": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')`,
    ],
  ])("is refused with %j", (spec, ...errors) => expect(created(sets, body(spec)).errors).toEqual(errors));

  it("has a name that its pods can have as host names, and keeps a service's name of old", () => {
    expect(sets.nameRule).toBe("dns1123label");
    expect(updated(sets, created(sets, body({ serviceName: "a.b" })).object, (o) => (o.spec.replicas = 3)).errors).toEqual([]);
  });

  it("changes only what upstream allows", () => {
    const old = created(sets, withClaim).object;
    expect(updated(sets, old, (o) => (o.spec.replicas = 3)).errors).toEqual([]);
    expect(updated(sets, old, (o) => (o.spec.serviceName = "x")).errors).toEqual([
      "spec: Forbidden: updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden",
    ]);
  });
});

describe("a Job", () => {
  const job = (spec: Obj = {}): Obj => ({ metadata: { name: "j" }, spec: { ...once, ...spec } });

  it("selects its pods by its uid", () => {
    const { spec } = created(jobs, job()).object;
    expect(spec.selector).toEqual({ matchLabels: { "batch.kubernetes.io/controller-uid": "uid-1" } });
    expect(spec.template.metadata.labels).toEqual({
      app: "web", "controller-uid": "uid-1", "job-name": "j", "batch.kubernetes.io/controller-uid": "uid-1", "batch.kubernetes.io/job-name": "j",
    });
  });

  it("keeps the generated selector, which no client may leave out", () => {
    const old = created(jobs, job()).object;
    const { errors } = updated(jobs, old, (o) => {
      delete o.spec.selector;
      delete o.spec.template.metadata.labels["job-name"];
    });
    expect(errors.map((error) => error.slice(0, 60))).toEqual([
      "spec.selector: Required value", 'spec.template.metadata.labels: Invalid value: {"app":"web","c', "spec.selector: Invalid value: null: field is immutable",
      'spec.template: Invalid value: {"metadata":{"labels":{"app":"w',
    ].map((error) => error.slice(0, 60)));
  });

  const several = { completionMode: "Indexed", completions: 4 };
  const policy = (rule: Obj) => ({ ...several, successPolicy: { rules: [rule] } });
  it.each<[Obj, ...string[]]>([
    [{ template: template() }, 'spec.template.spec.restartPolicy: Required value: valid values: "OnFailure", "Never"'],
    [{ parallelism: -1 }, "spec.parallelism: Invalid value: -1: must be greater than or equal to 0"],
    [{ completionMode: "Indexed", parallelism: 1 }, "spec.completions: Required value: when completion mode is Indexed"],
    [{ completionMode: "x" }, 'spec.completionMode: Unsupported value: "x": supported values: "NonIndexed", "Indexed"'],
    [{ manualSelector: true }, "spec.selector: Required value", 'spec.template.metadata.labels: Invalid value: {"app":"web"}: `selector` does not match template `labels`'],
    [
      { template: { ...once.template, metadata: { labels: { "job-name": "x" } } } },
      'spec.template.metadata.labels[job-name]: Invalid value: {"job-name":"x","controller-uid":"uid-1","batch.kubernetes.io/controller-uid":"uid-1","batch.kubernetes.io/job-name":"j"}: must be \'j\'',
    ],
    [
      { selector: { matchLabels: { app: "web" } } },
      'spec.selector: Invalid value: {"matchLabels":{"app":"web","batch.kubernetes.io/controller-uid":"uid-1"}}: `selector` not auto-generated',
    ],
    [{ maxFailedIndexes: 1, ...several }, "spec.backoffLimitPerIndex: Required value: when maxFailedIndexes is specified"],
    [{ backoffLimitPerIndex: 1 }, "spec.backoffLimitPerIndex: Invalid value: 1: requires indexed completion mode"],
    [{ managedBy: "x" }, 'spec.managedBy: Invalid value: "x": must be a domain-prefixed path (such as "acme.io/foo")'],
    [policy({ succeededIndexes: "0-3,2" }), 'spec.successPolicy.rules[0].succeededIndexes: Invalid value: "0-3,2": error parsing succeededIndexes: non-increasing order, previous: 3, current: 2'],
    [policy({ succeededIndexes: "3-3" }), 'spec.successPolicy.rules[0].succeededIndexes: Invalid value: "3-3": error parsing succeededIndexes: non-increasing order, previous: 3, current: 3'],
    [policy({ succeededIndexes: "1-9" }), 'spec.successPolicy.rules[0].succeededIndexes: Invalid value: "1-9": error parsing succeededIndexes: too large index: "9"'],
    [
      policy({ succeededIndexes: "1", succeededCount: 2 }),
      "spec.successPolicy.rules[0].succeededCount: Invalid value: 2: must be less than or equal to 1 (the number of indexes in the specified succeededIndexes field)",
    ],
    [{ podFailurePolicy: { rules: [{ action: "Ignore" }] } }, "spec.podFailurePolicy.rules[0]: Invalid value: specifying one of OnExitCodes and OnPodConditions is required"],
  ])("is refused with %j", (spec, ...errors) => expect(created(jobs, job(spec)).errors).toEqual(errors));

  it("gives its pods host names that are not too long", () => {
    const name = "x".repeat(62);
    const object = { ...job({ ...several }), metadata: { name } };
    expect(created(jobs, object).errors).toEqual([`metadata.name: Invalid value: "${name}": will not able to create pod with invalid DNS label: ${name}-3`]);
  });

  it("warns of more indexes than can be tracked", () => {
    const warnings = (spec: Obj) => jobs.warnings!(created(jobs, job({ completionMode: "Indexed", parallelism: 10_001, ...spec })).object);
    expect(warnings({ completions: 100_001 })[0]).toMatch(/might not be able to track completedIndexes/);
    expect(warnings({ completions: 100_000 })).toEqual([]);
  });

  it("keeps its completions and its template, but for scheduling and resources while suspended", () => {
    const old = created(jobs, job({ suspend: true })).object;
    const change = (edit: (spec: Obj) => void, status: Obj = {}) => updated(jobs, { ...old, status }, (o) => edit(o.spec)).errors.map((error) => error.split(":")[0]);
    expect(change((spec) => (spec.completions = 5))).toEqual(["spec.completions"]);
    const place = (spec: Obj) => Object.assign(spec.template.spec, { nodeSelector: { a: "b" }, affinity: { nodeAffinity: {} } });
    const resize = (spec: Obj) => (spec.template.spec.containers[0].resources = { limits: { cpu: "2" } });
    const held = [{ type: "Suspended", status: "True" }];
    for (const edit of [place, resize]) {
      expect(change(edit)).toEqual([]);
      expect(change(edit, { startTime: NOW })).toEqual(["spec.template"]);
      expect(change(edit, { startTime: NOW, conditions: held })).toEqual([]);
      expect(change(edit, { active: 1 })).toEqual(["spec.template"]);
    }
    expect(change((spec) => (spec.template.spec.affinity = { podAntiAffinity: {} }))).toEqual(["spec.template.spec"]);
    expect(change((spec) => (spec.template.spec.containers[0].image = "x"))).toEqual(["spec.template.spec"]);
  });

  it("that is Indexed changes completions together with parallelism", () => {
    const old = created(jobs, job({ ...several })).object;
    expect(updated(jobs, old, (o) => (o.spec.completions = 5)).errors).toEqual(["spec.completions: Invalid value: 5: can only be modified in tandem with spec.parallelism"]);
    expect(updated(jobs, old, (o) => Object.assign(o.spec, { completions: 5, parallelism: 5 })).errors).toEqual([]);
  });

  const is = (...types: string[]) => ({ conditions: types.map((type) => ({ type, status: "True" })) });
  const [earlier, later] = ["2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"];
  const complete = { ...is("SuccessCriteriaMet", "Complete"), startTime: earlier, completionTime: later };
  it.each<[Obj, Obj, Obj, ...string[]]>([
    [{}, {}, { active: 2, ready: 1, startTime: earlier }],
    [{}, {}, complete],
    [{}, {}, { ...is("FailureTarget", "Failed"), startTime: earlier }],
    [{}, {}, { active: -1 }, "status.active: Invalid value: -1: must be greater than or equal to 0"],
    [{}, {}, { active: 1, ready: 2 }, "status.ready: Invalid value: 2: cannot set more ready pods than active"],
    [{}, {}, { uncountedTerminatedPods: { succeeded: ["a"], failed: ["a"] } }, 'status.uncountedTerminatedPods.failed[0]: Duplicate value: "a"'],
    [{}, {}, { ...is("Failed"), startTime: earlier }, "status.conditions: Invalid value: cannot set Failed=True condition without the FailureTarget=true condition"],
    [{}, {}, { ...complete, ...is("Complete") }, "status.conditions: Invalid value: cannot set Complete=True condition without the SuccessCriteriaMet=true condition"],
    [{}, {}, { ...complete, completionTime: undefined }, "status.completionTime: Required value: completionTime is required for Complete jobs"],
    [{}, {}, { ...complete, startTime: later, completionTime: earlier }, `status.completionTime: Invalid value: "${earlier}": completionTime cannot be set before startTime`],
    [{}, {}, { completionTime: later }, `status.completionTime: Invalid value: "${later}": cannot set completionTime when there is no Complete=True condition`],
    [{}, {}, { ...complete, startTime: undefined }, "status.startTime: Required value: startTime is required for finished job"],
    [{}, {}, { ...complete, active: 1 }, "status.active: Invalid value: 1: active>0 is invalid for finished job"],
    [{}, {}, { ...complete, terminating: 1 }, "status.terminating: Invalid value: 1: terminating>0 is invalid for finished job"],
    [{}, {}, { completedIndexes: "1" }, 'status.completedIndexes: Invalid value: "1": error parsing completedIndexes: too large index: "1"', 'status.completedIndexes: Invalid value: "1": cannot set non-empty completedIndexes when non-indexed completion mode'],
    [{}, {}, { failedIndexes: "0" }, 'status.failedIndexes: Invalid value: "0": cannot set non-null failedIndexes when backoffLimitPerIndex is null'],
    [{ ...several, backoffLimitPerIndex: 1 }, {}, { completedIndexes: "0-2", failedIndexes: "2" }, 'status.failedIndexes: Invalid value: "2": failedIndexes and completedIndexes overlap at index: 2'],
    [{}, complete, { ...complete, ...is("SuccessCriteriaMet"), completionTime: undefined }, "status.conditions: Invalid value: cannot disable the terminal Complete=True condition"],
    [{}, complete, { ...complete, completionTime: "2026-01-03T00:00:00Z" }, 'status.completionTime: Invalid value: "2026-01-03T00:00:00Z": completionTime cannot be mutated'],
    [{}, { failed: 2 }, { failed: 1 }, "status.failed: Invalid value: 1: cannot decrease the failed counter"],
    [{}, { startTime: earlier }, { startTime: later }, "status.startTime: Required value: startTime cannot be removed for unsuspended job"],
    [{ suspend: true }, { startTime: earlier }, {}],
    // A status of old that the rules would refuse does not lock the job.
    [{}, is("Complete"), { ...is("Complete"), succeeded: 1 }],
  ])("with %j and the status %j may get %j", (spec, before, status, ...errors) => {
    const old = { ...created(jobs, job(spec)).object, status: before };
    expect(statusUpdated(jobs, old, status)).toEqual(errors);
  });
});

describe("a CronJob", () => {
  it.each<[Obj, string]>([
    [{ schedule: "" }, "spec.schedule: Required value"],
    [{ schedule: "* * * *" }, 'spec.schedule: Invalid value: "* * * *": expected exactly 5 fields, found 4: [* * * *]'],
    [{ schedule: "61 * * * *" }, 'spec.schedule: Invalid value: "61 * * * *": end of range (61) above maximum (59): 61'],
    [{ schedule: "@every x" }, 'spec.schedule: Invalid value: "@every x": failed to parse duration @every x: time: invalid duration "x"'],
    [{ schedule: "TZ=UTC * * * * *" }, 'spec.schedule: Invalid value: "TZ=UTC * * * * *": cannot use TZ or CRON_TZ in schedule, use timeZone field instead'],
    [{ timeZone: "local" }, 'spec.timeZone: Invalid value: "local": timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones'],
    [{ timeZone: "" }, 'spec.timeZone: Invalid value: "": timeZone must be nil or non-empty string'],
    [{ jobTemplate: { spec: { ...once, selector: {} } } }, "spec.jobTemplate.spec.selector: Invalid value: {}: `selector` will be auto-generated"],
    [{ jobTemplate: { spec: { ...once, manualSelector: true } } }, 'spec.jobTemplate.spec.manualSelector: Unsupported value: true: supported values: "nil", "false"'],
    [{ timeZone: "Mars/Olympus" }, 'spec.timeZone: Invalid value: "Mars/Olympus": unknown time zone Mars/Olympus'],
    [{ concurrencyPolicy: "x" }, 'spec.concurrencyPolicy: Unsupported value: "x": supported values: "Allow", "Forbid", "Replace"'],
    [{ jobTemplate: { spec: { template: template() } } }, 'spec.jobTemplate.spec.template.spec.restartPolicy: Required value: valid values: "OnFailure", "Never"'],
  ])("is refused with %j", (spec, error) => expect(created(cronJobs, cron(spec)).errors).toEqual([error]));

  it.each(["@hourly", "@every 1h30m", "0 0 1-15/2 jan-mar,dec sun", "*/5 * * * ?", "TZ=UTC 0 0 * * *"])("understands %s", (schedule) => {
    expect(created(cronJobs, cron({ schedule })).errors.filter((e) => !e.includes("TZ"))).toEqual([]);
  });

  it("keeps a time zone in its schedule and a long name that it has already", () => {
    const old = created(cronJobs, { ...cron({ schedule: "TZ=UTC 0 0 * * *" }), metadata: { name: "x".repeat(53) } }).object;
    expect(updated(cronJobs, old, (o) => (o.spec.suspend = true)).errors).toEqual([]);
    expect(cronJobs.warnings!(old)[0]).toMatch(/^CRON_TZ or TZ used in spec.schedule is not officially supported/);
    expect(updated(cronJobs, old, (o) => (o.spec.timeZone = "UTC")).errors).toEqual([
      'spec.schedule: Invalid value: "TZ=UTC 0 0 * * *": cannot use both timeZone field and TZ or CRON_TZ in schedule',
    ]);
  });

  it("has a name short enough for its jobs", () => {
    const object = cron();
    object.metadata = { name: "x".repeat(53) };
    expect(created(cronJobs, object).errors).toEqual([`metadata.name: Invalid value: "${"x".repeat(53)}": must be no more than 52 characters`]);
  });
});
