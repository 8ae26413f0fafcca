/** Every form that `--plugin` takes, from what the user types to a checked manifest, and what each wrong one says. */
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import { formatError, isK3spError } from "@k3s-p/plugin-api";
import type { Manifest } from "../kernel/manifest.ts";
import { planFrom, readSettings } from "../plan.ts";
import { absoluteSource, isSource } from "./locate.ts";
import { namedManifests } from "./manifests.ts";

const npm = spawnSync("npm", ["--version"]).status === 0;
if (!npm) console.log("skipped: packages need npm on the PATH");

let dir: string;
beforeEach(() => (dir = mkdtempSync(join(tmpdir(), "sources-"))));
afterEach(() => rmSync(dir, { recursive: true }));

function write(path: string, text: string, mode = 0o644): string {
  const file = join(dir, path);
  mkdirSync(join(file, ".."), { recursive: true });
  writeFileSync(file, text);
  chmodSync(file, mode);
  return file;
}

const packages = (): string => join(dir, "packages");
const manifestOf = async (spec: string): Promise<Manifest> => (await namedManifests([{ spec, label: `--plugin ${spec}` }], packages()))[0]!;
const textOf = (spec: string): Promise<string> => manifestOf(spec).then(
  () => "no error",
  (error: unknown) => (isK3spError(error) ? formatError(error).replaceAll(dir, "%DIR%") : String(error)),
);

const k3sp = { api: "^0.1.0" };
const folder = (name: string, more: object = {}): string => {
  write(`${name}/index.ts`, 'import { definePlugin } from "@k3s-p/plugin-api";\nexport default definePlugin({ start() {} });\n');
  write(`${name}/package.json`, JSON.stringify({ name, version: "1.2.3", type: "module", exports: "./index.ts", k3sp, dependencies: { "@k3s-p/plugin-api": "0.1.0" }, ...more }));
  return join(dir, name);
};

const imports = 'import { definePlugin } from "@k3s-p/plugin-api";\nimport { cni, kube, runtime } from "@k3s-p/plugin-api/slots";\n';

test("a folder is read without running its code", async () => {
  const path = folder("mine");
  write("mine/index.ts", 'throw new Error("it was run");');
  expect(await manifestOf(path)).toMatchObject({ id: "mine", version: "1.2.3", isolation: "process", entry: join(path, "index.ts") });
});

describe("a module", () => {
  test("is described by what it declares", async () => {
    const entry = write("my-net.ts", `${imports}export default definePlugin({
      provides: cni, needs: { runtime }, wants: { kube }, config: { type: "object", properties: { mtu: { type: "integer", default: 1400 } } },
      manifest: { name: "my-net", version: "0.2.0", criticality: "optional", permissions: { exec: ["ip"] } },
      start: () => ({ confList: { cniVersion: "1.0.0", name: "x", plugins: [] } as never, status: async () => ({ ready: true }) }),
    });`);
    expect(await manifestOf(entry)).toMatchObject({
      id: "my-net", version: "0.2.0", provides: { cni: "1.0" }, needs: { runtime: "^1" }, wants: { kube: "^1" }, criticality: "optional",
      permissions: { exec: ["ip"] }, schema: { properties: { mtu: { default: 1400 } } }, entry, isolation: "process",
    });
  });

  test("needs no manifest at all: the file's name is its name", async () => {
    expect(await manifestOf(write("tiny.ts", `${imports}export default definePlugin({ start() {} });`))).toMatchObject({ id: "tiny", version: "0.0.0" });
  });

  test("is described by the JSON file beside it, and then not run", async () => {
    write("sidecar.json", JSON.stringify({ name: "by-sidecar", version: "1.0.0", k3sp }));
    expect(await manifestOf(write("sidecar.ts", 'throw new Error("it was run");'))).toMatchObject({ id: "by-sidecar" });
  });

  test("cannot write, reach the network or start a program while it declares itself", async () => {
    const act = async (body: string) => textOf(write("bad.ts", `${imports}import fs from "node:fs"; import net from "node:net"; import { spawnSync } from "node:child_process";\n${body}\nexport default definePlugin({ start() {} });`));
    expect(await act(`fs.writeFileSync("${dir}/out", "");`)).toContain("Access to this API has been restricted");
    expect(await act('fs.readFileSync("/etc/passwd");')).toContain("Access to this API has been restricted");
    expect(await act('spawnSync("true");')).toContain("Access to this API has been restricted");
    expect(await act('await new Promise((_, no) => net.connect(1, "127.0.0.1").on("error", no));')).toContain("Access to this API has been restricted");
    expect(existsSync(join(dir, "out"))).toBe(false);
  });

  test.each([
    ["throws", 'throw new Error("no luck");', "K3SP_PLUGIN_LOAD_FAILED  %DIR%/bad.ts: no luck\n  fix: export default definePlugin({ ... }), and do nothing else when the module is imported"],
    ["has no plugin", "export default {};", "K3SP_PLUGIN_LOAD_FAILED  %DIR%/bad.ts: the default export is not a plugin\n  fix: export default definePlugin({ ... }), and do nothing else when the module is imported"],
    ["exits", "process.exit(7);", "K3SP_PLUGIN_LOAD_FAILED  %DIR%/bad.ts: it ended with exit code 7 when it was imported\n  fix: export default definePlugin({ ... }), and do nothing else when the module is imported"],
    ["declares an unknown field", `${imports}export default definePlugin({ manifest: { name: "x", version: "1.0.0", isolaton: "process" }, start() {} });`,
      'K3SP_MANIFEST_INVALID  a plugin manifest is not valid\n  %DIR%/bad.ts: k3sp.isolaton: unknown field; did you mean "isolation"?\n  fix: correct the fields that are named in the plugin\'s package.json'],
  ])("that %s is refused", async (_, source, text) => {
    expect(await textOf(write("bad.ts", source))).toBe(text);
  });
});

