/**
 * The few functions of semver that the kernel needs. Plain versions and caret ranges, which are nearly all there are, are
 * read here: the package takes 6 ms to load, a tenth of the kernel's start, and is left to what is more than that.
 */
import { createRequire } from "node:module";

type Package = {
  readonly satisfies: typeof import("semver/functions/satisfies.js");
  readonly valid: typeof import("semver/functions/valid.js");
  readonly minVersion: typeof import("semver/ranges/min-version.js");
  readonly validRange: typeof import("semver/ranges/valid.js");
};

const require = createRequire(import.meta.url);
const part = "(0|[1-9]\\d{0,8})";
const plain = new RegExp(`^${part}\\.${part}\\.${part}$`);
const caret = new RegExp(`^\\^${part}(?:\\.${part}(?:\\.${part})?)?$`);

/** Whether a caret range pins what precedes its first part that is not zero; `^0` and `^0.0` pin what they state. */
function inCaret(version: readonly number[], range: readonly (number | undefined)[]): boolean {
  const low = range.map((number) => number ?? 0);
  const stated = range.filter((number) => number !== undefined).length;
  const nonZero = low.findIndex((number) => number > 0);
  const pinned = (nonZero < 0 ? stated : nonZero + 1);
  if (low.slice(0, pinned).some((number, i) => number !== version[i])) return false;
  const differs = low.findIndex((number, i) => number !== version[i]);
  return differs < 0 || version[differs]! > low[differs]!;
}

const numbers = (match: RegExpExecArray): (number | undefined)[] => match.slice(1, 4).map((text) => (text === undefined ? undefined : Number(text)));

const satisfies = (version: string, range: string, options?: { readonly includePrerelease: boolean }): boolean => {
  const [own, asked] = [plain.exec(version), caret.exec(range)];
  if (own && asked) return inCaret(numbers(own) as number[], numbers(asked));
  return (require("semver/functions/satisfies.js") as Package["satisfies"])(version, range, options);
};

export const semver = {
  satisfies,
  valid: (version: string): boolean => plain.test(version) || (require("semver/functions/valid.js") as Package["valid"])(version) !== null,
  validRange: (range: string): boolean => caret.test(range) || (require("semver/ranges/valid.js") as Package["validRange"])(range) !== null,
  /** The lowest major version of a valid range. */
  lowestMajor: (range: string): number => Number(caret.exec(range)?.[1] ?? (require("semver/ranges/min-version.js") as Package["minVersion"])(range)!.major),
};
