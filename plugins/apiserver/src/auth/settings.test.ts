import { generateKeyPairSync, type KeyObject } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import type { IncomingMessage, ServerResponse } from "node:http";
import { createServer, type Server } from "node:https";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, it, test } from "vitest";
import type { AccessRequest } from "@k3s-p/plugin-api/points";
import { readArgs } from "../server/args.ts";
import { testCertificate, testPrivateKey } from "../subresources/testing.ts";
import { signJwt, verifyingKey } from "./jwt.ts";
import { accessSettings, type AccessSettings } from "./settings.ts";

let dir: string;
let server: Server;
let url: string;
let answer: (path: string, body: any) => unknown;
const asked: { path: string; body: any; authorization: string | undefined }[] = [];
let now = Date.now();
const open: AccessSettings[] = [];

beforeAll(async () => {
  dir = mkdtempSync(join(tmpdir(), "access-"));
  server = createServer({ key: testPrivateKey, cert: testCertificate }, (req, res) => void serve(req, res));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  url = `https://localhost:${(server.address() as AddressInfo).port}`;
});
afterAll(() => {
  for (const settings of open) settings.close();
  server.closeAllConnections();
  server.close();
  rmSync(dir, { recursive: true });
});
beforeEach(() => {
  asked.length = 0;
  now = Date.now();
});

async function serve(req: IncomingMessage, res: ServerResponse): Promise<void> {
  let text = "";
  for await (const chunk of req.setEncoding("utf8")) text += chunk;
  const body = text ? JSON.parse(text) : undefined;
  const path = req.url!.split("?")[0]!;
  asked.push({ path, body, authorization: req.headers.authorization });
  const value = answer(path, body);
  res.writeHead(value === undefined ? 500 : 200, { "content-type": "application/json" });
  res.end(JSON.stringify(value ?? {}));
}

const file = (name: string, content: object): string => {
  const path = join(dir, name);
  writeFileSync(path, JSON.stringify(content));
  return path;
};
const lines: string[] = [];
const report = { server: "server-1", info: (line: string) => void lines.push(line), error: (line: string) => void lines.push(line) };
async function start(...args: string[]): Promise<AccessSettings> {
  const settings = await accessSettings(readArgs(args), { audiences: ["api"], report, now: () => now });
  open.push(settings);
  return settings;
}
const webhooksOf = async (...args: string[]) => (await start(...args)).webhooks();
const refusal = async (...args: string[]): Promise<string> => accessSettings(readArgs(args), { audiences: ["api"], report }).then(() => "", (error: Error) => error.message);

const ca = testCertificate;
const rsa = () => generateKeyPairSync("rsa", { modulusLength: 2048 }).privateKey;

/** An issuer with these keys. */
function issue(...keys: readonly KeyObject[]): void {
  const jwks = () => ({ keys: keys.map((key) => ({ ...verifyingKey(key).key.export({ format: "jwk" }), kid: verifyingKey(key).kid, use: "sig" })) });
  answer = (path) => (path === "/.well-known/openid-configuration" ? { issuer: url, jwks_uri: `${url}/keys` } : path === "/keys" ? jwks() : undefined);
}
const claims = (more: object = {}): object => ({ iss: url, aud: "client", sub: "jane", exp: now / 1000 + 600, ...more });

