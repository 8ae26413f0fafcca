import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { configMaps, secrets } from "@k3s-p/plugin-api/kube";
import type { Datastore } from "@k3s-p/plugin-api/slots";
import { memoryDatastore } from "@k3s-p/plugin-api/testing-datastore";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { startTestServer } from "../server/testing.ts";
import { algorithms, cipherOf, type ProviderName } from "./ciphers.ts";
import { checkConfiguration, rulesOf } from "./config.ts";
import { filesIn, secretsEncryption } from "./index.ts";
import { createSealer } from "./sealer.ts";

const secretOf = (fill: number, size = 32): string => Buffer.alloc(size, fill).toString("base64");
const providers = Object.keys(algorithms) as ProviderName[];
const config = (provider: string, keys: readonly object[], resources = ["secrets"]): any => ({
  apiVersion: "apiserver.config.k8s.io/v1", kind: "EncryptionConfiguration",
  resources: [{ resources, providers: [{ [provider]: { keys } }, { identity: {} }] }],
});
const key = (name: string, fill: number) => ({ name, secret: secretOf(fill) });
const SECRETS = { group: "", plural: "secrets" };
const raw = Buffer.from('{"kind":"Secret","data":{"a":"c2VjcmV0"}}');

describe.each(providers)("%s", (provider) => {
  test("stores under upstream's prefix, and opens what it has stored", () => {
    const cipher = cipherOf(provider, "key1", Buffer.alloc(32, 1));
    expect(cipher.prefix.toString()).toBe(`k8s:enc:${provider}:v1:key1:`);
    const sealed = cipher.seal(raw, "/k");
    expect(sealed.includes("Secret")).toBe(false);
    expect(cipher.seal(raw, "/k").equals(sealed)).toBe(false);
    expect(cipher.open(sealed, "/k").equals(raw)).toBe(true);
  });

  test("opens nothing that was sealed with another secret, or that was cut short", () => {
    const sealer = createSealer();
    sealer.use(rulesOf(config(provider, [key("key1", 1)])));
    const sealed = sealer.seal(SECRETS, "/k", raw);
    expect(() => sealer.open(SECRETS, "/k", sealed.subarray(0, -1))).toThrow("/k cannot be decrypted");
    sealer.use(rulesOf(config(provider, [key("key1", 2)])));
    expect(() => sealer.open(SECRETS, "/k", sealed)).toThrow(`/k cannot be decrypted: the configured key ${provider} "key1" does not open it`);
    sealer.use(rulesOf(config(provider, [key("key2", 1)])));
    expect(() => sealer.open(SECRETS, "/k", sealed)).toThrow(`/k cannot be decrypted: no key ${provider} "key1" is configured for it`);
  });
});

test("secretbox opens the test vector of NaCl", () => {
  const hex = (text: string): Buffer => Buffer.from(text, "hex");
  const nonce = hex("69696ee955b62b73cd62bda875fc73d68219e0036b7a0b37");
  const box = hex("f3ffc7703f9400e52a7dfb4b3d3305d98e993b9f48681273c29650ba32fc76ce48332ea7164d96a4476fb8c531a1186ac0dfc17c98dce87b4da7f011ec48c97271d2c20f9b928fe2270d6fb863d51738b48eeee314a7cc8ab932164548e526ae90224368517acfeabd6bb3732bc0e9da99832b61ca01b6de56244a9e88d5f9b37973f622a43d14a6599b1f654cb45a74e355a5");
  const text = "be075fc53c81f2d5cf141316ebeb0c7b5228c52a4c62cbd44b66849b64244ffce5ecbaaf33bd751a1ac728d45e6c61296cdc3c01233561f41db66cce314adb310e3be8250c46f06dceea3a7fa1348057e2f6556ad6b1318a024a838f21af1fde048977eb48f59ffd4924ca1c60902e52f0a089bc76897040e082f937763848645e0705";
  const cipher = cipherOf("secretbox", "k", hex("1b27556473e985d462cd51197a9a46c76009549eac6474f206c4ee0844f68389"));
  expect(cipher.open(Buffer.concat([nonce, box]), "/k").toString("hex")).toBe(text);
});

test("a value sealed with AES-GCM cannot be moved to another key", () => {
  const cipher = cipherOf("aesgcm", "key1", Buffer.alloc(32, 1));
  expect(() => cipher.open(cipher.seal(raw, "/a"), "/b")).toThrow();
});

