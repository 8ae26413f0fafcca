import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import type { ContainerConfig, Image } from "@k3s-p/plugin-api/slots";
import { containerConfig } from "./container-config.ts";
import { mainContainers } from "./pod.ts";
import { noMounts, testNode, testPod } from "./testing/harness.ts";
import type { MountedVolume } from "./volumes/volumes.ts";

const config = (spec: object, volumes: Record<string, MountedVolume> = {}): Promise<ContainerConfig> => {
  const pod = testPod("p", { containers: [{ name: "c", image: "i", ...spec }] });
  const nobody = async (): Promise<undefined> => undefined;
  return containerConfig({ node: testNode(mkdtempSync(join(tmpdir(), "config-"))), mounts: noMounts }, {
    pod, ref: mainContainers(pod)[0]!, restartCount: 0, image: { id: "sha256:i" } as Image, memoryCapacity: 2 ** 30, volumes: new Map(Object.entries(volumes)),
    env: { configMap: nobody, secret: nobody, file: nobody, services: [], podIps: [], nodeName: "n", hostIps: [], allocatable: {} },
  });
};
const device: MountedVolume = { hostPath: "/dev/sdx", readOnly: false, managed: false, isDevice: true };
const folder: MountedVolume = { hostPath: "/data", readOnly: false, managed: false };

describe("a container's volumes", () => {
  it("are raw devices where it asks for them, read-only where the claim is", async () => {
    const volumeDevices = [{ name: "d", devicePath: "/dev/x" }, { name: "r", devicePath: "/dev/y" }];
    const { devices } = await config({ volumeDevices }, { d: device, r: { ...device, readOnly: true } });
    expect(devices).toEqual([
      { containerPath: "/dev/x", hostPath: "/dev/sdx", permissions: "mrw" }, { containerPath: "/dev/y", hostPath: "/dev/sdx", permissions: "r" },
    ]);
  });

  it.each([
    ["volume v has volumeMode Block, but is specified in volumeMounts", { volumeMounts: [{ name: "v", mountPath: "/v" }] }, device],
    ["volume v has volumeMode Filesystem, but is specified in volumeDevices", { volumeDevices: [{ name: "v", devicePath: "/v" }] }, folder],
    ["wants to be recursively read-only, which the runtime does not support", { volumeMounts: [{ name: "v", mountPath: "/v", readOnly: true, recursiveReadOnly: "Enabled" }] }, folder],
    ['cannot find volume "w" to mount into container "c"', { volumeMounts: [{ name: "w", mountPath: "/v" }] }, folder],
  ])("are refused when %s", async (message, spec, volume) => {
    await expect(config(spec, { v: volume })).rejects.toThrow(message);
  });
});

it("hands AppArmor profiles to the runtime as it names them", async () => {
  const profile = async (appArmorProfile: object | undefined) =>
    (await config({ ...(appArmorProfile && { securityContext: { appArmorProfile } }) })).linux!.securityContext!.apparmorProfile;
  expect(await profile({ type: "RuntimeDefault" })).toBe("runtime/default");
  expect(await profile({ type: "Localhost", localhostProfile: "mine" })).toBe("localhost/mine");
  expect(await profile(undefined)).toBeUndefined();
});

it("hands the stop signal on, and none where the pod has none", async () => {
  expect((await config({ lifecycle: { stopSignal: "SIGUSR1" } })).stopSignal).toBe("SIGUSR1");
  expect(await config({})).not.toHaveProperty("stopSignal");
});