describe("an issuer by structured configuration", () => {
  const key = rsa();
  const config = (more: object = {}) => file("authn.yaml", { apiVersion: "apiserver.config.k8s.io/v1", kind: "AuthenticationConfiguration", jwt: [{
    issuer: { url, audiences: ["client", "other"], audienceMatchPolicy: "MatchAny", certificateAuthority: ca },
    claimMappings: { username: { claim: "sub", prefix: "oidc:" }, groups: { claim: "groups", prefix: "oidc:" } }, ...more,
  }] });
  const review = async (settings: AccessSettings, token: string) => (await settings.tokens()[0]!.review(token, ["api"]))?.user;

  it("maps claims to a user, and asks the issuer once", async () => {
    issue(key);
    const settings = await start(`authentication-config=${config()}`);
    const token = signJwt(key, claims({ groups: ["dev", "ops"] }));
    const named = signJwt(key, claims({ jti: "t-1" }));
    expect(asked).toEqual([]);
    expect(await review(settings, token)).toEqual({ name: "oidc:jane", groups: ["oidc:dev", "oidc:ops", "system:authenticated"] });
    expect((await review(settings, named))?.extra).toEqual({ "authentication.kubernetes.io/credential-id": ["JTI=t-1"] });
    expect(asked.map(({ path }) => path)).toEqual(["/.well-known/openid-configuration", "/keys"]);
  });
  it("leaves tokens of other issuers, and for other audiences of ours, to others", async () => {
    issue(key);
    const settings = await start(`authentication-config=${config()}`);
    expect(await review(settings, signJwt(key, claims({ iss: "https://other" })))).toBeUndefined();
    expect(await review(settings, "abcdef.0123456789abcdef")).toBeUndefined();
    expect(await settings.tokens()[0]!.review(signJwt(key, claims()), ["vault"])).toBeUndefined();
    expect(asked).toEqual([]);
  });
  it("follows the issuer's new keys, and does not ask for every token that fits none", async () => {
    const next = rsa();
    issue(key);
    const settings = await start(`authentication-config=${config()}`);
    await review(settings, signJwt(key, claims()));
    issue(next);
    now += 11_000;
    expect(await review(settings, signJwt(next, claims()))).toMatchObject({ name: "oidc:jane" });
    expect(asked).toHaveLength(4);
    for (let i = 0; i < 3; i++) await expect(review(settings, signJwt(rsa(), claims()))).rejects.toThrow("failed to verify id token signature");
    expect(asked).toHaveLength(4);
    await expect(review(settings, signJwt(key, claims()))).rejects.toThrow("failed to verify");
  });
  it("maps by expressions, and judges claims and users by rules", async () => {
    issue(key);
    const settings = await start(`authentication-config=${config({
      claimMappings: {
        username: { expression: "claims.email.split('@')[0] + ':oidc'" }, groups: { expression: "claims.roles.split(',')" }, uid: { expression: "claims.oid" },
        extra: [{ key: "example.com/tenant", valueExpression: "claims.tenant" }, { key: "example.com/none", valueExpression: "''" }],
      },
      claimValidationRules: [{ claim: "hd", requiredValue: "example.com" }, { expression: "claims.level > 2", message: "level too low" }],
      userValidationRules: [{ expression: "!user.username.startsWith('system:')", message: "no system users" }],
    })}`);
    const good = { email: "jane@example.com", roles: "dev,ops", oid: "7", tenant: "blue", hd: "example.com", level: 3 };
    const user = (more: object = {}) => review(settings, signJwt(key, claims({ ...good, ...more })));
    expect(await user()).toEqual({ name: "jane:oidc", uid: "7", groups: ["dev", "ops", "system:authenticated"], extra: { "example.com/tenant": ["blue"] } });
    await expect(user({ hd: "evil.com" })).rejects.toThrow('required claim hd value does not match. Got = "evil.com", want = example.com');
    await expect(user({ hd: undefined })).rejects.toThrow("required claim hd not present in ID token");
    await expect(user({ level: 1 })).rejects.toThrow("validation expression 'claims.level > 2' failed: level too low");
    await expect(user({ email: "system:admin@x" })).rejects.toThrow("failed: no system users");
    await expect(user({ oid: 7 })).rejects.toThrow("the uid is no string");
  });
  it.each<[string, object, RegExp]>([
    ["expired", { exp: 1 }, /token is expired/], ["without an end", { exp: undefined }, /token is expired/],
    ["not yet valid", { nbf: 4e9 }, /before the nbf/], ["for another audience", { aud: ["elsewhere"] }, /expected audience in/], ["without a subject", { sub: undefined }, /the username is empty/],
  ])("refuses a token %s", async (_, more, why) => {
    issue(key);
    const settings = await start(`authentication-config=${config()}`);
    await expect(review(settings, signJwt(key, claims(more)))).rejects.toThrow(why);
  });
  it("believes no issuer that calls itself otherwise, or is not there", async () => {
    answer = () => ({ issuer: "https://evil", jwks_uri: `${url}/keys` });
    const settings = await start(`authentication-config=${config()}`);
    await expect(review(settings, signJwt(key, claims()))).rejects.toThrow('the issuer calls itself "https://evil"');
    const count = asked.length;
    await expect(review(settings, signJwt(key, claims()))).rejects.toThrow("could not be fetched a moment ago");
    expect(asked).toHaveLength(count);
    answer = () => undefined;
    now += 20_000;
    await expect(review(settings, signJwt(key, claims()))).rejects.toThrow("status 500");
  });
});

