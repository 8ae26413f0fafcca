/** Completion indexes of Indexed Jobs: reading and writing the compressed form `0-2,5,7-9`. */

/** Indexes below `limit`; text that is not of the form is skipped. */
export function parseIndexes(text: string | undefined, limit = Number.MAX_SAFE_INTEGER): Set<number> {
  const indexes = new Set<number>();
  for (const part of (text ?? "").split(",")) {
    const range = /^(\d+)(?:-(\d+))?$/.exec(part.trim());
    if (!range) continue;
    const last = Math.min(Number(range[2] ?? range[1]), limit - 1);
    for (let index = Number(range[1]); index <= last; index++) indexes.add(index);
  }
  return indexes;
}

export function formatIndexes(indexes: Iterable<number>): string {
  const sorted = [...indexes].sort((a, b) => a - b);
  const parts: string[] = [];
  for (let i = 0; i < sorted.length; i++) {
    const first = sorted[i]!;
    while (sorted[i + 1] === sorted[i]! + 1) i++;
    const last = sorted[i]!;
    if (last === first) parts.push(`${first}`);
    else parts.push(last === first + 1 ? `${first},${last}` : `${first}-${last}`);
  }
  return parts.join(",");
}
