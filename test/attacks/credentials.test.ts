/** Credentials that are expired, revoked, for others, forged or stolen in part: each is refused, and what is refused names nobody. */
import { createHmac } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it, test } from "vitest";
import { type ConfigMap, configMaps, pods, secrets, serviceAccounts, type KubeObject, type ServiceAccount } from "@k3s-p/plugin-api/kube";
import { newKey, keyPem } from "../../core/src/pki/x509.ts";
import { certificateOf, es256, foreignAuthority, goodClaims, jwt, publicPem, startVictim, type Identity, type Victim } from "./kit.ts";

const WHO = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
let victim: Victim;
let key: string;
let account: { name: string; namespace: string; uid: string };
beforeAll(async () => {
  victim = await startVictim();
  key = readFileSync(join(victim.tls, "service.key"), "utf8");
  account = await newAccount("robot");
});
afterAll(() => victim[Symbol.asyncDispose]());

async function newAccount(name: string) {
  const { metadata } = await victim.cluster.kube.create<ServiceAccount>(serviceAccounts, { metadata: { name, namespace: "default" } });
  return { name, namespace: "default", uid: metadata.uid! };
}

/** The name that the server knows the sender by, or the status of its refusal. */
async function whoIs(identity: Identity): Promise<string | number> {
  const { status, body } = await victim.send(identity, "POST", WHO, { apiVersion: "authentication.k8s.io/v1", kind: "SelfSubjectReview" });
  return status === 201 ? (body.status.userInfo.username as string) : status;
}

describe("tokens", () => {
  const header = { alg: "ES256" };
  const now = () => Math.floor(Date.now() / 1000);
  it("the forger's means are good: with the server's key all is well", async () => {
    expect(await whoIs({ token: jwt(header, goodClaims(account), es256(key)) })).toBe("system:serviceaccount:default:robot");
  });

  it.each<[string, () => string]>([
    ["expired", () => jwt(header, goodClaims(account, { exp: now() - 1 }), es256(key))],
    ["not yet valid", () => jwt(header, goodClaims(account, { nbf: now() + 300 }), es256(key))],
    ["without an end", () => jwt(header, goodClaims(account, { exp: undefined }), es256(key))],
    ["without a beginning", () => jwt(header, goodClaims(account, { nbf: undefined }), es256(key))],
    ["whose end is text", () => jwt(header, goodClaims(account, { exp: "tomorrow" }), es256(key))],
    ["for another audience", () => jwt(header, goodClaims(account, { aud: ["vault"] }), es256(key))],
    ["for no audience", () => jwt(header, goodClaims(account, { aud: [] }), es256(key))],
    ["whose audience only begins like ours", () => jwt(header, goodClaims(account, { aud: "https://kubernetes.default.svc.cluster.local.evil" }), es256(key))],
    ["of another issuer", () => jwt(header, goodClaims(account, { iss: "https://evil.example" }), es256(key))],
    ["of another account's uid", () => jwt(header, goodClaims({ ...account, uid: "someone-else" }), es256(key))],
    ["of an account that does not exist", () => jwt(header, goodClaims({ ...account, name: "nobody" }), es256(key))],
    ["without Kubernetes' claims", () => jwt(header, goodClaims(account, { "kubernetes.io": undefined }), es256(key))],
    ["with claims of the wrong form", () => jwt(header, goodClaims(account, { "kubernetes.io": "system:masters" }), es256(key))],
    ["signed by another key", () => jwt(header, goodClaims(account), es256(keyPem(newKey())))],
    ["with alg none and no signature", () => `${jwt({ alg: "none" }, goodClaims(account), () => Buffer.alloc(0))}`],
    ["with alg none and some signature", () => jwt({ alg: "none" }, goodClaims(account), () => Buffer.from("x"))],
    ["with alg None in other letters", () => jwt({ alg: "nOnE" }, goodClaims(account), () => Buffer.from("x"))],
    ["with HS256 keyed by the public key", () => jwt({ alg: "HS256" }, goodClaims(account), (payload) => createHmac("sha256", publicPem(key)).update(payload).digest())],
    ["that brings its own key", () => {
      const own = newKey();
      const jwk = { ...(own.export({ format: "jwk" }) as object), d: undefined };
      return jwt({ alg: "ES256", jwk }, goodClaims(account), es256(keyPem(own)));
    }],
    ["with an empty signature", () => jwt(header, goodClaims(account), () => Buffer.alloc(0))],
    ["with a signature of zeros", () => jwt(header, goodClaims(account), () => Buffer.alloc(64))],
    ["with claims exchanged after signing", () => {
      const [head, , signature] = jwt(header, goodClaims(account), es256(key)).split(".");
      return `${head}.${Buffer.from(JSON.stringify(goodClaims(account, { exp: now() + 1e6 }))).toString("base64url")}.${signature}`;
    }],
    ["of four parts", () => `${jwt(header, goodClaims(account), es256(key))}.x`],
    ["that is no JSON", () => "bm90.anNvbg.eA"],
  ])("a token %s is refused", async (_, forge) => {
    expect(await whoIs({ token: forge() })).toBe(401);
  });

  it("a token ends with the object that it is bound to", async () => {
    const { kube } = victim.cluster;
    const spec = { containers: [{ name: "c", image: "i" }], serviceAccountName: "robot", automountServiceAccountToken: false };
    const objects: Readonly<Record<string, KubeObject>> = {
      Pod: await kube.create<KubeObject>(pods, { metadata: { name: "bound", namespace: "default" }, spec } as KubeObject),
      Secret: await kube.create<KubeObject>(secrets, { metadata: { name: "bound", namespace: "default" } }),
    };
    for (const [kind, object] of Object.entries(objects)) {
      const request = { spec: { boundObjectRef: { kind, apiVersion: "v1", name: "bound", uid: object.metadata!.uid } } };
      const { body } = await kube.request("POST", "/api/v1/namespaces/default/serviceaccounts/robot/token", request) as { body: any };
      const { token } = body.status;
      expect(await whoIs({ token })).toBe("system:serviceaccount:default:robot");
      await kube.delete(kind === "Pod" ? pods : secrets, "bound", { namespace: "default", gracePeriodSeconds: 0 });
      expect([kind, await whoIs({ token })]).toEqual([kind, 401]);
    }
  });

  it("a token ends with its account, and does not come back with one of the same name", async () => {
    const brief = await newAccount("brief");
    const token = jwt(header, goodClaims(brief), es256(key));
    expect(await whoIs({ token })).toBe("system:serviceaccount:default:brief");
    await victim.cluster.kube.delete(serviceAccounts, "brief", { namespace: "default" });
    expect(await whoIs({ token })).toBe(401);
    await newAccount("brief");
    expect(await whoIs({ token })).toBe(401);
  });
});

