import { execFile, execFileSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { stringify } from "yaml";
import { startTestServer, type TestServer } from "../server/testing.ts";
import { cronTab, cronTabs } from "./testing.ts";

const kubectl = new URL("../../../../node_modules/.cache/k3s-p/bin/kubectl", import.meta.url).pathname;
const isThere = existsSync(kubectl);
if (!isThere) console.log("skipped: custom resources with kubectl (no kubectl binary yet; npm test unpacks it)");

let folder: string;
let api: TestServer;

/** Output and errors of a command as a user sees them. */
function run(args: readonly string[], input?: object): Promise<string> {
  const env = { PATH: process.env["PATH"], HOME: folder, KUBECONFIG: join(folder, "config"), EDITOR: "true" };
  return new Promise((resolve) => {
    const child = execFile(kubectl, args, { env }, (_error, stdout, stderr) => resolve(`${stdout}${stderr}`));
    child.stdin!.end(input && stringify(input));
  });
}

beforeAll(async () => {
  if (!isThere) return;
  folder = mkdtempSync(join(tmpdir(), "k3sp-crd-"));
  const openssl = (...args: string[]): void => void execFileSync("openssl", args, { cwd: folder, stdio: "pipe" });
  const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
  openssl("req", "-x509", ...key, "-subj", "/CN=ca", "-keyout", "ca.key", "-out", "ca.crt");
  for (const [name, subject] of [["server", "/CN=server"], ["admin", "/O=system:masters/CN=admin"]] as const) {
    openssl("req", "-new", ...key, "-subj", subject, "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", `${name}.key`, "-out", `${name}.csr`);
    openssl("x509", "-req", "-in", `${name}.csr`, "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-copy_extensions", "copy", "-out", `${name}.crt`);
  }
  const read = (name: string): string => readFileSync(join(folder, name), "utf8");
  api = await startTestServer();
  const { port } = await api.listen({ cert: read("server.crt"), key: read("server.key"), clientCas: [read("ca.crt")], address: "127.0.0.1", port: 0 });
  writeFileSync(join(folder, "config"), stringify({
    apiVersion: "v1", kind: "Config", "current-context": "c", contexts: [{ name: "c", context: { cluster: "c", user: "u" } }],
    clusters: [{ name: "c", cluster: { server: `https://127.0.0.1:${port}`, "certificate-authority": join(folder, "ca.crt") } }],
    users: [{ name: "u", user: { "client-certificate": join(folder, "admin.crt"), "client-key": join(folder, "admin.key") } }],
  }));
});
afterAll(async () => {
  if (!isThere) return;
  await api.close();
  rmSync(folder, { recursive: true });
});

describe.skipIf(!isThere)("kubectl", () => {
  it("works with custom resources as with built-in ones", async () => {
    expect(await run(["apply", "-f", "-"], cronTabs())).toBe("customresourcedefinition.apiextensions.k8s.io/crontabs.stable.example.com created\n");
    expect(await run(["wait", "--for=condition=Established", "crd/crontabs.stable.example.com"])).toMatch("condition met");
    expect(await run(["apply", "-f", "-"], cronTab("a"))).toBe("crontab.stable.example.com/a created\n");
    expect(await run(["apply", "-f", "-"], cronTab("a"))).toBe("crontab.stable.example.com/a unchanged\n");
    expect(await run(["apply", "-f", "-"], cronTab("a", { replicas: 2 }))).toBe("crontab.stable.example.com/a configured\n");
    expect(await run(["apply", "--server-side", "--field-manager=x", "-f", "-"], cronTab("s"))).toBe("crontab.stable.example.com/s serverside-applied\n");
    expect(await run(["get", "ct", "a"])).toMatch(/^NAME +SPEC +AGE\na +\* \* \* \* \*\/5 +\d+s\n$/);
    expect(await run(["get", "crontab", "a", "-o", "wide"])).toMatch(/NAME +SPEC +REPLICAS +AGE/);
    expect(await run(["get", "all"])).toMatch("crontab.stable.example.com/a");
  });

  it("explains them", async () => {
    expect(await run(["explain", "crontabs.spec.cronSpec"])).toMatch(/FIELD: cronSpec <string>[^]*When to run\./);
    expect(await run(["explain", "ct"])).toMatch(/CronTab is a job\.[^]*metadata\t<ObjectMeta>[^]*spec\t<Object>/);
  });

  it("says what is wrong with them", async () => {
    expect(await run(["apply", "-f", "-"], cronTab("b", { foo: 1 }))).toMatch('strict decoding error: unknown field "spec.foo"');
    expect(await run(["apply", "--validate=warn", "-f", "-"], cronTab("b", { foo: 1 }))).toMatch('Warning: unknown field "spec.foo"');
    expect(await run(["create", "-f", "-"], cronTab("c", { replicas: 99 }))).toMatch('The CronTab "c" is invalid: spec.replicas: Invalid value: 99: spec.replicas in body should be less than or equal to 10');
    expect(await run(["patch", "ct", "a", "-p", "{}"])).toMatch("application/strategic-merge-patch+json is not supported by stable.example.com/v1, Kind=CronTab");
  });

  it("scales, patches, labels, edits and deletes them", async () => {
    expect(await run(["scale", "ct/a", "--replicas=3"])).toBe("crontab.stable.example.com/a scaled\n");
    expect(await run(["patch", "ct", "a", "--type=merge", "-p", '{"spec":{"policy":"Forbid"}}'])).toBe("crontab.stable.example.com/a patched\n");
    expect(await run(["patch", "ct", "a", "--subresource=status", "--type=merge", "-p", '{"status":{"ready":true}}'])).toMatch("patched");
    expect(await run(["label", "ct", "a", "x=y"])).toBe("crontab.stable.example.com/a labeled\n");
    expect(await run(["edit", "ct", "a"])).toMatch("no changes made");
    expect(await run(["get", "ct", "a", "-o", "jsonpath={.spec.replicas} {.spec.policy} {.status.ready} {.metadata.generation}"])).toBe("3 Forbid true 4");
    expect(await run(["delete", "ct", "s"])).toMatch('"s" deleted');
    expect(await run(["delete", "crd", "crontabs.stable.example.com"])).toMatch('"crontabs.stable.example.com" deleted');
    expect(await run(["get", "ct"])).toMatch(/the server (doesn't have a resource type|could not find the requested resource)/);
  });
});
