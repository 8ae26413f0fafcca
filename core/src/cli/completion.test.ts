import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { commands } from "./commands.ts";

const main = join(import.meta.dirname, "main.ts");
const home = mkdtempSync(join(tmpdir(), "completion-"));
afterAll(() => rmSync(home, { recursive: true }));
const k3sp = (...args: readonly string[]) => execFileSync(process.execPath, [main, ...args], { encoding: "utf8", env: { ...process.env, HOME: home } });

test("bash offers commands, then subcommands and flags, and none that are hidden", () => {
  const file = join(home, "script");
  execFileSync("sh", ["-c", `${process.execPath} ${main} completion bash > ${file}`]);
  const offered = (...words: readonly string[]) =>
    execFileSync("bash", ["-c", `source ${file}; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _k3s_p; echo "\${COMPREPLY[@]}"`, "bash", "k3s-p", ...words], { encoding: "utf8" }).trim().split(" ");
  expect(offered("")).toEqual(Object.keys(commands).sort());
  expect(offered("se")).toEqual(["secrets-encrypt", "server"]);
  expect(offered("token", "")).toEqual(expect.arrayContaining(["create", "delete", "--ttl"]));
  expect(offered("server", "--cluster-d")).toEqual(["--cluster-dns", "--cluster-domain"]);
  expect(offered("agent", "--with")).toEqual(["--with-node-id"]);
  expect(offered("agent", "--cluster-d")).toEqual([""]);
  expect(offered("server", "--disable-ag")).toEqual([""]);
  expect(offered("completion", "")).toEqual(["bash", "zsh"]);
});

test("-i adds a line to the file that the shell reads at its start, once", () => {
  expect(k3sp("completion", "zsh", "-i")).toContain(`added to ${home}/.zshrc`);
  expect(k3sp("completion", "zsh", "-i")).toContain("has it already");
  expect(readFileSync(join(home, ".zshrc"), "utf8").match(/source <\(k3s-p completion zsh\)/g)).toHaveLength(1);
  expect(k3sp("completion", "zsh")).toMatch(/bashcompinit[^]*complete -o default -F _k3s_p k3s-p\n$/);
});
