import { type CoreEvent, eventRecorder, events, secrets } from "@k3s-p/plugin-api/kube";
import { fakeKube, type FakeKube } from "@k3s-p/plugin-api/kube/fake";
import { silentLogger } from "@k3s-p/plugin-api/testing";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { FINALIZER, type HelmChart, helmChartConfigs, helmCharts, type HelmChartSpec } from "./chart.ts";
import { type Controller, startController } from "./controller.ts";
import type { Desired } from "./desired.ts";
import type { Helm, Outcome } from "./helm.ts";
import { HASH_LABEL, RUN_LABEL, type Step } from "./release.ts";

let kube: FakeKube;
let controller: Controller | undefined;
/** What helm was asked for: `web: rollback, upgrade`. */
let asked: string[];
let desired: Desired | undefined;
let answer: (steps: readonly Step[], desired: Desired) => Promise<Outcome>;
let interrupted: number;
const helm: Helm = {
  prepare: async () => undefined,
  interrupt: () => void interrupted++,
  stop: async () => undefined,
  async perform(steps, wanted) {
    asked.push(`${wanted.release.name}: ${steps.map(({ kind }) => kind).join(", ")}`);
    desired = wanted;
    return answer(steps, wanted);
  },
};

/** What the real one leaves in the API. */
function record({ release: { name, namespace }, hash }: Desired, status: string): void {
  const version = kube.all(secrets, namespace).filter(({ metadata }) => metadata.labels?.name === name).length + 1;
  const labels = { owner: "helm", name, version: String(version), status, [HASH_LABEL]: hash, [RUN_LABEL]: `run-${version}` };
  kube.put(secrets, { metadata: { name: `sh.helm.release.v1.${name}.v${version}`, namespace, labels } });
}

beforeEach(() => {
  kube = fakeKube();
  [asked, desired, controller, interrupted] = [[], undefined, undefined, 0];
  answer = async (steps, wanted) => {
    if (steps.at(-1)!.kind === "uninstall") for (const { metadata } of kube.all(secrets, wanted.release.namespace)) kube.drop(secrets, metadata.name!, metadata.namespace);
    else record(wanted, "deployed");
    return { ok: true };
  };
});
afterEach(() => controller?.stop());

function begin(backoff: readonly [number, number] = [5, 20]): void {
  controller = startController({ client: kube, helm, log: silentLogger, recorder: eventRecorder(kube, { component: "helm-controller" }), backoff });
}
const put = (name: string, spec: HelmChartSpec = {}, annotations: Record<string, string> = {}): HelmChart => {
  const { finalizers, annotations: before } = kube.read(helmCharts, name, "kube-system")?.metadata ?? {};
  return kube.put(helmCharts, {
    metadata: { name, namespace: "kube-system", annotations: { ...before, ...annotations }, ...(finalizers && { finalizers }) }, spec: { chart: "/c", ...spec },
    status: kube.read(helmCharts, name, "kube-system")?.status ?? {},
  });
};
const conditions = (name: string) => Object.fromEntries((kube.read(helmCharts, name, "kube-system")?.status?.conditions ?? []).map(({ type, status, reason, message }) => [type, [status, reason, message]]));
const untilDeployed = (name: string) => vi.waitFor(() => expect(conditions(name).Deployed?.[0]).toBe("True"));
const quiet = () => new Promise((resolve) => setTimeout(resolve, 60));
const reasons = () => kube.all<CoreEvent>(events).map(({ type, reason }) => `${type} ${reason}`);

test("a chart is claimed, installed, and told of", async () => {
  put("web");
  begin();
  await untilDeployed("web");
  expect(asked).toEqual(["web: upgrade"]);
  expect(kube.read(helmCharts, "web", "kube-system")!.metadata).toMatchObject({ finalizers: [FINALIZER], annotations: { "helmcharts.cattle.io/managed-by": "helm-controller" } });
  expect(conditions("web")).toEqual({
    JobCreated: ["True", "Helm", "helm runs on the server, without a job"], Failed: ["False", undefined, undefined],
    Deployed: ["True", "Deployed", "release kube-system/web is deployed, revision 1"],
  });
  await vi.waitFor(() => expect(reasons()).toEqual(["Normal ApplyChart", "Normal AppliedChart"]));
});

test("the next controller finds everything as it should be, and writes nothing", async () => {
  put("web");
  begin();
  await untilDeployed("web");
  await controller!.stop();
  const writes = kube.writes.length;
  begin();
  await quiet();
  expect([asked.length, kube.writes.slice(writes)]).toEqual([1, []]);
});

