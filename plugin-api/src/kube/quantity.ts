/** Kubernetes resource quantities (`100m`, `1.5Gi`, `2e3`): exact arithmetic in nano units. */

const binary: Readonly<Record<string, bigint>> = {
  Ki: 1n << 10n, Mi: 1n << 20n, Gi: 1n << 30n, Ti: 1n << 40n, Pi: 1n << 50n, Ei: 1n << 60n,
};
const decimal: Readonly<Record<string, number>> = { n: -9, u: -6, m: -3, "": 0, k: 3, M: 6, G: 9, T: 12, P: 15, E: 18 };
const pattern = /^([+-]?)(\d+(?:\.\d*)?|\.\d+)(?:([eE][+-]?\d+)|([KMGTPE]i)|([numkMGTPE]))?$/;
const NANO = 1_000_000_000n;

const MAX_KNOWN = 1000;
const amounts = new Map<string | number, bigint | undefined>();
const canonical = new Map<string | number, string>();

/** The same few amounts come with every pod: the results for the last texts are kept. */
function remember<T>(known: Map<string | number, T>, text: string | number, make: (text: string | number) => T): T {
  const found = known.get(text);
  if (found !== undefined) return found;
  if (known.size >= MAX_KNOWN) known.clear();
  const made = make(text);
  known.set(text, made);
  return made;
}

/** Nano units, rounded up; undefined when the text is not a quantity. */
export const parseNano = (text: string | number): bigint | undefined => remember(amounts, text, readNano);

function readNano(text: string | number): bigint | undefined {
  const match = pattern.exec(String(text));
  if (!match) return undefined;
  const [, sign, digits = "", exponent, bin, dec = ""] = match;
  const [whole = "", fraction = ""] = digits.split(".");
  const mantissa = BigInt((whole || "0") + fraction);
  let value: bigint;
  if (bin) value = ceilDiv(mantissa * binary[bin]! * NANO, 10n ** BigInt(fraction.length));
  else {
    const power = (exponent ? Number(exponent.slice(1)) : decimal[dec]!) + 9 - fraction.length;
    value = power >= 0 ? mantissa * 10n ** BigInt(power) : ceilDiv(mantissa, 10n ** BigInt(-power));
  }
  return sign === "-" ? -value : value;
}

const ceilDiv = (a: bigint, b: bigint): bigint => (a + b - 1n) / b;

const orThrow = (text: string | number): bigint => {
  const nano = parseNano(text);
  if (nano === undefined) throw new TypeError(`"${text}" is not a quantity`);
  return nano;
};

/** Whole units, rounded up (bytes, pods). Throws TypeError on bad text. */
export const quantityValue = (text: string | number | undefined): number =>
  text === undefined ? 0 : Number(roundUp(orThrow(text), NANO));
/** Milli units, rounded up (millicores). */
export const quantityMilli = (text: string | number | undefined): number =>
  text === undefined ? 0 : Number(roundUp(orThrow(text), 1_000_000n));
export const compareQuantity = (a: string | number, b: string | number): number => {
  const d = orThrow(a) - orThrow(b);
  return d < 0n ? -1 : d > 0n ? 1 : 0;
};

const roundUp = (nano: bigint, unit: bigint): bigint => (nano > 0n ? ceilDiv(nano, unit) : nano / unit);

const steps: readonly [string, bigint][] = [
  ["E", 10n ** 27n], ["P", 10n ** 24n], ["T", 10n ** 21n], ["G", 10n ** 18n], ["M", 10n ** 15n],
  ["k", 10n ** 12n], ["", NANO], ["m", 1_000_000n], ["u", 1000n], ["n", 1n],
];

/** Canonical text: the largest unit that keeps the value whole; binary units when `like` is binary. */
export function formatNano(nano: bigint, format: "decimal" | "binary" = "decimal"): string {
  if (nano === 0n) return "0";
  const sign = nano < 0n ? "-" : "";
  const value = nano < 0n ? -nano : nano;
  if (format === "binary" && value % NANO === 0n) {
    const units = Object.entries(binary).reverse();
    for (const [suffix, size] of units) {
      if (value % (size * NANO) === 0n) return `${sign}${value / (size * NANO)}${suffix}`;
    }
    return `${sign}${value / NANO}`;
  }
  for (const [suffix, size] of steps) {
    if (value % size === 0n) return `${sign}${value / size}${suffix}`;
  }
  return `${sign}${value}n`;
}

/** `0.5` -> `500m`, `1024Mi` -> `1Gi`; keeps the family of suffixes. Throws TypeError on bad text. */
export const canonicalQuantity = (text: string | number): string => remember(canonical, text, makeCanonical);

function makeCanonical(text: string | number): string {
  const family = /[KMGTPE]i$/.test(String(text)) ? "binary" : "decimal";
  return formatNano(orThrow(text), family);
}

/** Sums lists of resources such as `{ cpu: "100m", memory: "64Mi" }` into nano units. */
export function addResources(into: Map<string, bigint>, list: Readonly<Record<string, string>> | undefined): void {
  for (const [name, text] of Object.entries(list ?? {})) into.set(name, (into.get(name) ?? 0n) + orThrow(text));
}
