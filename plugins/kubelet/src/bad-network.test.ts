/** Pods of a kubelet whose calls fail at random, before or after they took place, and whose news come late. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { nodes, persistentVolumeClaims, persistentVolumes, pods, secrets, serviceAccounts } from "@k3s-p/plugin-api/kube";
import { fakeKube } from "@k3s-p/plugin-api/kube/fake";
import { flaky, seeded } from "@k3s-p/plugin-api/kube/fake-flaky";
import { fakeRuntime } from "@k3s-p/plugin-api/conformance/fake-runtime";
import { expect, onTestFinished, test } from "vitest";
import { harness, testPod } from "./testing/harness.ts";

const volumes = [
  { name: "settings", configMap: { name: "settings" } }, { name: "password", secret: { secretName: "password" } },
  { name: "data", persistentVolumeClaim: { claimName: "data" } },
  { name: "token", projected: { sources: [{ serviceAccountToken: { path: "token" } }, { downwardAPI: { items: [{ path: "name", fieldRef: { fieldPath: "metadata.name" } }] } }] } },
];

test.each([1, 2, 3, 4, 5, 6])("run, restart, report and end as on a good one (seed %i)", async (seed) => {
  const root = mkdtempSync(join(tmpdir(), "kubelet-bad-"));
  const kube = fakeKube();
  const network = { random: seeded(seed), failing: 0.3 };
  const disk = join(root, "disk");
  mkdirSync(disk);
  mkdirSync(join(root, "manifests"));
  writeFileSync(join(root, "manifests/static.yaml"), JSON.stringify({ apiVersion: "v1", kind: "Pod", metadata: { name: "static" }, spec: { containers: [{ name: "s", image: "busybox" }] } }));
  kube.put(nodes, { metadata: { name: "n1", uid: "node-uid" } });
  kube.put(serviceAccounts, { metadata: { name: "default", namespace: "default" } });
  kube.put(secrets, { metadata: { name: "password", namespace: "default" }, data: { word: "c2VjcmV0" } });
  kube.put(persistentVolumeClaims, { metadata: { name: "data", namespace: "default", uid: "claim" }, spec: { volumeName: "pv" }, status: { phase: "Bound" } });
  kube.put(persistentVolumes, { metadata: { name: "pv" }, spec: { claimRef: { uid: "claim" }, local: { path: disk } } });
  const h = harness(root, kube, fakeRuntime(), flaky(kube, network));
  h.putConfigMap("settings", { color: "blue" });
  const clock = setInterval(() => h.advance(5000), 10);
  onTestFinished(() => {
    clearInterval(clock);
    h.stop();
    rmSync(root, { recursive: true });
  });
  const mounts = volumes.map(({ name }) => ({ name, mountPath: `/${name}` }));
  const container = { name: "c", image: "busybox", imagePullPolicy: "IfNotPresent", volumeMounts: mounts, env: [{ name: "COLOR", valueFrom: { configMapKeyRef: { name: "settings", key: "color" } } }] };
  h.run(testPod("web", { volumes, containers: [container] }));
  h.run(testPod("job", { restartPolicy: "Never", containers: [{ name: "j", image: "busybox", imagePullPolicy: "IfNotPresent" }] }));

  await h.until(() => h.api("web")?.status?.phase === "Running" && h.api("job")?.status?.phase === "Running");
  expect(readFileSync(join(root, "kubelet/pods/uid-web/volumes/kubernetes.io~secret/password/word"), "utf8")).toBe("secret");
  await h.until(() => kube.read(pods, "static-n1", "default")?.status?.phase === "Running");

  h.runtime.exit("j", 0);
  h.runtime.exit("c", 1);
  await h.until(() => h.api("job")?.status?.phase === "Succeeded" && h.api("web")?.status?.containerStatuses?.[0]?.restartCount === 1);
  await h.until(() => h.api("web")?.status?.containerStatuses?.[0]?.ready === true);

  h.markDeleted("web", 1);
  h.markDeleted("job", 1);
  await h.until(() => h.api("web") === undefined && h.api("job") === undefined);
  await h.until(() => h.worker("web") === undefined && h.worker("job") === undefined);
  rmSync(join(root, "manifests/static.yaml"));
  await h.until(() => kube.all(pods).length === 0);
  await h.until(() => h.services.view.uids().length === 0);
  expect(h.runtime.calls.filter((call) => call.startsWith("runPodSandbox")).sort()).toEqual(["runPodSandbox job", "runPodSandbox static-n1", "runPodSandbox web"]);
});