describe("bootstrap tokens", () => {
  const secretOf = (id: string, more: Readonly<Record<string, string>> = {}, type = "bootstrap.kubernetes.io/token", namespace = "kube-system") => {
    const fields = { "token-id": id, "token-secret": "0123456789abcdef", "usage-bootstrap-authentication": "true", ...more };
    const data = Object.fromEntries(Object.entries(fields).map(([name, text]) => [name, Buffer.from(text).toString("base64")]));
    return victim.cluster.kube.create(secrets, { metadata: { name: `bootstrap-token-${id}`, namespace }, type, data });
  };
  const day = (days: number) => new Date(Date.now() + days * 86_400_000).toISOString();

  it("one that is good names its bearer and his groups", async () => {
    await secretOf("aaaaaa", { expiration: day(1), "auth-extra-groups": "system:bootstrappers:k3s:default-node-token" });
    const { body } = await victim.send({ token: "aaaaaa.0123456789abcdef" }, "POST", WHO, { apiVersion: "authentication.k8s.io/v1", kind: "SelfSubjectReview" });
    expect(body.status.userInfo).toEqual({
      username: "system:bootstrap:aaaaaa", groups: ["system:bootstrappers", "system:bootstrappers:k3s:default-node-token", "system:authenticated"],
    });
    expect(await whoIs({ token: "aaaaaa.0123456789abcdeX" })).toBe(401);
    await victim.cluster.kube.delete(secrets, "bootstrap-token-aaaaaa", { namespace: "kube-system" });
    expect(await whoIs({ token: "aaaaaa.0123456789abcdef" })).toBe(401);
  });

  it.each<[string, string, Record<string, string>, string?, string?]>([
    ["that has expired", "bbbbb1", { expiration: "2020-01-01T00:00:00Z" }],
    ["whose end cannot be read", "bbbbb2", { expiration: "soon" }],
    ["for signing alone", "bbbbb3", { "usage-bootstrap-authentication": "false", "usage-bootstrap-signing": "true" }],
    ["with another id inside", "bbbbb4", { "token-id": "zzzzzz" }],
    ["that gives system:masters", "bbbbb5", { "auth-extra-groups": "system:masters" }],
    ["in a Secret of another type", "bbbbb6", {}, "Opaque"],
    ["in another namespace", "bbbbb7", {}, undefined, "default"],
    ["with an empty secret", "bbbbb8", { "token-secret": "" }],
  ])("one %s is refused", async (_, id, fields, type, namespace) => {
    await secretOf(id, fields, type, namespace).catch((error: Error) => expect(error.message).toMatch(/is invalid/));
    expect(await whoIs({ token: `${id}.0123456789abcdef` })).toBe(401);
  });
});

