/** The nftables table as text: whole, and as the transaction that leads from one state to the next. Pure. */
import type { Ruleset, SetState } from "./rules.ts";

/** Replaces the table in one transaction. */
export function fullLoad(table: string, next: Ruleset): string {
  const fixed = [...next.sets].filter(([name]) => entryPoints.includes(name)).map(([name, set]) => declaration(table, name, set));
  return lines([
    ...removal(table), `add table ip ${table}`, ...fixed,
    `add chain ip ${table} forward { type filter hook forward priority filter; policy accept; }`,
    ...entryRules.map((rule) => `add rule ip ${table} forward ${rule}`),
    ...changes(table, { sets: emptied(next.sets), chains: new Map() }, next),
  ]);
}

/** Also where there is no such table. */
export const removal = (table: string): readonly string[] => [`add table ip ${table}`, `delete table ip ${table}`];

const entryPoints: readonly string[] = ["egress", "ingress", "self"];

/** A jump that returns has allowed the packet, and the other direction is asked next. */
const entryRules: readonly string[] = [
  "ct state established,related accept", "ip saddr . ip daddr @self accept", "ip saddr vmap @egress", "ip daddr vmap @ingress",
];

const emptied = (sets: Ruleset["sets"]): Ruleset["sets"] =>
  new Map([...sets].filter(([name]) => entryPoints.includes(name)).map(([name, { type }]) => [name, { type, elements: new Map<string, string>() }]));

/** The transaction from one state to the other; empty when they are the same. */
export const difference = (table: string, before: Ruleset, next: Ruleset): string => lines(changes(table, before, next));

const lines = (list: readonly string[]): string => (list.length ? `${list.join("\n")}\n` : "");

/** In an order in which nothing is named before it is there, or removed while it is still named. */
function changes(table: string, before: Ruleset, next: Ruleset): string[] {
  const at = `ip ${table}`;
  const goneChains = [...before.chains.keys()].filter((name) => !next.chains.has(name));
  const newChains = [...next.chains.keys()].filter((name) => !before.chains.has(name));
  const changed = [...next.chains].filter(([name, rules]) => before.chains.get(name)?.join("\n") !== rules.join("\n"));
  const goneSets = [...before.sets.keys()].filter((name) => !next.sets.has(name));
  const newSets = [...next.sets].filter(([name]) => !before.sets.has(name));
  const elements = [...next.sets].map(([name, set]) => elementChanges(at, name, before.sets.get(name), set));
  return [
    ...newSets.map(([name, set]) => declaration(table, name, set)),
    ...newChains.map((name) => `add chain ${at} ${name}`),
    ...changed.flatMap(([name, rules]) => [`flush chain ${at} ${name}`, ...rules.map((rule) => `add rule ${at} ${name} ${rule}`)]),
    ...elements.flat(),
    ...goneChains.map((name) => `flush chain ${at} ${name}`), ...goneChains.map((name) => `delete chain ${at} ${name}`),
    ...goneSets.map((name) => `delete set ${at} ${name}`),
  ];
}

const declaration = (table: string, name: string, { type }: SetState): string => `add ${type.includes(":") ? "map" : "set"} ip ${table} ${name} { type ${type}; }`;

/** An element whose value changes is deleted and added again. */
function elementChanges(at: string, name: string, before: SetState | undefined, next: SetState): string[] {
  const gone = [...(before?.elements ?? [])].filter(([key, value]) => next.elements.get(key) !== value).map(([key]) => key);
  const fresh = [...next.elements].filter(([key, value]) => before?.elements.get(key) !== value).map(([key, value]) => (value ? `${key} : ${value}` : key));
  return [
    ...(gone.length ? [`delete element ${at} ${name} { ${gone.join(", ")} }`] : []),
    ...(fresh.length ? [`add element ${at} ${name} { ${fresh.join(", ")} }`] : []),
  ];
}