describe("a sealer", () => {
  test("without rules hands the very same bytes through", () => {
    const sealer = createSealer();
    expect(sealer.seal(SECRETS, "/k", raw)).toBe(raw);
    expect(sealer.open(SECRETS, "/k", raw)).toBe(raw);
  });

  test.each<[readonly string[], readonly string[]]>([
    [["secrets"], ["secrets"]],
    [["secrets", "configmaps"], ["secrets", "configmaps"]],
    [["deployments.apps"], ["deployments.apps"]],
    [["*.apps"], ["deployments.apps", "daemonsets.apps"]],
    [["*."], ["secrets", "configmaps"]],
    [["*.*"], ["secrets", "configmaps", "deployments.apps", "daemonsets.apps"]],
  ])("for %j seals %j", (resources, sealed) => {
    const sealer = createSealer();
    sealer.use(rulesOf(config("aesgcm", [key("k", 1)], [...resources])));
    const all = ["secrets", "configmaps", "deployments.apps", "daemonsets.apps"];
    const isSealed = (name: string) => sealer.seal({ plural: name.split(".")[0]!, group: name.split(".")[1] ?? "" }, "/k", raw) !== raw;
    expect(all.filter(isSealed)).toEqual(sealed);
  });

  test("seals with the first key and opens with all; with identity first it only opens", () => {
    const sealer = createSealer();
    sealer.use(rulesOf(config("aescbc", [key("old", 1)])));
    const old = sealer.seal(SECRETS, "/k", raw);
    const both = config("aescbc", [key("new", 2), key("old", 1)]);
    sealer.use(rulesOf(both));
    expect(sealer.seal(SECRETS, "/k", raw).toString("latin1")).toMatch(/^k8s:enc:aescbc:v1:new:/);
    expect(Buffer.from(sealer.open(SECRETS, "/k", old)).equals(raw)).toBe(true);
    both.resources[0].providers.reverse();
    sealer.use(rulesOf(both));
    expect(sealer.seal(SECRETS, "/k", raw)).toBe(raw);
    expect(Buffer.from(sealer.open(SECRETS, "/k", old)).equals(raw)).toBe(true);
  });
});

test.each<[string, unknown, readonly string[]]>([
  ["another kind", { kind: "Secret" }, ["apiVersion apiserver.config.k8s.io/v1 and kind EncryptionConfiguration are expected"]],
  ["no resources", { ...config("aescbc", []), resources: [] }, ["resources: Required value: at least one resource is required"]],
  ["no keys", config("aescbc", []), ["resources[0].providers[0].aescbc.keys: Required value: at least one key is required"]],
  ["a short secret", config("aesgcm", [{ name: "a", secret: secretOf(1, 5) }]), ['resources[0].providers[0].aesgcm.keys[0].secret: Invalid value: "REDACTED": secret is not of the expected length, got 5, expected one of [16 24 32]']],
  ["no base64", config("secretbox", [{ name: "a", secret: "%%%" }]), ['resources[0].providers[0].secretbox.keys[0].secret: Invalid value: "REDACTED": secret must be base64 encoded']],
  ["two faults", config("aescbc", [key("a", 1), key("a", 2), { secret: secretOf(1) }]), ['resources[0].providers[0].aescbc.keys[1].name: Invalid value: "a": key name is used twice', "resources[0].providers[0].aescbc.keys[2].name: Required value: key name must be provided"]],
  ["kms", config("kms", []), ["resources[0].providers[0].kms: Forbidden: key management services are not supported; use aescbc, aesgcm, secretbox"]],
  ["an unknown provider", config("rot13", []), ['resources[0].providers[0]: Invalid value: unknown provider "rot13"; use aescbc, aesgcm, secretbox or identity']],
  ["two in one", { ...config("aescbc", []), resources: [{ resources: ["secrets"], providers: [{ identity: {}, aescbc: {} }] }] }, ["resources[0].providers[0]: Invalid value: more than one provider specified in a single element, should split into different list elements"]],
])("a configuration with %s is refused, with the fields named", (_, value, detail) => {
  expect(() => checkConfiguration("/f", value)).toThrow(expect.objectContaining({ code: "K3SP_CONFIG_INVALID", message: "/f is not a valid EncryptionConfiguration", detail }));
});

