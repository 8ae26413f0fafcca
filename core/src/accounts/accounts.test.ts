/** Plugins that reach the API server have a ServiceAccount, made once and removed with them. */
import { expect, test } from "vitest";
import type { Logger } from "@k3s-p/plugin-api";
import { serviceAccounts, type KubeClient } from "@k3s-p/plugin-api/kube";
import { fakeKube } from "@k3s-p/plugin-api/kube/fake";
import { pluginAccount } from "@k3s-p/plugin-api/slots";
import { silentLogger, testNode } from "@k3s-p/plugin-api/testing";
import type { Manifest } from "../kernel/manifest.ts";
import * as accounts from "./accounts.ts";

const plugin = (id: string, more: Partial<Manifest>): Manifest => ({ id, needs: {}, wants: {}, provides: {}, permissions: {}, ...more }) as Manifest;
const net = plugin("net", { needs: { kube: "^1" } });
const some = plugin("some", { wants: { kube: "^1" } });
const agent = plugin("agent", { needs: { kube: "^1" }, permissions: { kube: "node" } });
const store = plugin("store", { needs: { node: "^1" } });

const server = testNode("/");
const keepAccounts = (kube: KubeClient, plugins: readonly Manifest[], log: Logger, node = server, spare: readonly Manifest[] = []) =>
  accounts.keepAccounts(kube, { plugins, spare }, node, log);

test("each that reaches the server has one, a warm start writes nothing, and it goes with the plugin", async () => {
  const kube = fakeKube();
  const names = async () => (await kube.list(serviceAccounts, { namespace: "kube-system" })).items.map((item) => item.metadata!.name).sort();
  await kube.create(serviceAccounts, { metadata: { name: "default", namespace: "kube-system" } });
  await keepAccounts(kube, [net, some, store, agent], silentLogger);
  expect(await names()).toEqual(["default", "k3s-p-net", "k3s-p-some"]);
  const before = kube.writes.length;
  await keepAccounts(kube, [net, some, store], silentLogger);
  expect(kube.writes).toHaveLength(before);
  await keepAccounts(kube, [some], silentLogger);
  expect(await names()).toEqual(["default", "k3s-p-some"]);
});

test("an agent leaves the accounts of its server alone", async () => {
  const kube = fakeKube();
  await keepAccounts(kube, [net], silentLogger);
  await keepAccounts(kube, [some], silentLogger, testNode("/", { role: "agent" }));
  expect(kube.all(serviceAccounts).map((item) => item.metadata!.name)).toEqual(["k3s-p-net"]);
});

test("what agents run keeps its account where it does not run", async () => {
  const kube = fakeKube();
  const node = testNode("/", {}, { agentPlugins: ["net"] });
  await keepAccounts(kube, [some], silentLogger, node, [net, plugin("other", { needs: { kube: "^1" } })]);
  expect(kube.all(serviceAccounts).map((item) => item.metadata!.name).sort()).toEqual(["k3s-p-net", "k3s-p-some"]);
});

test("what fails is logged, and nobody waits for it", async () => {
  const lines: string[] = [];
  const kube = { list: () => Promise.reject(new Error("no server")) } as unknown as KubeClient;
  await keepAccounts(kube, [net], { ...silentLogger, warn: (line: string) => void lines.push(line) } as Logger);
  expect(lines).toEqual(["the ServiceAccounts of plugins are not as they should be: no server"]);
});

test("a name that Kubernetes would refuse is made fit", () => {
  expect(pluginAccount("My_cni")).toMatchObject({ name: "k3s-p-my-cni", user: "system:serviceaccount:kube-system:k3s-p-my-cni" });
});
