import { describe, expect, it } from "vitest";
import type { Pod, Secret } from "@k3s-p/plugin-api/kube";
import { pullAuths } from "./pull-secrets.ts";

const base64 = (value: string | object): string => Buffer.from(typeof value === "string" ? value : JSON.stringify(value)).toString("base64");
const pod = (...names: string[]): Pod => ({ metadata: { namespace: "ns" }, spec: { imagePullSecrets: names.map((name) => ({ name })) } }) as unknown as Pod;
const json = (auths: object): Secret => ({ type: "kubernetes.io/dockerconfigjson", data: { ".dockerconfigjson": base64({ auths }) } }) as unknown as Secret;
const users = async (secrets: Record<string, Secret>, image: string) =>
  (await pullAuths(pod(...Object.keys(secrets)), image, async (_, name) => secrets[name])).auths.map(({ auth: { username, password } }) => `${username}:${password}`);

describe("an entry for a registry", () => {
  const digest = `@sha256:${"a".repeat(64)}`;
  it.each([
    ["reg.example", "reg.example/app:1", true],
    ["https://reg.example", `reg.example/app${digest}`, true],
    ["http://reg.example/v1/", "reg.example/app:1", true],
    ["https://reg.example/v2/team", "reg.example/team/app", true],
    ["reg.example/team", "reg.example/other/app", false],
    ["reg.example:5000", "reg.example:5000/app", true],
    ["reg.example", "reg.example:5000/app", false],
    ["*.example", "reg.example/app", true],
    ["*.example", "a.reg.example/app", false],
    ["r?g*.example:5000/team", "reg-eu.example:5000/team/app", true],
    ["*", "reg:5000/app", false],
    ["reg[1-3].example", "reg2.example/app", true],
    ["reg[.example", "reg[.example/app", false],
    ["regaexample", "reg.example/app", false],
    ["docker.io", "busybox", true],
    ["docker.io/team", "team/app:1", true],
    ["https://index.docker.io/v1/", "busybox:1.35", true],
    ["https://index.docker.io/v1/", "docker.io/team/app", true],
    ["https://index.docker.io/v1/", "index.docker.io/team/app", true],
    ["https://index.docker.io/v1/", "quay.io/team/app", false],
    ["localhost", "localhost/app", true],
  ])("%s is for %s: %s", async (address, image, fits) => {
    expect(await users({ pull: json({ [address]: { username: "u", password: "p" } }) }, image)).toEqual(fits ? ["u:p"] : []);
  });
});

it("tries the longest path first, and each credential once", async () => {
  const [u1, u2] = [{ auth: base64("u1:p:1") }, { username: "u2", password: "p2" }];
  const secrets = { a: json({ "reg.example": u1, "other.example": u2 }), b: json({ "https://reg.example/team": u2, "http://reg.example": u1 }) };
  expect(await users(secrets, "reg.example/team/app:1")).toEqual(["u2:p2", "u1:p:1"]);
  expect(await users(secrets, "reg.example/app:1")).toEqual(["u1:p:1"]);
});

it("takes Docker Hub's old name only when no entry has the new one", async () => {
  const hub = { "https://index.docker.io/v1/": { username: "old", password: "" } };
  expect(await users({ a: json({ ...hub, "docker.io": { username: "new", password: "" } }) }, "busybox")).toEqual(["new:"]);
});

it("reads the older format, and nothing from secrets of another type or shape", async () => {
  const entry = { "reg.example": { username: "u", password: "p", auth: base64("a:b") } };
  const secret = (type: string, key: string, value: string | object): Secret => ({ type, data: { [key]: base64(value) } }) as unknown as Secret;
  expect(await users({ a: secret("kubernetes.io/dockercfg", ".dockercfg", entry) }, "reg.example/app")).toEqual(["a:b"]);
  expect(await users({ a: secret("Opaque", ".dockerconfigjson", { auths: entry }) }, "reg.example/app")).toEqual([]);
  expect(await users({ a: secret("kubernetes.io/dockercfg", ".dockercfg", "{") }, "reg.example/app")).toEqual([]);
  expect(await users({ a: json({ "reg.example": { auth: base64("nocolon") } }) }, "reg.example/app")).toEqual([]);
});

it("names the secrets that are not there, and gives no address along: a mirror would get nothing", async () => {
  const found = await pullAuths(pod("there", "gone"), "reg.example/app", async (_, name) => (name === "there" ? json({ "reg.example": { username: "u", password: "p" } }) : undefined));
  expect([found.auths.map(({ auth }) => auth), found.missing]).toEqual([[{ username: "u", password: "p" }], ["gone"]]);
});

it("names every secret that holds a credential", async () => {
  const secret = (name: string, password: string): Secret => ({ ...json({ "reg.example": { username: "u", password } }), metadata: { name, namespace: "ns", uid: `uid-${name}` } }) as Secret;
  const secrets: Record<string, Secret> = { a: secret("a", "p"), b: secret("b", "p"), c: secret("c", "q") };
  const { auths } = await pullAuths(pod("a", "b", "c"), "reg.example/app", async (_, name) => secrets[name]);
  expect(auths.map((each) => each.secrets.map(({ uid, namespace, name }) => [uid, namespace, name].join(" ")))).toEqual([["uid-a ns a", "uid-b ns b"], ["uid-c ns c"]]);
  const [[a, b], [c]] = auths.map((each) => each.secrets.map(({ credentialHash }) => credentialHash)) as [string[], string[]];
  expect([a === b, a === c, /^[0-9a-f]{64}$/.test(a!)]).toEqual([true, false, true]);
});
