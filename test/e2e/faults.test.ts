/** What a disk or another program can do to a running server's database, and to one that starts. */
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { freePort } from "@k3s-p/plugin-api/testing";
import { apiArguments, k3sp, startApiProcess, type ApiProcess } from "../kit/api-process.ts";

const maps = "/api/v1/namespaces/default/configmaps";
const map = (name: string, text = "") => ({ apiVersion: "v1", kind: "ConfigMap", metadata: { name, namespace: "default" }, data: { text } });

function mountUnavailable(): string | undefined {
  if (process.getuid?.() !== 0) return "needs root to mount a small file system";
  return spawnSync("unshare", ["-m", "true"]).status === 0 ? undefined : "needs the right to mount";
}
const reason = mountUnavailable();
if (reason) console.log(`skipped: a full disk ${reason}`);

let dir: string;
let port: number;
let server: ApiProcess | undefined;
const file = () => join(dir, "server/db/state.db");
const start = async () => (server = await startApiProcess({ dir, port }));

describe.skipIf(reason)("a disk that is full", () => {
  const filler = () => join(dir, "filler");
  beforeAll(async () => {
    dir = mkdtempSync(join(tmpdir(), "k3sp-full-"));
    port = await freePort();
    expect(spawnSync("mount", ["-t", "tmpfs", "-o", "size=16m", "tmpfs", dir]).status).toBe(0);
  });
  afterAll(async () => {
    await server?.stop("SIGKILL");
    spawnSync("umount", ["-l", dir]);
    rmSync(dir, { recursive: true });
  });

  function fill(): void {
    let size = 16 << 20;
    while (size >= 1) {
      try {
        writeFileSync(filler(), Buffer.alloc(size), { flag: "a" });
      } catch {
        size >>= 1;
      }
    }
  }

  test("fails writes with a Status that says so, serves reads, and takes writes again when there is room", async () => {
    const api = await start();
    const kept = ["before"];
    expect((await api.request("POST", maps, map("before"))).status).toBe(201);
    fill();
    let refused: Awaited<ReturnType<typeof api.request>> | undefined;
    for (let i = 0; i < 200 && !refused; i++) {
      const answer = await api.request("POST", maps, map(`m${i}`, "x".repeat(20_000)));
      if (answer.status === 201) kept.push(`m${i}`);
      else refused = answer;
    }
    expect(refused?.body).toMatchObject({
      kind: "Status", status: "Failure", code: 500, reason: "InternalError", message: expect.stringContaining("database or disk is full"),
    });
    expect((await api.request("GET", `${maps}/before`)).status).toBe(200);
    expect((await api.request("GET", maps)).body.items.map((item: any) => item.metadata.name).sort()).toEqual(expect.arrayContaining(kept));
    expect((await api.request("GET", "/readyz/etcd")).status).toBe(500);
    rmSync(filler());
    expect((await api.request("POST", maps, map("after"))).status).toBe(201);
    expect((await api.request("GET", "/readyz/etcd")).status).toBe(200);
    expect(await api.stop("SIGTERM")).toBe(0);
    const again = await start();
    const names = (await again.request("GET", maps)).body.items.map((item: any) => item.metadata.name);
    expect(names).toEqual(expect.arrayContaining([...kept, "after"]));
    expect(names).not.toContain("m199");
    await again.stop("SIGKILL");
  });

  test("at the start ends it with the reason, and the next start finds everything", async () => {
    fill();
    const { code, stderr, stdout } = await k3sp(apiArguments({ dir, port }));
    expect([code, stderr + stdout]).toEqual([1, expect.stringMatching(/K3SP_\w+ .*(disk is full|ENOSPC)/)]);
    rmSync(filler());
    const api = await start();
    expect((await api.request("GET", `${maps}/after`)).status).toBe(200);
    await api.stop("SIGTERM");
  });
});

describe("another program, or damage", () => {
  beforeAll(async () => {
    dir = mkdtempSync(join(tmpdir(), "k3sp-faults-"));
    port = await freePort();
  });
  afterEach(async () => {
    await server?.stop("SIGKILL");
  });
  afterAll(() => rmSync(dir, { recursive: true }));

  test("a second server on the same data directory is refused, and the first goes on", async () => {
    const api = await start();
    const second = await k3sp(apiArguments({ dir, port: await freePort() }));
    expect([second.code, second.stderr]).toEqual([1, expect.stringContaining(`K3SP_DATASTORE_LOCKED  ${file()} is used by another process`)]);
    expect((await api.request("POST", maps, map("a"))).status).toBe(201);
    await api.stop();
  });

  test("a program that holds the database delays writes and no reads, and nothing is lost", async () => {
    const api = await start();
    const other = new DatabaseSync(file());
    other.exec("BEGIN IMMEDIATE");
    const writes = ["x", "y"].map((name) => api.request("POST", maps, map(name)));
    expect((await api.request("GET", `${maps}/a`)).status).toBe(200);
    other.exec("COMMIT");
    other.close();
    expect((await Promise.all(writes)).map((answer) => answer.status)).toEqual([201, 201]);
    await api.stop();
  });

  const damages: readonly [string, (content: Buffer) => void, RegExp][] = [
    ["a page that was overwritten", (content) => content.fill(0xab, 8192, 16_384), /is damaged: /],
    ["a letter that changed in a value", (content) => {
      for (let at = content.indexOf("a good letter"); at >= 0; at = content.indexOf("a good letter", at + 1)) content.write("b", at);
    }, /is damaged: \/registry\/core\/configmaps\/default\/letter at revision \d+ is not what was written/],
  ];
  test.each(damages)("%s ends the start with the file, the damage and the way out, and the file stays as it is", async (_, damage, message) => {
    const api = await start();
    await api.request("POST", maps, map("letter", "a good letter"));
    await api.stop();
    const sound = readFileSync(file());
    const content = Buffer.from(sound);
    damage(content);
    writeFileSync(file(), content);
    const { code, stderr } = await k3sp(apiArguments({ dir, port }));
    expect(code).toBe(1);
    expect(stderr).toContain("K3SP_DATASTORE_CORRUPT");
    expect(stderr).toMatch(message);
    expect(stderr).toMatch(/fix: stop the server, move .*state\.db with its -wal and -shm files away, and put a copy in its place or run k3s-p datastore restore/);
    expect(statSync(file()).size).toBe(content.length);
    writeFileSync(file(), sound);
    const again = await start();
    expect((await again.request("GET", `${maps}/letter`)).body.data.text).toBe("a good letter");
    await again.stop();
  });
});
