import { expect, test } from "vitest";
import { parseWords } from "./words.ts";

const parse = (...argv: string[]) => parseWords(argv, "x FILE [--output FORM] [--server URL] [--force]", [0, 2], ["output", "server"], ["force"]);

test.each([
  [["a", "--output", "json"], ["a"], { output: "json" }],
  [["--output=a=b", "a", "b"], ["a", "b"], { output: "a=b" }],
  [["-o", "json", "-f", "-"], ["-"], { output: "json", force: "" }],
  [["-s=https://a"], [], { server: "https://a" }],
  [["--output", "-"], [], { output: "-" }],
])("%j", (argv, words, flags) => {
  const parsed = parse(...argv);
  expect([parsed.words, Object.fromEntries(parsed.flags)]).toEqual([words, flags]);
});

test.each([
  [["--outptu", "x"], 'unknown flag --outptu; did you mean "output"?'],
  [["-d", "x"], "unknown flag -d"],
  [["-x"], "unknown flag -x"],
  [["--output"], "--output needs a value"],
  [["a", "b", "c"], "x FILE [--output FORM] [--server URL] [--force]: 3 arguments, 2 expected"],
])("%j is refused", (argv, message) => {
  expect(() => parse(...argv)).toThrow(message);
});
