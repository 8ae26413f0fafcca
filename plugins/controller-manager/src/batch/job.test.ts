import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { jobs, pods } from "@k3s-p/plugin-api/kube";
import { createHarness, type Harness } from "../testing/harness.ts";
import { endPod, markReady, runKubelet } from "../testing/kubelet.ts";
import { formatIndexes, parseIndexes } from "./indexes.ts";
import { start } from "./job.ts";

const job = (spec: object) => ({
  metadata: { name: "j", namespace: "ns" },
  spec: {
    parallelism: 1,
    completions: 1,
    backoffLimit: 6,
    selector: { matchLabels: { "batch.kubernetes.io/controller-uid": "u" } },
    template: {
      metadata: { labels: { "batch.kubernetes.io/controller-uid": "u" } },
      spec: { restartPolicy: "Never", containers: [{ name: "c", image: "i" }] },
    },
    ...spec,
  },
});

describe("job", () => {
  let h: Harness;
  beforeEach(() => {
    h = createHarness();
    runKubelet(h.client);
  });
  afterEach(() => h.stop());

  const run = async (spec: object = {}) => {
    h.client.put(jobs, job(spec));
    await h.start(start);
    await h.advance(1);
  };
  const j = () => h.client.all(jobs)[0];
  const live = () => h.client.all(pods).filter((p) => !p.metadata.deletionTimestamp && p.status?.phase === "Running");
  const end = async (phase: "Succeeded" | "Failed", name = live()[0].metadata.name, code?: number) => {
    endPod(h.client, name, "ns", phase, code);
    await h.advance(1);
  };
  const conditions = () => (j().status.conditions ?? []).map((c: any) => `${c.type}=${c.status} ${c.reason}`);

  it("runs a pod with the tracking finalizer, counts it once and completes", async () => {
    await run();
    expect(live()).toHaveLength(1);
    expect(live()[0].metadata).toMatchObject({
      finalizers: ["batch.kubernetes.io/job-tracking"],
      ownerReferences: [{ kind: "Job", apiVersion: "batch/v1" }],
    });
    expect(j().status).toMatchObject({ active: 1, ready: 1, startTime: "2026-01-01T00:00:00Z" });
    await end("Succeeded");
    expect(h.client.all(pods)[0].metadata.finalizers).toEqual([]);
    expect(j().status).toMatchObject({
      succeeded: 1,
      active: 0,
      completionTime: expect.any(String),
      uncountedTerminatedPods: {},
    });
    expect(conditions()).toEqual(["SuccessCriteriaMet=True CompletionsReached", "Complete=True CompletionsReached"]);
    expect(h.events()).toContain("Completed Job completed");
    expect(h.problems).toEqual([]);
  });

  it("keeps the parallelism until the completions are reached", async () => {
    await run({ parallelism: 2, completions: 5 });
    for (let i = 0; i < 5; i++) await end("Succeeded");
    expect(h.client.all(pods)).toHaveLength(5);
    expect(j().status).toMatchObject({ succeeded: 5, failed: 0 });
    expect(conditions()).toContain("Complete=True CompletionsReached");
  });

  it("waits 10, 20, ... seconds after failures and gives up at the backoff limit", async () => {
    await run({ backoffLimit: 1 });
    await end("Failed");
    expect(live()).toHaveLength(0);
    expect(j().status.failed).toBe(1);
    await h.advance(10);
    expect(live()).toHaveLength(1);
    await end("Failed");
    expect(conditions()).toEqual(["FailureTarget=True BackoffLimitExceeded", "Failed=True BackoffLimitExceeded"]);
    expect(j().status.failed).toBe(2);
    expect(h.events()).toContain("BackoffLimitExceeded Job has reached the specified backoff limit");
  });

  it("announces failure first and ends only when its pods are gone", async () => {
    await run({ activeDeadlineSeconds: 5, parallelism: 2, completions: 2 });
    for (const pod of live())
      h.client.edit(pods, pod.metadata.name, "ns", (p) => void p.metadata.finalizers.push("test/hold"));
    await h.advance(6);
    expect(conditions()).toEqual(["FailureTarget=True DeadlineExceeded"]);
    for (const pod of h.client.all(pods)) h.client.drop(pods, pod.metadata.name, "ns");
    await h.advance(1);
    expect(conditions()).toEqual(["FailureTarget=True DeadlineExceeded", "Failed=True DeadlineExceeded"]);
    expect(j().status).toMatchObject({ failed: 2, active: 0 });
  });

  it("gives each pod of an Indexed Job its index, hostname and variable", async () => {
    await run({ completionMode: "Indexed", completions: 3, parallelism: 2 });
    const pod = live().find((p) => p.metadata.name.startsWith("j-1-"));
    expect(pod).toMatchObject({
      metadata: {
        labels: { "batch.kubernetes.io/job-completion-index": "1" },
        annotations: { "batch.kubernetes.io/job-completion-index": "1" },
      },
      spec: {
        hostname: "j-1",
        containers: [
          {
            env: [
              {
                name: "JOB_COMPLETION_INDEX",
                valueFrom: { fieldRef: { fieldPath: "metadata.labels['batch.kubernetes.io/job-completion-index']" } },
              },
            ],
          },
        ],
      },
    });
    await end("Succeeded", pod.metadata.name);
    expect(j().status).toMatchObject({ succeeded: 1, completedIndexes: "1" });
    expect(live().map((p) => p.spec.hostname).sort()).toEqual(["j-0", "j-2"]);
    await end("Succeeded");
    await end("Succeeded");
    expect(j().status).toMatchObject({ succeeded: 3, completedIndexes: "0-2" });
    expect(conditions()).toContain("Complete=True CompletionsReached");
  });

  it("fails an index after its own limit and goes on with the others", async () => {
    await run({ completionMode: "Indexed", completions: 2, parallelism: 2, backoffLimitPerIndex: 0 });
    await end("Failed", live().find((p) => p.spec.hostname === "j-0").metadata.name);
    expect(j().status.failedIndexes).toBe("0");
    await end("Succeeded");
    expect(conditions()).toContain("Failed=True FailedIndexes");
    expect(j().status).toMatchObject({ succeeded: 1, completedIndexes: "1", failedIndexes: "0" });
  });

  it("meets its success policy and stops the rest", async () => {
    await run({
      completionMode: "Indexed",
      completions: 3,
      parallelism: 3,
      successPolicy: { rules: [{ succeededIndexes: "0", succeededCount: 1 }] },
    });
    await end("Succeeded", live().find((p) => p.spec.hostname === "j-0").metadata.name);
    await h.advance(1);
    expect(live()).toHaveLength(0);
    expect(conditions()).toEqual(["SuccessCriteriaMet=True SuccessPolicy", "Complete=True SuccessPolicy"]);
  });

  it("obeys the pod failure policy", async () => {
    const rules = [
      { action: "Ignore", onPodConditions: [{ type: "DisruptionTarget", status: "True" }] },
      { action: "FailJob", onExitCodes: { operator: "In", values: [42] } },
    ];
    await run({ backoffLimit: 0, podFailurePolicy: { rules } });
    h.client.edit(
      pods,
      live()[0].metadata.name,
      "ns",
      (p) => void (p.status = { phase: "Failed", conditions: [{ type: "DisruptionTarget", status: "True" }] }),
    );
    await h.advance(12);
    expect(j().status.failed ?? 0).toBe(0);
    const name = live()[0].metadata.name;
    await end("Failed", name, 42);
    expect(j().status.conditions.at(-1)).toMatchObject({
      type: "Failed",
      reason: "PodFailurePolicy",
      message: `Container c for pod ns/${name} failed with exit code 42 matching FailJob rule at index 1`,
    });
  });

  it("suspends and resumes", async () => {
    await run({ suspend: true });
    expect(live()).toHaveLength(0);
    expect(conditions()).toEqual(["Suspended=True JobSuspended"]);
    expect(j().status.startTime).toBeUndefined();
    h.client.edit(jobs, "j", "ns", (x) => void (x.spec.suspend = false));
    await h.advance(1);
    expect(live()).toHaveLength(1);
    expect(conditions()).toEqual(["Suspended=False JobResumed"]);
    h.client.edit(jobs, "j", "ns", (x) => void (x.spec.suspend = true));
    await h.advance(1);
    expect(live()).toHaveLength(0);
    expect(h.events().filter((e) => /^(Suspended|Resumed)/.test(e))).toEqual([
      "Suspended Job suspended",
      "Resumed Job resumed",
    ]);
  });

  it("adopts matching orphans and releases pods that no longer match", async () => {
    await run({ parallelism: 1, completions: 1 });
    const name = live()[0].metadata.name;
    h.client.edit(pods, name, "ns", (p) => void (p.metadata.ownerReferences = []));
    await h.advance(1);
    expect(h.client.all(pods).find((p) => p.metadata.name === name).metadata.ownerReferences).toHaveLength(1);
    h.client.edit(pods, name, "ns", (p) => void (p.metadata.labels = {}));
    await h.advance(1);
    const released = h.client.all(pods).find((p) => p.metadata.name === name);
    expect(released.metadata).toMatchObject({ ownerReferences: [], finalizers: [] });
  });

  it("lets pods of a deleted Job go", async () => {
    await run();
    const name = live()[0].metadata.name;
    await h.client.delete(jobs, "j", { namespace: "ns" });
    await h.client.delete(pods, name, { namespace: "ns" });
    await h.advance(1);
    expect(h.client.all(pods)).toEqual([]);
  });

  it("ends a work queue Job when one pod succeeded and none runs any more", async () => {
    await run({ completions: undefined, parallelism: 2 });
    await end("Succeeded");
    expect(live()).toHaveLength(1);
    expect(conditions()).toEqual([]);
    await end("Succeeded");
    expect(conditions()).toContain("Complete=True CompletionsReached");
  });

  it("counts every pod once although informers lag", async () => {
    await run({ parallelism: 3, completions: 3 });
    h.client.hold();
    for (const pod of live()) endPod(h.client, pod.metadata.name, "ns", "Succeeded");
    h.client.release();
    h.client.hold();
    await h.advance(2);
    h.client.release();
    await h.advance(2);
    expect(j().status.succeeded).toBe(3);
    expect(conditions()).toContain("Complete=True CompletionsReached");
  });

  it("fails when containers restart in place too often", async () => {
    await run({
      backoffLimit: 2,
      template: {
        metadata: { labels: { "batch.kubernetes.io/controller-uid": "u" } },
        spec: { restartPolicy: "OnFailure", containers: [{ name: "c" }] },
      },
    });
    const name = live()[0].metadata.name;
    markReady(h.client, name, "ns");
    h.client.edit(pods, name, "ns", (p) => void (p.status.containerStatuses = [{ name: "c", restartCount: 2 }]));
    await h.advance(1);
    expect(conditions()).toContain("Failed=True BackoffLimitExceeded");
  });
});

describe("indexes", () => {
  it.each([["0-2,5,7-9", [0, 1, 2, 5, 7, 8, 9]], ["", []], ["1,3", [1, 3]], ["4,5", [4, 5]]])("%s", (text, list) => {
    expect([...parseIndexes(text)]).toEqual(list);
    expect(formatIndexes(list)).toBe(text);
  });
});
