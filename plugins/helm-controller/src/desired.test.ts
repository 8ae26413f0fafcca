import { configMaps, secrets } from "@k3s-p/plugin-api/kube";
import { fakeKube, type FakeKube } from "@k3s-p/plugin-api/kube/fake";
import { beforeEach, expect, test } from "vitest";
import type { HelmChartSpec, Overrides } from "./chart.ts";
import { desiredOf, durationOf } from "./desired.ts";

let kube: FakeKube;
beforeEach(() => void (kube = fakeKube()));

const desired = (spec: HelmChartSpec, config?: Overrides) => {
  const metadata = { name: "web", namespace: "kube-system" };
  return desiredOf(kube, { metadata, spec: { chart: "web", ...spec } }, config && { metadata, spec: config });
};
const secret = (name: string, data: Readonly<Record<string, string>>) =>
  kube.put(secrets, { metadata: { name, namespace: "kube-system" }, data: Object.fromEntries(Object.entries(data).map(([key, text]) => [key, Buffer.from(text).toString("base64")])) });

test("has K3s's defaults", async () => {
  expect(await desired({})).toMatchObject({
    release: { name: "web", namespace: "kube-system", driver: "secret" }, values: [], failurePolicy: "reinstall", backOffLimit: 1000, timeout: 300_000,
  });
});

test("values: content, then structure, then Secrets; those of the HelmChartConfig after those of the HelmChart", async () => {
  secret("a", { x: "from: a", y: "from: y" });
  secret("b", { x: "from: b" });
  const own = { valuesContent: "from: content", values: { from: "values" }, valuesSecrets: [{ name: "a", keys: ["y", "x"] }] };
  const config = { valuesContent: "from: config", valuesSecrets: [{ name: "b", keys: ["x"] }] };
  expect((await desired(own, config)).values).toEqual(["from: content", '{"from":"values"}', "from: y", "from: a", "from: config", "from: b"]);
});

test("the HelmChartConfig's failure policy goes before the HelmChart's", async () => {
  expect((await desired({ failurePolicy: "abort" }, {})).failurePolicy).toBe("abort");
  expect((await desired({ failurePolicy: "abort" }, { failurePolicy: "retry" })).failurePolicy).toBe("retry");
});

test("the hash changes with what the release is made of, and with nothing else", async () => {
  secret("watched", { values: "a: 1" });
  secret("ignored", { values: "a: 1" });
  const spec: HelmChartSpec = { version: "1", set: { a: 1, b: 2 }, valuesSecrets: [{ name: "watched", keys: ["values"] }, { name: "ignored", keys: ["values"], ignoreUpdates: true }] };
  const { hash } = await desired(spec);
  const same = [{ ...spec, set: { b: 2, a: 1 } }, { ...spec, timeout: "1m" }, { ...spec, failurePolicy: "abort" as const }, { ...spec, backOffLimit: 3 }, { ...spec, repoCA: "x" }];
  for (const other of same) expect((await desired(other)).hash, JSON.stringify(other)).toBe(hash);
  const different = [{ ...spec, version: "2" }, { ...spec, set: { a: 1 } }, { ...spec, repo: "https://x" }, { ...spec, valuesContent: "a: 2" }, { ...spec, takeOwnership: true }];
  for (const other of different) expect((await desired(other)).hash, JSON.stringify(other)).not.toBe(hash);
  expect((await desired(spec, { values: { a: 3 } })).hash).not.toBe(hash);
  secret("ignored", { values: "a: 2" });
  expect((await desired(spec)).hash).toBe(hash);
  secret("watched", { values: "a: 2" });
  expect((await desired(spec)).hash).not.toBe(hash);
  expect((await desired({ chartContent: gzip, chart: "one" })).hash).toBe((await desired({ chartContent: gzip, chart: "two" })).hash);
});

const gzip = Buffer.from([0x1f, 0x8b, 8]).toString("base64");

test("CAs of the HelmChart and of a ConfigMap, and the two kinds of login", async () => {
  kube.put(configMaps, { metadata: { name: "cas", namespace: "kube-system" }, data: { a: "A", b: "B" } });
  secret("login", { username: "me", password: "secret" });
  secret("registry", { ".dockerconfigjson": '{"auths":{}}' });
  expect(await desired({ repoCA: "C", repoCAConfigMap: { name: "cas" }, authSecret: { name: "login" }, dockerRegistrySecret: { name: "registry" } })).toMatchObject({
    ca: "C\nA\nB", login: { username: "me", password: "secret" }, registryLogin: '{"auths":{}}',
  });
});

test("a Secret that may be missing is left out when it is", async () => {
  secret("part", { x: "a: 1" });
  expect((await desired({ valuesSecrets: [{ name: "none", keys: ["x"], ignoreUpdates: true }, { name: "part", keys: ["x", "y"], ignoreUpdates: true }] })).values).toEqual(["a: 1"]);
});

test.each<[HelmChartSpec, string]>([
  [{ chartContent: "bm90IGEgY2hhcnQ=" }, "spec.chartContent: must be a chart archive (.tgz) in base64"],
  [{ timeout: "5 minutes" }, 'spec.timeout: "5 minutes" is not a duration such as 300s or 5m'],
  [{ timeout: "0s" }, 'spec.timeout: "0s" is not a duration such as 300s or 5m'],
  [{ helmVersion: "v2" }, "spec.helmVersion: Only Helm v3 charts are supported"],
  [{ valuesSecrets: [{ name: "none", keys: ["x"] }] }, "spec.valuesSecrets[0]: Secret none is not in the namespace kube-system"],
  [{ repoCAConfigMap: { name: "none" } }, "spec.repoCAConfigMap: ConfigMap none is not in the namespace kube-system"],
  [{ dockerRegistrySecret: { name: "empty" } }, "spec.dockerRegistrySecret: the Secret has no key .dockerconfigjson"],
])("%j is refused with its field", async (spec, message) => {
  secret("empty", {});
  await expect(desired(spec)).rejects.toMatchObject({ name: "SpecError", message });
});

test("durations are Go's", () => expect(["300s", "1h30m", "1.5m", "250ms"].map(durationOf)).toEqual([300_000, 5_400_000, 90_000, 250]));
