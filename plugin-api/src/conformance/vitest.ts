/** Runs the conformance suites of a plugin as Vitest tests: `await conformance(new URL("..", import.meta.url))`. */
import { describe, test } from "vitest";
import { suitesFor } from "./index.ts";
import { openSubject, type SubjectOptions } from "./subject.ts";
import { runTest, skipOr } from "./suite.ts";
import { unmet } from "./requirements.ts";

const TIMEOUT = 120_000;

export interface VitestOptions extends SubjectOptions {
  /** Default: all that apply. */
  readonly only?: readonly string[];
}

export async function conformance(folder: string | URL, options: VitestOptions = {}): Promise<void> {
  const subject = await openSubject(folder, options);
  const suites = suitesFor(subject).filter(({ name }) => options.only?.includes(name) ?? true);
  for (const { name, tests } of suites) {
    describe(`${subject.id}: ${name} conformance`, () => {
      for (const each of tests) {
        const missing = unmet(each.requires);
        if (missing) test.skip(`${each.name} (skipped: needs ${missing})`, () => {});
        else test(each.name, (context) => runTest(each).catch(skipOr(context.skip)), TIMEOUT);
      }
    });
  }
}
