/** Rows of the benchmark: printed as a table, and as one JSON line for machines. */

export interface Row {
  readonly name: string;
  readonly value: number;
  readonly unit: string;
  /** What the number is measured against, in the same run. */
  readonly against?: string;
  readonly goal?: string;
  readonly met?: boolean;
}

const rows: Row[] = [];

export function record(row: Row): void {
  rows.push(row);
  process.stderr.write(`  ${row.name}: ${format(row.value)} ${row.unit}\n`);
}

const format = (n: number): string => (n >= 100 ? n.toFixed(0) : n >= 10 ? n.toFixed(1) : n.toFixed(2));

export function print(): void {
  const cells = rows.map((r) => [r.name, `${format(r.value)} ${r.unit}`, r.against ?? "", r.goal ?? "", r.met === undefined ? "" : r.met ? "yes" : "NO"]);
  const table = [["figure", "measured", "against (same run)", "goal", "met"], ...cells];
  const widths = table[0]!.map((_, i) => Math.max(...table.map((row) => row[i]!.length)));
  for (const row of table) process.stdout.write(`| ${row.map((cell, i) => cell.padEnd(widths[i]!)).join(" | ")} |\n`);
  process.stdout.write(`${JSON.stringify({ rows })}\n`);
}

export const percentile = (values: readonly number[], p: number): number => {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor((sorted.length * p) / 100))] ?? Number.NaN;
};
