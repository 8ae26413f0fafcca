import { createHash, createPublicKey, generateKeyPairSync, type KeyObject, verify } from "node:crypto";
import { afterEach, beforeEach, expect, it } from "vitest";
import { configMaps, secrets, serviceAccounts } from "@k3s-p/plugin-api/kube";
import { createHarness, type Harness } from "../testing/harness.ts";
import { start } from "./serviceaccount-token.ts";

let h: Harness;
beforeEach(() => void (h = createHarness()));
afterEach(() => h.stop());
const run = () => h.start(start);
const account = (name: string) => h.client.put(serviceAccounts, { metadata: { name, namespace: "a" } });
const text = (value: string) => Buffer.from(value, "base64").toString();

it("fills a token Secret that a user made, and deletes it with its account", async () => {
  account("app");
  await run();
  h.client.put(secrets, { type: "kubernetes.io/service-account-token", metadata: { name: "t", namespace: "a", annotations: { "kubernetes.io/service-account.name": "app" } } });
  await h.settle();
  const [secret] = h.client.all(secrets);
  expect([text(secret.data["ca.crt"]), text(secret.data.namespace)]).toEqual(["CERT server-ca", "a"]);
  expect(JSON.parse(Buffer.from(text(secret.data.token).split(".")[1]!, "base64url").toString())).toMatchObject({
    sub: "system:serviceaccount:a:app", "kubernetes.io/serviceaccount/secret.name": "t",
  });
  await h.client.delete(serviceAccounts, "app", { namespace: "a" });
  await h.settle();
  expect(h.client.all(secrets)).toEqual([]);
});

it.each<[string, string | null, () => { readonly privateKey: KeyObject }]>([
  ["ES256", "sha256", () => generateKeyPairSync("ec", { namedCurve: "P-256" })],
  ["ES384", "sha384", () => generateKeyPairSync("ec", { namedCurve: "P-384" })],
  ["RS256", "sha256", () => generateKeyPairSync("rsa", { modulusLength: 2048 })],
  ["EdDSA", null, () => generateKeyPairSync("ed25519")],
])("signs with %s when that is what the key is for", async (alg, digest, make) => {
  const pem = make().privateKey.export({ type: "pkcs8", format: "pem" }) as string;
  account("app");
  await start({ ...h.deps, pki: { ...h.deps.pki, serviceAccountKey: async () => ({ privateKey: pem, publicKey: "", path: "" }) } });
  h.client.put(secrets, { type: "kubernetes.io/service-account-token", metadata: { name: "t", namespace: "a", annotations: { "kubernetes.io/service-account.name": "app" } } });
  await h.settle();
  const [header, claims, signature] = text(h.client.all(secrets)[0].data.token).split(".") as [string, string, string];
  expect(JSON.parse(Buffer.from(header, "base64url").toString())).toEqual({ alg, kid: createHash("sha256").update(createPublicKey(pem).export({ type: "spki", format: "der" })).digest("base64url") });
  const key = { key: createPublicKey(pem), dsaEncoding: "ieee-p1363" as const };
  expect(verify(digest, Buffer.from(`${header}.${claims}`), key, Buffer.from(signature, "base64url"))).toBe(true);
});

it("makes no token Secret by itself", async () => {
  account("default");
  await run();
  expect(h.client.all(secrets)).toEqual([]);
});

it("gives every account one when a client from before 1.24 was noticed, and again when it was deleted", async () => {
  account("default");
  await run();
  h.client.put(configMaps, { metadata: { name: "legacy-clients", namespace: "kube-system" } });
  await h.settle();
  const name = h.client.all(secrets)[0].metadata.name as string;
  expect(name).toMatch(/^default-token-\w{5}$/);
  expect(h.client.all(serviceAccounts)[0].secrets).toEqual([{ name }]);
  account("later");
  await h.settle();
  expect(h.client.all(secrets)).toHaveLength(2);
  await h.client.delete(secrets, name, { namespace: "a" });
  await h.settle();
  const names = h.client.all(secrets).map((s: { metadata: { name: string } }) => s.metadata.name);
  expect(names).toHaveLength(2);
  expect(names).not.toContain(name);
});
