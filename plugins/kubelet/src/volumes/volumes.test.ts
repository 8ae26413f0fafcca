import { chmodSync, existsSync, lstatSync, mkdirSync, mkdtempSync, readFileSync, readlinkSync, readdirSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { beforeEach, describe, expect, it } from "vitest";
import { configMaps, persistentVolumeClaims, persistentVolumes, secrets, serviceAccounts, type Pod } from "@k3s-p/plugin-api/kube";
import { fakeKube, type FakeKube } from "@k3s-p/plugin-api/kube/fake";
import { systemClock } from "../clock.ts";
import { kubeletFigures } from "../figures.ts";
import type { ImageResult } from "../images.ts";
import { referencedObjects, referencesOf } from "../objects.ts";
import { noMounts, testNode, testPod } from "../testing/harness.ts";
import { writeAtomically } from "./atomic-writer.ts";
import { checkHostPath } from "./host-path.ts";
import { tokenSource } from "./payload.ts";
import { prepareSubPath } from "./sub-path.ts";
import { volumes, type Volumes } from "./volumes.ts";

let root: string;
let kube: FakeKube;
let mounted: string[];
let subject: Volumes;
let resolved: ImageResult;
const shown: string[] = [];
const imageParts = {
  image: async () => resolved,
  mountImage: async (image: string, path: string) => void shown.push(`${image} ${path.split("/").slice(-2).join("/")}`),
};

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "volumes-"));
  kube = fakeKube();
  mounted = [];
  const mounts = { ...noMounts, tmpfs: async (path: string, options: readonly string[] = []) => void mounted.push([path.split("/").at(-1), ...options].join(" ")) };
  subject = volumes({
    node: testNode(root), kube, clock: systemClock(), figures: kubeletFigures(), mounts, objects: referencedObjects(kube, () => {}),
    tokens: tokenSource(kube, systemClock()), allocatable: () => ({ cpu: "2", memory: "1Gi" }), ...imageParts,
  });
});

const podWith = (volume: object, spec: object = {}): Pod =>
  testPod("p", { volumes: [{ name: "v", ...volume }], containers: [{ name: "c", image: "i", volumeMounts: [{ name: "v", mountPath: "/v" }] }], ...spec });
const mount = async (pod: Pod): Promise<string> => (await subject.mount(pod)).get("v")!.hostPath;
const mode = (path: string): string => (statSync(path).mode & 0o7777).toString(8);
const content = (path: string): Record<string, string> =>
  Object.fromEntries(readdirSync(path).filter((n) => !n.startsWith("..")).sort().map((n) => [n, statSync(join(path, n)).isDirectory() ? "dir" : readFileSync(join(path, n), "utf8")]));

