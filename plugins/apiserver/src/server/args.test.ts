import { globSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import names from "../../arguments.json" with { type: "json" };
import { argError, numberArg, readArgs } from "./args.ts";

test("options are read by name, with or without dashes, and joined when repeated", () => {
  expect([...readArgs(["--a=1", "b", "c=x=y", "a=2"])]).toEqual([["a", "1,2"], ["b", "true"], ["c", "x=y"]]);
});

test("a number that is none names its option", () => {
  expect(numberArg(readArgs(["n=7"]), "n")).toBe(7);
  expect(() => numberArg(readArgs(["n=x"]), "n")).toThrow(expect.objectContaining({ code: "K3SP_FLAG_INVALID", message: expect.stringContaining('kube-apiserver-arg n: "x" is no number') }));
  expect(argError("n", "why", "fix").message).toContain("why");
});

test("each option that is said to be read is named by the code, and none of those that are said to be ignored is looked up", () => {
  const folder = join(import.meta.dirname, "..");
  const code = globSync("**/*.ts", { cwd: folder }).filter((file) => !file.endsWith(".test.ts")).map((file) => readFileSync(join(folder, file), "utf8")).join("\n");
  expect(names.read.filter((name) => !code.includes(`"${name}"`))).toEqual([]);
  expect(names.ignored.filter((name) => new RegExp(`args(\\.(get|has)\\(|, )"${name}"`).test(code))).toEqual([]);
});
