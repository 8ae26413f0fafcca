/**
 * `npm test`: types, lint, import law, then every vitest project. Ends with `N passed, N failed, N skipped`.
 * Arguments go to vitest: `npm test -- --project unit plugins/scheduler`.
 */
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { installBusybox } from "./kit/busybox.ts";
import { breaches } from "./law.ts";

const root = dirname(import.meta.dirname);
const counts = { passed: 0, failed: 0, skipped: 0 };

function check(name: string, findings: string): void {
  if (findings) process.stdout.write(`${findings}\n`);
  process.stdout.write(`${findings ? "failed" : "passed"}: ${name}\n`);
  counts[findings ? "failed" : "passed"]++;
}

function tool(name: string, script: string, args: readonly string[]): void {
  const { status, stdout, stderr } = spawnSync(process.execPath, [join(root, "node_modules", script), ...args], { cwd: root, encoding: "utf8", maxBuffer: 1 << 26 });
  check(name, status === 0 ? "" : `${stdout}${stderr}`.trim() || `${name} ended with ${status}`);
}

function vitest(args: readonly string[]): void {
  const dir = mkdtempSync(join(tmpdir(), "k3s-p-test-"));
  const report = join(dir, "report.json");
  const run = spawnSync(
    process.execPath,
    [join(root, "node_modules/vitest/vitest.mjs"), "run", "--reporter=dot", "--reporter=json", `--outputFile.json=${report}`, ...args],
    { cwd: root, stdio: ["ignore", "inherit", "inherit"] },
  );
  const result = JSON.parse(readFileSync(report, "utf8")) as { numPassedTests: number; numFailedTests: number; numPendingTests: number; numFailedTestSuites: number };
  rmSync(dir, { recursive: true });
  counts.passed += result.numPassedTests;
  counts.skipped += result.numPendingTests;
  // A file that cannot be loaded fails without a failed test.
  counts.failed += Math.max(result.numFailedTests, run.status === 0 ? 0 : 1);
}

const args = process.argv.slice(2);
installBusybox();
tool("type check", "typescript/bin/tsc", ["-p", "."]);
tool("lint", "oxlint/bin/oxlint", ["--quiet", "core", "plugin-api", "plugins", "test"]);
check("import law", breaches(root).join("\n"));
vitest(args);
process.stdout.write(`${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped\n`);
process.exitCode = counts.failed ? 1 : 0;
