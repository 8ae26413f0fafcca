/** The whole nftables table as text, and the difference between two states as transactions. Pure. */
import { masqueradeMark, noRules, pickLimit, type Element, type MapName, type ServiceRules } from "./rules.ts";

export interface TableOptions {
  readonly name: string;
  readonly clusterCidr: string;
  readonly serviceCidr: string;
  /** Whether 127.0.0.1 counts as an address of the node for node ports. */
  readonly localhostNodePorts: boolean;
}

/** The state of the table: what each Service asked for, and who got what when two asked for the same. */
export interface Table {
  /** Replaces what `owner` asked for; `undefined` takes everything back. */
  set(owner: string, rules: ServiceRules | undefined): void;
  get(owner: string): ServiceRules;
  /** Transactions that bring the kernel from the last `drain` (or `full`) to now; empty when nothing changed. */
  drain(): string[];
  /** One transaction that replaces the table; `clients` are elements of affinity sets to take over. */
  full(clients?: ReadonlyMap<string, readonly string[]>): string;
  /** Names of the sets that remember clients. */
  affinitySets(): readonly string[];
}

interface ChainState {
  readonly rules: readonly string[];
}

const elementId = (element: Element) => `${element.map}\0${element.key}`;

export function createTable(options: TableOptions): Table {
  const owners = new Map<string, ServiceRules>();
  /** By element id, then by owner: the owner that sorts first has it. */
  const claims = new Map<string, Map<string, Element>>();
  const chains = new Map<string, ChainState>();
  const sets = new Set<string>();
  let changed = new Map<string, Element | undefined>();
  let changedChains = new Map<string, ChainState | undefined>();
  let changedSets = new Map<string, boolean>();

  const winner = (id: string): Element | undefined => {
    const list = claims.get(id);
    if (!list) return undefined;
    if (list.size === 1) return list.values().next().value;
    return list.get([...list.keys()].sort()[0]!);
  };
  const touch = (id: string, change: () => void): void => {
    const before = winner(id);
    change();
    if (!changed.has(id)) changed.set(id, before);
  };

  function setElements(owner: string, before: ServiceRules, after: ServiceRules): void {
    const wanted = new Map(after.elements.map((each) => [elementId(each), each]));
    for (const each of before.elements) {
      const id = elementId(each);
      if (wanted.has(id)) continue;
      touch(id, () => {
        const list = claims.get(id);
        list?.delete(owner);
        if (!list?.size) claims.delete(id);
      });
    }
    for (const [id, each] of wanted) {
      if (claims.get(id)?.get(owner)?.value === each.value) continue;
      touch(id, () => {
        const list = claims.get(id) ?? new Map<string, Element>();
        claims.set(id, list.set(owner, each));
      });
    }
  }

  function setChains(before: ServiceRules, after: ServiceRules): void {
    for (const name of new Set([...before.chains.keys(), ...after.chains.keys()])) {
      const rules = after.chains.get(name);
      if (sameRules(chains.get(name)?.rules, rules)) continue;
      if (!changedChains.has(name)) changedChains.set(name, chains.get(name));
      if (rules) chains.set(name, { rules });
      else chains.delete(name);
    }
    for (const name of new Set([...before.affinitySets, ...after.affinitySets])) {
      const wanted = after.affinitySets.includes(name);
      if (sets.has(name) === wanted) continue;
      if (!changedSets.has(name)) changedSets.set(name, !wanted);
      if (wanted) sets.add(name);
      else sets.delete(name);
    }
  }

  function forget(): void {
    changed = new Map();
    changedChains = new Map();
    changedSets = new Map();
  }

  return {
    get: (owner) => owners.get(owner) ?? noRules,
    set(owner, rules) {
      const before = owners.get(owner) ?? noRules;
      const after = rules ?? noRules;
      setElements(owner, before, after);
      setChains(before, after);
      if (rules) owners.set(owner, rules);
      else owners.delete(owner);
    },
    drain() {
      const elements = [...changed].map(([id, before]) => ({ before, after: winner(id) })).filter(({ before, after }) => before?.value !== after?.value);
      const edits = [...changedChains].map(([name, before]) => ({ name, before, after: chains.get(name) })).filter(({ before, after }) => !sameRules(before?.rules, after?.rules));
      const setEdits = [...changedSets].map(([name, before]) => ({ name, before, after: sets.has(name) })).filter(({ before, after }) => before !== after);
      forget();
      return transactions(options.name, elements, edits, setEdits);
    },
    full(clients = new Map()) {
      forget();
      const elements = [...claims.keys()].map((id) => winner(id)!);
      const known = [...clients].filter(([name, list]) => sets.has(name) && list.length);
      const kept = known.map(([name, list]) => `add element ip ${options.name} ${name} { ${list.join(", ")} }\n`);
      return fullTable(options, elements, chains, sets) + kept.join("");
    },
    affinitySets: () => [...sets],
  };
}

