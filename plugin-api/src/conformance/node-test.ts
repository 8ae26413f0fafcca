/** Runs the conformance suites of a plugin under `node --test`, which needs no package: `await conformance(new URL("..", import.meta.url))`. */
import { describe, test } from "node:test";
import { suitesFor } from "./index.ts";
import { openSubject, type SubjectOptions } from "./subject.ts";
import { runTest, skipOr } from "./suite.ts";
import { unmet } from "./requirements.ts";

export async function conformance(folder: string | URL, options: SubjectOptions = {}): Promise<void> {
  const subject = await openSubject(folder, options);
  for (const { name, tests } of suitesFor(subject)) {
    void describe(`${subject.id}: ${name} conformance`, () => {
      for (const each of tests) {
        const missing = unmet(each.requires);
        void test(each.name, missing ? { skip: `needs ${missing}` } : {}, (context) => runTest(each).catch(skipOr((why) => context.skip(why))));
      }
    });
  }
}
