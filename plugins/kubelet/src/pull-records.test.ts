import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { secrets as secretResource, type Pod } from "@k3s-p/plugin-api/kube";
import { pullRecords, type VerificationPolicy } from "./pull-records.ts";
import type { SecretSource } from "./pull-secrets.ts";
import { harness, testPod } from "./testing/harness.ts";

let folder: string;
let time = 0;
beforeEach(() => void (folder = mkdtempSync(join(tmpdir(), "records-"))));
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const records = (policy: VerificationPolicy = "NeverVerifyPreloadedImages", allowlist: string[] = []) =>
  pullRecords(folder, { imagePullCredentialsVerificationPolicy: policy, preloadedImagesVerificationAllowlist: allowlist }, () => time);
const secret = (name: string, credentialHash = `hash-${name}`): SecretSource => ({ uid: `uid-${name}`, namespace: "ns", name, credentialHash });
const APP = "reg.example/team/app:1";
const use = (r: ReturnType<typeof records>, own: SecretSource[] = [], image = APP, id = "sha256:app") => r.mayUse(image, id, async () => own);

describe("an image that was pulled with a secret", () => {
  beforeEach(async () => {
    const r = records();
    await r.begin(APP);
    await r.pulled(APP, "sha256:app", [secret("a")]);
  });

  it("is for pods with the secret, also by its new contents, or with the same credentials", async () => {
    expect(await use(records())).toBe(false);
    expect(await use(records(), [secret("b")])).toBe(false);
    expect(await use(records(), [secret("a")])).toBe(true);
    expect(await use(records(), [secret("a", "rotated")])).toBe(true);
    expect(await use(records(), [secret("copy", "rotated")])).toBe(true);
  });

  it("is not for them under another repository's name", async () => {
    expect(await use(records(), [secret("a")], "reg.example/other/app:1")).toBe(false);
    expect(await use(records(), [secret("a")], "reg.example/team/app:2")).toBe(true);
  });

  it("is for all once somebody had it without credentials, and stays so", async () => {
    await records().pulled(APP, "sha256:app", []);
    expect(await use(records())).toBe(true);
    await records().pulled(APP, "sha256:app", [secret("b")]);
    expect(await use(records())).toBe(true);
  });

  it("is recorded as upstream records it, and nothing of a pull that ended is left", () => {
    const [name] = readdirSync(join(folder, "pulled"));
    expect(name).toMatch(/^sha256-[0-9a-f]{64}$/);
    expect(JSON.parse(readFileSync(join(folder, "pulled", name!), "utf8"))).toEqual({
      kind: "ImagePulledRecord", apiVersion: "kubelet.config.k8s.io/v1beta1", lastUpdatedTime: "1970-01-01T00:00:00.000Z", imageRef: "sha256:app",
      credentialMapping: { "reg.example/team/app": { kubernetesSecrets: [secret("a")] } },
    });
    expect(readdirSync(join(folder, "pulling"))).toEqual([]);
  });

  it("is forgotten with the image, unless it came back after the list was made", async () => {
    time = 1000;
    await records().prune(new Set(["sha256:app"]), 1000);
    await records().prune(new Set(), 0);
    expect(readdirSync(join(folder, "pulled"))).toHaveLength(1);
    await records().prune(new Set(), 1000);
    expect(readdirSync(join(folder, "pulled"))).toEqual([]);
    time = 0;
  });

  it("is for nobody without asking when its record cannot be read", async () => {
    const file = join(folder, "pulled", readdirSync(join(folder, "pulled"))[0]!);
    writeFileSync(file, '{"kind":');
    expect(await use(records(), [secret("a")])).toBe(false);
  });
});

it("asks the registry for an image whose pull was cut off", async () => {
  await records().begin(APP);
  expect(readdirSync(join(folder, "pulling"))).toHaveLength(1);
  expect(await use(records())).toBe(false);
  expect(await use(records(), [], "reg.example/other:1", "sha256:other")).toBe(true);
});

it("keeps the mark of a pull until the last of several has ended", async () => {
  const r = records();
  await Promise.all([r.begin(APP), r.begin(APP)]);
  await r.failed(APP);
  expect(readdirSync(join(folder, "pulling"))).toHaveLength(1);
  await r.failed(APP);
  expect(readdirSync(join(folder, "pulling"))).toEqual([]);
});

it.each<[VerificationPolicy, string[], boolean]>([
  ["NeverVerifyPreloadedImages", [], true], ["NeverVerify", [], true], ["AlwaysVerify", [], false], ["NeverVerifyAllowlistedImages", [], false],
  ["NeverVerifyAllowlistedImages", ["reg.example/team/app"], true], ["NeverVerifyAllowlistedImages", ["reg.example/team/*"], true], ["NeverVerifyAllowlistedImages", ["reg.example/te/*"], false],
])("under %s %j a preloaded image is free: %s", async (policy, allowlist, free) => expect(await use(records(policy, allowlist))).toBe(free));

it("does not give a pod an image that another one's secret brought", async () => {
  const h = harness(folder);
  const image = "reg.example/private:1";
  const auths = { "reg.example": { username: "u", password: "right" } };
  const data = { ".dockerconfigjson": Buffer.from(JSON.stringify({ auths })).toString("base64") };
  h.kube.put(secretResource, { metadata: { name: "pull", namespace: "default", uid: "s" }, type: "kubernetes.io/dockerconfigjson", data } as never);
  const { pullImage } = h.runtime;
  h.runtime.pullImage = async (name, auth) => {
    if (name === image && auth?.password !== "right") throw new Error("401 Unauthorized");
    return pullImage(name, auth);
  };
  const pod = (name: string, more: object = {}, policy = "IfNotPresent"): Pod => testPod(name, { containers: [{ name: "c", image, imagePullPolicy: policy }], ...more });
  const reason = (name: string) => h.api(name)?.status?.containerStatuses?.[0]?.state?.waiting?.reason;
  h.run(pod("owner", { imagePullSecrets: [{ name: "pull" }] }));
  await h.until(() => h.api("owner")?.status?.phase === "Running");
  h.run(pod("stranger"));
  h.run(pod("never", {}, "Never"));
  await h.until(() => reason("stranger") === "ErrImagePull" && reason("never") === "ErrImageNeverPull");
  h.run(pod("friend", { imagePullSecrets: [{ name: "pull" }] }, "Never"));
  await h.until(() => h.api("friend")?.status?.phase === "Running");
  expect(h.events()).toContain(`Pulled Container image "${image}" already present on machine and can be accessed by the pod`);
  expect(h.events()).toContain(`ErrImageNeverPull Container image "${image}" is not present with pull policy of Never`);
  expect(existsSync(join(h.paths.kubelet, "image_manager/pulled"))).toBe(true);
  h.stop();
});

it("keeps records that it cannot read", async () => {
  mkdirSync(join(folder, "pulled"), { recursive: true });
  writeFileSync(join(folder, "pulled", "torn"), "{");
  await records().prune(new Set(), 1);
  expect(readdirSync(join(folder, "pulled"))).toEqual(["torn"]);
});