describe("a volume", () => {
  it("is not made when no container mounts it", async () => {
    expect((await subject.mount(testPod("p", { volumes: [{ name: "v", emptyDir: {} }] }))).size).toBe(0);
  });

  it("of kind emptyDir is a folder that everybody may write to, or a tmpfs of the given size", async () => {
    const path = await mount(podWith({ emptyDir: {} }));
    expect(path).toBe(join(root, "kubelet/pods/uid-p/volumes/kubernetes.io~empty-dir/v"));
    expect(mode(path)).toBe("777");
    await mount(podWith({ emptyDir: { medium: "Memory", sizeLimit: "1Mi" } }));
    expect(mounted).toEqual(["v size=1048576"]);
  });

  it("of kind image shows, read-only, what its reference first led to", async () => {
    resolved = { ok: false, reason: "ErrImagePull", message: "no route", retryAt: 0 };
    await expect(mount(podWith({ image: { reference: "data:1" } }))).rejects.toThrow('MountVolume.SetUp failed for volume "v" : ErrImagePull: no route');
    for (const id of ["sha256:one", "sha256:two"]) {
      resolved = { ok: true, image: { id, repoTags: [], repoDigests: [], size: 1 } };
      const volume = (await subject.mount(podWith({ image: { reference: "data:1" } }))).get("v");
      expect(volume).toMatchObject({ readOnly: true, managed: true, imageId: "sha256:one" });
    }
    expect(shown).toEqual(["sha256:one kubernetes.io~image/v"]);
  });

  it("of kind configMap shows its keys, or the chosen items with their modes", async () => {
    kube.put(configMaps, { metadata: { name: "cm", namespace: "default" }, data: { a: "1", b: "2" }, binaryData: { c: "Mw==" } });
    const path = await mount(podWith({ configMap: { name: "cm" } }));
    expect(content(path)).toEqual({ a: "1", b: "2", c: "3" });
    expect(readlinkSync(join(path, "a"))).toBe("..data/a");
    await mount(podWith({ configMap: { name: "cm", defaultMode: 0o400, items: [{ key: "a", path: "x/y", mode: 0o604 }, { key: "b", path: "b" }] } }));
    expect(content(path)).toEqual({ b: "2", x: "dir" });
    expect([mode(join(path, "x/y")), mode(join(path, "b"))]).toEqual(["604", "400"]);
  });

  it("is refused with upstream's words when its source is missing, unless it is optional", async () => {
    await expect(mount(podWith({ configMap: { name: "no" } }))).rejects.toThrow('MountVolume.SetUp failed for volume "v" : configmap "no" not found');
    await expect(mount(podWith({ secret: { secretName: "no" } }))).rejects.toThrow('secret "no" not found');
    expect(content(await mount(podWith({ configMap: { name: "no", optional: true } })))).toEqual({});
    kube.put(configMaps, { metadata: { name: "cm", namespace: "default" }, data: {} });
    await expect(mount(podWith({ configMap: { name: "cm", items: [{ key: "k", path: "k" }] } }))).rejects.toThrow("references non-existent configmap key: k");
  });

  it("of kind secret lives in memory and is readable by the fsGroup", async () => {
    kube.put(secrets, { metadata: { name: "s", namespace: "default" }, data: { pw: Buffer.from("x").toString("base64") } });
    const path = await mount(podWith({ secret: { secretName: "s", defaultMode: 0o400 } }, { securityContext: { fsGroup: 1234 } }));
    expect(mounted).toEqual(["v"]);
    expect(mode(join(path, "pw"))).toBe("440");
    if (process.getuid?.() === 0) expect(statSync(join(path, "pw")).gid).toBe(1234);
  });

  it("of kind projected joins its sources, with a token that is asked for once", async () => {
    kube.put(serviceAccounts, { metadata: { name: "default", namespace: "default" } });
    kube.put(configMaps, { metadata: { name: "cm", namespace: "default" }, data: { a: "1" } });
    const sources = [
      { serviceAccountToken: { path: "token", expirationSeconds: 3600 } }, { configMap: { name: "cm", items: [{ key: "a", path: "ca" }] } },
      { downwardAPI: { items: [{ path: "ns", fieldRef: { fieldPath: "metadata.namespace" } }, { path: "cpu", resourceFieldRef: { containerName: "c", resource: "limits.cpu" } }] } },
    ];
    const pod = podWith({ projected: { sources } });
    const path = await mount(pod);
    expect(content(path)).toMatchObject({ ca: "1", ns: "default", cpu: "2", token: expect.stringMatching(/^token-/) });
    await mount(pod);
    expect(kube.writes.filter((w) => w.resource === "serviceaccounts/token")).toHaveLength(1);
    expect(subject.refreshAt("uid-p")! - Date.now()).toBeLessThanOrEqual(0.8 * 3600_000);
  });

  it("of kind persistentVolumeClaim leads to the path of its volume when it is bound", async () => {
    const claim = { metadata: { name: "data", namespace: "default", uid: "claim-1" }, spec: { volumeName: "pv" } };
    const pod = podWith({ persistentVolumeClaim: { claimName: "data" } });
    kube.put(persistentVolumeClaims, claim as never);
    await expect(mount(pod)).rejects.toThrow("PVC default/data is not bound");
    kube.put(persistentVolumeClaims, { ...claim, status: { phase: "Bound" } } as never);
    kube.put(persistentVolumes, { metadata: { name: "pv" }, spec: { hostPath: { path: join(root, "pv"), type: "DirectoryOrCreate" }, claimRef: { uid: "claim-1" } } } as never);
    expect(await mount(pod)).toBe(join(root, "pv"));
    expect(existsSync(join(root, "pv"))).toBe(true);
  });

  it("of volumeMode Block leads to a device, and to nothing else", async () => {
    const pod = podWith({ persistentVolumeClaim: { claimName: "raw" } });
    kube.put(persistentVolumeClaims, { metadata: { name: "raw", namespace: "default", uid: "claim-2" }, spec: { volumeName: "dev" }, status: { phase: "Bound" } } as never);
    const device = (path: string) =>
      kube.put(persistentVolumes, { metadata: { name: "dev" }, spec: { volumeMode: "Block", local: { path }, claimRef: { uid: "claim-2" } } } as never);
    writeFileSync(join(root, "file"), "");
    device(join(root, "file"));
    await expect(mount(pod)).rejects.toThrow(`hostPath type check failed: ${join(root, "file")} is not a block device`);
  });

  it("goes away with its pod", async () => {
    const path = await mount(podWith({ emptyDir: {} }));
    await subject.unmount("uid-p");
    expect(existsSync(path)).toBe(false);
    await subject.remove("uid-p");
    expect(await subject.uids()).toEqual([]);
  });
});

