import { expect, test } from "vitest";
import { argError, numberArg, readArgs, warnOfUnknown } from "./args.ts";

test("options are read by name, with or without dashes, and joined when repeated", () => {
  expect([...readArgs(["--a=1", "b", "c=x=y", "a=2"])]).toEqual([["a", "1,2"], ["b", "true"], ["c", "x=y"]]);
});

test("options without effect are told", () => {
  const warnings: string[] = [];
  warnOfUnknown(readArgs(["profiling=false", "audit-log-path=-"]), ["audit-log-path"], (text) => warnings.push(text));
  expect(warnings).toEqual(["kube-apiserver-arg profiling has no effect"]);
});

test("a number that is none names its option", () => {
  expect(numberArg(readArgs(["n=7"]), "n")).toBe(7);
  expect(() => numberArg(readArgs(["n=x"]), "n")).toThrow(expect.objectContaining({ code: "K3SP_FLAG_INVALID", message: expect.stringContaining('kube-apiserver-arg n: "x" is no number') }));
  expect(argError("n", "why", "fix").message).toContain("why");
});
