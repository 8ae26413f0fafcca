/** What a plugin may do is recorded once, narrowed silently, and widened only with the user's approval. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import fc from "fast-check";
import { formatError, isK3spError, type Logger } from "@k3s-p/plugin-api";
import { readManifest, type Manifest } from "../kernel/manifest.ts";
import { lockFile, openApprovals } from "./approvals.ts";
import { beyond, describeRights, rightsOf } from "./rights.ts";

let dir: string;
beforeEach(() => (dir = mkdtempSync(join(tmpdir(), "approvals-"))));
afterEach(() => rmSync(dir, { recursive: true }));

const rule = (group: string, resource: string, ...verbs: readonly string[]) => ({ groups: [group], resources: [resource], verbs });

function manifest(k3sp: object, version = "1.0.0", code = "export default 1;"): Manifest {
  mkdirSync(join(dir, "p"), { recursive: true });
  writeFileSync(join(dir, "p/index.ts"), code);
  writeFileSync(join(dir, "p/package.json"), JSON.stringify({ name: "p", version, exports: "./index.ts", k3sp: { api: "^0.1.0", ...k3sp } }));
  const problems: [] = [];
  const found = readManifest({ kind: "user", label: "--plugin ./p", path: join(dir, "p") }, problems);
  expect(problems).toEqual([]);
  return found!;
}

function start() {
  const lines: string[] = [];
  const file = lockFile({ server: join(dir, "server"), agent: join(dir, "agent") });
  const log = { info: (line: string) => void lines.push(line.replaceAll(dir, "%DIR%")) } as unknown as Logger;
  const approvals = openApprovals(file);
  const admit = (m: Manifest): Promise<string> => approvals.admit(m, log).then(() => "admitted", (error: unknown) => (isK3spError(error) ? formatError(error) : String(error)));
  return { approvals, lines, admit, file, lock: () => JSON.parse(readFileSync(file, "utf8")) as Record<string, { rights: string[]; hash: string; version: string; pending?: object }> };
}

const narrow = { permissions: { kube: [rule("", "pods", "get", "list")], exec: ["ip"] } };
const wide = { permissions: { kube: [rule("", "pods", "get", "list"), rule("apps", "deployments", "delete")], exec: ["ip", "nft"], net: true } };

test("the file lies with the server's own, and with the agent's where no server is", () => {
  const paths = { server: join(dir, "server"), agent: join(dir, "agent") };
  const folders: string[] = [];
  for (const path of ["", paths.agent, paths.server]) {
    if (path) mkdirSync(path);
    folders.push(basename(dirname(lockFile(paths))));
  }
  expect(folders).toEqual(["server", "agent", "server"]);
});

test("the first start says what the plugin may do, and records it with the hash of its code", async () => {
  const { admit, lines, lock, file } = start();
  expect(await admit(manifest({ ...narrow, needs: { kube: "^1", runner: "^1" } }))).toBe("admitted");
  expect(lines).toEqual(["first start of p 1.0.0; it may: kube pods: get, list; run: ip; use: kube, runner (recorded in %DIR%/server/plugins.lock.json)"]);
  expect(lock()).toEqual({ p: { version: "1.0.0", hash: expect.stringMatching(/^sha256-[0-9a-f]{64}$/), rights: ["kube get pods", "kube list pods", "run ip", "use kube", "use runner"] } });
  expect(statSync(file).mode & 0o777).toBe(0o600);
});

test("the same plugin is admitted without a word, changed code with one, and narrower rights are the new measure", async () => {
  const { admit, lines, lock } = start();
  await admit(manifest(wide));
  lines.length = 0;
  expect([await admit(manifest(wide)), lines]).toEqual(["admitted", []]);
  const { hash } = lock().p!;
  expect(await admit(manifest(wide, "1.0.1", "export default 2;"))).toBe("admitted");
  expect([lines, lock().p!.version, lock().p!.hash === hash]).toEqual([["p 1.0.1 has changed since 1.0.0 was recorded, and asks for no more than that"], "1.0.1", false]);
  expect(await admit(manifest(narrow, "1.0.2"))).toBe("admitted");
  expect(await admit(manifest(wide, "1.0.3"))).toContain("K3SP_PLUGIN_UNAPPROVED");
});

test("more rights are refused with the difference, until they are approved", async () => {
  const { admit, approvals, lock } = start();
  await admit(manifest(narrow));
  const refused = [
    "K3SP_PLUGIN_UNAPPROVED  p 2.0.0 asks for more than was approved", "  + kube deployments.apps: delete", "  + network", "  + run: nft",
    "  from --plugin ./p", "  fix: k3s-p plugin approve p",
  ].join("\n");
  expect(await admit(manifest(wide, "2.0.0"))).toBe(refused);
  expect(approvals.of(manifest(wide, "2.0.0"))).toMatchObject({ state: "pending", added: ["kube delete deployments.apps", "network", "run nft"] });
  expect(lock().p).toMatchObject({ version: "1.0.0", pending: { version: "2.0.0" } });
  expect(approvals.pending("p")).toEqual({ version: "2.0.0", added: ["kube delete deployments.apps", "network", "run nft"] });
  await approvals.approve("p");
  expect(approvals.pending("p")).toBeUndefined();
  expect(await admit(manifest(wide, "2.0.0"))).toBe("admitted");
});

test("an update that was refused waits for its approval while the old code runs", async () => {
  const { admit, approvals } = start();
  await admit(manifest(narrow));
  await admit(manifest(wide, "2.0.0"));
  expect(await admit(manifest(narrow))).toBe("admitted");
  expect(approvals.pending("p")).toMatchObject({ version: "2.0.0" });
});

test("an update that is given up for another one waits no more", async () => {
  const { admit, approvals } = start();
  await admit(manifest(narrow));
  await admit(manifest(wide, "2.0.0"));
  expect(await admit(manifest(narrow, "2.0.1"))).toBe("admitted");
  expect(approvals.pending("p")).toBeUndefined();
});

test("plugins that start together are all recorded", async () => {
  const { admit, lock } = start();
  const one = manifest(narrow);
  await Promise.all(["c", "a", "b"].map((id) => admit({ ...one, id })));
  expect(Object.keys(lock())).toEqual(["a", "b", "c"]);
});

test("a lock file that is damaged approves nothing", async () => {
  const { admit, file } = start();
  await admit(manifest(narrow));
  writeFileSync(file, "{");
  expect(await admit(manifest(narrow))).toMatch(/^K3SP_PLUGIN_UNAPPROVED {2}.*plugins\.lock\.json is not valid, so no plugin is approved\n/);
});

test("a name that was never started is not known", () => {
  const { approvals } = start();
  expect(() => approvals.pending("q")).toThrow(/no plugin named "q" is in .*plugins\.lock\.json/);
});

test.each([
  ["a verb of all", "kube * pods", "kube delete pods", true],
  ["a resource of all", "kube get *.*", "kube get deployments.apps", true],
  ["another group", "kube get deployments.apps", "kube get deployments.extensions", false],
  ["all rights", "kube * *.*", "kube impersonate users", true],
  ["one right is not all", "kube get pods", "kube * *.*", false],
  ["a file below a folder", "write /etc/cni", "write /etc/cni/net.d", true],
  ["a folder beside", "write /etc/cni", "write /etc/cni2", false],
  ["reading what may be written", "write /etc/cni", "read /etc/cni/x", true],
  ["writing what may be read", "read /etc/cni", "write /etc/cni", false],
  ["less memory", "memory 512", "memory 256", true],
  ["more memory", "memory 256", "memory 512", false],
  ["another program", "run ip", "run sh", false],
  ["any program", "run *", "run sh", true],
  ["one capability of all", "capability ALL", "capability NET_ADMIN", true],
  ["all capabilities are more than one", "capability NET_ADMIN", "capability ALL", false],
  ["one program is not any", "run sh", "run *", false],
])("%s", (_, given, wanted, covered) => expect(beyond([wanted], [given])).toEqual(covered ? [] : [wanted]));

test("no manifest asks for more than itself, and less is never more", () => {
  const some = (words: readonly string[]) => fc.uniqueArray(fc.constantFrom(...words));
  const permissions = fc.record({
    kube: fc.array(fc.record({ groups: some(["", "apps", "*"]), resources: some(["pods", "pods/status", "*"]), verbs: some(["get", "list", "*"]) })),
    exec: some(["ip", "nft"]), fs: fc.record({ read: some(["/a", "/a/b"]), write: some(["/a", "/c"]) }), net: fc.boolean(), capabilities: some(["NET_ADMIN", "NET_RAW"]),
  });
  const base = manifest({});
  fc.assert(fc.property(permissions, fc.nat(), (all, n) => {
    const rights = rightsOf({ ...base, permissions: all as never });
    expect(beyond(rights, rights)).toEqual([]);
    const less = rights.filter((_, i) => (n >> i % 16) & 1);
    expect(beyond(less, rights)).toEqual([]);
    expect(beyond(rights, less).every((right) => !less.includes(right))).toBe(true);
  }));
});

test("rights are described in few lines", () => {
  const admin = rightsOf({ ...manifest({ provides: { cni: "1.0" }, contributes: ["health.check"] }), permissions: { kube: "admin", net: true }, isolation: "inline" });
  expect(describeRights(admin)).toEqual(["contribute: health.check", "inline", "kube: everything", "network", "provide: cni"]);
});
