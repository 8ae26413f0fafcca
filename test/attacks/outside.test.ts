/** A server that asks others who its users are and what they may do: over HTTP, WebSockets and in reviews, and when they fail. */
import { generateKeyPairSync } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:https";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { WebSocket } from "ws";
import { configMaps } from "@k3s-p/plugin-api/kube";
import { signJwt, verifyingKey } from "../../plugins/apiserver/src/auth/jwt.ts";
import { testCertificate, testPrivateKey } from "../../plugins/apiserver/src/subresources/testing.ts";
import { startVictim, type Victim } from "./kit.ts";

const key = generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey;
let dir: string;
let others: Server;
let issuer: string;
let victim: Victim;
let isDown = false;

/** Knows the token `hooked`, lets jane read config maps, and forbids everybody to delete them. */
function answer(path: string, body: any): unknown {
  if (path === "/.well-known/openid-configuration") return { issuer, jwks_uri: `${issuer}/keys` };
  if (path === "/keys") return { keys: [{ ...verifyingKey(key).key.export({ format: "jwk" }), kid: verifyingKey(key).kid, use: "sig" }] };
  if (path === "/token") return { status: body.spec.token === "hooked" ? { authenticated: true, user: { username: "hook", groups: ["hooked"] } } : {} };
  const { user, resourceAttributes: { verb, resource } = { verb: "", resource: "" } } = body.spec;
  if (resource === "configmaps" && verb === "delete") return { status: { denied: true, reason: "config is kept" } };
  return { status: { allowed: user === "oidc:jane" && resource === "configmaps" && ["get", "list", "watch"].includes(verb) } };
}

beforeAll(async () => {
  dir = mkdtempSync(join(tmpdir(), "outside-"));
  others = createServer({ key: testPrivateKey, cert: testCertificate }, async (req, res) => {
    let text = "";
    for await (const chunk of req.setEncoding("utf8")) text += chunk;
    res.writeHead(isDown ? 500 : 200, { "content-type": "application/json" });
    res.end(isDown ? "{}" : JSON.stringify(answer(req.url!.split("?")[0]!, text ? JSON.parse(text) : undefined)));
  });
  await new Promise<void>((resolve) => others.listen(0, "127.0.0.1", resolve));
  issuer = `https://localhost:${(others.address() as AddressInfo).port}`;
  const file = (name: string, content: object): string => (writeFileSync(join(dir, name), JSON.stringify(content)), join(dir, name));
  const hook = (name: string) => file(`${name}.yaml`, {
    clusters: [{ name: "c", cluster: { server: `${issuer}/${name}`, "certificate-authority-data": Buffer.from(testCertificate).toString("base64") } }],
    contexts: [{ name: "x", context: { cluster: "c" } }], "current-context": "x",
  });
  const config = "apiserver.config.k8s.io/v1";
  victim = await startVictim({ config: { apiserver: { args: [
    `authentication-config=${file("authn.yaml", { apiVersion: config, kind: "AuthenticationConfiguration", jwt: [{
      issuer: { url: issuer, audiences: ["client"], certificateAuthority: testCertificate }, claimMappings: { username: { claim: "sub", prefix: "oidc:" } },
    }] })}`,
    `authentication-token-webhook-config-file=${hook("token")}`,
    `authorization-config=${file("authz.yaml", { apiVersion: config, kind: "AuthorizationConfiguration", authorizers: [
      { type: "Node", name: "node" },
      { type: "Webhook", name: "guard", webhook: {
        subjectAccessReviewVersion: "v1", matchConditionSubjectAccessReviewVersion: "v1", failurePolicy: "Deny", timeout: "3s", authorizedTTL: "1ms", unauthorizedTTL: "1ms",
        connectionInfo: { type: "KubeConfigFile", kubeConfigFile: hook("access") }, matchConditions: [{ expression: "!('system:serviceaccounts:kube-system' in request.groups)" }],
      } },
      { type: "RBAC", name: "rbac" },
    ] })}`,
  ] } } });
  await victim.cluster.kube.create(configMaps, { metadata: { name: "kept", namespace: "default" } });
});
afterAll(async () => {
  await victim[Symbol.asyncDispose]();
  others.closeAllConnections();
  others.close();
  rmSync(dir, { recursive: true });
});

const claims = (more: object = {}) => ({ iss: issuer, aud: "client", sub: "jane", exp: Math.floor(Date.now() / 1000) + 600, ...more });
const jane = () => ({ token: signJwt(key, claims()) });
const MAPS = "/api/v1/namespaces/default/configmaps";