describe("a server", () => {
  let folder: string;
  beforeEach(() => void (folder = mkdtempSync(join(tmpdir(), "k3sp-cred-"))));
  afterEach(() => rmSync(folder, { recursive: true }));

  async function started(datastore: Datastore, options: { isWanted?: boolean; provider?: string; file?: string } = {}) {
    const sealer = createSealer();
    const { isWanted = false, ...rest } = options;
    const encryption = secretsEncryption({ files: filesIn(folder), sealer, isWanted, ...rest });
    await encryption.start();
    const api = await startTestServer({ datastore, sealer, bootstrap: false });
    const manager = await encryption.open();
    const change = (request: object) => manager.change(request, () => api.engine.store.reseal(SECRETS));
    return { api, change, state: manager.state, [Symbol.asyncDispose]: () => api.close() };
  }

  const secret = (name: string) => ({ metadata: { name, namespace: "kube-system" }, stringData: { password: `plain-${name}` } });
  const stored = async (datastore: Datastore) => new Map((await datastore.range("/registry/core/secrets/")).rows.map((row) => [row.key.split("/").at(-1)!, Buffer.from(row.value).toString("latin1")]));
  const passwordOf = async ({ api }: Awaited<ReturnType<typeof started>>, name: string) => atob((await api.kube.get(secrets, name, "kube-system")).data!.password!);

  test.each(providers)("keeps Secrets sealed with %s and everything else plain, also for the next server", async (provider) => {
    const datastore = memoryDatastore();
    {
      await using server = await started(datastore, { isWanted: true, provider });
      await server.api.http("POST", "/api/v1/namespaces", { metadata: { name: "kube-system" } });
      await server.api.kube.create(secrets, secret("a"));
      await server.api.kube.create(configMaps, { metadata: { name: "open", namespace: "kube-system" }, data: { text: "plain" } });
      expect(await passwordOf(server, "a")).toBe("plain-a");
      expect((await stored(datastore)).get("a")).toMatch(new RegExp(`^k8s:enc:${provider}:v1:${provider}key:`));
      expect(Buffer.from((await datastore.range("/registry/core/configmaps/")).rows[0]!.value).toString()).toMatch(/^{"apiVersion"/);
      expect(statSync(filesIn(folder).config).mode & 0o777).toBe(0o600);
    }
    await using again = await started(datastore);
    expect(await passwordOf(again, "a")).toBe("plain-a");
    await again.api.kube.patch(secrets, "a", { stringData: { password: "changed" } }, { namespace: "kube-system" });
    expect([await passwordOf(again, "a"), (await stored(datastore)).get("a")]).toEqual(["changed", expect.stringMatching(/^k8s:enc:/)]);
  });

  test("enables, rotates and disables while it runs; every Secret is written anew, and old keys go", async () => {
    const datastore = memoryDatastore();
    await using server = await started(datastore);
    await server.api.http("POST", "/api/v1/namespaces", { metadata: { name: "kube-system" } });
    for (let i = 0; i < 40; i++) await server.api.kube.create(secrets, secret(`s${i}`));
    const prefixes = async () => [...new Set([...(await stored(datastore)).values()].map((text) => /^(k8s:enc:[a-z]+:v1:|\{)/.exec(text)?.[1]))];
    const keys = () => JSON.parse(readFileSync(filesIn(folder).config, "utf8")).resources[0].providers.flatMap((p: any) => Object.values<any>(p)[0].keys ?? []).map((k: any) => k.name);
    expect(await server.state()).toEqual({ stage: "start", activekey: "", hashmatch: true, inactivekeys: [] });

    expect(await server.change({ enable: true })).toEqual({ stage: "start", activekey: "AES-CBC aescbckey", enable: true, hashmatch: true, inactivekeys: [] });
    expect(await prefixes()).toEqual(["{"]);
    expect(await server.change({ stage: "reencrypt_active", force: true })).toMatchObject({ stage: "reencrypt_finished" });
    expect(await prefixes()).toEqual(["k8s:enc:aescbc:v1:"]);
    expect(datastore.compactedRevision()).toBe(datastore.revision());

    const rotated = await server.change({ stage: "rotate_keys" });
    expect(rotated).toMatchObject({ stage: "reencrypt_finished", enable: true, inactivekeys: [], activekey: expect.stringMatching(/^AES-CBC aescbckey-\d{4}-/) });
    expect(keys()).toEqual([rotated.activekey.slice("AES-CBC ".length)]);
    expect([...(await stored(datastore)).values()].filter((text) => !text.startsWith(`k8s:enc:aescbc:v1:${keys()[0]}:`))).toEqual([]);
    expect(readFileSync(filesIn(folder).state, "utf8")).toMatch(/^reencrypt_finished-[0-9a-f]{64}$/);

    await server.change({ enable: false });
    await server.change({ stage: "reencrypt_active", force: true, skip: true });
    expect(await prefixes()).toEqual(["{"]);
    expect(keys()).toHaveLength(1);
    expect(await passwordOf(server, "s39")).toBe("plain-s39");
  });

  test("goes through K3s's three steps in their order alone", async () => {
    const datastore = memoryDatastore();
    await using server = await started(datastore, { isWanted: true });
    const refused = (request: object) => server.change(request).then(() => "done", (error: Error) => error.message);
    expect(await refused({ stage: "rotate" })).toBe("incorrect stage: start; expected prepare");
    expect(await refused({ stage: "reencrypt_active" })).toBe("incorrect stage: start; expected rotate");
    expect(await server.change({ stage: "prepare" })).toMatchObject({ stage: "prepare", activekey: "AES-CBC aescbckey", inactivekeys: [expect.stringContaining("aescbckey-")] });
    expect(await refused({ stage: "prepare" })).toBe("incorrect stage: prepare; expected start or reencrypt_finished");
    expect(await server.change({ stage: "rotate" })).toMatchObject({ stage: "rotate", inactivekeys: ["AES-CBC aescbckey"] });
    expect(await server.change({ stage: "reencrypt_active" })).toMatchObject({ stage: "reencrypt_finished", inactivekeys: [] });
    expect(await refused({ stage: "nonsense" })).toContain("unknown stage");
  });

  test("misses no Secret that is written while the keys rotate", async () => {
    const datastore = memoryDatastore();
    await using server = await started(datastore, { isWanted: true });
    await server.api.http("POST", "/api/v1/namespaces", { metadata: { name: "kube-system" } });
    for (let i = 0; i < 20; i++) await server.api.kube.create(secrets, secret(`s${i}`));
    const writing = Promise.all(Array.from({ length: 200 }, async (_, i) => {
      await server.api.kube.patch(secrets, `s${i % 20}`, { metadata: { labels: { n: `v${i}` } } }, { namespace: "kube-system" });
      if (i % 10 === 0) await server.api.kube.create(secrets, secret(`late${i}`));
    }));
    await server.change({ stage: "rotate_keys" });
    await writing;
    const name = (await server.state()).activekey.slice("AES-CBC ".length);
    const all = await stored(datastore);
    expect(all.size).toBe(40);
    expect([...all.values()].filter((text) => !text.startsWith(`k8s:enc:aescbc:v1:${name}:`))).toEqual([]);
  });

  test("refuses to start without the key, and names the object and the key", async () => {
    const datastore = memoryDatastore();
    {
      await using server = await started(datastore, { isWanted: true });
      await server.api.http("POST", "/api/v1/namespaces", { metadata: { name: "kube-system" } });
      await server.api.kube.create(secrets, secret("a"));
    }
    rmSync(filesIn(folder).config);
    await expect(started(datastore)).rejects.toMatchObject({
      code: "K3SP_ENCRYPTION_KEY", message: '/registry/core/secrets/kube-system/a cannot be decrypted: no key aescbc "aescbckey" is configured for it',
    });
    await expect(started(datastore, { isWanted: true })).rejects.toMatchObject({ code: "K3SP_ENCRYPTION_KEY", message: expect.stringContaining("does not open it") });
  });

  test("an update that changes nothing seals a Secret that is not sealed as it should be, and only that", async () => {
    const datastore = memoryDatastore();
    {
      await using plain = await started(datastore);
      await plain.api.http("POST", "/api/v1/namespaces", { metadata: { name: "kube-system" } });
      await plain.api.kube.create(secrets, secret("a"));
    }
    await using server = await started(datastore, { isWanted: true });
    const replace = async () => {
      const before = await server.api.kube.get(secrets, "a", "kube-system");
      const after = await server.api.kube.update(secrets, before);
      return after.metadata.resourceVersion !== before.metadata.resourceVersion;
    };
    expect((await stored(datastore)).get("a")).toMatch(/^\{/);
    expect(await replace()).toBe(true);
    expect((await stored(datastore)).get("a")).toMatch(/^k8s:enc:/);
    expect(await replace()).toBe(false);
  });

  test("with a configuration of the administrator's own seals what that names, and leaves it alone", async () => {
    const file = join(folder, "own.yaml");
    writeFileSync(file, JSON.stringify(config("aesgcm", [key("own", 1)], ["configmaps"])));
    const datastore = memoryDatastore();
    await using server = await started(datastore, { file });
    await server.api.http("POST", "/api/v1/namespaces", { metadata: { name: "kube-system" } });
    await server.api.kube.create(configMaps, { metadata: { name: "sealed", namespace: "kube-system" }, data: { text: "plain" } });
    expect(Buffer.from((await datastore.range("/registry/core/configmaps/")).rows[0]!.value).toString("latin1")).toMatch(/^k8s:enc:aesgcm:v1:own:/);
    await expect(server.change({ enable: true })).rejects.toThrow("the administrator's own");
    await expect(started(datastore, { file: join(folder, "none") })).rejects.toMatchObject({ code: "K3SP_CONFIG_MISSING" });
  });
});