test("changes of the chart, of its config and of its Secrets upgrade; those of its status and of other Secrets do not", async () => {
  const login = (password: string) => kube.put(secrets, { metadata: { name: "values", namespace: "kube-system" }, data: { v: Buffer.from(password).toString("base64") } });
  login("a: 1");
  put("web", { valuesSecrets: [{ name: "values", keys: ["v"] }] });
  begin();
  await untilDeployed("web");
  const then = async (change: () => void, count: number) => {
    change();
    await vi.waitFor(() => expect(asked).toHaveLength(count));
    await quiet();
    expect(asked).toHaveLength(count);
  };
  await then(() => login("a: 2"), 2);
  await then(() => kube.put(helmChartConfigs, { metadata: { name: "web", namespace: "kube-system" }, spec: { valuesContent: "b: 1" } }), 3);
  expect(desired!.values).toEqual(["a: 2", "b: 1"]);
  await then(() => kube.drop(helmChartConfigs, "web", "kube-system"), 4);
  await then(() => kube.edit(helmCharts, "web", "kube-system", (draft) => void (draft.status = { conditions: [] })), 4);
  await then(() => kube.put(secrets, { metadata: { name: "other", namespace: "kube-system" }, data: {} }), 4);
  await then(() => kube.edit(secrets, "values", "kube-system", (draft) => void (draft.metadata.labels = { a: "b" })), 4);
});

test("a failure is tried again until it is none, and its words are in the condition meanwhile", async () => {
  const good = answer;
  let left = 2;
  answer = async (steps, wanted) => {
    if (left-- <= 0) return good(steps, wanted);
    record(wanted, "failed");
    return { ok: false, reason: "HelmFailed", message: "no luck" };
  };
  put("web");
  begin();
  await untilDeployed("web");
  expect(asked).toEqual(["web: upgrade", "web: uninstall, upgrade", "web: uninstall, upgrade"]);
  const written = kube.writes.filter(({ resource }) => resource === "helmcharts/status").map(({ body }) => {
    const [, failed, deployed] = (body as HelmChart).status!.conditions!;
    return `${failed!.status} ${failed!.message ?? ""}, ${deployed!.status} ${deployed!.reason}`;
  });
  const [failed, again] = ["True no luck, False HelmFailed", "True no luck, False Applying"];
  expect(written).toEqual(["False , False Applying", failed, again, failed, again, "False , True Deployed"]);
});

test("a failure is tried again backOffLimit times, and anew after a change", async () => {
  answer = async () => ({ ok: false, reason: "HelmFailed", message: "no luck" });
  put("web", { backOffLimit: 2 });
  begin([1, 2]);
  await vi.waitFor(() => expect(conditions("web").Failed).toEqual(["True", "BackoffLimitExceeded", "no luck; not tried again until the HelmChart changes"]));
  await quiet();
  expect(asked).toHaveLength(3);
  put("web", { backOffLimit: 0, version: "2" });
  await vi.waitFor(() => expect(asked).toHaveLength(4));
});

test("a release that failed stays for somebody to look at when the policy is abort", async () => {
  answer = async (_, wanted) => (record(wanted, "failed"), { ok: false, reason: "HelmFailed", message: "no luck" });
  put("web", { failurePolicy: "abort" });
  begin();
  await vi.waitFor(() => expect(conditions("web").Failed?.[0]).toBe("True"));
  await quiet();
  expect(asked).toEqual(["web: upgrade"]);
});

test("a mistake in the chart is told with its field, and helm is not asked", async () => {
  put("web", { timeout: "soon" });
  put("old", { helmVersion: "v2" });
  begin();
  await vi.waitFor(() => expect(conditions("web").Failed).toEqual(["True", "InvalidSpec", 'spec.timeout: "soon" is not a duration such as 300s or 5m']));
  await vi.waitFor(() => expect(conditions("old").Failed?.[1]).toBe("UnsupportedVersion"));
  expect([conditions("web").JobCreated?.[0], asked]).toEqual(["False", []]);
});

