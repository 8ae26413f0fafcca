/** Patterns in Go's syntax, compiled once. */
import { goRegExp } from "./regexp.ts";

const patterns = new Map<string, RegExp>();
const MAX_PATTERNS = 500;

export function patternOf(source: string): RegExp {
  let found = patterns.get(source);
  if (!found) {
    if (patterns.size >= MAX_PATTERNS) patterns.clear();
    patterns.set(source, (found = goRegExp(source)));
  }
  return found;
}