const sameRules = (a: readonly string[] | undefined, b: readonly string[] | undefined) =>
  a === b || (a !== undefined && b !== undefined && a.length === b.length && a.every((rule, i) => rule === b[i]));

interface Edit<T> {
  readonly before: T;
  readonly after: T;
}

/** First what is new or different, in an order in which every name exists when it is used; then what nothing leads to any more. */
function transactions(
  table: string,
  elements: readonly Edit<Element | undefined>[],
  chains: readonly (Edit<ChainState | undefined> & { readonly name: string })[],
  sets: readonly (Edit<boolean> & { readonly name: string })[],
): string[] {
  const at = `ip ${table}`;
  const kept = chains.filter(({ after }) => after);
  const gone = chains.filter(({ after }) => !after);
  const first = [
    ...sets.filter(({ after }) => after).map(({ name }) => `add set ${at} ${name} ${clientSet}`),
    ...kept.filter(({ before }) => !before).map(({ name }) => `add chain ${at} ${name}`),
    ...kept.filter(({ before }) => before).map(({ name }) => `flush chain ${at} ${name}`),
    ...kept.flatMap(({ name, after }) => after!.rules.map((rule) => `add rule ${at} ${name} ${rule}`)),
    ...byMap(elements.map(({ before }) => before)).map(([map, list]) => `delete element ${at} ${map} { ${list.map(({ key }) => key).join(", ")} }`),
    ...byMap(elements.map(({ after }) => after)).map(([map, list]) => `add element ${at} ${map} { ${list.map(formatElement).join(", ")} }`),
  ];
  const second = [
    ...gone.map(({ name }) => `flush chain ${at} ${name}`),
    ...gone.map(({ name }) => `delete chain ${at} ${name}`),
    ...sets.filter(({ after }) => !after).map(({ name }) => `delete set ${at} ${name}`),
  ];
  return [first, second].filter((commands) => commands.length).map((commands) => commands.join("; "));
}

const formatElement = ({ key, value }: Element) => (value ? `${key} : ${value}` : key);

function byMap(elements: readonly (Element | undefined)[]): [MapName, Element[]][] {
  const groups = new Map<MapName, Element[]>();
  for (const each of elements) {
    if (!each) continue;
    const group = groups.get(each.map);
    if (group) group.push(each);
    else groups.set(each.map, [each]);
  }
  return [...groups];
}

const clientSet = "{ type ipv4_addr; flags dynamic, timeout; size 65535; }";

/** `th` stands for TCP, UDP and SCTP; `numgen` gives an endpoint's number its type. */
const address = "ip daddr . meta l4proto . th dport";
const nodePort = "meta l4proto . th dport";
const target = "ip daddr . th dport";

const maps: Readonly<Record<MapName, string>> = {
  services: "type ipv4_addr . inet_proto . inet_service : verdict;",
  nodeports: "type inet_proto . inet_service : verdict;",
  endpoints: `typeof ${address} . numgen random mod 2 : ${target};`,
  "nodeport-endpoints": `typeof ${nodePort} . numgen random mod 2 : ${target};`,
  refused: "type ipv4_addr . inet_proto . inet_service : verdict;",
  "refused-nodeports": "type inet_proto . inet_service : verdict;",
  hairpin: "type ipv4_addr . ipv4_addr;",
  "lb-firewall": "type ipv4_addr . inet_proto . inet_service;",
  "lb-sources": "type ipv4_addr . inet_proto . inet_service . ipv4_addr; flags interval;",
};
const isSet = (name: MapName) => !maps[name].includes(" : ");