describe("a program", () => {
  const sidecar = (isolation: string) => write("plugin.json", JSON.stringify({ name: "prog", version: "0.1.0", k3sp: { ...k3sp, isolation } }));

  test("has its manifest beside it", async () => {
    sidecar("rpc");
    const entry = write("my-prog", "#!/bin/sh\n", 0o755);
    expect(await manifestOf(entry)).toMatchObject({ id: "prog", isolation: "rpc", entry, dir });
  });

  test.each([
    ["without a manifest", 0o755, undefined, 'K3SP_PLUGIN_SOURCE_INVALID  %DIR%/prog is not a plugin: a program needs its manifest beside it, in %DIR%/plugin.json\n  fix: write { "name": "prog", "version": "0.1.0", "k3sp": { "api": "^0.1.0", "isolation": "rpc" } } into plugin.json'],
    ["that cannot be executed", 0o644, "rpc", "K3SP_PLUGIN_SOURCE_INVALID  %DIR%/prog is not a plugin: it is neither a module nor a program\n  fix: give a folder with a package.json, a .ts or .js file, a .tgz, an executable, or the name of an npm package"],
    ["in a mode of modules", 0o755, "process", 'K3SP_MANIFEST_INVALID  a plugin manifest is not valid\n  %DIR%/plugin.json: k3sp.isolation: prog is a program: "isolation" must be "exec" or "rpc"\n  fix: correct the fields that are named in the plugin\'s package.json'],
  ])("%s is refused", async (_, mode, isolation, text) => {
    if (isolation) sidecar(isolation);
    expect(await textOf(write("prog", "#!/bin/sh\n", mode))).toBe(text);
  });
});

test.each([["./no-such"], ["/no/such.ts"], ["no-such.tgz"], ["../a b"]])("%s is a path, and nothing is there", async (spec) => {
  expect(await textOf(spec)).toMatch(/^K3SP_PLUGIN_NOT_FOUND {2}\S+.*: no such file or folder\n {2}fix: /);
});

test("nothing is not the folder that one stands in", async () => {
  expect(await textOf(" ")).toMatch(/^K3SP_PLUGIN_NOT_FOUND {2}no plugin is named\n/);
});

test("what is wrong with several plugins is one report", async () => {
  const named = ["./no-such", folder("bad", { version: "one" })].map((spec) => ({ spec, label: spec }));
  const error = await namedManifests(named, packages()).catch((e: unknown) => e);
  expect(error).toMatchObject({ code: "K3SP_MANIFEST_INVALID", message: "2 problems in plugin manifests", detail: [expect.stringContaining("no-such: no such file"), expect.stringContaining('"one" is not a semantic version')] });
});

test("where a name could stand, a path or a package says so", () => {
  const words = ["flannel", "my-cni", "./my-cni", "/x", "a/b", "x.ts", "x.tgz", "npm:my-cni", "my-cni@1.0.0", "@acme/my-cni"];
  expect(words.filter(isSource)).toEqual(words.slice(2));
  expect(words.map(absoluteSource).filter((word) => word.startsWith(process.cwd()))).toHaveLength(4);
});