test("a user of the issuer is let in, and has the rights that the webhook gives", async () => {
  expect((await victim.send(jane(), "GET", `${MAPS}/kept`)).status).toBe(200);
  expect((await victim.send(jane(), "GET", "/api/v1/namespaces/default/secrets")).body.message)
    .toBe('secrets is forbidden: User "oidc:jane" cannot list resource "secrets" in API group "" in the namespace "default"');
  for (const bad of [claims({ exp: 1 }), claims({ aud: "x" }), claims({ iss: "https://other" })]) expect((await victim.send({ token: signJwt(key, bad) }, "GET", MAPS)).status).toBe(401);
  expect((await victim.send({ token: signJwt(generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey, claims()) }, "GET", MAPS)).status).toBe(401);
});

test("what the webhook denies no role allows, but superusers are not asked about", async () => {
  const hook = { token: "hooked" };
  await victim.cluster.kube.request("POST", "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", {
    metadata: { name: "hooked" }, roleRef: { apiGroup: "rbac.authorization.k8s.io", kind: "ClusterRole", name: "cluster-admin" },
    subjects: [{ apiGroup: "rbac.authorization.k8s.io", kind: "Group", name: "hooked" }],
  });
  expect((await victim.send(hook, "GET", "/api/v1/namespaces/default/secrets")).status).toBe(200);
  expect((await victim.send(hook, "DELETE", `${MAPS}/kept`)).body.message)
    .toBe('configmaps "kept" is forbidden: User "hook" cannot delete resource "configmaps" in API group "" in the namespace "default": config is kept');
  expect((await victim.send(victim.certificate("client-ca", "root", ["system:masters"]), "DELETE", `${MAPS}/kept?dryRun=All`)).status).toBe(200);
});

test("reviews answer by the same", async () => {
  const review = async (group: string, kind: string, spec: object) => (await victim.cluster.kube.request("POST", `/apis/${group}/v1/${kind}`, { spec })).body as { status: object };
  expect((await review("authentication.k8s.io", "tokenreviews", { token: jane().token })).status).toMatchObject({ authenticated: true, user: { username: "oidc:jane" } });
  const resourceAttributes = { namespace: "default", verb: "delete", resource: "configmaps", name: "kept" };
  expect((await review("authorization.k8s.io", "subjectaccessreviews", { user: "hook", groups: ["hooked"], resourceAttributes })).status).toEqual({ allowed: false, denied: true, reason: "config is kept" });
});

test("a WebSocket waits for the answer, too", async () => {
  const connect = (token: string) => new Promise<string>((resolve) => {
    const socket = new WebSocket(`${victim.cluster.url.replace("https", "wss")}${MAPS}?watch=1&fieldSelector=metadata.name%3Dkept`, { rejectUnauthorized: false, headers: { authorization: `Bearer ${token}` } });
    socket.on("message", (data) => (resolve((JSON.parse(String(data)) as { type: string }).type), socket.close()));
    socket.on("unexpected-response", (_, res) => resolve(String(res.statusCode)));
    socket.on("error", () => {});
  });
  expect(await connect(jane().token)).toBe("ADDED");
  expect(await connect(signJwt(key, claims({ aud: "x" })))).toBe("401");
});

test("when they are down nobody else comes in, and the cluster's own go on", async () => {
  isDown = true;
  const token = { token: "unknown" };
  expect((await victim.send(token, "GET", MAPS)).status).toBe(401);
  expect((await victim.send(victim.certificate("client-ca", "joe"), "GET", MAPS)).body.message).toMatch(/: authorizer "guard" failed$/);
  expect((await victim.send(victim.certificate("client-ca", "root", ["system:masters"]), "GET", MAPS)).status).toBe(200);
  const account = await victim.cluster.kube.request("POST", "/api/v1/namespaces/kube-system/serviceaccounts", { metadata: { name: "own" } });
  expect(account.status).toBe(201);
  const { body } = await victim.cluster.kube.request("POST", "/api/v1/namespaces/kube-system/serviceaccounts/own/token", { spec: {} }) as { body: any };
  expect((await victim.send({ token: body.status.token }, "GET", "/apis")).status).toBe(200);
  expect(victim.cluster.logged.filter((line) => line.includes("guard"))[0]).toBe('apiserver warn authorizer guard: an error on the server ("{}") has prevented the request from succeeding');
});
