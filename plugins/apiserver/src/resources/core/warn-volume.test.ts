import { expect, test } from "vitest";
import { rowOf } from "../testing.ts";
import type { Obj } from "../types.ts";

const files = (...paths: string[]): Obj[] => paths.map((path) => ({ key: path, path }));
const [token, bundle] = [{ serviceAccountToken: { path: "test/token" } }, { clusterTrustBundle: { signerName: "a.example/b", path: "test" } }];

test.each<[string, Obj, string[]]>([
  ["the same file twice", { configMap: { name: "c", items: files("test", "test") } }, ['(ConfigMap "c"): overlapping paths: "test" with "test"']],
  ["a file where a directory is", { secret: { secretName: "s", items: files("a/b/", "a", "ab") } }, ['(Secret "s"): overlapping paths: "a" with "a/b"']],
  ["a file within a file", { downwardAPI: { items: files("a", "a/b") } }, ['(DownwardAPI): overlapping paths: "a/b" with "a"']],
  ["files of several sources", { projected: { sources: [token, bundle, { secret: { name: "s", items: files("test/token/x") } }] } }, [
    '(Projected): overlapping paths: "test" (ClusterTrustBundle "a.example/b") with "test/token" (ServiceAccountToken)',
    '(Projected): overlapping paths: "test/token/x" (Secret "s") with "test/token" (ServiceAccountToken)',
    '(Projected): overlapping paths: "test/token/x" (Secret "s") with "test" (ClusterTrustBundle "a.example/b")',
  ]],
  ["a certificate over its key", { projected: { sources: [{ podCertificate: { keyPath: "k", certificateChainPath: "k/c" } }] } },
    ['(Projected): overlapping paths: "k" (PodCertificate key) with "k/c" (PodCertificate chain)']],
  ["a source of nothing", { projected: { sources: [{}] } }, ["(Projected) has no sources provided"]],
  ["files side by side", { projected: { sources: [token, { configMap: { name: "c" } }, { downwardAPI: { items: files("test/tokens", "other") } }] } }, []],
])("a volume with %s", (_, source, warnings) => {
  const pod = { metadata: { name: "p" }, spec: { containers: [], volumes: [{ name: "v", ...source }] } };
  expect(rowOf("", "pods").warnings!(pod as Obj)).toEqual(warnings.map((text) => `volume "v" ${text}`));
});
