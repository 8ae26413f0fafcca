import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { cronJobs, jobs } from "@k3s-p/plugin-api/kube";
import { createHarness, type Harness } from "../testing/harness.ts";
import { start } from "./cronjob.ts";
import { parseSchedule, runsSince } from "./schedule.ts";
import { start as startTtl } from "./ttl-after-finished.ts";

let h: Harness;
beforeEach(() => void (h = createHarness("2026-01-01T00:00:30Z")));
afterEach(() => h.stop());

describe("cronjob", () => {
  const run = async (spec: object = {}) => {
    h.client.put(cronJobs, {
      metadata: { name: "cj", namespace: "ns" },
      spec: {
        schedule: "*/1 * * * *",
        concurrencyPolicy: "Allow",
        successfulJobsHistoryLimit: 1,
        failedJobsHistoryLimit: 1,
        jobTemplate: { metadata: { labels: { a: "b" } }, spec: { template: {} } },
        ...spec,
      },
    });
    await h.start(start);
  };
  const names = () => h.client.all(jobs).map((j) => j.metadata.name);
  const status = () => h.client.all(cronJobs)[0].status;
  const end = (name: string, type: string) =>
    h.client.edit(jobs, name, "ns", (j) => {
      j.status = {
        conditions: [{ type, status: "True" }],
        ...(type === "Complete" && { completionTime: new Date().toISOString() }),
      };
    });
  const minute = Math.floor(Date.parse("2026-01-01T00:01:00Z") / 60_000);

  it("makes a Job at each scheduled time and keeps track of it", async () => {
    await run();
    expect(names()).toEqual([]);
    await h.advance(31);
    expect(names()).toEqual([`cj-${minute}`]);
    expect(h.client.all(jobs)[0].metadata).toMatchObject({
      labels: { a: "b" },
      annotations: { "batch.kubernetes.io/cronjob-scheduled-timestamp": "2026-01-01T00:01:00Z" },
      ownerReferences: [{ kind: "CronJob", controller: true }],
    });
    expect(status()).toMatchObject({
      lastScheduleTime: "2026-01-01T00:01:00Z",
      active: [{ kind: "Job", name: `cj-${minute}` }],
    });
    await h.advance(60);
    expect(names()).toHaveLength(2);
    end(`cj-${minute}`, "Complete");
    await h.advance(1);
    expect(status().active).toHaveLength(1);
    expect(status().lastSuccessfulTime).toBeDefined();
    expect(h.events()).toContain(`SawCompletedJob Saw completed job: cj-${minute}, condition: Complete`);
    expect(h.problems).toEqual([]);
  });

  it("Forbid skips while a Job runs, Replace deletes it", async () => {
    await run({ concurrencyPolicy: "Forbid" });
    await h.advance(120);
    expect(names()).toHaveLength(1);
    expect(h.events().join()).toContain("JobAlreadyActive");
    h.client.edit(cronJobs, "cj", "ns", (c) => void (c.spec.concurrencyPolicy = "Replace"));
    await h.advance(60);
    expect(names()).toHaveLength(1);
    expect(names()[0]).not.toBe(`cj-${minute}`);
  });

  it("does nothing while suspended and starts only the latest missed run after", async () => {
    await run({ suspend: true });
    await h.advance(600);
    expect(names()).toEqual([]);
    h.client.edit(cronJobs, "cj", "ns", (c) => void (c.spec.suspend = false));
    await h.settle();
    expect(names()).toEqual([`cj-${minute + 9}`]);
  });

  it("misses a run that is past its starting deadline", async () => {
    await run({ suspend: true, schedule: "0 * * * *", startingDeadlineSeconds: 60 });
    await h.advance(3600 + 300);
    h.client.edit(cronJobs, "cj", "ns", (c) => void (c.spec.suspend = false));
    await h.settle();
    expect(names()).toEqual([]);
  });

  it("keeps only the newest finished Jobs", async () => {
    await run();
    for (let i = 0; i < 3; i++) {
      await h.advance(60);
      end(names().at(-1)!, "Complete");
      await h.advance(1);
    }
    expect(h.client.all(jobs).filter((j) => j.status?.conditions)).toHaveLength(1);
  });

  it("says what is wrong with a schedule or time zone", async () => {
    await run({ schedule: "bad" });
    expect(h.events()[0]).toMatch(/^UnparseableSchedule unparseable schedule: "bad"/);
    h.client.edit(cronJobs, "cj", "ns", (c) => Object.assign(c.spec, { schedule: "* * * * *", timeZone: "Mars/One" }));
    await h.settle();
    expect(h.events().join()).toContain('UnknownTimeZone invalid timeZone: "Mars/One"');
  });
});

describe("schedules", () => {
  const next = (text: string, from: string, zone?: string) => {
    const parsed = parseSchedule(text, zone);
    return parsed.ok ? parsed.schedule.next(new Date(from))?.toISOString() : parsed.reason;
  };
  it.each([
    ["0 9 * * *", "2026-01-01T00:00:00Z", "Europe/Berlin", "2026-01-01T08:00:00.000Z"],
    ["@hourly", "2026-01-01T00:10:00Z", "Etc/UTC", "2026-01-01T01:00:00.000Z"],
    ["@every 90s", "2026-01-01T00:00:00Z", undefined, "2026-01-01T00:01:30.000Z"],
    ["0 0 ? * 1", "2026-01-01T00:00:00Z", "Etc/UTC", "2026-01-05T00:00:00.000Z"],
    ["61 * * * *", "2026-01-01T00:00:00Z", undefined, "schedule"],
  ])("%s after %s in %s", (text, from, zone, expected) => expect(next(text, from, zone)).toBe(expected));

  it("finds the latest of very many missed runs", () => {
    const parsed = parseSchedule("* * * * *", "Etc/UTC");
    const runs = runsSince(
      (parsed as any).schedule,
      new Date("2025-01-01T00:00:00Z"),
      new Date("2026-01-01T00:00:30Z"),
    );
    expect([runs.due?.toISOString(), runs.missed, runs.next?.toISOString()]).toEqual([
      "2026-01-01T00:00:00.000Z",
      true,
      "2026-01-01T00:01:00.000Z",
    ]);
  });
});

describe("ttl-after-finished", () => {
  it("deletes a finished Job when its time is over, not before", async () => {
    h.client.put(jobs, {
      metadata: { name: "j", namespace: "ns" },
      spec: { ttlSecondsAfterFinished: 60 },
      status: { conditions: [{ type: "Complete", status: "True", lastTransitionTime: "2026-01-01T00:00:00Z" }] },
    });
    await h.start(startTtl);
    await h.advance(29);
    expect(h.client.all(jobs)).toHaveLength(1);
    await h.advance(1);
    expect(h.client.all(jobs)[0].metadata.finalizers).toEqual(["foregroundDeletion"]);
  });
});
