/**
 * Picks free service addresses and node ports. What is taken is read from the Services in the cache; what was handed
 * out to writes that are still on their way is remembered for a while, so that two of them never get the same.
 */
import { addressAt, type Cidr, cidrContains, ipToInt, parseCidr } from "@k3s-p/plugin-api/net";
import { items } from "../fields.ts";
import type { CacheView, Obj, StrategyContext } from "../types.ts";

/** A write takes milliseconds; what a refused one reserved is free again after this. */
const RESERVED_MS = 10_000;
const RANDOM_TRIES = 64;

interface Reservation {
  readonly owner: string;
  readonly until: number;
}

/** Keyed by cache, so that several servers in one process do not mix. */
const reservations = new WeakMap<CacheView, Map<string, Reservation>>();

export interface Allocator {
  /** Why the address cannot be had; undefined when it now belongs to the service. */
  takeIp(ip: string): string | undefined;
  /** A free address of the family; undefined when the range is full. */
  nextIp(family: 4 | 6): string | undefined;
  takePort(port: number): string | undefined;
  nextPort(): number | undefined;
  /** The range of the family, when the cluster has one. */
  cidr(family: 4 | 6): Cidr | undefined;
}

export interface AllocatorOptions {
  readonly random?: () => number;
  readonly clock?: () => number;
}

/** An allocator on behalf of one service. */
export function createAllocator(service: Obj, ctx: StrategyContext, options: AllocatorOptions = {}): Allocator {
  const { random = Math.random, clock = Date.now } = options;
  const owner = ownerOf(service);
  const held = heldBy(ctx.view);
  const used = usedIn(ctx.view);
  const given = new Set<string>();
  const ranges = [...new Set([...ctx.cluster.serviceCidr, ...addedRanges(ctx.view)])];
  const cidrs = ranges.map(parseCidr).filter((c) => c !== undefined);
  const [firstPort, lastPort] = ctx.cluster.serviceNodePortRange;

  const isFree = (key: string): boolean => {
    const reservation = held.get(key);
    const reserved = reservation && reservation.owner !== owner && reservation.until > clock();
    return !used.has(key) && !given.has(key) && !reserved;
  };
  const take = (key: string): void => {
    given.add(key);
    if (!ctx.dryRun) held.set(key, { owner, until: clock() + RESERVED_MS });
  };
  const cidr = (family: 4 | 6) => cidrs.find((c) => c.family === family);

  prune(held, clock());
  return {
    cidr,
    takeIp(ip) {
      const range = cidrs.find((c) => cidrContains(c, ip));
      if (!range || isEdge(range, ip)) return `the provided IP (${ip}) is not in the valid range. The range of valid IPs is ${ranges.join(", ")}`;
      if (!isFree(ip) || isTaken(ctx.view, ip)) return "provided IP is already allocated";
      take(ip);
    },
    nextIp(family) {
      for (const range of cidrs) {
        if (range.family !== family) continue;
        const size = usableSize(range);
        const reserved = Math.min(Math.max(16, Math.floor(size / 16)), 256);
        const isOpen = (i: number): boolean => isFree(addressAt(range, i + 1)) && !isTaken(ctx.view, addressAt(range, i + 1));
        const index = pick(size, size > reserved ? reserved : 0, random, isOpen);
        if (index === undefined) continue;
        const ip = addressAt(range, index + 1);
        take(ip);
        return ip;
      }
      return undefined;
    },
    takePort(port) {
      if (port < firstPort || port > lastPort) return `provided port is not in the valid range. The range of valid ports is ${firstPort}-${lastPort}`;
      if (!isFree(String(port))) return "provided port is already allocated";
      take(String(port));
    },
    nextPort() {
      const size = lastPort - firstPort + 1;
      const reserved = Math.min(Math.max(16, Math.floor(size / 32)), 128);
      const index = pick(size, size > reserved ? reserved : 0, random, (i) => isFree(String(firstPort + i)));
      if (index === undefined) return undefined;
      take(String(firstPort + index));
      return firstPort + index;
    },
  };
}

const NETWORKING = "networking.k8s.io";

/** Of ServiceCIDRs that somebody has added and nobody deletes. */
const addedRanges = (view: CacheView): string[] =>
  view.list(NETWORKING, "servicecidrs").filter(({ metadata }) => !metadata?.deletionTimestamp).flatMap(({ spec }) => spec?.cidrs ?? []);

/** Whether an IPAddress says that something else than a Service has it; for those the Services themselves are asked. */
function isTaken(view: CacheView, ip: string): boolean {
  const address = view.get(NETWORKING, "ipaddresses", ip);
  return address !== undefined && address.spec?.parentRef?.resource !== "services";
}

const ownerOf = ({ metadata }: Obj): string => `${metadata?.namespace}/${metadata?.name}`;

function heldBy(view: CacheView): Map<string, Reservation> {
  let held = reservations.get(view);
  if (!held) reservations.set(view, (held = new Map()));
  return held;
}

/** What a deleted service was given may go to another at once. */
export function releaseReservations(view: CacheView, service: Obj): void {
  const held = heldBy(view);
  for (const [key, { owner }] of held) if (owner === ownerOf(service)) held.delete(key);
}

function prune(held: Map<string, Reservation>, now: number): void {
  for (const [key, { until }] of held) if (until <= now) held.delete(key);
}

/** What a service has by now is not for it to take again, as another of its ports. */
function usedIn(view: CacheView): Set<string> {
  const used = new Set<string>();
  for (const service of view.list("", "services")) {
    for (const ip of addressesOf(service.spec ?? {})) used.add(ip);
    for (const port of items(service.spec, "ports")) if (port.nodePort) used.add(String(port.nodePort));
    if (service.spec?.healthCheckNodePort) used.add(String(service.spec.healthCheckNodePort));
  }
  return used;
}

/** Real cluster addresses of a spec: neither "" nor "None". */
export function addressesOf(spec: Obj): string[] {
  const all: string[] = spec.clusterIPs?.length ? spec.clusterIPs : [spec.clusterIP];
  return all.filter((ip) => ip && ip !== "None");
}

/** Addresses between the network's own and, with IPv4, the broadcast one; capped so that it stays a number. */
function usableSize(range: Cidr): number {
  const bits = (range.family === 4 ? 32 : 128) - range.prefix;
  const size = 2 ** Math.min(bits, 31);
  return range.family === 4 ? Math.max(0, size - 2) : size - 1;
}

function isEdge(range: Cidr, ip: string): boolean {
  const offset = ipToInt(ip) - range.base;
  return offset === 0n || (range.family === 4 && offset === (1n << BigInt(32 - range.prefix)) - 1n);
}

/** Random tries in the upper band first, then in order; the lower band is left to those who ask for an address. */
function pick(size: number, reserved: number, random: () => number, isFree: (index: number) => boolean): number | undefined {
  for (let i = 0; i < RANDOM_TRIES; i++) {
    const index = reserved + Math.floor(random() * (size - reserved));
    if (index < size && isFree(index)) return index;
  }
  for (let index = reserved; index < size; index++) if (isFree(index)) return index;
  for (let index = reserved - 1; index >= 0; index--) if (isFree(index)) return index;
  return undefined;
}
