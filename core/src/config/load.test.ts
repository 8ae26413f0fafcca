import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { flags, unreadFlags } from "./flags.ts";
import { loadSettings } from "./load.ts";

let dir: string;
beforeEach(() => (dir = mkdtempSync(join(tmpdir(), "config-"))));
afterEach(() => rmSync(dir, { recursive: true }));

function load(files: Readonly<Record<string, string>>, argv: readonly string[] = [], env: Record<string, string> = {}) {
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(join(dir, name, ".."), { recursive: true });
    writeFileSync(join(dir, name), text);
  }
  return loadSettings({ argv: ["--config", join(dir, "config.yaml"), ...argv], env, flags });
}

const value = (settings: ReturnType<typeof load>, name: string) => settings.values.get(name)?.value;

describe("precedence", () => {
  test("the command line wins over the environment, which wins over the file", () => {
    const files = { "config.yaml": "node-name: file\ndata-dir: /file\ntoken: file\n" };
    const settings = load(files, ["--node-name", "flag"], { K3S_NODE_NAME: "env", K3S_DATA_DIR: "/env" });
    expect([value(settings, "node-name"), value(settings, "data-dir"), value(settings, "token")]).toEqual(["flag", "/env", "file"]);
  });

  test("a repeated flag replaces the file's whole list; commas separate names of --disable", () => {
    const settings = load({ "config.yaml": "disable: [coredns]\n" }, ["--disable", "traefik,servicelb", "--disable=coredns"]);
    expect(value(settings, "disable")).toEqual(["traefik", "servicelb", "coredns"]);
  });

  test("drop-ins follow in alphabetical order; a key that ends in + appends", () => {
    const settings = load({
      "config.yaml": "disable: [coredns]\nnode-name: base\n",
      "config.yaml.d/20.yaml": "node-name: late\n", "config.yaml.d/10.yaml": "disable+: [traefik]\nnode-name: early\n",
    });
    expect(value(settings, "disable")).toEqual(["coredns", "traefik"]);
    expect(value(settings, "node-name")).toBe("late");
  });
});

describe("values", () => {
  test("have old names that K3s takes too", () => {
    expect(value(load({ "config.yaml": "kube-controller-arg: [controllers=*]\n" }), "kube-controller-manager-arg")).toEqual(["controllers=*"]);
    expect(value(load({ "config.yaml": "" }, ["--kube-controller-arg", "a=b"]), "kube-controller-manager-arg")).toEqual(["a=b"]);
  });

  test.each([
    ["token: 00123", "token", "00123"], ["token: 12345678901234567890", "token", "12345678901234567890"], ["token: 1e5", "token", "1e5"],
    ["write-kubeconfig-mode: 0644", "write-kubeconfig-mode", "0644"], ["https-listen-port: 7443", "https-listen-port", 7443],
    ["debug: yes", "debug", true], ["debug: Off", "debug", false],
    ["node-label: &l [a=b]\nnode-taint: *l", "node-taint", ["a=b"]],
    ["node-name:", "node-name", undefined], ["disable:\n# - traefik", "disable", undefined],
  ])("of `%s` are as they are written, and nothing is nothing", (text, name, expected) => {
    expect(value(load({ "config.yaml": text }), name)).toEqual(expected);
  });
});

