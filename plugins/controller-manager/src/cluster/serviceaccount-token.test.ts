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
