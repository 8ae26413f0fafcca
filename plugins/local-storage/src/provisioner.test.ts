import { chmodSync, existsSync, mkdirSync, mkdtempSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, onTestFinished, vi } from "vitest";
import { fakeKube, type FakeKube } from "@k3s-p/plugin-api/kube/fake";
import { flaky, seeded } from "@k3s-p/plugin-api/kube/fake-flaky";
import { configMaps, events, nodes, persistentVolumeClaims, persistentVolumes, storageClasses, type CoreEvent, type PersistentVolume } from "@k3s-p/plugin-api/kube";
import { silentLogger } from "@k3s-p/plugin-api/testing";
import { isBelow } from "./directory.ts";
import { startProvisioner, type Provisioner } from "./provisioner.ts";

let dir: string;
let root: string;
let kube: FakeKube;
let running: Provisioner | undefined;

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "local-storage-"));
  root = join(dir, "storage");
  kube = fakeKube();
  kube.put(nodes, { metadata: { name: "n1", labels: { "kubernetes.io/hostname": "host-1" } } });
  addClass();
});
afterEach(async () => {
  await running?.stop();
  rmSync(dir, { recursive: true, force: true });
});

async function start(): Promise<void> {
  running = startProvisioner({ client: kube, log: silentLogger, node: "n1", path: root });
  await running.synced;
}

const addClass = (more: object = {}, metadata: object = {}) =>
  kube.put(storageClasses, {
    metadata: { name: "local-path", annotations: { defaultVolumeType: "local" }, ...metadata },
    provisioner: "rancher.io/local-path", volumeBindingMode: "WaitForFirstConsumer", reclaimPolicy: "Delete", ...more,
  });
const addClaim = (annotations: object = { "volume.kubernetes.io/selected-node": "n1" }, spec: object = {}) =>
  kube.put(persistentVolumeClaims, {
    metadata: { name: "data", namespace: "web", uid: "u1", annotations },
    spec: { storageClassName: "local-path", accessModes: ["ReadWriteOnce"], resources: { requests: { storage: "1Gi" } }, ...spec },
  });
const release = (change: (volume: PersistentVolume) => object = (v) => v) => {
  const volume = kube.read(persistentVolumes, "pvc-u1")!;
  kube.put(persistentVolumes, { ...change(volume), status: { phase: "Released" } });
};
const messages = (reason: string) => kube.all<CoreEvent>(events).filter((e) => e.reason === reason).map((e) => e.message);
const mode = (path: string) => (statSync(path).mode & 0o777).toString(8);
const volume = () => kube.read(persistentVolumes, "pvc-u1");

it("makes a folder and a volume for a claim that chose this node", async () => {
  await start();
  addClaim();
  await vi.waitFor(() => expect(volume()).toBeDefined());
  const path = join(root, "pvc-u1_web_data");
  expect([mode(path), mode(root)]).toEqual(["777", "700"]);
  expect(volume()).toMatchObject({
    metadata: { annotations: { "pv.kubernetes.io/provisioned-by": "rancher.io/local-path" } },
    spec: {
      local: { path }, capacity: { storage: "1Gi" }, accessModes: ["ReadWriteOnce"], storageClassName: "local-path",
      persistentVolumeReclaimPolicy: "Delete", claimRef: { namespace: "web", name: "data", uid: "u1" },
      nodeAffinity: { required: { nodeSelectorTerms: [{ matchExpressions: [{ key: "kubernetes.io/hostname", operator: "In", values: ["host-1"] }] }] } },
    },
  });
  await vi.waitFor(() => expect(messages("ProvisioningSucceeded")).toEqual(["Successfully provisioned volume pvc-u1"]));
  expect(messages("Provisioning")).toEqual(['External provisioner is provisioning volume for claim "web/data"']);
});

it("gives a hostPath volume when neither class nor claim asks for a local one", async () => {
  addClass({}, { annotations: {} });
  await start();
  addClaim();
  await vi.waitFor(() => expect(volume()?.spec?.hostPath).toMatchObject({ type: "DirectoryOrCreate" }));
});

