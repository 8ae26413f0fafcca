/** Secrets at rest on a real server: what lies in the file, `k3s-p secrets-encrypt` with K3s's output, and a key that is gone. */
import { mkdtempSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { freePort } from "@k3s-p/plugin-api/testing";
import { apiArguments, k3sp, startApiProcess, type ApiProcess } from "../kit/api-process.ts";

const dir = mkdtempSync(join(tmpdir(), "k3sp-encrypt-"));
const cred = (name: string) => join(dir, "server/cred", name);
const secrets = "/api/v1/namespaces/default/secrets";
let port: number;
let server: ApiProcess;
const start = async (...args: readonly string[]) => (server = await startApiProcess({ dir, port, args }));
const command = (...args: readonly string[]) => k3sp(["secrets-encrypt", ...args, "--kubeconfig", join(dir, "k3s.yaml")]);
const create = (name: string) => server.request("POST", secrets, { metadata: { name }, stringData: { password: `hunter2-${name}` } });
const passwordOf = async (name: string) => atob((await server.request("GET", `${secrets}/${name}`)).body.data.password);
/** Everything that the database has on the disk, its write-ahead log as well. */
const onDisk = () => readdirSync(join(dir, "server/db")).map((name) => readFileSync(join(dir, "server/db", name), "latin1")).join();
const activeKey = () => JSON.parse(readFileSync(cred("encryption-config.json"), "utf8")).resources[0].providers[0];

beforeAll(async () => {
  port = await freePort();
  await start();
  await create("before");
});
afterAll(async () => {
  await server.stop("SIGKILL");
  rmSync(dir, { recursive: true });
});

test("without it Secrets are plain, and status says so", async () => {
  expect(onDisk()).toContain(btoa("hunter2-before"));
  expect(await command("status")).toMatchObject({ code: 0, stdout: "Encryption Status: Disabled, no configuration file found\n" });
  expect(await command("rotate-keys")).toMatchObject({ code: 1, stderr: expect.stringContaining("secrets encryption has no configuration") });
  await server.stop();
});

test("--secrets-encryption makes K3s's file for root alone, and seals what is written from then on", async () => {
  await start("--secrets-encryption");
  expect(statSync(cred("encryption-config.json")).mode & 0o777).toBe(0o600);
  expect(readFileSync(cred("encryption-state.json"), "utf8")).toMatch(/^start-[0-9a-f]{64}$/);
  await create("after");
  expect(onDisk()).toContain("k8s:enc:aescbc:v1:aescbckey:");
  expect(onDisk()).not.toContain(btoa("hunter2-after"));
  expect((await command("status")).stdout).toBe([
    "Encryption Status: Enabled", "Current Rotation Stage: start", "Server Encryption Hashes: All hashes match", "",
    "Active  Key Type  Name", "------  --------  ----", " *      AES-CBC   aescbckey", "",
  ].join("\n"));
});

test("a rotation writes every Secret anew, and leaves neither plain text nor the old key", async () => {
  const old = activeKey().aescbc.keys[0].secret;
  expect(await command("rotate-keys")).toMatchObject({ code: 0, stdout: "keys rotated, reencryption started\n" });
  const disk = onDisk();
  for (const gone of [btoa("hunter2-before"), btoa("hunter2-after"), "k8s:enc:aescbc:v1:aescbckey:"]) expect(disk).not.toContain(gone);
  expect(readFileSync(cred("encryption-config.json"), "utf8")).not.toContain(old);
  expect([await passwordOf("before"), await passwordOf("after")]).toEqual(["hunter2-before", "hunter2-after"]);
  const status = JSON.parse((await command("status", "-o", "json")).stdout);
  expect(status).toMatchObject({ stage: "reencrypt_finished", enable: true, hashmatch: true, inactivekeys: [] });
  await server.stop("SIGKILL");
  await start("--secrets-encryption", "--secrets-encryption-provider", "secretbox");
  expect(await passwordOf("before")).toBe("hunter2-before");
});

test("prepare, rotate and reencrypt take the place of rotate-keys, here to another provider", async () => {
  expect(await command("rotate")).toMatchObject({ code: 1, stderr: expect.stringContaining("K3SP_ENCRYPTION_REFUSED  incorrect stage: reencrypt_finished; expected prepare") });
  expect((await command("prepare")).stdout).toBe("prepare completed successfully\n");
  expect((await command("rotate")).stdout).toBe("rotate completed successfully\n");
  expect((await command("reencrypt")).stdout).toBe("reencryption started\n");
  expect(Object.keys(activeKey())).toEqual(["secretbox"]);
  expect(onDisk()).not.toContain("k8s:enc:aescbc:");
  expect(await passwordOf("after")).toBe("hunter2-after");
});

test("nobody but an administrator asks for it", async () => {
  const account = "/api/v1/namespaces/default/serviceaccounts";
  await server.request("POST", account, { metadata: { name: "curious" } });
  const review = await server.request("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", {
    spec: { user: "system:serviceaccount:default:curious", groups: ["system:authenticated"], nonResourceAttributes: { path: "/v1-k3s/encrypt/config", verb: "put" } },
  });
  expect(review.body.status.allowed).toBe(false);
});

test("without its key the server does not start, and says what is missing", async () => {
  await server.stop();
  const config = readFileSync(cred("encryption-config.json"));
  rmSync(cred("encryption-config.json"));
  const { code, stderr } = await k3sp(apiArguments({ dir, port }));
  expect([code, stderr]).toEqual([1, expect.stringMatching(/K3SP_ENCRYPTION_KEY {2}.*\/registry\/core\/secrets\/default\/\w+ cannot be decrypted: no key secretbox "secretboxkey-.*" is configured for it/)]);
  expect(stderr).toContain("encryption-config.json that holds the key");
  writeFileSync(cred("encryption-config.json"), config, { mode: 0o600 });
  await start();
  expect(await passwordOf("before")).toBe("hunter2-before");
});

test("disable and a forced reencryption make all plain again", async () => {
  expect((await command("disable")).stdout).toBe("secrets-encryption disabled\n");
  expect((await command("reencrypt", "--force", "--skip")).code).toBe(0);
  expect((await command("status")).stdout).toMatch(/^Encryption Status: Disabled\nCurrent Rotation Stage: reencrypt_finished\n/);
  expect(onDisk()).toContain(btoa("hunter2-before"));
  expect(onDisk()).not.toContain("k8s:enc:");
  await server.stop();
  rmSync(cred("encryption-config.json"));
  await start();
  expect(await passwordOf("after")).toBe("hunter2-after");
});