describe("bad input", () => {
  test("an unknown flag gets a suggestion", () => {
    expect(() => load({ "config.yaml": "" }, ["--disble", "x"])).toThrow('unknown flag --disble; did you mean "--disable"?');
  });

  test("a flag that the help hides is not suggested", () => {
    expect(() => load({ "config.yaml": "" }, ["--disable-agnt"])).toThrow(/^unknown flag --disable-agnt$/);
    expect(load({ "config.yaml": "disable-agnt: true\n" }).warnings).toEqual([`${dir}/config.yaml:1:1: unknown key "disable-agnt" is ignored`]);
  });

  test("a broken file is named with line and column", () => {
    expect(() => load({ "config.yaml": "node-name: a\ndisable: [x\ntoken: y\n" })).toThrow(new RegExp(`^${dir}/config.yaml:3:1: `));
  });

  test("a value of the wrong type is named with its place", () => {
    expect(() => load({ "config.yaml": "\nhttps-listen-port: abc\n" })).toThrow(expect.objectContaining({
      code: "K3SP_CONFIG_INVALID", message: 'https-listen-port: "abc" is not allowed', detail: [`from ${dir}/config.yaml:2:1   a whole number is expected`],
    }));
  });

  test.each([
    ["node-name: a\n---\nnode-name: b\n", "2:1: the file must hold one document: a second one begins here"],
    ["node-name: a\nnode-name: b\n", "2:1: the key was given before in this file"],
    ["node-name:\n\ttoken: x\n", "2:1: Tabs are not allowed as indentation"],
    ["? [a]\n: b\n", "1:3: the name of a flag is expected"],
    ["node-name: *b\n", "1:12: nothing before it is named &b"],
    ["- a\n", "1:1: the file must be a mapping of flag names to values"],
  ])("a file %j is refused with the place", (text, message) => {
    expect(() => load({ "config.yaml": text })).toThrow(expect.objectContaining({ code: "K3SP_CONFIG_SYNTAX", message: `${dir}/config.yaml:${message}` }));
  });

  test.each([
    ["disable: [a, {b: c}]", '{"b":"c"}', "a list of texts is expected"],
    ["disable: [a, [b]]", '["b"]', "a list of texts is expected"],
    ["disable: [a, ]\nnode-label: [x=y, null]", "null", "a list of texts is expected"],
    ["node-name: {a: b}", '{"a":"b"}', "a text is expected"],
    ["node-name: [a, b]", "a,b", "one value is expected"],
    ["debug: maybe", "maybe", "allowed: true, false"],
  ])("a value in `%s` is refused with what is expected", (text, value, expected) => {
    expect(() => load({ "config.yaml": text })).toThrow(expect.objectContaining({
      code: "K3SP_CONFIG_INVALID", message: expect.stringContaining(`: ${JSON.stringify(value)} is not allowed`), detail: [expect.stringMatching(new RegExp(`:1   ${expected}$`))],
    }));
  });

  test.each(["slots: {cni: [a]}", "slots: {cni: }"])("a slot in `%s` is refused", (text) => {
    expect(() => load({ "config.yaml": text })).toThrow(expect.objectContaining({ message: "slots.cni: the name of a plugin is expected", detail: [`${dir}/config.yaml:1:9`] }));
  });

  test("an unknown key only warns, as in K3s", () => {
    expect(load({ "config.yaml": "disabel: [x]\n" }).warnings).toEqual([`${dir}/config.yaml:1:1: unknown key "disabel" is ignored; did you mean "disable"?`]);
  });

  test("a K3s flag without effect here says so", () => {
    const { values } = load({ "config.yaml": "snapshotter: native\n" }, ["--selinux", "--node-name", "a"]);
    expect(unreadFlags(values, new Set(["snapshotter"]))).toEqual(["selinux (--selinux) is accepted and has no effect"]);
    const others = load({ "config.yaml": "" }, ["-l", "/tmp/log"], { K3S_SELINUX: "true", K3S_DATASTORE_ENDPOINT: "mysql://b" });
    expect(unreadFlags(others.values, new Set()).map((line) => line.split(" ").slice(0, 2).join(" ")).sort()).toEqual(["datastore-endpoint (K3S_DATASTORE_ENDPOINT)", "log (--log)", "selinux (K3S_SELINUX)"]);
  });

  test.each([
    ["flannel: vxlan", "plugins.flannel: must be a mapping of enabled and config", "2:3"],
    ["flannel: {enabled: maybe}", "plugins.flannel.enabled: true or false is expected", "2:13"],
    ["flannel: {config: vxlan}", "plugins.flannel.config: a mapping is expected", "2:13"],
    ["flannel: {confg: {}}", 'plugins.flannel.confg: unknown key; did you mean "config"?', "2:13"],
  ])("a plugin's section `%s` is refused with its place", (section, message, place) => {
    expect(() => load({ "config.yaml": `plugins:\n  ${section}\n` })).toThrow(expect.objectContaining({ code: "K3SP_CONFIG_INVALID", message, detail: [`${dir}/config.yaml:${place}`] }));
  });

  test("a file that cannot be read is named, without a stack", () => {
    expect(() => loadSettings({ argv: ["--config", dir], env: {}, flags })).toThrow(expect.objectContaining({ code: "K3SP_PERMISSION_DENIED", message: `${dir} cannot be read` }));
  });

  test("a config file that was asked for must exist", () => {
    expect(() => loadSettings({ argv: ["--config", "/nowhere.yaml"], env: {}, flags })).toThrow("/nowhere.yaml: no such file");
  });
});

test.each(["flannel:", "flannel: {config: }", "flannel: {enabled: true}"])("a plugin's section `%s` leaves its options as they are", (section) => {
  expect(load({ "config.yaml": `plugins:\n  ${section}\n` }).plugins.get("flannel")?.config).toEqual({});
});

test("a plugin's section keeps the place of each option", () => {
  const { plugins } = load({ "config.yaml": "plugins:\n  flannel:\n    config:\n      backend: vxlna\n" });
  expect(plugins.get("flannel")?.config).toEqual({ backend: "vxlna" });
  expect(plugins.get("flannel")?.positions.get("backend")).toBe(`${dir}/config.yaml:4:16`);
});
