/** What the command line says about itself, and when it is used wrongly. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test, vi } from "vitest";
import { commands } from "./commands.ts";
import { main } from "./main.ts";

async function told(...argv: string[]): Promise<{ readonly code: number; readonly out: string; readonly err: string }> {
  let [out, err] = ["", ""];
  const spies = [
    vi.spyOn(process.stdout, "write").mockImplementation((text) => Boolean((out += String(text)))),
    vi.spyOn(process.stderr, "write").mockImplementation((text) => Boolean((err += String(text)))),
  ];
  onTestFinished(() => spies.forEach((spy) => spy.mockRestore()));
  const code = await main(argv);
  spies.forEach((spy) => spy.mockRestore());
  return { code, out, err };
}

test.each(Object.keys(commands))("help %s says how it is used", async (name) => {
  expect(await told("help", name)).toMatchObject({ code: 0, err: "", out: expect.stringMatching(new RegExp(`^usage: k3s-p ${name}\\b`)) });
});

test("--help of a command and of its subcommands is its page of help", async () => {
  const { out } = await told("help", "token");
  expect(out).toContain("k3s-p token rotate [--token TOKEN] [--new-token TOKEN]\n");
  expect((await told("token", "--help")).out).toBe(out);
  expect((await told("token", "create", "-h")).out).toBe(out);
  expect((await told("help", "plugin")).out).toMatch(/ k3s-p plugin approve NAME .* k3s-p plugin logs NAME /s);
});

test("help of server and agent lists the flags of each", async () => {
  const [server, agent] = [(await told("help", "server")).out, (await told("help", "agent")).out];
  expect(server).toMatch(/^ {2}--cluster-cidr +IPv4/m);
  expect(server).not.toContain("--server");
  expect(agent).toMatch(/^ {2}--server, -s +URL of the server to join: https:\/\/HOST:6443 \(env K3S_URL\)$/m);
  for (const flag of ["cluster-cidr", "disable", "agent-token", "profile", "tls-san"]) expect(agent).not.toMatch(new RegExp(`^ {2}--${flag}(?![\\w-])`, "m"));
});

test("plugin plan shows what a server starts, and with --agent what a node of it does", async () => {
  const dir = mkdtempSync(join(tmpdir(), "k3s-p-help-"));
  onTestFinished(() => rmSync(dir, { recursive: true }));
  writeFileSync(join(dir, "config.yaml"), "node-label: [a=b]\n");
  const planned = async (...argv: string[]) => {
    const { out } = await told("plugin", "plan", "--json", "--config", join(dir, "config.yaml"), ...argv);
    return (JSON.parse(out) as { readonly plugins: readonly { readonly id: string }[] }).plugins.map(({ id }) => id);
  };
  expect(await planned()).toEqual(expect.arrayContaining(["apiserver", "kubelet", "supervisor"]));
  expect((await planned("--agent")).sort()).toEqual(["containerd", "flannel", "kube-proxy", "kubelet", "local-storage", "network-policy", "server-link"]);
  expect((await told("plugin", "plan", "--agent", "--cluster-cidr", "10.1.0.0/16")).err).toContain("unknown flag --cluster-cidr");
});

test("--debug and --data-dir may stand before the command", async () => {
  vi.stubEnv("K3S_DATA_DIR", "/elsewhere");
  vi.stubEnv("K3S_DEBUG", "");
  onTestFinished(() => void vi.unstubAllEnvs());
  for (const globals of [["--debug", "--data-dir", "/nowhere"], ["-d", "/nowhere"], ["--data-dir=/nowhere"]]) {
    expect((await told(...globals, "certificate", "check")).err).toContain("no certificates in /nowhere/server/tls or /nowhere/agent");
  }
  expect(process.env.K3S_DEBUG).toBe("true");
});

test("the overview names every command", async () => {
  const { out } = await told();
  for (const [name, { summary }] of Object.entries(commands)) expect(out).toMatch(new RegExp(`^ {2}${name} +${summary.slice(0, 20)}`, "m"));
});

test.each([
  [["etcd-snapshot", "save"], 'K3SP_COMMAND_UNKNOWN  there is no command "etcd-snapshot" as in K3s\n  fix: use k3s-p datastore dump FILE, which works while the server runs, and k3s-p datastore restore FILE\n'],
  [["toString"], 'K3SP_COMMAND_UNKNOWN  unknown command "toString"\n  fix: see k3s-p --help\n'],
  [["help", "plugins"], 'K3SP_COMMAND_UNKNOWN  unknown command "plugins"; did you mean "plugin"?\n  fix: see k3s-p --help\n'],
  [["token"], "K3SP_COMMAND_UNKNOWN  token needs a subcommand\n  fix: use k3s-p token create|list|delete|generate|rotate\n"],
  [["plugin", "inspect"], "K3SP_COMMAND_UNKNOWN  plugin inspect NAME [--json]: 0 arguments, 1 expected\n  fix: use k3s-p plugin inspect NAME [--json]\n"],
  [["plugin", "enable", "a", "b"], "K3SP_COMMAND_UNKNOWN  plugin enable NAME|SOURCE: 2 arguments, 1 expected\n  fix: use k3s-p plugin enable NAME|SOURCE\n"],
  [["plugin", "list", "--jsn"], 'K3SP_FLAG_UNKNOWN  unknown flag --jsn; did you mean "json"?\n  fix: use k3s-p plugin list [--json]\n'],
  [["plugin", "lst"], 'K3SP_COMMAND_UNKNOWN  unknown command "plugin lst"; did you mean "list"?\n  fix: use k3s-p plugin plan|new|test|approve|list|inspect|enable|disable|reload|replace|graph|timeline|logs\n'],
])("k3s-p %j is refused", async (argv, err) => {
  expect(await told(...argv)).toEqual({ code: 1, out: "", err });
});

test.each([["token", "list"], ["token", "delete", "abcdef"], ["secrets-encrypt", "status"]])("%s %s without a server says that none answers", async (...argv) => {
  const dir = mkdtempSync(join(tmpdir(), "k3s-p-help-"));
  onTestFinished(() => rmSync(dir, { recursive: true }));
  const file = join(dir, "kubeconfig");
  // Nothing listens on port 1.
  writeFileSync(file, JSON.stringify({
    "current-context": "c", contexts: [{ name: "c", context: { cluster: "c", user: "u" } }], clusters: [{ name: "c", cluster: { server: "https://127.0.0.1:1" } }],
  }));
  expect(await told(...argv, "--kubeconfig", file)).toEqual({
    code: 1, out: "", err: "K3SP_SERVER_NOT_RUNNING  no server answers: connect ECONNREFUSED 127.0.0.1:1\n  fix: start one with k3s-p server, or name its folder with --data-dir\n",
  });
});

test("a dump is not restored to where no folder can be made", async () => {
  const dir = mkdtempSync(join(tmpdir(), "k3s-p-help-"));
  onTestFinished(() => rmSync(dir, { recursive: true }));
  writeFileSync(join(dir, "dump"), "");
  const { code, err } = await told("datastore", "restore", join(dir, "dump"), "--data-dir", "/proc/k3s-p");
  expect([code, err.split("\n")[0]]).toEqual([1, "K3SP_PERMISSION_DENIED  data-dir: /proc/k3s-p cannot be made or written: its file system takes no folders"]);
});
