/** `--kube-apiserver-arg` chooses admission plugins of a running server. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { namespaces, pods, serviceAccounts } from "@k3s-p/plugin-api/kube";
import { createTestCluster, type TestCluster } from "../kit/index.ts";

const start = (...args: string[]): Promise<TestCluster> => createTestCluster({ config: { apiserver: { args } } });
const pod = (cluster: TestCluster, spec: object = {}) => cluster.kube.create(pods, { metadata: { name: "p", namespace: "default" }, spec: { containers: [{ name: "c", image: "i:1" }], ...spec } } as never) as Promise<any>;

test("plugins are enabled, disabled and configured", async () => {
  const folder = mkdtempSync(join(tmpdir(), "k3sp-flags-"));
  const file = join(folder, "admission.yaml");
  writeFileSync(file, `apiVersion: apiserver.config.k8s.io/v1
kind: AdmissionConfiguration
plugins:
- name: PodSecurity
  configuration:
    apiVersion: pod-security.admission.config.k8s.io/v1
    kind: PodSecurityConfiguration
    defaults: { enforce: baseline, enforce-version: latest }
    exemptions: { namespaces: [kube-system] }
`);
  try {
    await using cluster = await start("enable-admission-plugins=NodeRestriction,AlwaysPullImages", "disable-admission-plugins=DefaultTolerationSeconds", `admission-control-config-file=${file}`);
    await cluster.kube.create(serviceAccounts, { metadata: { name: "default", namespace: "default" } }).catch(() => {});
    const made = await pod(cluster);
    expect([made.spec.containers[0].imagePullPolicy, made.spec.tolerations]).toEqual(["Always", undefined]);
    await expect(pod(cluster, { hostNetwork: true })).rejects.toMatchObject({ code: 403, message: expect.stringContaining('violates PodSecurity "baseline:latest": host namespaces (hostNetwork=true)') });
    expect(await cluster.kube.get(namespaces, "default")).toBeDefined();
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test("a plugin that there is not ends the start, and the message says what there is", async () => {
  await expect(start("enable-admission-plugins=Nope")).rejects.toMatchObject({ message: expect.stringContaining('enable-admission-plugins plugin "Nope" is unknown') });
});
