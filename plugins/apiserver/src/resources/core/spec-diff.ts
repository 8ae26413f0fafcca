/** What differs between two specs, as a unified diff of their JSON: in messages that refuse a change. */
import { isObject } from "../fields.ts";

/** Lines around a change that are shown with it. */
const CONTEXT = 3;
/** Pairs of lines that are compared: pods of more are few, and nobody should wait for them. */
const MAX_TABLE = 250_000;

interface Line {
  readonly sign: " " | "-" | "+";
  readonly text: string;
}

/** Empty when they are the same but for the order of keys; else it ends with a line feed, as each line does. */
export function specDiff(before: unknown, after: unknown): string {
  const lines = compare(linesOf(before), linesOf(after));
  const isShown = lines.map((_, i) => lines.slice(Math.max(0, i - CONTEXT), i + CONTEXT + 1).some(({ sign }) => sign !== " "));
  let text = "";
  let [oldLine, newLine] = [1, 1];
  for (let start = 0; start < lines.length; start++) {
    let end = start;
    while (isShown[end]) end++;
    const hunk = lines.slice(start, Math.max(end, start + 1));
    const [olds, news] = [hunk.filter(({ sign }) => sign !== "+").length, hunk.filter(({ sign }) => sign !== "-").length];
    if (end > start) text += `@@ -${oldLine},${olds} +${newLine},${news} @@\n${hunk.map(({ sign, text: line }) => `${sign}${line}\n`).join("")}`;
    oldLine += olds;
    newLine += news;
    start += hunk.length - 1;
  }
  return text;
}

/** Upstream shows its own types, whose fields begin with capitals. */
function linesOf(spec: unknown): string[] {
  const named = (_: string, value: unknown): unknown => (isObject(value)
    ? Object.fromEntries(Object.keys(value).sort().map((key) => [key.charAt(0).toUpperCase() + key.slice(1), value[key]])) : value);
  return JSON.stringify(spec, named, 1).split("\n");
}

function compare(before: readonly string[], after: readonly string[]): Line[] {
  const shorter = Math.min(before.length, after.length);
  let start = 0;
  while (start < shorter && before[start] === after[start]) start++;
  let end = 0;
  while (end < shorter - start && before.at(-1 - end) === after.at(-1 - end)) end++;
  const same = (text: string): Line => ({ sign: " ", text });
  const middle = compareMiddle(before.slice(start, before.length - end), after.slice(start, after.length - end));
  return [...before.slice(0, start).map(same), ...middle, ...before.slice(before.length - end).map(same)];
}

/** The longest common subsequence stays, unless it is too much to look for; of equally long ones, that which removes first. */
function compareMiddle(before: readonly string[], after: readonly string[]): Line[] {
  const width = after.length + 1;
  const size = (before.length + 1) * width;
  const common = new Uint16Array(size <= MAX_TABLE ? size : 0);
  for (let i = before.length - 1; i >= 0 && common.length > 0; i--) {
    for (let j = after.length - 1; j >= 0; j--) {
      const at = i * width + j;
      common[at] = before[i] === after[j] ? common[at + width + 1]! + 1 : Math.max(common[at + width]!, common[at + 1]!);
    }
  }
  const left = (i: number, j: number): number => common[i * width + j] ?? 0;
  const lines: Line[] = [];
  for (let i = 0, j = 0; i < before.length || j < after.length;) {
    const [removed, added] = [before[i], after[j]];
    if (removed !== undefined && removed === added && common.length > 0) {
      lines.push({ sign: " ", text: removed });
      i++;
      j++;
    } else if (removed !== undefined && (added === undefined || left(i + 1, j) >= left(i, j + 1))) {
      lines.push({ sign: "-", text: removed });
      i++;
    } else {
      lines.push({ sign: "+", text: added! });
      j++;
    }
  }
  return lines;
}
