import { createHash } from "node:crypto";
import { mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { readArgs } from "../server/args.ts";
import { accessSettings, type AccessSettings } from "./settings.ts";

let folder: string;
let settings: AccessSettings;
const said: string[] = [];
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "k3sp-reload-"));
  said.length = 0;
});
afterEach(() => {
  settings.close();
  rmSync(folder, { recursive: true });
});

const soon = { timeout: 4000 };
const write = (name: string, content: object | string): string => {
  const path = join(folder, name);
  writeFileSync(path, typeof content === "string" ? content : JSON.stringify(content));
  return path;
};
const start = async (...args: string[]): Promise<void> => {
  const report = { server: "server-1", info: (line: string) => void said.push(line), error: (line: string) => void said.push(line) };
  settings = await accessSettings(readArgs(args), { audiences: ["api"], report, now: () => 1_700_000_000_000 });
};
const server = `apiserver_id_hash="sha256:${createHash("sha256").update("server-1").digest("hex")}"`;

const authentication = (...issuers: readonly string[]) => ({
  apiVersion: "apiserver.config.k8s.io/v1", kind: "AuthenticationConfiguration",
  jwt: issuers.map((issuer) => ({ issuer: { url: `https://${issuer}.example`, audiences: ["a"] }, claimMappings: { username: { claim: "sub", prefix: "" } } })),
});
const issuers = (): string[] => settings.tokens().map(({ name }) => name);

it("takes new issuers while it runs, counts it, and names the configuration that it uses", async () => {
  const path = write("authn.yaml", authentication("a"));
  await start(`authentication-config=${path}`);
  expect(issuers()).toEqual(["https://a.example"]);
  expect(settings.metrics()).not.toContain("reloads_total");
  write("next.yaml", authentication("b", "c"));
  renameSync(join(folder, "next.yaml"), path);
  await expect.poll(issuers, soon).toEqual(["https://b.example", "https://c.example"]);
  await expect.poll(() => said, soon).toEqual(["the authentication configuration was reloaded"]);
  const hash = createHash("sha256").update(JSON.stringify(authentication("b", "c"))).digest("hex");
  for (const line of [
    `_automatic_reloads_total{${server},status="success"} 1`, `_automatic_reload_last_timestamp_seconds{${server},status="success"} 1700000000`,
    `_last_config_info{${server},hash="sha256:${hash}"} 1`,
  ]) expect(settings.metrics()).toContain(`apiserver_authentication_config_controller${line}\n`);
});

it("stays as it was, says why and counts it when the new configuration is wrong, until it is right again", async () => {
  const path = write("authn.yaml", authentication("a"));
  await start(`authentication-config=${path}`);
  write("authn.yaml", { ...authentication("b"), anonymous: { enabled: true } });
  await expect.poll(() => said, soon).toEqual([expect.stringMatching(/^the authentication configuration stays as it was: .*anonymous\.enabled/)]);
  expect(issuers()).toEqual(["https://a.example"]);
  expect(settings.metrics()).toContain(`apiserver_authentication_config_controller_automatic_reloads_total{${server},status="failure"} 1\n`);
  rmSync(path);
  await expect.poll(() => said.at(-1), soon).toMatch(/stays as it was: .*ENOENT/);
  expect(issuers()).toEqual(["https://a.example"]);
  write("authn.yaml", authentication("c"));
  await expect.poll(issuers, soon).toEqual(["https://c.example"]);
});

const kubeconfig = (address: string) => ({ clusters: [{ name: "c", cluster: { server: address } }] });
const authorization = (...names: readonly string[]) => ({
  apiVersion: "apiserver.config.k8s.io/v1", kind: "AuthorizationConfiguration",
  authorizers: [{ type: "Node", name: "node" }, { type: "RBAC", name: "rbac" }, ...names.map((name) => ({ type: "Webhook", name, webhook: {
    subjectAccessReviewVersion: "v1", matchConditionSubjectAccessReviewVersion: "v1", failurePolicy: "Deny", timeout: "2s",
    connectionInfo: { type: "KubeConfigFile", kubeConfigFile: `${name}.kubeconfig` },
  } }))],
});
const webhooks = (): string[] => settings.webhooks().after.map(({ name }) => name);

it("takes new authorizers, and follows their kubeconfigs too", async () => {
  const path = write("authz.yaml", authorization());
  await start(`authorization-config=${path}`);
  expect(webhooks()).toEqual([]);
  write("guard.kubeconfig", kubeconfig("https://guard.example"));
  write("authz.yaml", authorization("guard"));
  await expect.poll(webhooks, soon).toEqual(["guard"]);
  const [first] = settings.webhooks().after;
  await expect.poll(() => said, soon).toHaveLength(1);
  write("guard.kubeconfig", kubeconfig("http://guard.example"));
  await expect.poll(() => said.at(-1), soon).toMatch(/the authorization configuration stays as it was: .*must be an https URL/);
  expect(settings.webhooks().after[0]).toBe(first);
  write("guard.kubeconfig", kubeconfig("https://other.example"));
  await expect.poll(() => settings.webhooks().after[0] === first, soon).toBe(false);
  expect(settings.metrics()).toContain(`apiserver_authorization_config_controller_automatic_reloads_total{${server},status="success"} 2\n`);
});
