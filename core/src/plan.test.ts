/** What is refused when a server is planned, before anything of it starts. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { planServer } from "./plan.ts";

let dir: string;
beforeEach(() => (dir = mkdtempSync(join(tmpdir(), "plan-"))));
afterEach(() => rmSync(dir, { recursive: true }));

const plan = (argv: readonly string[], env = {}, text = "") => {
  writeFileSync(join(dir, "config.yaml"), text);
  return planServer(["--config", join(dir, "config.yaml"), "--node-name", "node1", ...argv], env);
};

describe("another database", () => {
  test.each([
    ["mysql://root:secret@tcp(db:3306)/k3s", "mysql"], ["postgres://u:secret@db/k3s", "postgres"], ["https://etcd:2379,https://b:2379", "https"],
  ])("is refused without its password: %s", async (endpoint, shown) => {
    await expect(plan([], { K3S_DATASTORE_ENDPOINT: endpoint })).rejects.toMatchObject({
      code: "K3SP_CONFIG_INVALID", message: `datastore-endpoint: ${shown} is not a database that this datastore speaks to`, detail: ["from K3S_DATASTORE_ENDPOINT"],
    });
  });

  test.each(["", "sqlite", "sqlite:///var/lib/x.db"])("is what is here anyway: %j", async (endpoint) => {
    expect((await plan(["--datastore-endpoint", endpoint])).plan.plugins.length).toBeGreaterThan(10);
  });
});

describe("a cluster to join", () => {
  test.each([
    ["K3SP_FLAG_INVALID", () => "--server", () => plan(["--server", "https://a:6443", "--token", "x"])],
    ["K3SP_FLAG_INVALID", () => "--server", () => plan(["-s", "https://a:6443"])],
    ["K3SP_CONFIG_INVALID", () => "K3S_URL", () => plan([], { K3S_URL: "https://a:6443" })],
    ["K3SP_CONFIG_INVALID", () => `${dir}/config.yaml:2:1`, () => plan([], {}, "token: x\nserver: https://a:6443\n")],
  ])("is refused with %s, which names the place", async (code, source, planned) => {
    await expect(planned()).rejects.toMatchObject({
      code, message: "server: https://a:6443 cannot be joined by a second server", detail: [`from ${source()}`],
      fix: "use k3s-p agent to join this machine as a node; or leave it out, and a cluster of its own starts here",
    });
  });

  test("an empty one is none", async () => {
    const { plan: { plugins } } = await plan(["--server", ""], { K3S_URL: "" });
    expect(plugins.length).toBeGreaterThan(10);
  });

  test("is left to a plugin that reads the flag", async () => {
    mkdirSync(join(dir, "joiner"));
    const k3sp = { api: "^0.1.0", config: "./schema.json", flags: { server: "url" } };
    writeFileSync(join(dir, "joiner/package.json"), JSON.stringify({ name: "joiner", version: "1.0.0", description: "joins", type: "module", exports: "./plugin.ts", k3sp }));
    writeFileSync(join(dir, "joiner/schema.json"), JSON.stringify({ type: "object", properties: { url: { type: "string", description: "the cluster" } } }));
    writeFileSync(join(dir, "joiner/plugin.ts"), "");
    const { configs } = await plan(["--plugin", join(dir, "joiner"), "--server", "https://a:6443"]);
    expect(configs.get("joiner")).toEqual({ url: "https://a:6443" });
  });
});
