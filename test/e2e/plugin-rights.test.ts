/** Plugins of the user's own: any form of source, on a running server too, with an account and rights of their own. */
import { spawnSync } from "node:child_process";
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createCluster, dataDir, runServer, type Cluster } from "../kit/cluster.ts";
import { sandboxUnavailable } from "../kit/sandbox.ts";
import { tool } from "../kit/tools.ts";

const reason = sandboxUnavailable();
if (reason) console.log(`skipped: rights of plugins ${reason}`);
const npm = spawnSync("npm", ["--version"]).status === 0;
if (!npm) console.log("skipped: an archive needs npm on the PATH");
const root = join(import.meta.dirname, "../..");

describe.skipIf(reason)("plugins of the user's own", () => {
  let cluster: Cluster;
  let dir: string;
  const serverArgs = ["--profile", "api"];

  async function plugin(...args: readonly string[]): Promise<string> {
    const { code, stdout, stderr } = await cluster.sandbox.run([join(root, "node_modules/node/bin/node"), join(root, "core/src/cli/main.ts"), "plugin", ...args]);
    return code === 0 ? stdout : stderr;
  }

  const rule = (resource: string, ...verbs: readonly string[]) => ({ groups: [""], resources: [resource], verbs });
  const reads = [rule("configmaps", "get", "list", "create")];

  /** One file that is a whole plugin: it lists what it may and tells what it saw. */
  function writeModule(rights: object, more: object = {}, version = "1.0.0"): string {
    const file = join(dir, "noter.ts");
    const manifest = { name: "noter", version, criticality: "optional", permissions: rights, ...more };
    writeFileSync(file, `
      import { definePlugin } from "@k3s-p/plugin-api";
      import { configMaps, secrets } from "@k3s-p/plugin-api/kube";
      import { kube } from "@k3s-p/plugin-api/slots";
      export default definePlugin({
        needs: { kube }, manifest: ${JSON.stringify(manifest)},
        async start(ctx) {
          for (const what of [configMaps, secrets]) {
            await ctx.needs.kube.list(what, { namespace: "default" }).then(() => ctx.log.info("may list " + what.plural), (error) => ctx.log.info(error.message));
          }
        },
      });`);
    return file;
  }

  const canI = async (verb: string, resource: string, account: string): Promise<string> =>
    (await cluster.tryKubectl(["auth", "can-i", verb, resource, `--as=system:serviceaccount:kube-system:${account}`])).stdout.trim();
  const accounts = async () => (await cluster.kubectl("get", "serviceaccounts", "-n", "kube-system", "-l", "k3sp.io/plugin", "-o", "name")).trim().split("\n");

  beforeAll(async () => {
    dir = mkdtempSync(join(tmpdir(), "rights-"));
    // A program of another user must be able to pass it.
    chmodSync(dir, 0o755);
    cluster = await createCluster({ args: serverArgs });
    await cluster.start();
  });
  afterAll(async () => {
    await cluster?.dispose();
    rmSync(dir, { recursive: true });
  });

  test("one without a slot is enabled on a running server, with an account that has the rights of its manifest alone", async () => {
    expect(await plugin("enable", writeModule({ kube: reads }))).toContain("started noter 1.0.0");
    expect(cluster.output()).toContain("first start of noter 1.0.0; it may: kube configmaps: create, get, list; use: kube (recorded in");
    expect(cluster.output()).toContain('"plugin":"noter","msg":"may list configmaps"');
    expect(cluster.output()).toContain('secrets is forbidden: User \\"system:serviceaccount:kube-system:k3s-p-noter\\" cannot list');
    expect(await accounts()).toContain("serviceaccount/k3s-p-noter");
    expect([await canI("list", "configmaps", "k3s-p-noter"), await canI("list", "secrets", "k3s-p-noter")]).toEqual(["yes", "no"]);
    expect(await plugin("inspect", "noter")).toMatch(/^permissions: +kube configmaps: create, get, list; use: kube\napproval: +approved$/m);
  });

  test("it goes with its account and its rights, and comes back by its name", async () => {
    expect(await plugin("disable", "noter")).toContain("stopped noter 1.0.0");
    expect(await accounts()).not.toContain("serviceaccount/k3s-p-noter");
    expect(await canI("list", "configmaps", "k3s-p-noter")).toBe("no");
    expect(await plugin("enable", "noter")).toContain("started noter 1.0.0");
    expect(await accounts()).toContain("serviceaccount/k3s-p-noter");
  });

  test.skipIf(!npm)("an archive is installed without a network, and runs with the server's plugin-api", async () => {
    const folder = join(dir, "packed");
    mkdirSync(folder);
    writeFileSync(join(folder, "index.ts"), 'import { definePlugin } from "@k3s-p/plugin-api";\nexport default definePlugin({ start: (ctx) => ctx.log.info(`unpacked in ${import.meta.dirname}`) });\n');
    writeFileSync(join(folder, "package.json"), JSON.stringify({
      name: "packed", version: "1.2.3", type: "module", exports: "./index.ts", dependencies: { "@k3s-p/plugin-api": "0.1.0" }, k3sp: { api: "^0.1.0", criticality: "optional" },
    }));
    const file = spawnSync("npm", ["pack", "--silent", "--pack-destination", dir], { cwd: folder, encoding: "utf8" }).stdout.trim();
    expect(await plugin("enable", join(dir, file))).toContain("started packed 1.2.3");
    expect(cluster.output()).toMatch(new RegExp(`"plugin":"packed","msg":"unpacked in ${dataDir}/plugin-packages/packed-1.2.3-[0-9a-f]+/plugin"`));
    await plugin("disable", "packed");
  });

  test("a program runs as a user of its own, with a kubeconfig of its account, and ends with its plugin", async () => {
    const program = join(dir, "prog");
    // Of this test run alone.
    const seconds = `10${process.pid}`;
    writeFileSync(join(dir, "plugin.json"), JSON.stringify({
      name: "prog", version: "0.1.0", k3sp: { api: "^0.1.0", isolation: "exec", criticality: "optional", needs: { kube: "^1" }, exec: { ready: "listening" }, permissions: { kube: reads } },
    }));
    writeFileSync(program, '#!/bin/sh\ntest -r "$KUBECONFIG" -a ! -r /etc/rancher/k3s/k3s.yaml && echo "listening as $(id -u) in $HOME"\nexec sleep @\n'.replace("@", seconds), { mode: 0o755 });
    expect(await plugin("enable", program)).toContain("started prog 0.1.0");
    expect(cluster.output()).toMatch(new RegExp(`"plugin":"prog","msg":"listening as 6\\d{4} in ${dataDir}/plugins/prog"`));
    const user = (kubeconfig: string) => cluster.sandbox.run([tool("kubectl"), "--kubeconfig", kubeconfig, "auth", "whoami", "-o", "jsonpath={.status.userInfo.username}"]);
    expect((await user("/run/k3s/plugins/prog/kubeconfig")).stdout).toBe("system:serviceaccount:kube-system:k3s-p-prog");
    await cluster.sandbox.run(["cp", "/run/k3s/plugins/prog/kubeconfig", "/run/k3s/kept"]);
    await plugin("disable", "prog");
    // The token is worth nothing without its account.
    expect((await user("/run/k3s/kept")).stderr).toContain("Unauthorized");
    expect((await cluster.sandbox.run(["pgrep", "-fx", `sleep ${seconds}`])).stdout).toBe("");
  });

  const wide = { kube: [...reads, rule("secrets", "list")] };

  test("an update that asks for more is refused with the difference until it is approved, while the old one is kept", async () => {
    const file = writeModule(wide, {}, "2.0.0");
    expect(await plugin("replace", "noter", file)).toBe([
      "K3SP_PLUGIN_UNAPPROVED  noter 2.0.0 asks for more than was approved", "  + kube secrets: list",
      `  from k3s-p plugin enable ${file}`, "  fix: k3s-p plugin approve noter", "",
    ].join("\n"));
    expect(await plugin("list")).toMatch(/^noter +1\.0\.0 .* ready /m);
    expect(await plugin("approve", "noter")).toContain("K3SP_FLAG_INVALID  nobody can be asked here whether this is right\n  fix: add --yes\n");
    expect(await plugin("approve", "noter", "--yes")).toBe("noter 2.0.0 asks for more than was approved:\n  + kube secrets: list\nnoter is approved\n");
    expect(await plugin("replace", "noter", file)).toContain("replaced noter 2.0.0");
    // Without another version, and from another place.
    const moved = join(dir, "moved.ts");
    writeFileSync(moved, readFileSync(writeModule({ ...wide, memory: 64 }, {}, "2.0.0")));
    expect(await plugin("enable", moved)).toContain("+ memory: 64");
    writeModule(wide, {}, "2.0.0");
    writeFileSync(moved, readFileSync(file));
    expect(await plugin("enable", moved)).toContain("replaced noter 2.0.0");
    rmSync(file);
    expect([await canI("list", "secrets", "k3s-p-noter"), await plugin("approve", "noter", "--yes")]).toEqual(["yes", "noter asks for nothing that is not approved\n"]);
  });

  const widest = { kube: [...wide.kube, rule("nodes", "delete")] };

  test("at a start, an optional one that asks for more is left out aloud, and starts once it is approved", async () => {
    const file = writeModule(widest, {}, "3.0.0");
    await cluster.stop();
    await cluster.start({ args: ["--plugin", file] });
    expect(cluster.output()).toContain("K3SP_PLUGIN_UNAPPROVED noter 3.0.0 asks for more than was approved; it is optional, so the start goes on without it");
    expect(cluster.output()).not.toMatch(/"plugin":"noter","msg":"restart in/);
    await expect.poll(() => cluster.output(), { timeout: 5000 }).toContain('"msg":"noter: quarantined (noter 3.0.0 asks for more than was approved)"');
    expect(await plugin("list")).toMatch(/^noter +3\.0\.0 .* quarantined +\d+s +0 +noter 3\.0\.0 asks for more than was approved$/m);
    expect(await plugin("inspect", "noter")).toMatch(/^approval: +pending\nnotApproved: +kube nodes: delete$/m);
    expect(await plugin("approve", "noter", "--yes")).toContain("noter is approved\nnoter 3.0.0 is ready\n");
  });

  test("a required one ends the start, and is approved on the stopped server", async () => {
    const file = writeModule({ ...widest, net: true }, { criticality: "required" }, "4.0.0");
    await cluster.stop();
    const refused = await runServer(cluster.sandbox, [...serverArgs, "--plugin", file]);
    expect(refused.code).toBe(1);
    expect(refused.stderr).toContain(`K3SP_PLUGIN_UNAPPROVED  noter 4.0.0 asks for more than was approved\n  + network\n  from --plugin ${file}\n  fix: k3s-p plugin approve noter\n`);
    expect(JSON.parse(await plugin("plan", ...serverArgs, "--plugin", file, "--json"))).toMatchObject({
      plugins: expect.arrayContaining([expect.objectContaining({ id: "noter", source: { kind: "user", path: dir, entry: file }, approval: { state: "pending", added: ["network"] } })]),
    });
    expect(await plugin("plan", ...serverArgs, "--plugin", file)).toContain(`noter: from --plugin ${file}; pending; it may: kube configmaps: create, get, list; kube nodes: delete; kube secrets: list; network; use: kube\nnoter: not approved: network (k3s-p plugin approve noter)\n`);
    expect(await plugin("approve", "noter", "--yes")).toContain("noter is approved, and starts with the server\n");
    await cluster.start({ args: ["--plugin", file] });
    expect(await plugin("list")).toMatch(/^noter +4\.0\.0 .* ready /m);
    const lock = JSON.parse(readFileSync(join(cluster.sandbox.dir, "private", dataDir, "server/plugins.lock.json"), "utf8")) as object;
    expect(lock).toMatchObject({ noter: { version: "4.0.0", hash: expect.stringMatching(/^sha256-/) } });
  });
});