describe("the atomic writer", () => {
  const payload = (files: Record<string, string>): Map<string, { data: Buffer; mode: number }> =>
    new Map(Object.entries(files).map(([name, text]) => [name, { data: Buffer.from(text), mode: 0o644 }]));

  it("swaps the whole set at once and removes what is gone", async () => {
    expect(await writeAtomically(root, payload({ a: "1", "d/x": "2" }))).toBe(true);
    const first = readlinkSync(join(root, "..data"));
    expect(await writeAtomically(root, payload({ a: "1", "d/x": "2" }))).toBe(false);
    expect(await writeAtomically(root, payload({ a: "3" }))).toBe(true);
    expect(readlinkSync(join(root, "..data"))).not.toBe(first);
    expect(readdirSync(root).filter((n) => !n.startsWith(".."))).toEqual(["a"]);
    expect(existsSync(join(root, first))).toBe(false);
  });

  it.each(["../x", "/x", "a/../b", "..x", ""])("refuses the path %j", async (path) => {
    await expect(writeAtomically(root, payload({ [path]: "" }))).rejects.toThrow("invalid path");
  });
});

describe("hostPath types", () => {
  it("make what is missing, and refuse what is something else", async () => {
    await checkHostPath(join(root, "d/e"), "DirectoryOrCreate");
    await checkHostPath(join(root, "f/g"), "FileOrCreate");
    expect([lstatSync(join(root, "d/e")).isDirectory(), lstatSync(join(root, "f/g")).isFile()]).toEqual([true, true]);
    await expect(checkHostPath(join(root, "f/g"), "Directory")).rejects.toThrow("hostPath type check failed");
    await expect(checkHostPath(join(root, "none"), "File")).rejects.toThrow("is not a file");
    await checkHostPath(join(root, "none"), "");
  });
});

describe("a subPath", () => {
  const bound: [string, string][] = [];
  const mounts = { ...noMounts, bind: async (source: string, target: string) => void bound.push([readlinkSync(source), target]) };
  const prepare = (subPath: string, create = true): Promise<string> => {
    mkdirSync(join(root, "vol"), { recursive: true });
    return prepareSubPath({ volume: join(root, "vol"), subPath, target: join(root, "target", String(bound.length)), create }, mounts);
  };

  it("is made with the volume's mode and mounted by its opened file", async () => {
    mkdirSync(join(root, "vol"));
    chmodSync(join(root, "vol"), 0o777);
    await prepare("a/b");
    expect(bound.at(-1)![0]).toBe(join(root, "vol/a/b"));
    expect(mode(join(root, "vol/a/b"))).toBe("777");
  });

  it("may be a file", async () => {
    mkdirSync(join(root, "vol"));
    writeFileSync(join(root, "vol/f"), "");
    expect(lstatSync(await prepare("f")).isFile()).toBe(true);
  });

  it.each(["../x", "/etc", "a/../../b"])("never leads out of the volume by %j", async (path) => {
    await expect(prepare(path)).rejects.toThrow(/must not/);
  });

  it("never leads out of the volume through a symlink", async () => {
    mkdirSync(join(root, "vol"));
    symlinkSync("/etc", join(root, "vol/out"));
    await expect(prepare("out", false)).rejects.toThrow("not within volume path");
    await expect(prepare("out/new")).rejects.toThrow("not within volume path");
  });
});

it("finds every object that a pod names", () => {
  const pod = testPod("p", {
    volumes: [{ name: "a", configMap: { name: "c1" } }, { name: "b", projected: { sources: [{ secret: { name: "s1" } }] } }, { name: "e", ephemeral: {} }],
    containers: [{ name: "c", envFrom: [{ secretRef: { name: "s2" } }], env: [{ name: "X", valueFrom: { configMapKeyRef: { name: "c1", key: "k" } } }] }],
    imagePullSecrets: [{ name: "pull" }],
  });
  expect(referencesOf(pod).sort()).toEqual(["configmap/default/c1", "secret/default/pull", "secret/default/s1", "secret/default/s2"]);
});