it.each([["another node", { "volume.kubernetes.io/selected-node": "n2" }], ["no node yet", {}]])("leaves a claim that chose %s", async (_name, annotations) => {
  await start();
  addClaim(annotations);
  await new Promise((resolve) => setTimeout(resolve, 20));
  expect(volume()).toBeUndefined();
});

it("says why it does not provision a shared volume", async () => {
  await start();
  addClaim(undefined, { accessModes: ["ReadWriteMany"] });
  await vi.waitFor(() =>
    expect(messages("ProvisioningFailed")).toEqual([
      'failed to provision volume with StorageClass "local-path": NodePath only supports ReadWriteOnce and ReadWriteOncePod (1.22+) access modes',
    ]),
  );
});

it("removes the folder and the volume when the claim is gone", async () => {
  await start();
  addClaim();
  await vi.waitFor(() => expect(volume()).toBeDefined());
  const path = join(root, "pvc-u1_web_data");
  const outside = join(dir, "outside");
  mkdirSync(outside);
  writeFileSync(join(outside, "precious"), "");
  symlinkSync(outside, join(path, "link"));
  release();
  await vi.waitFor(() => expect(volume()).toBeUndefined());
  expect([existsSync(path), existsSync(join(outside, "precious"))]).toEqual([false, true]);
});

it("keeps a released volume whose policy is Retain", async () => {
  addClass({ reclaimPolicy: "Retain" });
  await start();
  addClaim();
  await vi.waitFor(() => expect(volume()).toBeDefined());
  release();
  await new Promise((resolve) => setTimeout(resolve, 20));
  expect(existsSync(join(root, "pvc-u1_web_data"))).toBe(true);
});

it("refuses to remove what is outside of the storage path, and what is reached through a symlink", async () => {
  await start();
  addClaim();
  await vi.waitFor(() => expect(volume()).toBeDefined());
  const outside = join(dir, "outside");
  mkdirSync(join(outside, "x"), { recursive: true });
  release((v) => ({ ...v, spec: { ...v.spec, local: { path: join(outside, "x") } } }));
  await vi.waitFor(() => expect(messages("VolumeFailedDelete")[0]).toContain("is not below a storage path"));
  symlinkSync(outside, join(root, "link"));
  release((v) => ({ ...v, spec: { ...v.spec, local: { path: join(root, "link", "x") } } }));
  await vi.waitFor(() => expect(messages("VolumeFailedDelete")[1]).toContain("is not a directory"));
  expect(existsSync(join(outside, "x"))).toBe(true);
});

it("follows the ConfigMap's paths, and keeps the old ones when it is broken", async () => {
  await start();
  const other = join(dir, "other");
  const put = (text: string) => kube.put(configMaps, { metadata: { name: "local-path-config", namespace: "kube-system" }, data: { "config.json": text } });
  put(JSON.stringify({ nodePathMap: [{ node: "n1", paths: [other] }] }));
  put("{ broken");
  addClaim();
  await vi.waitFor(() => expect(volume()?.spec?.local?.path).toBe(join(other, "pvc-u1_web_data")));
});

it("fills in the class's path pattern, and refuses one that leads out", async () => {
  addClass({ parameters: { pathPattern: "{{ .PVC.Namespace }}/{{.PVC.Name}}" } });
  await start();
  addClaim();
  await vi.waitFor(() => expect(volume()?.spec?.local?.path).toBe(join(root, "web", "data")));
  kube.drop(persistentVolumes, "pvc-u1");
  addClass({ parameters: { pathPattern: "../{{.PVC.Name}}" } });
  addClaim();
  await vi.waitFor(() => expect(messages("ProvisioningFailed")[0]).toContain("is not below the storage path"));
});

it("says that it cannot make the root", async () => {
  root = "/proc/local-storage";
  await start();
  addClaim();
  await vi.waitFor(() => expect(messages("ProvisioningFailed")[0]).toContain("ENOENT"));
});

const startAgent = async () => {
  running = startProvisioner({ client: kube, log: silentLogger, node: "n1", path: undefined });
  await running.synced;
};

