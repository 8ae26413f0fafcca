/** The examples of access points as anybody would load them: single files, each in a process of its own. */
import { createHash } from "node:crypto";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createCluster, eventually, type Cluster } from "../kit/cluster.ts";
import { sandboxUnavailable } from "../kit/sandbox.ts";

const reason = sandboxUnavailable();
if (reason) console.log(`skipped: access plugins ${reason}`);
const root = join(import.meta.dirname, "../..");
const example = (name: string): string => join(root, "plugin-api/examples/points", name);

describe.skipIf(reason)("an authenticator and an authorizer in processes of their own", () => {
  let cluster: Cluster;
  beforeAll(async () => {
    cluster = await createCluster({ args: ["--profile", "api", "--plugin", example("api-keys.ts"), "--plugin", example("freeze.ts")] });
    await cluster.start();
  });
  afterAll(() => cluster?.dispose());

  const status = async (key: string): Promise<string> => (await cluster.sandbox.run([
    join(root, "node_modules/node/bin/node"), "-e",
    `require("https").get("https://127.0.0.1:6443/version", { rejectUnauthorized: false, headers: { "x-api-key": "${key}" } }, (res) => (console.log(res.statusCode), process.exit()))`,
  ])).stdout.trim();

  test("run apart from the server", async () => {
    expect(await cluster.sandbox.run([join(root, "node_modules/node/bin/node"), join(root, "core/src/cli/main.ts"), "plugin", "list"])).toMatchObject({
      code: 0, stdout: expect.stringMatching(/^api-keys +1\.0\.0 +- +process +ready[^]*^freeze +1\.0\.0 +- +process +ready/m),
    });
  });

  test("a key lets in from the moment that its Secret is there", async () => {
    expect(await status("open sesame")).toBe("401");
    const sha256 = Buffer.from(createHash("sha256").update("open sesame").digest("hex")).toString("base64");
    await cluster.apply(JSON.stringify({ apiVersion: "v1", kind: "Secret", metadata: { name: "k", namespace: "kube-system", labels: { "api-keys.example.com/user": "ann" } }, data: { sha256 } }));
    await eventually(async () => (await status("open sesame")) === "200", "the key", 10_000);
    expect(await status("another")).toBe("401");
  });

  test("a frozen namespace refuses what roles allow, and thaws", async () => {
    await cluster.kubectl("create", "namespace", "team");
    await cluster.kubectl("create", "rolebinding", "ann", "-n", "team", "--clusterrole", "edit", "--user", "ann");
    const write = (name: string) => cluster.tryKubectl(["--as", "ann", "-n", "team", "create", "configmap", name]);
    expect((await write("a")).code).toBe(0);
    await cluster.kubectl("label", "namespace", "team", "freeze=true");
    const refused = await eventually(async () => {
      const { code, stderr } = await write(`b${Date.now()}`);
      return code !== 0 && stderr;
    }, "the refusal", 10_000);
    expect(refused).toContain('User "ann" cannot create resource "configmaps" in API group "" in the namespace "team": the namespace "team" is frozen');
    expect((await cluster.tryKubectl(["--as", "ann", "-n", "team", "auth", "can-i", "create", "configmaps"])).stdout.trim()).toBe('no - the namespace "team" is frozen');
    expect((await cluster.tryKubectl(["--as", "ann", "-n", "team", "get", "configmap", "a"])).code).toBe(0);
    await cluster.kubectl("label", "namespace", "team", "freeze-");
    await eventually(async () => (await write(`c${Date.now()}`)).code === 0, "the thaw", 10_000);
  });
});