describe("certificates", () => {
  it("those of the client CA name their subject", async () => {
    expect(await whoIs(victim.certificate("client-ca", "jane", ["dev"]))).toBe("jane");
  });

  it.each<[string, () => Identity]>([
    ["signed by itself", () => certificateOf(undefined, "system:admin", ["system:masters"])],
    ["of another authority", () => certificateOf(foreignAuthority("someone"), "system:admin", ["system:masters"])],
    ["of another authority that bears our CA's name", () => {
      const name = new RegExp(/CN=(.*)/).exec(String(readFileSync(join(victim.tls, "client-ca.crt"))))?.[1] ?? "k3s-client-ca@1";
      return certificateOf(foreignAuthority(name), "system:admin", ["system:masters"]);
    }],
    ["of the server's CA", () => victim.certificate("server-ca", "system:admin", ["system:masters"])],
    ["of the front proxies' CA", () => victim.certificate("request-header-ca", "system:admin", ["system:masters"])],
    ["that has expired", () => victim.certificate("client-ca", "system:admin", ["system:masters"], { now: new Date(Date.now() - 3 * 86_400_000) })],
    ["that is not yet valid", () => victim.certificate("client-ca", "system:admin", ["system:masters"], { now: new Date(Date.now() + 86_400_000) })],
    ["for servers", () => victim.certificate("client-ca", "system:admin", ["system:masters"], { usage: "server" })],
    ["of a user that plays authority", () => {
      const user = victim.certificate("client-ca", "jane");
      return certificateOf({ cert: user.cert!, key: user.key! }, "system:admin", ["system:masters"]);
    }],
  ])("one %s is refused", async (_, make) => {
    expect(await whoIs(make())).toBe(401);
  });
});

describe("headers of front proxies", () => {
  const headers = { "X-Remote-User": "system:admin", "X-Remote-Group": "system:masters", "X-Remote-Extra-scopes": "all" };
  test("mean nothing without a certificate, with a token, and with a user's certificate", async () => {
    expect(await whoIs({ headers })).toBe(401);
    expect(await whoIs({ ...victim.certificate("client-ca", "jane"), headers })).toBe("jane");
    expect(await whoIs({ token: jwt({ alg: "ES256" }, goodClaims(account), es256(key)), headers })).toBe("system:serviceaccount:default:robot");
    expect(await whoIs({ ...victim.certificate("client-ca", "system:auth-proxy"), headers })).toBe("system:auth-proxy");
    expect(await whoIs({ ...certificateOf(foreignAuthority("x"), "system:auth-proxy"), headers })).toBe(401);
    expect(await whoIs({ ...victim.certificate("request-header-ca", "someone"), headers })).toBe(401);
  });
  test("name the user with the proxy's own certificate alone", async () => {
    expect(await whoIs({ ...victim.certificate("request-header-ca", "system:auth-proxy"), headers: { "X-Remote-User": "jane" } })).toBe("jane");
  });
});

test("another client CA in the place of the first is known at once, and aggregated servers are told; the first until the next start", async () => {
  const [next, jane] = [foreignAuthority("next"), victim.certificate("client-ca", "jane")];
  const joe = certificateOf(next, "joe");
  expect([await whoIs(joe), await whoIs(jane)]).toEqual([401, "jane"]);
  writeFileSync(join(victim.tls, "client-ca.key"), next.key);
  writeFileSync(join(victim.tls, "client-ca.crt"), next.cert);
  await expect.poll(() => whoIs(joe), { timeout: 4000 }).toBe("joe");
  expect(await whoIs(jane)).toBe("jane");
  expect(await whoIs(certificateOf(foreignAuthority("someone"), "eve"))).toBe(401);
  const told = async () => (await victim.cluster.kube.get<ConfigMap>(configMaps, "extension-apiserver-authentication", "kube-system")).data!["client-ca-file"];
  await expect.poll(told, { timeout: 4000 }).toContain(next.cert.trim());
});
