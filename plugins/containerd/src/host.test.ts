import { mkdirSync, mkdtempSync, readdirSync, readlinkSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { formatError, isK3spError, type K3spError } from "@k3s-p/plugin-api";
import { daemonEnv } from "./daemon.ts";
import { checkControllers, findPrograms, hostFacts, lacksSysResource, linkPrograms, majorVersion } from "./host.ts";
import { importedNames } from "./images.ts";

let dir: string;
beforeEach(() => (dir = mkdtempSync(join(tmpdir(), "k3sp-host-"))));
afterEach(() => rmSync(dir, { recursive: true }));

const program = (...path: string[]) => {
  mkdirSync(join(dir, ...path.slice(0, -1)), { recursive: true });
  writeFileSync(join(dir, ...path), "", { mode: 0o755 });
};

it("names all missing packages at once with the apt line", () => {
  program("bin", "runc");
  try {
    findPrograms([join(dir, "bin")], [join(dir, "cni")]);
    expect.unreachable();
  } catch (error) {
    expect(isK3spError(error) && error.code).toBe("K3SP_PROGRAM_MISSING");
    expect(formatError(error as K3spError)).toContain("fix: apt-get install containerd containernetworking-plugins");
  }
});

it("finds programs in order of the path and takes crun beside runc", () => {
  for (const name of ["containerd", "ctr", "containerd-shim-runc-v2", "runc"]) program("a", name);
  for (const name of ["containerd", "crun"]) program("b", name);
  program("cni", "loopback");
  const found = findPrograms([join(dir, "a"), join(dir, "b")], [join(dir, "cni")]);
  expect(found.containerd).toBe(join(dir, "a/containerd"));
  expect(Object.keys(found.runtimes)).toEqual(["runc", "crun"]);
});

it("links programs, renews old links and leaves real files alone", () => {
  program("cni", "bridge");
  program("cni", "loopback");
  program("bin", "loopback");
  symlinkSync("/nowhere", join(dir, "bin/bridge"));
  linkPrograms(join(dir, "bin"), [join(dir, "cni/bridge"), join(dir, "cni/loopback")]);
  expect(readlinkSync(join(dir, "bin/bridge"))).toBe(join(dir, "cni/bridge"));
  expect(readdirSync(join(dir, "bin"), { withFileTypes: true }).find((each) => each.name === "loopback")!.isFile()).toBe(true);
});

it.each([
  ["containerd github.com/containerd/containerd 1.6.20~ds1 1.6.20~ds1-1+deb12u3", 1],
  ["containerd github.com/containerd/containerd v2.1.4 75cb2b7193e4", 2],
])("reads the version of %s", (text, major) => expect(majorVersion(text)).toBe(major));

it("asks the host once, and again when containerd's program changes", async () => {
  program("containerd");
  const asked: string[] = [];
  const runner = {
    run: async (command: string) => (asked.push(command), { code: 0, stdout: "containerd x v2.1.0", stderr: "" }),
    spawn: () => Promise.reject(new Error("unused")),
  };
  const facts = () => hostFacts(runner, join(dir, "containerd"), join(dir, "root"));
  const expected = { major: 2, overlay: true };
  expect(await facts()).toMatchObject(expected);
  expect(await facts()).toMatchObject(expected);
  expect(asked).toHaveLength(2);
  writeFileSync(join(dir, "containerd"), "newer", { mode: 0o755 });
  await facts();
  expect(asked).toHaveLength(4);
});

it("sees whether CAP_SYS_RESOURCE is there", () => {
  expect(lacksSysResource("Name:\tnode\nCapEff:\t000001fffeffffff\n")).toBe(true);
  expect(lacksSysResource("Name:\tnode\nCapEff:\t000001ffffffffff\n")).toBe(false);
});

it("reads the names that ctr imported", () => {
  const output = "unpacking docker.io/library/b:1 (sha256:aa)...done\nunpacking docker.io/library/a:1 (sha256:bb)...done\n";
  expect(importedNames(output)).toEqual(["docker.io/library/a:1", "docker.io/library/b:1"]);
});

it("gives containerd its own variables in place of the common ones", () => {
  const env = daemonEnv({ PATH: "/x", HTTPS_PROXY: "http://all", NO_PROXY: "10.0.0.0/8", CONTAINERD_HTTPS_PROXY: "http://mine" });
  expect(env).toEqual({ HTTPS_PROXY: "http://mine", NO_PROXY: "10.0.0.0/8", PATH: expect.any(String) });
  expect(env.PATH).toContain("/usr/sbin");
});

it.each([
  ["v2", { "cgroup.controllers": "cpuset cpu io memory hugetlb pids rdma\n" }, undefined],
  ["v1", { memory: undefined, cpuset: undefined }, undefined],
  ["v2 without memory", { "cgroup.controllers": "cpuset cpu pids\n" }, "cgroup v2: the controller memory of DIR is not enabled"],
  ["v1 without memory and cpuset", { cpu: undefined }, "cgroup v1: the controllers memory and cpuset of DIR are not enabled"],
])("cgroup %s is looked at before containers are", (_, files, message) => {
  for (const [name, text] of Object.entries(files)) {
    if (text === undefined) mkdirSync(join(dir, name));
    else writeFileSync(join(dir, name), text);
  }
  if (message === undefined) return checkControllers(dir);
  expect(() => checkControllers(dir)).toThrow(expect.objectContaining({
    code: "K3SP_RUNTIME_FAILED", message: message.replace("DIR", dir), fix: expect.stringMatching(/^add cgroup_memory=1 cgroup_enable=memory .*to the kernel's command line .* and reboot$/),
  }));
});
