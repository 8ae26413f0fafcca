import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { controllers, selectControllers } from "./controllers.ts";
import { startControllers } from "./manager.ts";
import { deployments, jobs, pods } from "@k3s-p/plugin-api/kube";
import { createHarness, type Harness } from "./testing/harness.ts";

describe("selectControllers", () => {
  const table = [{ name: "a-controller", start: async () => {} }, { name: "b-controller", start: async () => {} }];
  const names = (flags: string[]) => selectControllers(flags, table).selected.map((e) => e.name);
  it.each([
    [["*"], ["a-controller", "b-controller"]],
    [["*", "-a-controller"], ["b-controller"]],
    [["a"], ["a-controller"]],
    [["*", "-b"], ["a-controller"]],
  ])("%j selects %j", (flags, expected) => expect(names(flags)).toEqual(expected));
  it("returns unknown names", () => expect(selectControllers(["*", "-nope"], table).unknown).toEqual(["nope-controller"]));
});

describe("startControllers", () => {
  let h: Harness;
  beforeEach(() => void (h = createHarness()));
  afterEach(() => h.stop());

  it("starts a controller when its first object appears, once", async () => {
    let starts = 0;
    const entry = { name: "x", when: [jobs], start: async () => void starts++ };
    await startControllers(h.deps, { entries: [entry], onFailure: () => {} });
    expect(starts).toBe(0);
    h.client.put(jobs, { metadata: { name: "a" } });
    h.client.put(jobs, { metadata: { name: "b" } });
    await h.settle();
    expect(starts).toBe(1);
  });

  it("names the controller that could not start", async () => {
    const failed: string[] = [];
    const entry = { name: "x", start: () => Promise.reject(new Error("no")) };
    await startControllers(h.deps, { entries: [entry], onFailure: (name) => failed.push(name) });
    expect(failed).toEqual(["x"]);
  });

  it("runs a Deployment with every controller of the table on", async () => {
    await startControllers(h.deps, {
      entries: controllers,
      onFailure: (name, error) => {
        throw new Error(name, { cause: error });
      },
    });
    h.client.put(deployments, {
      metadata: { name: "d" },
      spec: {
        replicas: 2,
        selector: { matchLabels: { a: "b" } },
        template: { metadata: { labels: { a: "b" } }, spec: { containers: [] } },
      },
    });
    await expect
      .poll(async () => {
        await h.advance(1);
        return h.client.all(pods).length;
      })
      .toBe(2);
  });
});
