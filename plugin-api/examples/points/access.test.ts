import { createHash } from "node:crypto";
import { request } from "node:https";
import { expect, test, vi } from "vitest";
import { configMaps, namespaces, secrets } from "@k3s-p/plugin-api/kube";
import { createTestCluster, type TestCluster } from "../../../test/kit/index.ts";
import apiKeys from "./api-keys.ts";
import freeze from "./freeze.ts";

interface Answer {
  readonly status: number;
  readonly body: any;
}

function ask({ url }: TestCluster, method: string, path: string, key: string, body?: object): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const headers = { "x-api-key": key, "content-type": "application/json" };
    request(new URL(path, url), { method, headers, rejectUnauthorized: false }, async (res) => {
      let text = "";
      for await (const chunk of res.setEncoding("utf8")) text += chunk;
      resolve({ status: res.statusCode!, body: JSON.parse(text) });
    }).on("error", reject).end(body && JSON.stringify(body));
  });
}

test("a key of a Secret names a user whose rights RBAC gives, and a frozen namespace refuses writes by rule", async () => {
  await using cluster = await createTestCluster({ plugins: { "api-keys": apiKeys, freeze } });
  const { kube } = cluster;
  await kube.create(namespaces, { metadata: { name: "team" } });
  const data = { sha256: Buffer.from(createHash("sha256").update("open sesame").digest("hex")).toString("base64") };
  await kube.create(secrets, { metadata: { name: "key-ann", namespace: "kube-system", labels: { "api-keys.example.com/user": "ann" } }, data });
  expect((await ask(cluster, "GET", "/api/v1/namespaces/team/configmaps", "guess")).status).toBe(401);
  expect((await ask(cluster, "GET", "/api/v1/namespaces/team/configmaps", "open sesame")).body.message)
    .toBe('configmaps is forbidden: User "ann" cannot list resource "configmaps" in API group "" in the namespace "team"');
  await kube.request("POST", "/apis/rbac.authorization.k8s.io/v1/namespaces/team/rolebindings", {
    metadata: { name: "keys" }, roleRef: { apiGroup: "rbac.authorization.k8s.io", kind: "ClusterRole", name: "edit" },
    subjects: [{ apiGroup: "rbac.authorization.k8s.io", kind: "Group", name: "api-keys" }],
  });
  const write = (name: string) => ask(cluster, "POST", "/api/v1/namespaces/team/configmaps", "open sesame", { metadata: { name } });
  expect((await write("a")).status).toBe(201);
  await kube.patch(namespaces, "team", { metadata: { labels: { freeze: "true" } } });
  await vi.waitFor(async () => expect(await write("b")).toMatchObject({ status: 403, body: {
    message: 'configmaps is forbidden: User "ann" cannot create resource "configmaps" in API group "" in the namespace "team": the namespace "team" is frozen',
  } }));
  expect((await ask(cluster, "GET", "/api/v1/namespaces/team/configmaps/a", "open sesame")).status).toBe(200);
  await kube.create(configMaps, { metadata: { name: "c", namespace: "team" } });
  const { body: metrics } = await kube.request("GET", "/metrics");
  expect(metrics).toMatch(/^apiserver_authorization_decisions_total\{name="freeze\/freeze",decision="denied"\} \d+$/m);
  expect(metrics).toMatch(/^apiserver_authentication_attempts_total\{name="api-keys\/api-keys",result="failure"\} 1$/m);
});
