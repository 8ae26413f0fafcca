import { chmod, mkdir, mkdtemp, readdir, readFile, rm, stat, symlink, unlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as k from "@k3s-p/plugin-api/kube";
import { fakeKube, type FakeKube, type FakeOptions } from "@k3s-p/plugin-api/kube/fake";
import { silentLogger } from "@k3s-p/plugin-api/testing";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { addons, GVKS_ANNOTATION } from "./addon.ts";
import { type Controller, createController } from "./controller.ts";
import { watchDirectories } from "./files.ts";

const widgets = k.defineResource("example.com", "v1", "widgets", "Widget");
const served = [k.configMaps, k.services, k.secrets, k.namespaces, k.clusterRoles, addons];

let root: string;
let kube: FakeKube;
let controller: Controller;
let recorded: string[];
const cleanup: (() => Promise<unknown>)[] = [];

beforeEach(async () => {
  const dir = await mkdtemp(join(tmpdir(), "deployer-"));
  root = join(dir, "server", "manifests");
  recorded = [];
  cleanup.push(() => rm(dir, { recursive: true, force: true }));
});
afterEach(async () => {
  for (const step of cleanup.splice(0).reverse()) await step();
});

async function begin(options: { disabled?: readonly string[]; fake?: FakeOptions; keep?: boolean } = {}): Promise<void> {
  if (!options.keep) kube = fakeKube({ serve: served, ...options.fake });
  controller = createController({
    client: kube, log: silentLogger, root, disabled: options.disabled ?? [], backoff: [5, 50],
    recorder: { record: (object, _type, reason, message) => void recorded.push(`${(object as k.KubeObject).metadata!.name} ${reason}: ${message}`) },
    variables: { CLUSTER_DNS: "10.43.0.10" },
  });
  const started = controller;
  cleanup.push(() => started.stop());
  await controller.start();
}
const configMap = (name: string, value: string, namespace = "default") =>
  `apiVersion: v1\nkind: ConfigMap\nmetadata: {name: ${name}, namespace: ${namespace}}\ndata: {k: "${value}"}\n`;
const data = (name: string, namespace?: string) => kube.read(k.configMaps, name, namespace)?.data;

test("deploys an AddOn: file, objects, marks, Addon and Events", async () => {
  await begin();
  await controller.deploy({ name: "coredns", yaml: configMap("c", "%{CLUSTER_DNS}%", "kube-system") });
  const path = join(root, "coredns.yaml");
  expect((await stat(path)).mode & 0o777).toBe(0o600);
  expect((await stat(root)).mode & 0o777).toBe(0o700);
  expect(await readFile(path, "utf8")).toContain("10.43.0.10");
  expect(await readdir(root)).toEqual(["coredns.yaml"]);
  expect(data("c", "kube-system")).toEqual({ k: "10.43.0.10" });
  expect(kube.read(k.configMaps, "c", "kube-system")!.metadata.labels).toEqual({ "objectset.rio.cattle.io/hash": "bce283298811743a0386ab510f2f67ef74240c57" });
  const addon = kube.read(addons, "coredns", "kube-system")!;
  expect(addon.spec).toMatchObject({ source: path, checksum: expect.stringMatching(/^[0-9a-f]{64}$/) });
  expect(addon.metadata.annotations).toEqual({ [GVKS_ANNOTATION]: "v1, Kind=ConfigMap" });
  expect(recorded).toEqual([`coredns ApplyingManifest: Applying manifest at "${path}"`, `coredns AppliedManifest: Applied manifest at "${path}"`]);
});

test("notices new, changed and nested files by itself, and leaves objects of deleted files alone", async () => {
  await begin();
  await writeFile(join(root, "a.yaml"), configMap("a", "1"));
  await vi.waitFor(() => expect(data("a")).toEqual({ k: "1" }), 3000);
  await mkdir(join(root, "sub"));
  await writeFile(join(root, "sub", "b.json"), JSON.stringify({ apiVersion: "v1", kind: "ConfigMap", metadata: { name: "b" }, data: { k: "1" } }));
  await vi.waitFor(() => expect(data("b")).toEqual({ k: "1" }), 3000);
  await writeFile(join(root, "sub", "b.json"), JSON.stringify({ apiVersion: "v1", kind: "ConfigMap", metadata: { name: "b" }, data: { k: "2" } }));
  await vi.waitFor(() => expect(data("b")).toEqual({ k: "2" }), 3000);
  await unlink(join(root, "a.yaml"));
  await new Promise((resolve) => setTimeout(resolve, 300));
  expect(data("a")).toEqual({ k: "1" });
});

test("prunes objects that left the file, also of a kind that left it", async () => {
  await begin();
  await controller.deploy({ name: "x", yaml: `${configMap("a", "1")}---\n${configMap("b", "1")}---\napiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {p: q}\n` });
  expect(kube.read(k.secrets, "s")!.data).toEqual({ p: "cQ==" });
  kube.put(k.configMaps, { metadata: { name: "mine" } });
  await controller.deploy({ name: "x", yaml: configMap("b", "2") });
  expect(kube.all(k.configMaps).map((x) => x.metadata.name).sort()).toEqual(["b", "mine"]);
  expect(kube.all(k.secrets)).toEqual([]);
});

test("keeps users' edits to other fields, reverts those in the manifest, adopts foreign objects", async () => {
  await begin();
  kube.put(k.configMaps, { metadata: { name: "a" }, data: { mine: "1", k: "old" } });
  await controller.deploy({ name: "x", yaml: configMap("a", "1") });
  expect(data("a")).toEqual({ mine: "1", k: "1" });
  await controller.deploy({ name: "x", yaml: "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {other: '2'}\n" });
  expect(data("a")).toEqual({ mine: "1", other: "2" });
});

test("an unchanged file is applied again at start, and writes nothing when all is in place", async () => {
  await begin();
  await controller.deploy({ name: "x", yaml: `${configMap("a", "1")}---\n${configMap("b", "1")}` });
  await controller.stop();
  kube.drop(k.configMaps, "b");
  const before = kube.writes.length;
  await begin({ keep: true });
  await vi.waitFor(() => expect(recorded.filter((r) => r.includes("AppliedManifest"))).toHaveLength(2));
  expect(data("b")).toEqual({ k: "1" });
  expect(kube.writes.slice(before).filter((w) => w.resource === "configmaps")).toEqual([expect.objectContaining({ verb: "create", name: "b" })]);
});

test("applies once what a start finds and its plugin deploys, and again what the plugin deploys later", async () => {
  const addon = { name: "x", yaml: configMap("a", "1") };
  const applied = () => recorded.filter((r) => r.includes("AppliedManifest")).length;
  await begin();
  await controller.deploy(addon);
  await controller.stop();
  await begin({ keep: true });
  await controller.deploy(addon);
  expect(applied()).toBe(2);
  kube.drop(k.configMaps, "a");
  await controller.deploy(addon);
  expect(applied()).toBe(3);
  expect(data("a")).toEqual({ k: "1" });
});

test("a bad document or object does not stop the others, and nothing is pruned by a broken file", async () => {
  await begin({ fake: { onWrite: ({ name }) => {
    if (name === "bad") throw k.invalid("", "ConfigMap", "bad", [{ type: "FieldValueInvalid", field: "data", message: "Invalid value" }]);
  } } });
  await controller.deploy({ name: "x", yaml: `${configMap("a", "1")}---\n${configMap("b", "1")}` });
  const broken = controller.deploy({ name: "x", yaml: `${configMap("bad", "1")}---\nkind: [\n---\n${configMap("c", "1")}` });
  await expect(broken).rejects.toThrow(/ConfigMap default\/bad: ConfigMap "bad" is invalid: data: Invalid value/);
  expect(kube.all(k.configMaps).map((x) => x.metadata.name).sort()).toEqual(["a", "b", "c"]);
  expect(recorded.filter((r) => r.includes("ParseManifestFailed"))).toHaveLength(1);
  expect(recorded.filter((r) => r.includes("ApplyManifestFailed"))).toHaveLength(1);
  expect([...controller.failing.keys()]).toEqual([join(root, "x.yaml")]);
});

test("waits for a kind that is not served yet, whatever the order of files", async () => {
  await begin();
  const deployed = controller.deploy({ name: "a", yaml: "apiVersion: example.com/v1\nkind: Widget\nmetadata: {name: w}\n" });
  await new Promise((resolve) => setTimeout(resolve, 60));
  expect(kube.all(widgets)).toEqual([]);
  kube.serve(widgets);
  await deployed;
  expect(kube.read(widgets, "w")).toMatchObject({ kind: "Widget" });
});

test("--disable deletes the objects, the file and the AddOn; also without a file", async () => {
  await begin();
  await controller.deploy({ name: "traefik", yaml: configMap("t", "1") });
  await controller.deploy({ name: "gone", yaml: configMap("g", "1") });
  await controller.deploy({ name: "other", yaml: configMap("o", "1") });
  await mkdir(join(root, "metrics-server"));
  await writeFile(join(root, "metrics-server", "reader.yaml"), configMap("m", "1"));
  await vi.waitFor(() => expect(data("m")).toEqual({ k: "1" }), 3000);
  await controller.stop();
  await unlink(join(root, "gone.yaml"));
  await begin({ keep: true, disabled: ["traefik", "gone", "metrics-server"] });
  await vi.waitFor(() => expect(kube.all(k.configMaps).map((x) => x.metadata.name)).toEqual(["o"]));
  await vi.waitFor(() => expect(kube.all(addons).map((x) => x.metadata.name)).toEqual(["other"]));
  expect((await readdir(root)).sort()).toEqual(["metrics-server", "other.yaml"]);
  expect(recorded.some((r) => r.startsWith("traefik DeletingManifest"))).toBe(true);
});

test("remove deletes one AddOn", async () => {
  await begin();
  await controller.deploy({ name: "x", yaml: configMap("a", "1") });
  await controller.remove("x");
  expect(kube.all(k.configMaps)).toEqual([]);
  expect(kube.all(addons)).toEqual([]);
  expect(await readdir(root)).toEqual([]);
  await controller.remove("never-there");
});

test("a name may have a folder, which --disable may name", async () => {
  await begin();
  await controller.deploy({ name: "metrics-server/reader", yaml: configMap("m", "1") });
  expect(await readdir(join(root, "metrics-server"))).toEqual(["reader.yaml"]);
  expect(kube.all(addons).map((x) => x.metadata.name)).toEqual(["reader"]);
  await controller.remove("metrics-server/reader");
  expect(kube.all(k.configMaps)).toEqual([]);
  await controller.stop();
  await begin({ keep: true, disabled: ["metrics-server"] });
  await controller.deploy({ name: "metrics-server/reader", yaml: configMap("m", "1") });
  expect(kube.all(k.configMaps)).toEqual([]);
});

test("skips .skip, dotfiles and other extensions, and follows symlinked folders without deleting in them", async () => {
  const outside = `${root}-of-others`;
  await mkdir(outside, { recursive: true });
  await mkdir(root, { recursive: true });
  await chmod(root, 0o700);
  await symlink(outside, join(root, "link"));
  await writeFile(join(outside, "out.yml"), configMap("out", "1"));
  await writeFile(join(root, "skipped.yaml"), configMap("skipped", "1"));
  await writeFile(join(root, "skipped.yaml.skip"), "");
  await writeFile(join(root, ".hidden.yaml"), configMap("hidden", "1"));
  await writeFile(join(root, "notes.txt"), configMap("notes", "1"));
  await begin();
  await vi.waitFor(() => expect(kube.all(k.configMaps).map((x) => x.metadata.name)).toEqual(["out"]));
  await controller.deploy({ name: "skipped", yaml: configMap("skipped", "2") });
  expect(kube.all(k.configMaps)).toHaveLength(1);
  await controller.remove("out");
  expect(kube.all(k.configMaps)).toEqual([]);
  expect(await readdir(outside)).toEqual(["out.yml"]);
});

test("says which fields the server ignored, once for each content", async () => {
  const asked: string[] = [];
  await begin({ fake: { onRequest: (method, path, body) => {
    if (method !== "POST") return undefined;
    asked.push(path);
    const typo = "dta" in (body as object);
    return { status: typo ? 400 : 409, body: { message: typo ? 'ConfigMap in version "v1" cannot be handled as a ConfigMap: strict decoding error: unknown field "dta"' : "exists" } };
  } } });
  await controller.deploy({ name: "x", yaml: `${configMap("ok", "1")}---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndta: {k: v}\n` });
  await vi.waitFor(() => expect(recorded.at(-1)).toMatch(/^x ValidateManifestFailed: .* ignored: ConfigMap a: unknown field "dta"$/));
  expect(asked).toEqual(Array(2).fill("/api/v1/namespaces/default/configmaps?dryRun=All&fieldValidation=Strict"));
  await controller.deploy({ name: "x", yaml: `${configMap("ok", "1")}---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndta: {k: v}\n` });
  expect(asked).toHaveLength(2);
});

test("what is deployed while it stops is refused, and nothing is watched any more", async () => {
  await begin();
  await controller.stop();
  await expect(controller.deploy({ name: "late", yaml: configMap("late", "1") })).rejects.toThrow("the deployer is stopping");
  const seen: string[] = [];
  const watcher = watchDirectories(() => void seen.push("changed"));
  watcher.close();
  watcher.set([root]);
  await writeFile(join(root, "after.yaml"), configMap("after", "1"));
  await new Promise((resolve) => setTimeout(resolve, 30));
  expect(seen).toEqual([]);
}, 2_000);

test("a second file of the same name is refused instead of pruning the first one's objects", async () => {
  await begin();
  await controller.deploy({ name: "x", yaml: configMap("a", "1") });
  await mkdir(join(root, "sub"));
  await writeFile(join(root, "sub", "x.yaml"), configMap("b", "1"));
  await vi.waitFor(() => expect(recorded.some((r) => r.includes("give the file another name"))).toBe(true), 3000);
  expect(kube.all(k.configMaps).map((x) => x.metadata.name)).toEqual(["a"]);
});
