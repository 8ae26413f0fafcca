import { X509Certificate } from "node:crypto";
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { layout } from "../node/layout.ts";
import { createPki } from "../pki/pki.ts";
import { run } from "./certificate.ts";

let dir: string;
let output: string;
const admin = { name: "client-admin", ca: "client-ca", commonName: "system:admin", organizations: ["system:masters"], usage: "client" } as const;
beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), "certificate-"));
  output = "";
  vi.spyOn(process.stdout, "write").mockImplementation((text) => ((output += String(text)), true));
  const { agent, tls } = layout(dir);
  const pki = createPki(tls);
  await pki.issue(admin);
  await pki.issue({ name: "serving-kubelet", ca: "server-ca", commonName: "node1", usage: "server", sans: ["node1"], dir: agent });
});
afterEach(() => {
  vi.restoreAllMocks();
  rmSync(dir, { recursive: true });
});
const certificate = (...argv: string[]) => run([...argv, "--data-dir", dir]);
const tlsFile = (name: string): string => join(dir, "server/tls", name);

test("check says of each certificate how long it is good, in four forms", async () => {
  await certificate("check", "--service", "admin");
  expect(output).toMatch(new RegExp(`^${tlsFile("client-admin.crt")}: certificate CN=system:admin,O=system:masters is ok, expires at \\d{4}-.*Z\n.*certificate CN=k3s-client-ca@\\d+ is ok`));
  output = "";
  await certificate("check", "-o", "table");
  expect(output.split("\n")[0]).toMatch(/^FILENAME +SUBJECT +USAGES +EXPIRES +RESIDUAL TIME +STATUS$/);
  expect(output).toMatch(/^client-admin\.crt +CN=system:admin,O=system:masters +ClientAuth +\w{3} \d\d, \d{4} \d\d:\d\d UTC +364 days +OK$/m);
  expect(output).toMatch(/^serving-kubelet\.crt +CN=node1 +ServerAuth .* OK$/m);
  expect(output).toMatch(/^client-admin\.crt +CN=k3s-client-ca@\d+ +CertSign .* (9|10) years +OK$/m);
  output = "";
  await certificate("check", "--output=json", "-s", "kubelet");
  expect(JSON.parse(output).certificates[0]).toMatchObject({ subject: "CN=node1", usages: ["ServerAuth"], status: "OK" });
  output = "";
  await certificate("check", "--output", "yaml", "-s", "kubelet");
  expect(output).toMatch(/^certificates:\n {2}- filename: .*serving-kubelet\.crt\n {4}subject: CN=node1$/m);
});

test.each([[250, /will expire within 120 days at/, "WARNING"], [400, /expired at/, "EXPIRED"], [-1, /is not valid before/, "NOT YET VALID"]])("check after %i days", async (days, text, status) => {
  vi.useFakeTimers({ now: Date.now() + days * 86_400_000, toFake: ["Date"] });
  try {
    await certificate("check", "-s", "admin");
    expect(output.split("\n")[0]).toMatch(text);
    output = "";
    await certificate("check", "-s", "admin", "-o", "json");
    expect(JSON.parse(output).certificates[0].status).toBe(status);
  } finally {
    vi.useRealTimers();
  }
});

test("rotate backs up and removes what is named; the next start issues it anew, with a new key", async () => {
  const before = readFileSync(tlsFile("client-admin.key"), "utf8");
  await certificate("rotate", "--service", "admin");
  expect(output).toMatch(/^Rotating certificates for admin\nSuccessfully backed up certificates to .*\/tls-\d+, please restart k3s-p server to rotate certificates\n$/);
  expect([existsSync(tlsFile("client-admin.crt")), existsSync(tlsFile("client-admin.key")), existsSync(join(dir, "agent/serving-kubelet.crt"))]).toEqual([false, false, true]);
  const backup = readdirSync(join(dir, "server")).find((name) => name.startsWith("tls-"))!;
  expect(readFileSync(join(dir, "server", backup, "client-admin.key"), "utf8")).toBe(before);
  const { cert, key } = await createPki(layout(dir).tls).issue(admin);
  expect(key).not.toBe(before);
  expect(new X509Certificate(cert).verify(new X509Certificate(readFileSync(tlsFile("client-ca.crt"))).publicKey)).toBe(true);
});

test("rotate without names takes all leaves and leaves the CAs", async () => {
  await certificate("rotate");
  expect(readdirSync(join(dir, "server/tls")).sort()).toEqual(["client-ca.crt", "client-ca.key", "server-ca.crt", "server-ca.key"]);
  expect(existsSync(join(dir, "agent/serving-kubelet.key"))).toBe(false);
});

test("on an agent they work without the folder of a server, and make none", async () => {
  rmSync(join(dir, "server"), { recursive: true });
  const files = () => readdirSync(join(dir, "agent")).filter((name) => !name.startsWith("tls-")).sort();
  await certificate("check");
  expect(output).toMatch(/^\S+\/agent\/serving-kubelet\.crt: certificate CN=node1 is ok/);
  output = "";
  await certificate("rotate");
  expect(output).toMatch(/^Rotating certificates for kubelet\nSuccessfully backed up certificates to \S+\/agent\/tls-\d+, please restart k3s-p agent to rotate certificates\n$/);
  expect([readdirSync(dir), files(), readdirSync(join(/to (\S+),/.exec(output)![1]!, "agent")).sort()]).toEqual([["agent"], [], ["serving-kubelet.crt", "serving-kubelet.key"]]);
  await expect(certificate("check")).rejects.toThrow(`no certificates in ${dir}/server/tls or ${dir}/agent`);
  await expect(certificate("rotate-ca", "--path", dir)).rejects.toMatchObject({ code: "K3SP_CERTIFICATE_INVALID" });
  expect(readdirSync(dir)).toEqual(["agent"]);
});

test.each([[[], 2], [["--force"], 3]])("rotate-ca %j says that nothing changes before the restart, and with a new root what else must be done", async (force, lines) => {
  const staged = join(dir, "staged");
  mkdirSync(staged);
  for (const file of ["client-ca.crt", "client-ca.key"]) cpSync(tlsFile(file), join(staged, file));
  await certificate("rotate-ca", "--path", staged, ...force);
  expect(output.split("\n").slice(0, -1)).toEqual([
    expect.stringMatching(/^client-ca\.key, client-ca\.crt put in place; the files before are in \S+\/tls-\d+$/),
    "please restart k3s-p server, then k3s-p agent on every node: a server that runs signs with what was there before, and trusts it, until its restart",
    expect.stringContaining("every agent needs the token of the server's node-token anew"),
  ].slice(0, lines));
});

test.each<[string[], RegExp]>([
  [["chek"], /unknown command "certificate chek"; did you mean "check"\?/],
  [["check", "--service", "kublet"], /--service: "kublet" is no service; did you mean "kubelet"\?/],
  [["check", "--output", "xml"], /--output: "xml" is not allowed/],
  [["check", "--force"], /unknown flag --force/],
  [["rotate-ca"], /--path is required/],
])("refuses %j", async (argv, message) => {
  await expect(certificate(...argv)).rejects.toThrow(message);
});