describe.skipIf(!npm)("a package", { timeout: 120_000 }, () => {
  let registry: Server;
  const served = new Map<string, string | Buffer>();
  let asked: string[] = [];
  beforeAll(async () => {
    registry = createServer((req, res) => {
      asked.push(req.url!);
      const body = served.get(decodeURIComponent(req.url!));
      res.writeHead(body === undefined ? 404 : 200, { "content-type": typeof body === "string" ? "application/json" : "application/octet-stream" });
      res.end(body ?? '{"error":"Not found"}');
    });
    await new Promise<void>((resolve) => registry.listen(0, "127.0.0.1", resolve));
    vi.stubEnv("npm_config_registry", `http://127.0.0.1:${(registry.address() as AddressInfo).port}/`);
  });
  afterAll(() => {
    vi.unstubAllEnvs();
    registry.close();
  });
  beforeEach(() => {
    served.clear();
    asked = [];
  });

  function pack(name: string, more: object = {}): string {
    const { stdout, stderr } = spawnSync("npm", ["pack", "--silent", "--pack-destination", dir], { cwd: folder(name, more), encoding: "utf8" });
    if (!stdout.trim()) throw new Error(stderr);
    return join(dir, stdout.trim().split("\n").at(-1)!);
  }

  /** Publishes it on the registry of this test. */
  function publish(name: string, more: object = {}): void {
    const file = readFileSync(pack(name, more));
    const tarball = `/${name}/-/${name}-1.2.3.tgz`;
    const url = `http://127.0.0.1:${(registry.address() as AddressInfo).port}${tarball}`;
    const integrity = `sha512-${createHash("sha512").update(file).digest("base64")}`;
    served.set(tarball, file);
    served.set(`/${name}`, JSON.stringify({ name, "dist-tags": { latest: "1.2.3" }, versions: { "1.2.3": { name, version: "1.2.3", ...more, dist: { tarball: url, integrity } } } }));
  }

  test("as a file is unpacked once, and works without a network; another content is another package", async () => {
    const file = pack("packed");
    const first = await manifestOf(file);
    expect(first).toMatchObject({ id: "packed", version: "1.2.3", isolation: "process" });
    expect(first.dir.startsWith(packages())).toBe(true);
    // For programs of other users.
    expect([statSync(first.dir).mode & 0o005, statSync(join(first.dir, "..")).mode & 0o005]).toEqual([0o005, 0o005]);
    expect(asked).toEqual([]);
    expect((await manifestOf(file)).dir).toBe(first.dir);
    writeFileSync(file, readFileSync(pack("packed", { description: "changed" })));
    expect(await manifestOf(file)).toMatchObject({ description: "changed" });
  });

  test("by name comes from the registry with what it depends on, without its scripts, and from the cache afterwards", async () => {
    publish("dep", { type: "module", exports: "./index.js" });
    publish("from-npm", { dependencies: { dep: "^1.0.0", "@k3s-p/plugin-api": "0.1.0" }, scripts: { install: `touch ${dir}/script-ran` } });
    const found = await manifestOf("from-npm");
    expect(found).toMatchObject({ id: "from-npm", version: "1.2.3" });
    expect(existsSync(join(found.dir, "../node_modules/dep/package.json"))).toBe(true);
    expect(existsSync(join(dir, "script-ran"))).toBe(false);
    expect(asked.some((url) => url.includes("plugin-api"))).toBe(false);
    asked = [];
    served.clear();
    expect((await manifestOf("npm:from-npm")).dir).toBe(found.dir);
    expect(asked).toEqual([]);
    // TypeScript in it runs, with the host's plugin-api: Node refuses both below node_modules.
    expect(((await import(found.entry)) as { default: object }).default).toHaveProperty("definition");
  });

  test("that the registry does not have is named, with what npm says", async () => {
    const text = await textOf("no-such-plugin@1.0.0");
    expect(text).toMatch(/^K3SP_PLUGIN_INSTALL_FAILED {2}npm could not install no-such-plugin@1\.0\.0\n {2}code E404\n/);
    expect(text).toMatch(/fix: check the name and version, or give a folder or file$/);
    expect(existsSync(join(packages(), "no-such-plugin@1.0.0"))).toBe(false);
  });

  test("that has no place is refused before it is asked for", async () => {
    await expect(namedManifests([{ spec: "from-npm", label: "--plugin from-npm" }], "/proc/packages")).rejects.toMatchObject({
      code: "K3SP_PERMISSION_DENIED", message: expect.stringContaining("/proc/packages cannot be made: ENOENT"),
    });
  });

  test("without a network says what to do instead", async () => {
    vi.stubEnv("npm_config_registry", "http://127.0.0.1:1/");
    vi.stubEnv("npm_config_fetch_retries", "0");
    expect(await textOf("far-away")).toMatch(/npm could not install far-away@latest\n[\s\S]*fix: check the network; without one run npm pack elsewhere and give the \.tgz$/);
    vi.stubEnv("npm_config_registry", `http://127.0.0.1:${(registry.address() as AddressInfo).port}/`);
  });

  test("that is broken, and one that is no plugin, say so", async () => {
    expect(await textOf(write("broken.tgz", "not an archive"))).toMatch(/^K3SP_PLUGIN_INSTALL_FAILED {2}npm could not install broken\.tgz\n[\s\S]*fix: make the archive anew with npm pack$/);
    expect(await textOf(pack("library", { k3sp: undefined }))).toMatch(/^K3SP_MANIFEST_INVALID {2}a plugin manifest is not valid\n {2}%DIR%\/packages\/library-1\.2\.3-\w+\/plugin\/package\.json: k3sp: missing: a plugin declares itself with a "k3sp" object\n/);
  });
});

test("the plan takes every form", async () => {
  const module = write("one.ts", `${imports}export default definePlugin({ start() {} });`);
  const config = write("config.yaml", "");
  const settings = readSettings(["--config", config, "--profile", "api", "--data-dir", join(dir, "data"), "--plugin", module, "--plugin", folder("two")], {});
  const { plan } = await planFrom(settings);
  expect(plan.plugins.filter((m) => m.source.kind === "user").map((m) => [m.id, m.source.label])).toEqual([["one", `--plugin ${module}`], ["two", `--plugin ${join(dir, "two")}`]]);
});
