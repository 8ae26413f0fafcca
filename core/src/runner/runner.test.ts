import { afterAll, afterEach, expect, test, vi } from "vitest";
import { createRunner } from "./runner.ts";

const runner = createRunner();
afterAll(() => runner.stop());
afterEach(() => vi.unstubAllEnvs());

test("what a program says last comes before its end", async () => {
  let output = "";
  const child = await runner.spawn("sh", ["-c", "seq 1 20000; echo the end >&2"], { onOutput: (chunk) => (output += chunk) });
  expect(await child.exited).toMatchObject({ code: 0, signal: null });
  expect(output).toContain("\n20000\n");
  expect(output).toContain("the end");
});

test("the end of a program is told although what it has left behind holds its output", async () => {
  let left = 0;
  const child = await runner.spawn("sh", ["-c", "sleep 100 & echo $!; exit 3"], { onOutput: (chunk) => (left = Number(chunk)) });
  expect(await child.exited).toMatchObject({ code: 3 });
  process.kill(left);
});

test("kubectl and helm are there on machines that lack them, and others are not", async () => {
  vi.stubEnv("PATH", "/nowhere");
  expect(await runner.run("helm", ["version", "--short"])).toMatchObject({ code: 0, stdout: expect.stringMatching(/^v\d/) });
  await expect(runner.run("no-such-program", [])).rejects.toMatchObject({ code: "ENOENT" });
});
