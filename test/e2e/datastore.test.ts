/** `k3s-p datastore`: on a running server, on a data directory at rest, and from one cluster to the next. */
import { cpSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { afterAll, beforeAll, expect, test } from "vitest";
import { freePort } from "@k3s-p/plugin-api/testing";
import { k3sp, startApiProcess, type ApiProcess } from "../kit/api-process.ts";

const dir = mkdtempSync(join(tmpdir(), "k3sp-dump-"));
const dump = join(dir, "dump.jsonl");
const [first, second] = [join(dir, "first"), join(dir, "second")];
const maps = "/api/v1/namespaces/default/configmaps";
let port: number;
let server: ApiProcess;
const start = async (data: string) => (server = await startApiProcess({ dir: data, port }));
const datastore = (data: string, ...args: readonly string[]) => k3sp(["datastore", ...args, "--data-dir", data]);
/** What kubectl shows of most kinds. */
const shown = async (data: string): Promise<string> => {
  const kinds = "namespaces,configmaps,secrets,serviceaccounts,services,clusterroles,clusterrolebindings,priorityclasses,flowschemas";
  const { code, stdout, stderr } = await k3sp(["kubectl", "--kubeconfig", join(data, "k3s.yaml"), "get", kinds, "-A", "-o", "custom-columns=KIND:.kind,NS:.metadata.namespace,NAME:.metadata.name,UID:.metadata.uid,RV:.metadata.resourceVersion"]);
  if (code !== 0) throw new Error(stderr);
  return stdout;
};
const stored = (items: readonly any[]) => items.map(({ metadata: { name, uid, resourceVersion, creationTimestamp }, data }) => ({ name, uid, resourceVersion, creationTimestamp, data }));

beforeAll(async () => {
  port = await freePort();
  await start(first);
  for (const name of ["a", "b", "c"]) await server.request("POST", maps, { metadata: { name }, data: { text: `${name} ü \n "` } });
  await server.request("PATCH", `${maps}/b`, { data: { more: "yes" } });
});
afterAll(async () => {
  await server.stop("SIGKILL");
  rmSync(dir, { recursive: true });
});

test("a running server is checked, dumped and compacted, and refuses a restore", async () => {
  expect(await datastore(first, "check")).toMatchObject({ code: 0, stdout: expect.stringMatching(/^sound: \d+ keys, \d+\.\d MiB, revision \d+, history from \d+\n$/) });
  const dumped = await datastore(first, "dump", dump);
  expect(dumped).toMatchObject({ code: 0, stdout: expect.stringMatching(/^dumped \d+ keys at revision \d+\n$/) });
  expect(statSync(dump).mode & 0o777).toBe(0o600);
  expect(readFileSync(dump, "utf8")).toContain('"key":"/registry/core/configmaps/default/b"');
  const refused = await datastore(first, "restore", dump, "--force");
  expect([refused.code, refused.stderr]).toEqual([1, expect.stringContaining("K3SP_DATASTORE_LOCKED  the datastore is used by the running server")]);
  const { body } = await server.request("GET", maps);
  expect(await datastore(first, "compact")).toMatchObject({ code: 0, stdout: expect.stringMatching(/^history up to revision \d+ is gone: /) });
  expect(stored((await server.request("GET", maps)).body.items)).toEqual(stored(body.items));
  expect((await server.request("PATCH", `${maps}/c`, { data: { written: "after compaction" } })).status).toBe(200);
});

test("a dump restored elsewhere shows the same objects under the same resourceVersions, and goes on from higher ones", async () => {
  const { body: before } = await server.request("GET", maps);
  const kubectlBefore = await shown(first);
  expect(await datastore(first, "dump", dump)).toMatchObject({ code: 0 });
  // What a client saw after the dump must not be taken for what comes after the restore.
  const later = Number((await server.request("PATCH", `${maps}/a`, { data: { lost: "yes" } })).body.metadata.resourceVersion);
  await server.stop();
  cpSync(join(first, "server/tls"), join(second, "server/tls"), { recursive: true });
  expect(await datastore(second, "restore", dump)).toMatchObject({ code: 0, stdout: expect.stringMatching(/^restored \d+ keys of revision \d+; the store is at revision \d+\n$/) });
  const api = await start(second);
  const { body: after } = await api.request("GET", maps);
  expect(stored(after.items)).toEqual(stored(before.items));
  expect(await shown(second)).toBe(kubectlBefore);
  expect(Number(after.metadata.resourceVersion)).toBeGreaterThan(later);
  const b = stored(after.items).find((item) => item.name === "b")!;
  const stale = await api.request("PUT", `${maps}/b`, { metadata: { name: "b", resourceVersion: "1" } });
  expect([stale.status, stale.body.reason]).toEqual([409, "Conflict"]);
  const updated = await api.request("PUT", `${maps}/b`, { metadata: { name: "b", resourceVersion: b.resourceVersion } });
  expect(Number(updated.body.metadata.resourceVersion)).toBeGreaterThan(Number(after.metadata.resourceVersion));
  const events: any[] = [];
  await api.watch(`${maps}?watch=1&timeoutSeconds=1&resourceVersion=${later}`, (event) => events.push(event));
  expect(events).toMatchObject([{ type: "ERROR", object: { code: 410, reason: "Expired" } }]);
  await api.stop();
});

test("at rest: check, compact, dump to the output, and a restore over what is there with --force alone", async () => {
  expect((await datastore(second, "check")).code).toBe(0);
  expect((await datastore(second, "compact")).code).toBe(0);
  const printed = await datastore(second, "dump", "-");
  expect(JSON.parse(printed.stdout.split("\n")[0]!)).toEqual({ kind: "k3s-p.io/datastore-dump", version: 1 });
  expect(printed.stderr).toMatch(/^dumped \d+ keys/);
  const refused = await datastore(second, "restore", dump);
  expect([refused.code, refused.stderr]).toEqual([1, expect.stringMatching(/the store holds \d+ keys already\n {2}fix: add --force/)]);
  expect((await datastore(second, "restore", dump, "--force")).code).toBe(0);
  expect((await datastore(second, "check")).code).toBe(0);
});

test("a damaged database is found by a check", async () => {
  const db = new DatabaseSync(join(second, "server/db/state.db"));
  db.exec("UPDATE log SET value = CAST('{}' AS BLOB) WHERE key = '/registry/core/configmaps/default/a'");
  db.close();
  const { code, stderr } = await datastore(second, "check");
  expect([code, stderr]).toEqual([1, expect.stringMatching(/^K3SP_DATASTORE_CORRUPT {2}1 finding\n {2}\/registry\/core\/configmaps\/default\/a at revision \d+ is not what was written\n/)]);
});

const sound = () => readFileSync(dump, "utf8");
test.each<[string, () => string, string]>([
  ["is cut short", () => sound().slice(0, sound().lastIndexOf("\n", sound().length - 2) + 1), "its last line is missing, so it was cut short"],
  ["was changed", () => sound().replace('"name\\":\\"a', '"name\\":\\"z'), "its sum does not fit"],
  ["is something else", () => "apiVersion: v1\n", "it is no dump of k3s-p"],
  ["is of another version", () => sound().replace('"version":1', '"version":7'), "it has version 7, and this k3s-p reads version 1"],
  ["has a line that is no JSON", () => sound().replace(/\n.*\n/, "\n{\n"), "line 2 is not valid JSON"],
])("a dump that %s is refused and changes nothing", async (_, text, message) => {
  const file = join(dir, "bad.jsonl");
  writeFileSync(file, text());
  const { code, stderr } = await datastore(first, "restore", file, "--force");
  expect([code, stderr]).toEqual([1, expect.stringContaining(`${file} cannot be restored: ${message}`)]);
  expect(await datastore(first, "check")).toMatchObject({ code: 0 });
});

test("what is asked wrongly is answered with what would be right", async () => {
  const wrong = async (...args: readonly string[]) => (await k3sp(["datastore", ...args])).stderr;
  expect(await wrong("chek")).toContain('unknown command "datastore chek"; did you mean "check"?');
  expect(await wrong("dump")).toContain("use k3s-p datastore dump FILE|-");
  expect(await wrong("check", "--data-dir", join(dir, "none"))).toContain("holds no cluster");
  expect(await wrong("restore", join(dir, "none.jsonl"), "--data-dir", second)).toContain("cannot be read");
  expect(await wrong("dump", join(dir, "no/folder/dump"), "--data-dir", second)).toContain("cannot be written");
});
