/** `format` of strings in CEL: `"%s has %d".format([name, count])`. */

type Write = (value: unknown, precision: number) => string;

const number = (value: unknown): number => {
  if (typeof value === "number" || typeof value === "bigint") return Number(value);
  throw new Error("error during formatting: numeric verb on a value that is no number");
};

const verbs: Readonly<Record<string, Write>> = {
  s: (value) => text(value),
  d: (value) => String(value),
  f: (value, precision) => number(value).toFixed(precision),
  e: (value, precision) => number(value).toExponential(precision).replace(/e([+-])(\d)$/, "e$10$2"),
  b: (value) => (typeof value === "boolean" ? String(Number(value)) : BigInt(number(value)).toString(2)),
  o: (value) => BigInt(number(value)).toString(8),
  x: (value) => (typeof value === "string" ? Buffer.from(value).toString("hex") : BigInt(number(value)).toString(16)),
  X: (value) => verbs["x"]!(value, 0).toUpperCase(),
};

const DEFAULT_PRECISION = 6;

export function format(template: string, values: readonly unknown[]): string {
  let next = 0;
  return template.replace(/%(?:(%)|(?:\.(\d+))?([a-zA-Z]))/g, (whole, percent, precision, verb) => {
    if (percent) return "%";
    const write = verbs[verb];
    if (!write) throw new Error(`could not parse formatting clause: unrecognized formatting clause ${JSON.stringify(verb)}`);
    if (next >= values.length) throw new Error(`index ${next} out of range`);
    return write(values[next++], precision ? Number(precision) : DEFAULT_PRECISION);
  });
}

function text(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(text).join(", ")}]`;
  if (value instanceof Date) return timeText(value);
  if (typeof value !== "object" || value === null || value.constructor !== Object) return String(value);
  return `{${Object.entries(value).map(([key, item]) => `${key}: ${text(item)}`).sort().join(", ")}}`;
}

export const timeText = (value: Date): string => value.toISOString().replace(/\.?0*Z$/, "Z");

/** In seconds, with as many decimals as there are. */
export function durationText({ seconds, nanos }: { readonly seconds: bigint; readonly nanos: number }): string {
  const total = seconds * 1_000_000_000n + BigInt(nanos);
  const size = total < 0n ? -total : total;
  const fraction = String(size % 1_000_000_000n).padStart(9, "0").replace(/0+$/, "");
  return `${total < 0n ? "-" : ""}${size / 1_000_000_000n}${fraction && `.${fraction}`}s`;
}