it("the server removes volumes of nodes that are gone, when they are released; their folders went with the node", async () => {
  const path = join(root, "pvc-u1_web_data");
  mkdirSync(path, { recursive: true });
  const add = (name: string, phase: string) => kube.put(persistentVolumes, {
    metadata: { name, annotations: { "pv.kubernetes.io/provisioned-by": "rancher.io/local-path", "local.path.provisioner/selected-node": "n2" } },
    spec: { local: { path }, persistentVolumeReclaimPolicy: "Delete" }, status: { phase },
  });
  const left = () => kube.all(persistentVolumes).map(({ metadata }) => metadata.name).sort();
  const settled = () => new Promise((resolve) => setTimeout(resolve, 20));
  kube.put(nodes, { metadata: { name: "n2" } });
  add("released", "Released");
  add("bound", "Bound");
  await start();
  await settled();
  expect(left()).toEqual(["bound", "released"]);
  kube.drop(nodes, "n2");
  await vi.waitFor(() => expect(left()).toEqual(["bound"]));
  add("later", "Released");
  await vi.waitFor(() => expect(left()).toEqual(["bound"]));
  expect(existsSync(path)).toBe(true);
  await running!.stop();
  add("released", "Released");
  await startAgent();
  await settled();
  expect(left()).toEqual(["bound", "released"]);
});

describe("on an agent", () => {
  const config = (paths: readonly string[]) => kube.put(configMaps, {
    metadata: { name: "local-path-config", namespace: "kube-system" },
    data: { "config.json": JSON.stringify({ nodePathMap: [{ node: "DEFAULT_PATH_FOR_NON_LISTED_NODES", paths }] }) },
  });

  it("volumes go where the server's ConfigMap says, also when that comes later, and go with their claim", async () => {
    await startAgent();
    addClaim();
    await vi.waitFor(() => expect(messages("ProvisioningFailed")).toEqual([expect.stringContaining("no local path available on node n1")]));
    config([root]);
    await vi.waitFor(() => expect(volume()?.spec?.local?.path).toBe(join(root, "pvc-u1_web_data")));
    release();
    await vi.waitFor(() => expect([volume(), existsSync(join(root, "pvc-u1_web_data"))]).toEqual([undefined, false]));
  });

  it("a claim without a node is the server's to refuse: it would be refused by each node", async () => {
    config([root]);
    addClass({ volumeBindingMode: "Immediate" });
    await startAgent();
    addClaim({});
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(messages("ProvisioningFailed")).toEqual([]);
    await running!.stop();
    await start();
    await vi.waitFor(() => expect(messages("ProvisioningFailed")[0]).toContain("configuration error, no node was specified"));
  });
});

it("works in a root that exists with open permissions", async () => {
  mkdirSync(root);
  chmodSync(root, 0o755);
  await start();
  addClaim();
  await vi.waitFor(() => expect(volume()).toBeDefined());
  expect(mode(root)).toBe("700");
});

it.each([
  ["/s/a", true], ["/s", false], ["/s/", false], ["/s/../x", false], ["/s/a/../../x", false], ["/sx/a", false], ["/s/..a", true],
])("knows whether %s is below /s", (path, expected) => {
  expect(isBelow("/s", path)).toBe(expected);
});

it.each([1, 2, 3, 4, 5, 6])("makes one volume and removes it over a bad network (seed %i)", async (seed) => {
  // Only what waits is pretended; files are true.
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
  onTestFinished(() => void vi.useRealTimers());
  const soon = (check: () => void) => vi.waitFor(async () => {
    await vi.advanceTimersByTimeAsync(500);
    check();
  }, { interval: 2, timeout: 5000 });
  running = startProvisioner({ client: flaky(kube, { random: seeded(seed), failing: 0.5, lag: 3 }), log: silentLogger, node: "n1", path: root });
  await soon(() => {});
  await running.synced;
  addClaim();
  await soon(() => expect(volume()?.spec?.local?.path).toBe(join(root, "pvc-u1_web_data")));
  const { uid } = volume()!.metadata;
  await vi.advanceTimersByTimeAsync(120_000);
  expect(volume()!.metadata.uid).toBe(uid);
  kube.drop(persistentVolumeClaims, "data", "web");
  release();
  await soon(() => expect([volume(), existsSync(join(root, "pvc-u1_web_data"))]).toEqual([undefined, false]));
});