test("somebody else's operation is waited for", async () => {
  const labels = { owner: "helm", name: "web", version: "1", status: "pending-install" };
  kube.put(secrets, { metadata: { name: "sh.helm.release.v1.web.v1", namespace: "kube-system", labels, creationTimestamp: new Date().toISOString() } });
  put("web", { timeout: "200ms" });
  begin();
  await vi.waitFor(() => expect(conditions("web").Failed).toMatchObject(["True", "ReleaseBusy", expect.stringContaining("another helm operation is in progress (pending-install)")]));
  expect(asked).toEqual([]);
  await untilDeployed("web");
  expect(asked).toEqual(["web: uninstall, upgrade"]);
});

test("a helm that runs is interrupted when something else is wanted, and for nothing less", async () => {
  const good = answer;
  const gate = Promise.withResolvers<void>();
  answer = async () => (await gate.promise, { ok: false, reason: "Interrupted", message: "" });
  put("web");
  begin();
  await vi.waitFor(() => expect(asked).toEqual(["web: upgrade"]));
  put("web", { timeout: "1m" });
  put("other");
  await quiet();
  expect(interrupted).toBe(0);
  put("web", { version: "2" });
  await vi.waitFor(() => expect(interrupted).toBe(1));
  answer = good;
  gate.resolve();
  await untilDeployed("web");
  expect(asked.filter((each) => each.startsWith("web"))).toEqual(["web: upgrade", "web: upgrade"]);
});

test("a change that comes just before helm starts interrupts it as well", async () => {
  const good = answer;
  answer = async () => {
    await vi.waitFor(() => expect(interrupted).toBe(1));
    answer = good;
    return { ok: false, reason: "Interrupted", message: "" };
  };
  put("web");
  kube.onWrite = ({ resource }) => {
    if (resource !== "helmcharts/status") return;
    kube.onWrite = undefined;
    queueMicrotask(() => put("web", { version: "2" }));
  };
  begin();
  await untilDeployed("web");
  expect([interrupted, desired!.spec.version]).toEqual([1, "2"]);
});

test("one chart at a time", async () => {
  let [now, most] = [0, 0];
  const good = answer;
  answer = async (steps, wanted) => {
    most = Math.max(most, ++now);
    await new Promise((resolve) => setTimeout(resolve, 10));
    now--;
    return good(steps, wanted);
  };
  for (const name of ["a", "b", "c"]) put(name);
  begin();
  for (const name of ["a", "b", "c"]) await untilDeployed(name);
  expect(most).toBe(1);
});

test("a chart that is deleted goes when its release has gone", async () => {
  put("web", { targetNamespace: "site" });
  begin();
  await untilDeployed("web");
  const good = answer;
  let gate = true;
  answer = (steps, wanted) => (gate ? Promise.resolve({ ok: false, reason: "HelmFailed", message: "a hook has failed" }) : good(steps, wanted));
  await kube.delete(helmCharts, "web", { namespace: "kube-system" });
  await vi.waitFor(() => expect(conditions("web").Failed?.[2]).toBe("a hook has failed"));
  gate = false;
  await vi.waitFor(() => expect(kube.read(helmCharts, "web", "kube-system")).toBeUndefined());
  expect(new Set(asked.slice(1))).toEqual(new Set(["web: uninstall"]));
  expect(kube.all(secrets, "site")).toEqual([]);
});

test("a chart without a release is deleted without helm", async () => {
  kube.put(helmCharts, { metadata: { name: "web", namespace: "kube-system", finalizers: [FINALIZER], deletionTimestamp: "2026-01-01T00:00:00Z" }, spec: { chart: "/c" } });
  begin();
  await vi.waitFor(() => expect(kube.read(helmCharts, "web", "kube-system")).toBeUndefined());
  expect(asked).toEqual([]);
});

test.each<[string, HelmChartSpec, Record<string, string>]>([
  ["is unmanaged", {}, { "helmcharts.helm.cattle.io/unmanaged": "true" }],
  ["is another controller's", {}, { "helmcharts.cattle.io/managed-by": "other" }],
  ["names no chart", { chart: "" }, {}],
])("a chart that %s is left alone, and its release stays when it is deleted", async (_, spec, annotations) => {
  put("theirs", spec, annotations);
  put("ours");
  begin();
  await untilDeployed("ours");
  expect(asked).toEqual(["ours: upgrade"]);
  kube.edit(helmCharts, "theirs", "kube-system", ({ metadata }) => Object.assign(metadata, { finalizers: [FINALIZER], deletionTimestamp: "2026-01-01T00:00:00Z" }));
  await vi.waitFor(() => expect(kube.read(helmCharts, "theirs", "kube-system")).toBeUndefined());
  expect(asked).toEqual(["ours: upgrade"]);
});
