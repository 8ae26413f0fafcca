import { configMaps, secrets } from "@k3s-p/plugin-api/kube";
import { fakeKube } from "@k3s-p/plugin-api/kube/fake";
import { expect, test } from "vitest";
import type { FailurePolicy } from "./chart.ts";
import { HASH_LABEL, planFor, readRevisions, type Revision, RUN_LABEL } from "./release.ts";

const revision = (version: number, status: string, hash = "same", run = `run-${version}`): Revision => ({ version, status, hash, run, created: 1000 });
const plan = (revisions: readonly Revision[], failurePolicy: FailurePolicy = "reinstall", now = 1500) => {
  const made = planFor(revisions, { hash: "same", failurePolicy, patience: 1000 }, now);
  return made.kind === "steps" ? made.steps.map((step) => (step.kind === "rollback" ? `rollback ${step.to}` : step.kind)).join(", ") : made.kind;
};

test.each<[string, readonly Revision[], FailurePolicy, string]>([
  ["no release", [], "reinstall", "upgrade"],
  ["deployed as wanted", [revision(1, "deployed")], "reinstall", "current"],
  ["deployed otherwise", [revision(1, "deployed", "other")], "abort", "upgrade"],
  ["installed by hand", [{ version: 1, status: "deployed", created: 0 }], "reinstall", "upgrade"],
  ["failed", [revision(1, "deployed"), revision(2, "failed")], "reinstall", "uninstall, upgrade"],
  ["failed, to be tried again", [revision(1, "deployed"), revision(2, "failed")], "retry", "upgrade"],
  ["failed, to be looked at", [revision(1, "deployed"), revision(2, "failed")], "abort", "aborted"],
  ["failed, and corrected since", [revision(1, "deployed"), revision(2, "failed", "other")], "reinstall", "upgrade"],
  ["failed, and corrected since it was looked at", [revision(2, "failed", "other")], "abort", "upgrade"],
  ["interrupted upgrade", [revision(3, "deployed"), revision(4, "pending-upgrade")], "abort", "rollback 3, upgrade"],
  ["interrupted rollback", [revision(3, "superseded"), revision(4, "deployed"), revision(5, "failed"), revision(6, "pending-rollback")], "reinstall", "rollback 4, upgrade"],
  ["interrupted first install", [revision(1, "pending-install")], "reinstall", "uninstall, upgrade"],
  ["interrupted uninstall", [revision(1, "uninstalling")], "reinstall", "uninstall, upgrade"],
  ["uninstalled with its history", [revision(1, "uninstalled")], "reinstall", "uninstall, upgrade"],
])("%s", (_, revisions, policy, wanted) => expect(plan(revisions, policy)).toBe(wanted));

test("what somebody else's helm has pending is left alone, for as long as an operation may take", () => {
  const byHand = [revision(1, "deployed", "same", "a"), revision(2, "pending-upgrade", "same", "a")];
  expect(plan(byHand, "reinstall", 1999)).toBe("busy");
  expect(plan(byHand, "reinstall", 2000)).toBe("rollback 1, upgrade");
  expect(plan([{ version: 1, status: "pending-install", created: 1000 }])).toBe("busy");
});

test("revisions are read from the objects of the driver, in the order of their numbers", async () => {
  const kube = fakeKube();
  const labels = (version: number, more: object = {}) => ({ owner: "helm", name: "web", version: String(version), status: "superseded", ...more });
  kube.put(secrets, { metadata: { name: "sh.helm.release.v1.web.v10", namespace: "site", labels: labels(10, { status: "deployed", [HASH_LABEL]: "h", [RUN_LABEL]: "r" }) } });
  kube.put(secrets, { metadata: { name: "sh.helm.release.v1.web.v9", namespace: "site", labels: labels(9) } });
  kube.put(secrets, { metadata: { name: "other", namespace: "site", labels: { ...labels(11), name: "other" } } });
  kube.put(configMaps, { metadata: { name: "sh.helm.release.v1.web.v1", namespace: "site", labels: labels(1) } });
  const found = await readRevisions(kube, { name: "web", namespace: "site", driver: "secret" });
  expect(found).toMatchObject([{ version: 9, status: "superseded" }, { version: 10, status: "deployed", hash: "h", run: "r" }]);
  expect((await readRevisions(kube, { name: "web", namespace: "site", driver: "configmap" })).map(({ version }) => version)).toEqual([1]);
});
