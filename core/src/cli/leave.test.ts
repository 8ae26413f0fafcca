import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";

const leave = fileURLToPath(new URL("leave.ts", import.meta.url));

/** A program that leaves once it has printed `ready`, and what it gave before. */
function run(before: string, code: number) {
  const text = `import { leave } from ${JSON.stringify(leave)}; ${before}; process.on("exit", () => console.error("exit")); console.error("ready"); leave(${code});`;
  const { status, stderr } = spawnSync(process.execPath, ["--input-type=module", "-e", text], { encoding: "utf8" });
  return { status, said: stderr.trim().split("\n") };
}

test("a process that waits for nothing exits as ever", () => {
  expect(run("", 3)).toEqual({ status: 3, said: ["ready", "exit"] });
});

test("one that looks a name up ends without its threads, with the same code and without another word", () => {
  expect(run('import dns from "node:dns"; dns.lookup("localhost", () => {})', 3)).toEqual({ status: 3, said: ["ready"] });
});
