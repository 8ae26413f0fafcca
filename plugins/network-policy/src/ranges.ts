/** The addresses of `ipBlock`s with their exceptions taken out, as ranges that do not overlap, which nftables asks for. */
import { parseCidr } from "@k3s-p/plugin-api";

export interface IpBlock {
  readonly cidr: string;
  readonly except?: readonly string[] | undefined;
}

type Range = readonly [first: number, last: number];

const lastAddress = 2 ** 32 - 1;

/** IPv4 ranges such as `10.0.0.0-10.0.0.255`; `all` when nothing is left out. Blocks of IPv6 have none. */
export function rangesOf(blocks: readonly IpBlock[]): readonly string[] | "all" {
  const merged = merge(blocks.flatMap(({ cidr, except = [] }) => except.reduce(cut, rangeOf(cidr))));
  if (merged.length === 1 && merged[0]![0] === 0 && merged[0]![1] === lastAddress) return "all";
  return merged.map(([first, last]) => (first === last ? address(first) : `${address(first)}-${address(last)}`));
}

function rangeOf(cidr: string): readonly Range[] {
  const parsed = parseCidr(cidr);
  if (parsed?.family !== 4) return [];
  const first = Number(parsed.base);
  return [[first, first + 2 ** (32 - parsed.prefix) - 1]];
}

function cut(ranges: readonly Range[], cidr: string): readonly Range[] {
  const [hole] = rangeOf(cidr);
  if (!hole) return ranges;
  return ranges.flatMap(([first, last]): Range[] => {
    const parts: Range[] = [[first, Math.min(last, hole[0] - 1)], [Math.max(first, hole[1] + 1), last]];
    return hole[1] < first || hole[0] > last ? [[first, last]] : parts.filter(([from, to]) => from <= to);
  });
}

function merge(ranges: readonly Range[]): readonly Range[] {
  const merged: [number, number][] = [];
  for (const [first, last] of [...ranges].sort((a, b) => a[0] - b[0])) {
    const before = merged.at(-1);
    if (before && first <= before[1] + 1) before[1] = Math.max(before[1], last);
    else merged.push([first, last]);
  }
  return merged;
}

const address = (value: number): string => [24, 16, 8, 0].map((shift) => (value >>> shift) & 255).join(".");