test("an issuer by flags, with upstream's defaults", async () => {
  const key = generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey;
  issue(key);
  writeFileSync(join(dir, "ca.crt"), ca);
  const settings = await start(`oidc-issuer-url=${url}`, "oidc-client-id=client", "--oidc-groups-claim=roles", `oidc-ca-file=${join(dir, "ca.crt")}`, "oidc-required-claim=hd=x");
  const review = (more: object) => settings.tokens()[0]!.review(signJwt(key, claims(more)), ["api"]);
  expect((await review({ roles: "dev", hd: "x" }))?.user).toEqual({ name: `${url}#jane`, groups: ["dev", "system:authenticated"] });
  await expect(review({ hd: "y" })).rejects.toThrow("required claim hd");
  const mail = await start(`oidc-issuer-url=${url}`, "oidc-client-id=client", "oidc-username-claim=email", `oidc-ca-file=${join(dir, "ca.crt")}`);
  const byMail = (more: object) => mail.tokens()[0]!.review(signJwt(key, claims({ email: "a@b", ...more })), ["api"]);
  expect((await byMail({}))?.user.name).toBe("a@b");
  await expect(byMail({ email_verified: false })).rejects.toThrow("oidc: email not verified");
});

describe("webhooks", () => {
  const kubeconfig = () => file("hook.yaml", {
    clusters: [{ name: "c", cluster: { server: `${url}/hook`, "certificate-authority-data": Buffer.from(ca).toString("base64") } }],
    users: [{ name: "u", user: { token: "let-me-in" } }], contexts: [{ name: "x", context: { cluster: "c", user: "u" } }], "current-context": "x",
  });
  const request: AccessRequest = { user: { name: "jane", groups: ["dev"] }, verb: "get", isResource: true, path: "", group: "apps", resource: "deployments", subresource: "", namespace: "ns", name: "d" };

  it("a token webhook names users, and is asked again only when its answer is old", async () => {
    answer = (_, { spec }) => ({ status: spec.token === "good" ? { authenticated: true, user: { username: "joe", uid: "1", groups: ["g"], extra: { a: ["b"] } } } : { authenticated: false } });
    const settings = await start(`authentication-token-webhook-config-file=${kubeconfig()}`, "authentication-token-webhook-version=v1", "authentication-token-webhook-cache-ttl=1m");
    const review = (token: string) => settings.tokens()[0]!.review(token, ["api"]);
    const joe = { audiences: ["api"], user: { name: "joe", uid: "1", groups: ["g", "system:authenticated"], extra: { a: ["b"] } } };
    expect([await review("good"), await review("good"), await review("bad"), await review("bad")]).toEqual([joe, joe, undefined, undefined]);
    expect(asked).toHaveLength(2);
    expect(asked[0]).toMatchObject({ authorization: "Bearer let-me-in", body: { apiVersion: "authentication.k8s.io/v1", kind: "TokenReview", spec: { token: "good", audiences: ["api"] } } });
    now += 61_000;
    await review("good");
    expect(asked).toHaveLength(3);
    answer = () => ({ status: { authenticated: true, audiences: ["elsewhere"], user: { username: "joe" } } });
    expect(await review("narrow")).toBeUndefined();
    answer = () => undefined;
    await expect(review("fails")).rejects.toThrow();
    answer = () => ({ status: { authenticated: true, user: { username: "joe" } } });
    expect((await review("fails"))?.user.name).toBe("joe");
  });

  const authz = (webhook: object, order = ["Node", "Webhook", "RBAC"]) => file("authz.yaml", {
    apiVersion: "apiserver.config.k8s.io/v1", kind: "AuthorizationConfiguration",
    authorizers: order.map((type) => (type === "Webhook" ? { type, name: "guard", webhook: {
      subjectAccessReviewVersion: "v1", matchConditionSubjectAccessReviewVersion: "v1", failurePolicy: "Deny", timeout: "2s",
      connectionInfo: { type: "KubeConfigFile", kubeConfigFile: kubeconfig() }, ...webhook,
    } } : { type, name: type.toLowerCase() })),
  });

  it("an authorization webhook allows, denies and has no opinion, each kept for its time", async () => {
    answer = (_, { spec: { resourceAttributes: { name } } }) => ({ status: { allowed: name === "yes", denied: name === "no", reason: `for ${name}` } });
    const { before, after } = await webhooksOf(`authorization-config=${authz({ authorizedTTL: "5m", unauthorizedTTL: "30s" })}`);
    expect([before.length, after.length]).toEqual([1, 0]);
    const ask = (name: string) => before[0]!.authorize({ ...request, name });
    expect([await ask("yes"), await ask("no"), await ask("none")]).toEqual([{ decision: "allow", reason: "for yes" }, { decision: "deny", reason: "for no" }, undefined]);
    expect(asked[0]!.body).toEqual({
      kind: "SubjectAccessReview", apiVersion: "authorization.k8s.io/v1",
      spec: { resourceAttributes: { namespace: "ns", verb: "get", group: "apps", resource: "deployments", name: "yes" }, user: "jane", groups: ["dev"] },
    });
    now += 31_000;
    await Promise.all([ask("yes"), ask("no")]);
    expect(asked.slice(3).map(({ body }) => body.spec.resourceAttributes.name)).toEqual(["no"]);
  });
  it("is asked only about what its conditions match", async () => {
    answer = () => ({ status: { allowed: true } });
    const { after } = await webhooksOf(`authorization-config=${authz({ matchConditions: [
      { expression: "has(request.resourceAttributes)" }, { expression: "request.resourceAttributes.namespace == 'ns'" },
    ] }, ["Node", "RBAC", "Webhook"])}`);
    const ask = (more: Partial<AccessRequest>) => after[0]!.authorize({ ...request, ...more });
    expect([await ask({}), await ask({ namespace: "other" }), await ask({ isResource: false, path: "/x" })]).toEqual([{ decision: "allow" }, undefined, undefined]);
    expect(asked).toHaveLength(1);
  });
  it("fails as its policy says", async () => {
    answer = () => undefined;
    const { before } = await webhooksOf(`authorization-config=${authz({ failurePolicy: "NoOpinion" })}`);
    expect(before[0]!.failurePolicy).toBe("NoOpinion");
    await expect(before[0]!.authorize(request)).rejects.toThrow("an error on the server");
    answer = () => ({ status: { allowed: true, denied: true } });
    await expect(before[0]!.authorize(request)).rejects.toThrow("both allows and denies");
  });
  it("stands where authorization-mode puts it", async () => {
    answer = () => ({ status: { allowed: true } });
    const webhooks = await webhooksOf("authorization-mode=Node,RBAC,Webhook", `authorization-webhook-config-file=${kubeconfig()}`);
    expect([webhooks.before.length, webhooks.after.length]).toEqual([0, 1]);
    await webhooks.after[0]!.authorize(request);
    expect(asked[0]!.body).toMatchObject({ apiVersion: "authorization.k8s.io/v1beta1", spec: { group: ["dev"] } });
    expect(asked[0]!.body.spec).not.toHaveProperty("groups");
  });
  it.each<[string, () => string[], RegExp]>([
    ["a mode that is none", () => ["authorization-mode=AlwaysAllow"], /authorization-mode: "AlwaysAllow" is not supported/],
    ["no RBAC", () => ["authorization-mode=Node"], /this server always asks Node and RBAC/],
    ["a webhook without file", () => ["authorization-mode=Node,RBAC,Webhook"], /go together/],
    ["both ways", () => [`authorization-config=${authz({})}`, "authorization-mode=Node,RBAC"], /cannot be combined/],
    ["a condition that does not compile", () => [`authorization-config=${authz({ matchConditions: [{ expression: "request." }] })}`], /authorization-config: /],
    ["a policy that is none", () => [`authorization-config=${authz({ failurePolicy: "Ignore" })}`], /webhook\.failurePolicy: "Ignore" is not allowed/],
    ["no connection", () => [`authorization-config=${authz({ connectionInfo: { type: "InClusterConfig" } })}`], /connectionInfo: KubeConfigFile/],
    ["too long a wait", () => [`authorization-config=${authz({ timeout: "60s" })}`], /timeout: more than 0 and at most 30s/],
    ["a file of another kind", () => [`authorization-config=${file("x.yaml", { kind: "Pod" })}`], /an? AuthorizationConfiguration of apiserver.config.k8s.io\/v1 is expected/],
    ["no file", () => ["authorization-config=/nowhere"], /\/nowhere cannot be used/],
    ["flags and a file", () => ["authentication-config=x", "oidc-client-id=y"], /cannot be combined with oidc-client-id/],
    ["an issuer without https", () => ["oidc-issuer-url=http://x", "oidc-client-id=y"], /is no https URL/],
    ["an issuer without client", () => ["oidc-issuer-url=https://x"], /oidc-client-id: it is required/],
  ])("refuses %s", async (_, args, why) => {
    expect(await refusal(...args())).toMatch(why);
  });
  it.each<[string, object, RegExp]>([
    ["a URL without https", { issuer: { url: "http://x", audiences: ["a"] } }, /jwt\[0\]\.issuer\.url: an https URL/],
    ["no audience", { issuer: { url: "https://x" } }, /issuer\.audiences: at least one/],
    ["two audiences without policy", { issuer: { url: "https://x", audiences: ["a", "b"] } }, /audienceMatchPolicy: MatchAny/],
    ["no username", { claimMappings: {} }, /claimMappings\.username: claim or expression/],
    ["claim and expression", { claimMappings: { username: { claim: "a", prefix: "", expression: "b" } } }, /exactly one of claim and expression/],
    ["a claim without prefix", { claimMappings: { username: { claim: "sub" } } }, /prefix is required with claim/],
    ["an expression that does not compile", { claimMappings: { username: { expression: "claims." } } }, /authentication-config: /],
    ["a rule without expression", { userValidationRules: [{ message: "x" }] }, /userValidationRules\[0\]\.expression/],
  ])("refuses an issuer with %s", async (_, more, why) => {
    const path = file("bad.yaml", { apiVersion: "apiserver.config.k8s.io/v1", kind: "AuthenticationConfiguration", jwt: [
      { issuer: { url: "https://x", audiences: ["a"] }, claimMappings: { username: { claim: "sub", prefix: "" } }, ...more },
    ] });
    expect(await refusal(`authentication-config=${path}`)).toMatch(why);
  });
});
