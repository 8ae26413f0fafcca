import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { formatError, isK3spError } from "@k3s-p/plugin-api";
import { planServer } from "../plan.ts";
import { unreadArguments } from "./arguments.ts";

/** With an empty configuration file unless one is given. */
async function plan(argv: readonly string[], text = "") {
  const dir = mkdtempSync(join(tmpdir(), "arguments-"));
  onTestFinished(() => rmSync(dir, { recursive: true }));
  writeFileSync(join(dir, "config.yaml"), text);
  try {
    return await planServer(["--config", join(dir, "config.yaml"), "--data-dir", dir, ...argv], {});
  } catch (error) {
    if (!isK3spError(error)) throw error;
    return formatError(error).replaceAll(dir, "%DIR%");
  }
}

const components = { "kube-apiserver-arg": "apiserver", "kube-controller-manager-arg": "controller-manager", "kube-scheduler-arg": "scheduler", "kubelet-arg": "kubelet", "kube-proxy-arg": "kube-proxy" };

test.each(Object.entries(components))("an unknown name in --%s is refused before anything starts, as upstream does", async (flag, plugin) => {
  expect(await plan([`--${flag}=profilling=false`])).toBe([
    `K3SP_FLAG_UNKNOWN  ${flag}: unknown flag: --profilling; did you mean "--profiling"?`, `  from --${flag}`,
    `  fix: correct or leave out what is named; the README of the plugin ${plugin} lists what has an effect`,
  ].join("\n"));
});

test("all of a component are named, those of a file with their place, with dashes and without", async () => {
  expect(await plan([], "kubelet-arg:\n- max-pods=5\n- --foo\n- frobnicate-nothing-at-all=1\n")).toMatch(
    /^K3SP_FLAG_UNKNOWN {2}kubelet-arg: unknown flag: --foo\n {2}unknown flag: --frobnicate-nothing-at-all\n {2}from %DIR%\/config\.yaml:1:1\n/);
  expect(await plan([], "plugins: { kubelet: { config: { kubeletArg: [max-pod=5] } } }\n")).toMatch(/^K3SP_FLAG_UNKNOWN {2}kubelet-arg: unknown flag: --max-pod; did you mean "--max-pods"\?\n {2}from %DIR%/);
});

test("what upstream knows and means nothing here is told in one line a component; what has an effect is not", async () => {
  const planned = await plan(["--kubelet-arg=v=2", "--kubelet-arg=max-pods=5", "--kubelet-arg=--kube-reserved=cpu=1", "--kube-apiserver-arg=audit-log-path=-", "--kube-scheduler-arg=v=4", "--kube-scheduler-arg=v=4"]);
  if (typeof planned === "string") throw new Error(planned);
  expect(unreadArguments(planned.plan.plugins, planned.configs).sort()).toEqual([
    "kube-scheduler-arg: v: accepted, without an effect", "kubelet-arg: v, kube-reserved: accepted, without an effect",
  ]);
});