function fullTable(
  options: TableOptions, elements: readonly Element[], chains: ReadonlyMap<string, ChainState>, sets: ReadonlySet<string>,
): string {
  const groups = new Map(byMap(elements));
  const at = `ip ${options.name}`;
  const declared = (Object.keys(maps) as MapName[]).map((name) => `  ${isSet(name) ? "set" : "map"} ${name} { ${maps[name]} }`);
  const clients = [...sets].map((name) => `  set ${name} ${clientSet}`);
  const chain = (name: string, rules: readonly string[]) => `  chain ${name} {\n${rules.map((rule) => `    ${rule}\n`).join("")}  }`;
  const own = [...chains].map(([name, { rules }]) => chain(name, rules));
  const fixed = [...pickChains(), ...baseChains(options)].map(([name, rules]) => chain(name, rules));
  const fill = [...groups].map(([map, list]) => `add element ${at} ${map} { ${list.map(formatElement).join(", ")} }`);
  return [
    `add table ${at}`, `delete table ${at}`, `table ${at} {`, ...declared, ...clients, ...fixed, ...own, "}", ...fill, "",
  ].join("\n");
}

type Chain = readonly [name: string, rules: readonly string[]];

function pickChains(): Chain[] {
  const mark = `meta mark set meta mark | ${masqueradeMark}`;
  return Array.from({ length: pickLimit }, (_, i) => i + 1).flatMap((count): Chain[] => [
    [`pick-${count}`, [`dnat ip to ${address} . numgen random mod ${count} map @endpoints`]],
    [`mark-${count}`, [mark, `dnat ip to ${address} . numgen random mod ${count} map @endpoints`]],
    [`node-${count}`, [mark, `dnat ip to ${nodePort} . numgen random mod ${count} map @nodeport-endpoints`]],
  ]);
}

function baseChains({ clusterCidr, serviceCidr, localhostNodePorts }: TableOptions): Chain[] {
  const ports = "meta l4proto { tcp, udp, sctp }";
  const mark = `meta mark set meta mark | ${masqueradeMark}`;
  const nodeAddress = localhostNodePorts ? "fib daddr type local" : "fib daddr type local ip daddr != 127.0.0.0/8";
  const refuse = `ct state new ${ports} jump refuse-unserved`;
  return [
    ["refuse", ["meta l4proto tcp reject with tcp reset", "reject with icmp type port-unreachable"]],
    ["refuse-unserved", [
      `${address} vmap @refused`,
      `${nodeAddress} ${nodePort} vmap @refused-nodeports`,
      // Addresses that lead somewhere were translated before: what still carries one has no such port.
      `ip daddr ${serviceCidr} goto refuse`,
    ]],
    ["dispatch", [
      `ip saddr != ${clusterCidr} ip daddr ${serviceCidr} ${mark}`,
      `${address} vmap @services`,
      `${nodeAddress} ${nodePort} vmap @nodeports`,
    ]],
    ["firewall", [`${address} @lb-firewall ${address} . ip saddr != @lb-sources drop`]],
    ["firewall-prerouting", ["type filter hook prerouting priority -110; policy accept;", `${ports} jump firewall`]],
    ["firewall-output", ["type filter hook output priority -110; policy accept;", `${ports} jump firewall`]],
    ["nat-prerouting", ["type nat hook prerouting priority -100; policy accept;", `${ports} jump dispatch`]],
    ["nat-output", ["type nat hook output priority -100; policy accept;", `${ports} jump dispatch`]],
    ["nat-postrouting", [
      "type nat hook postrouting priority 100; policy accept;",
      "ct status dnat ip saddr . ip daddr @hairpin masquerade fully-random",
      `meta mark & ${masqueradeMark} != 0 meta mark set meta mark ^ ${masqueradeMark} masquerade fully-random`,
    ]],
    ["filter-input", [
      "type filter hook input priority 0; policy accept;",
      refuse,
      // route_localnet lets node ports work on 127.0.0.1; it must not let neighbours in to what listens there.
      ...(localhostNodePorts ? ['iifname != "lo" ip saddr != 127.0.0.0/8 ip daddr 127.0.0.0/8 jump guard-localhost'] : []),
    ]],
    ["filter-forward", ["type filter hook forward priority 0; policy accept;", refuse]],
    ["filter-output", ["type filter hook output priority 0; policy accept;", refuse]],
    ...(localhostNodePorts ? [["guard-localhost", ["ct status dnat return", "ct state { established, related } return", "drop"]] as const] : []),
  ];
}
