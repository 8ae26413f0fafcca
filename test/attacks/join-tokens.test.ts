/** `k3s-p token` against a real API server: what it makes lets in, and what it takes away lets in no longer. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, expect, it, test, vi } from "vitest";
import { caHash } from "@k3s-p/plugin-api";
import { secrets } from "@k3s-p/plugin-api/kube";
import { run } from "../../core/src/cli/token.ts";
import { startVictim, type Victim } from "./kit.ts";

let victim: Victim;
let output: string;
beforeAll(async () => void (victim = await startVictim()));
afterAll(() => victim[Symbol.asyncDispose]());
beforeEach(() => {
  output = "";
  vi.spyOn(process.stdout, "write").mockImplementation((text) => ((output += String(text)), true));
});
afterEach(() => vi.restoreAllMocks());

async function token(...argv: string[]): Promise<string> {
  output = "";
  await run([...argv, "--kubeconfig", victim.cluster.kubeconfigPath]);
  return output;
}
const statusOf = async (bearer: string): Promise<number> =>
  (await victim.send({ token: bearer }, "POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", { kind: "SelfSubjectReview", apiVersion: "authentication.k8s.io/v1" })).status;

test("create prints the full token, which lets in until it is deleted", async () => {
  const prefix = `K10${caHash(readFileSync(join(victim.tls, "server-ca.crt"), "utf8"))}::`;
  const text = await token("create", "--description", "a machine");
  expect(text).toMatch(new RegExp(`^${prefix}[a-z0-9]{6}\\.[a-z0-9]{16}\n$`));
  const bearer = text.trim().slice(prefix.length);
  const id = bearer.split(".")[0]!;
  expect(await statusOf(bearer)).toBe(201);
  expect(await token("list")).toMatch(new RegExp(`^TOKEN +TTL +EXPIRES +USAGES +DESCRIPTION +EXTRA GROUPS\n${bearer} +23h +\\S+Z +authentication,signing +a machine +system:bootstrappers:k3s:default-node-token\n$`));
  expect(JSON.parse(await token("list", "--output", "json"))).toMatchObject([{ token: bearer, ttl: "23h", usages: ["authentication", "signing"] }]);
  expect(await token("delete", text.trim())).toBe(`bootstrap token "${id}" deleted\n`);
  expect(await statusOf(bearer)).toBe(401);
  await expect(token("delete", id)).rejects.toThrow(`no bootstrap token has the id "${id}"`);
});

test("a token of one's own, for ever, for signing, with groups", async () => {
  await token("create", "abcdef.0123456789abcdef", "--ttl", "0", "--usages", "signing", "--groups", "system:bootstrappers:mine");
  const secret = await victim.cluster.kube.get(secrets, "bootstrap-token-abcdef", "kube-system");
  expect(secret.type).toBe("bootstrap.kubernetes.io/token");
  expect(Object.keys(secret.data!).sort()).toEqual(["auth-extra-groups", "token-id", "token-secret", "usage-bootstrap-signing"]);
  expect(await statusOf("abcdef.0123456789abcdef")).toBe(401);
  expect(await token("list")).toMatch(/^abcdef\.0123456789abcdef +<forever> +<never> +signing +<none> +system:bootstrappers:mine$/m);
  await expect(token("create", "abcdef.0123456789abcdef")).rejects.toThrow('a token with id "abcdef" already exists');
});

test("generate only prints", async () => {
  await run(["generate"]);
  expect(output).toMatch(/^[a-z0-9]{6}\.[a-z0-9]{16}\n$/);
});

it.each<[string[], RegExp]>([
  [["creat"], /unknown command "token creat"; did you mean "create"\?/],
  [["create", "short"], /"short" is no bootstrap token/],
  [["create", "--ttl", "tomorrow"], /--ttl: "tomorrow" is no duration/],
  [["create", "--usages", "joining"], /--usages: "joining" is not allowed/],
  [["create", "--groups", "system:masters"], /--groups: "system:masters" is not allowed/],
  [["list", "--output", "xml"], /--output: "xml" is not allowed/],
  [["delete"], /0 arguments, 1 expected/],
  [["delete", "Nonsense"], /"Nonsense" is neither a bootstrap token nor the id of one/],
])("refuses %j", async (argv, message) => {
  await expect(token(...argv)).rejects.toThrow(message);
});

test("rotate puts another password in the server's token, and keeps the hash", async () => {
  const dir = mkdtempSync(join(tmpdir(), "rotate-"));
  try {
    mkdirSync(join(dir, "server"));
    const path = join(dir, "server/token");
    const hash = "a".repeat(64);
    writeFileSync(path, `K10${hash}::server:before\n`, { mode: 0o600 });
    const rotate = (...argv: string[]) => run(["rotate", "--data-dir", dir, ...argv]);
    await expect(rotate("--token", "wrong")).rejects.toThrow("--token is not the server's token");
    await rotate("--token", "before", "--new-token", "after");
    expect(output).toMatch(/^WARNING: Recommended to keep a record of the old token\..*\nToken rotated, restart k3s-p with the new token in /);
    expect([readFileSync(path, "utf8"), statSync(path).mode & 0o777]).toEqual([`K10${hash}::server:after\n`, 0o600]);
    await rotate("--server", "https://127.0.0.1:6443");
    expect(output).toMatch(/\n--server has no effect: the files of this machine were changed\n$/);
    expect(readFileSync(path, "utf8")).toMatch(new RegExp(`^K10${hash}::server:[a-z0-9]{32}\n$`));
  } finally {
    rmSync(dir, { recursive: true });
  }
});

test("without a server it says what to do", async () => {
  await expect(run(["list", "--kubeconfig", "/nowhere/k3s.yaml"])).rejects.toMatchObject({ code: "K3SP_SERVER_NOT_RUNNING", message: "the kubeconfig /nowhere/k3s.yaml cannot be read" });
});
