/** Versions by https://semver.org, with Kubernetes' rules for what is almost one. */
import type { Environment } from "@marcbachmann/cel-js";

class Semver {
  readonly numbers: readonly [number, number, number];
  readonly pre: readonly string[];
  constructor(numbers: readonly [number, number, number], pre: readonly string[]) {
    this.numbers = numbers;
    this.pre = pre;
  }
  equals(other: unknown): boolean {
    return other instanceof Semver && order(this, other) === 0;
  }
}

const pattern = /^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(?:-((?:0|[1-9]\d*|\d*[a-zA-Z-][\da-zA-Z-]*)(?:\.(?:0|[1-9]\d*|\d*[a-zA-Z-][\da-zA-Z-]*))*))?(?:\+[\da-zA-Z-]+(?:\.[\da-zA-Z-]+)*)?$/;

function parse(text: string, normalize: boolean): Semver | undefined {
  const match = pattern.exec(normalize ? normalized(text) : text);
  if (!match) return undefined;
  return new Semver([Number(match[1]), Number(match[2]), Number(match[3])], match[4]?.split(".") ?? []);
}

/** Without a leading `v` and leading zeros; `1` and `1.2` stand for `1.0.0` and `1.2.0`. */
function normalized(text: string): string {
  const [, core = "", rest = ""] = /^v?([\d.]*)(.*)$/s.exec(text)!;
  const parts = core.split(".").map((part) => part.replace(/^0+(?=\d)/, ""));
  while (rest === "" && parts.length < 3) parts.push("0");
  return parts.join(".") + rest;
}

const sign = (difference: number): number => Math.sign(difference);
const isNumber = (text: string): boolean => /^\d+$/.test(text);

function order(a: Semver, b: Semver): number {
  for (const [i, number] of a.numbers.entries()) if (number !== b.numbers[i]) return sign(number - b.numbers[i]!);
  if (a.pre.length === 0 || b.pre.length === 0) return sign(b.pre.length - a.pre.length);
  for (const [i, part] of a.pre.entries()) {
    const other = b.pre[i];
    if (other === undefined) return 1;
    if (part === other) continue;
    if (isNumber(part) !== isNumber(other)) return isNumber(part) ? -1 : 1;
    return isNumber(part) ? sign(Number(part) - Number(other)) : part < other ? -1 : 1;
  }
  return sign(a.pre.length - b.pre.length);
}

function made(text: string, normalize: boolean): Semver {
  const found = parse(text, normalize);
  if (!found) throw new Error(`semver parse error during conversion from string: ${JSON.stringify(text)} is no semantic version`);
  return found;
}

export function registerSemver(environment: Environment): void {
  environment.registerType("Semver", Semver as never);
  const functions: Readonly<Record<string, (...values: any[]) => unknown>> = {
    "semver(string): Semver": (text) => made(text, false),
    "semver(string, bool): Semver": made,
    "isSemver(string): bool": (text) => parse(text, false) !== undefined,
    "isSemver(string, bool): bool": (text, normalize) => parse(text, normalize) !== undefined,
    "Semver.major(): int": ({ numbers }) => BigInt(numbers[0]),
    "Semver.minor(): int": ({ numbers }) => BigInt(numbers[1]),
    "Semver.patch(): int": ({ numbers }) => BigInt(numbers[2]),
    "Semver.compareTo(Semver): int": (a, b) => BigInt(order(a, b)),
    "Semver.isGreaterThan(Semver): bool": (a, b) => order(a, b) > 0,
    "Semver.isLessThan(Semver): bool": (a, b) => order(a, b) < 0,
  };
  for (const [signature, handler] of Object.entries(functions)) environment.registerFunction(signature, handler);
  environment.registerOperator("Semver == Semver", (a: Semver, b: Semver) => a.equals(b));
}
