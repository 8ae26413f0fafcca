/** The promises of the `deployer` slot: manifests become objects, follow their file, and go without a trace. */
import assert from "node:assert/strict";
import { existsSync, readFileSync, unlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { configMaps } from "../kube/resources.ts";
import type { Deployer } from "../slots/cluster.ts";
import { startSubject, type Started, type Subject } from "./subject.ts";
import { test, within, type ConformanceTest } from "./suite.ts";

const yaml = (names: readonly string[], value = "1"): string =>
  names.map((name) => `apiVersion: v1\nkind: ConfigMap\nmetadata: {name: ${name}, namespace: default}\ndata: {k: "${value}"}\n`).join("---\n");

export function deployerSuite(subject: Subject): readonly ConformanceTest[] {
  const each = (name: string, run: (started: Started<Deployer>) => Promise<void>): ConformanceTest =>
    test(name, [], async (ctx) => {
      const started = await startSubject<Deployer>(subject, ctx);
      ctx.defer(() => started.stop());
      await run(started);
    });
  const value = ({ world }: Started<Deployer>, name: string) => world.kube.read(configMaps, name, "default")?.data?.k;
  const file = ({ world }: Started<Deployer>, name: string) => join(world.node.paths.manifests, `${name}.yaml`);
  return [
    each("deploy resolves when the file and all objects are there", async (started) => {
      await started.impl.deploy({ name: "app", yaml: yaml(["a", "b"]) });
      assert.deepEqual([value(started, "a"), value(started, "b")], ["1", "1"]);
      assert.match(readFileSync(file(started, "app"), "utf8"), /ConfigMap/);
    }),
    each("deploying the same again changes nothing, and something else changes that", async (started) => {
      await started.impl.deploy({ name: "app", yaml: yaml(["a"]) });
      const before = started.world.kube.read(configMaps, "a", "default")?.metadata.resourceVersion;
      await started.impl.deploy({ name: "app", yaml: yaml(["a"]) });
      assert.equal(started.world.kube.read(configMaps, "a", "default")?.metadata.resourceVersion, before);
      await started.impl.deploy({ name: "app", yaml: yaml(["a"], "2") });
      await within(3000, () => assert.equal(value(started, "a"), "2"));
    }),
    each("an object that the manifest no longer has is deleted", async (started) => {
      await started.impl.deploy({ name: "app", yaml: yaml(["a", "b"]) });
      await started.impl.deploy({ name: "app", yaml: yaml(["a"]) });
      await within(3000, () => assert.deepEqual([value(started, "a"), value(started, "b")], ["1", undefined]));
    }),
    each("variables are replaced", async (started) => {
      await started.impl.deploy({ name: "app", yaml: yaml(["a"], "%{CLUSTER_DNS}%") });
      assert.equal(value(started, "a"), started.world.node.cluster.clusterDns[0]);
    }),
    each("remove deletes the objects and the file", async (started) => {
      await started.impl.deploy({ name: "app", yaml: yaml(["a", "b"]) });
      await started.impl.remove("app");
      await within(3000, () => assert.deepEqual([value(started, "a"), value(started, "b"), existsSync(file(started, "app"))], [undefined, undefined, false]));
    }),
    each("a file that a user drops into the folder is applied, and follows changes", async (started) => {
      writeFileSync(file(started, "own"), yaml(["own"]));
      await within(5000, () => assert.equal(value(started, "own"), "1"));
      writeFileSync(file(started, "own"), yaml(["own"], "2"));
      await within(5000, () => assert.equal(value(started, "own"), "2"));
      unlinkSync(file(started, "own"));
    }),
    each("a manifest that is not valid YAML is refused", async (started) => {
      await assert.rejects(started.impl.deploy({ name: "bad", yaml: "a: [1" }));
    }),
  ];
}
