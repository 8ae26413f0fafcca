/** What a conformance suite is: named tests that say what they need of the machine, independent of any test runner. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { unmet, type Requirement } from "./requirements.ts";

export interface ConformanceContext {
  /** A folder of this test alone. */
  readonly dir: string;
  /** Undo steps, run last first when the test has ended, however it ended. */
  defer(undo: () => void | Promise<void>): void;
}

export interface ConformanceTest {
  readonly name: string;
  readonly requires: readonly Requirement[];
  /** Rejects, with what was expected and what was seen, when the provider breaks the promise. */
  run(ctx: ConformanceContext): Promise<void> | void;
}

/** Thrown by a test that finds, when it runs, that the promise does not apply; its message says why. */
export class NotApplicable extends Error {
  override readonly name = "NotApplicable";
}

export interface Result {
  readonly name: string;
  readonly status: "passed" | "failed" | "skipped";
  /** Why it failed or was skipped. */
  readonly reason?: string;
  readonly error?: unknown;
  readonly ms: number;
}

export const test = (name: string, requires: readonly Requirement[], run: ConformanceTest["run"]): ConformanceTest => ({ name, requires, run });

/** Runs one test in a folder of its own; the undo steps and the folder's removal belong to the test. */
export async function runTest({ run }: ConformanceTest): Promise<void> {
  const dir = mkdtempSync(join(tmpdir(), "k3sp-conf-"));
  const undos: (() => void | Promise<void>)[] = [() => rmSync(dir, { recursive: true, force: true })];
  try {
    await run({ dir, defer: (undo) => void undos.push(undo) });
  } finally {
    for (const undo of undos.reverse()) await undo();
  }
}

/** For adapters of test runners: a test that does not apply is skipped with its reason, and not passed. */
export const skipOr = (skip: (reason: string) => void) => (error: unknown): void => {
  if (!(error instanceof NotApplicable)) throw error;
  skip(error.message);
};

/** Runs the tests one after the other and tells of each as it ends; nothing is skipped without a reason. */
export async function runSuite(tests: readonly ConformanceTest[], onResult: (result: Result) => void = () => {}): Promise<readonly Result[]> {
  const results: Result[] = [];
  for (const each of tests) {
    const result = await resultOf(each);
    results.push(result);
    onResult(result);
  }
  return results;
}

async function resultOf(each: ConformanceTest): Promise<Result> {
  const started = performance.now();
  const done = (rest: Pick<Result, "status" | "reason" | "error">): Result => ({ name: each.name, ms: performance.now() - started, ...rest });
  const missing = unmet(each.requires);
  if (missing) return done({ status: "skipped", reason: `needs ${missing}` });
  try {
    await runTest(each);
    return done({ status: "passed" });
  } catch (error) {
    if (error instanceof NotApplicable) return done({ status: "skipped", reason: error.message });
    return done({ status: "failed", reason: error instanceof Error ? error.message : String(error), error });
  }
}

/** Calls `look` until it no longer throws; the last error when that takes longer than `ms`. */
export async function within<T>(ms: number, look: () => T | Promise<T>): Promise<T> {
  for (const end = Date.now() + ms; ; await pause(10)) {
    try {
      return await look();
    } catch (error) {
      if (Date.now() > end) throw error;
    }
  }
}

export const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
