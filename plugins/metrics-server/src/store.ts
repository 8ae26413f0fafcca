/** Keeps the last two readings of each node, and takes a new one only when somebody asks and the last one is old. */
import { setTimeout as sleepFor } from "node:timers/promises";
import type { Logger } from "@k3s-p/plugin-api";
import type { Node } from "@k3s-p/plugin-api/kube";
import type { NodeReading } from "./summary.ts";
import { usageOf, type Usage } from "./usage.ts";

export interface Store {
  /**
   * Reads the nodes whose last reading is older than `maxAge` (default: the resolution); nodes that fail lose their
   * figures, and are not waited for again until they answer: a machine that is gone would hold up everybody who asks.
   */
  refresh(nodes: readonly Node[], maxAge?: number): Promise<void>;
  /** Reads a node that nobody has asked about yet; one that does not answer is no news: it may be starting. */
  prefetch(node: Node): Promise<void>;
  forget(node: string): void;
  nodeUsage(node: string): Usage | undefined;
  /** Container -> usage; undefined unless all containers of the pod have figures. */
  podUsage(node: string, pod: string): ReadonlyMap<string, Usage> | undefined;
}

export interface StoreOptions {
  readonly scrape: (node: Node) => Promise<NodeReading>;
  readonly log: Logger;
  readonly now?: () => number;
  readonly sleep?: (ms: number) => Promise<unknown>;
  /** Ends the wait for a node that failed last time. */
  readonly patience?: (ms: number) => Promise<unknown>;
  /** Milliseconds; upstream's `--metric-resolution`. */
  readonly resolution: number;
}

interface Readings {
  readonly latest: NodeReading;
  readonly previous: NodeReading;
  readonly takenAt: number;
}

/** An older reading says little about now: then two are taken, so far apart. Milliseconds. */
const longestWindow = 60_000;
const shortestWindow = 1_000;
/** For a node that failed last time: enough for one that is back. */
const lastingPatience = 2_000;
const pause = (ms: number): Promise<unknown> => sleepFor(ms, undefined, { ref: false });

export function createStore({ scrape, log, now = Date.now, sleep = pause, patience = pause, resolution }: StoreOptions): Store {
  const readings = new Map<string, Readings>();
  const running = new Map<string, Promise<void>>();
  const failing = new Set<string>();

  async function read(node: Node, asked: boolean): Promise<void> {
    const name = node.metadata.name!;
    try {
      const known = readings.get(name);
      const recent = known && now() - known.takenAt <= longestWindow ? known.latest : undefined;
      const previous = recent ?? (await firstOfTwo(node));
      readings.set(name, { latest: await scrape(node), previous, takenAt: now() });
      failing.delete(name);
    } catch (error) {
      readings.delete(name);
      if (!asked) return;
      if (!failing.has(name)) log.warn({ node: name }, `the node's usage could not be read: ${(error as Error).message}`);
      failing.add(name);
    }
  }

  async function firstOfTwo(node: Node): Promise<NodeReading> {
    const reading = await scrape(node);
    await sleep(shortestWindow);
    return reading;
  }

  function readOnce(node: Node, asked = true): Promise<void> {
    const name = node.metadata.name!;
    const current = running.get(name) ?? read(node, asked).finally(() => running.delete(name));
    running.set(name, current);
    return current;
  }

  const age = (node: Node): number => now() - (readings.get(node.metadata.name!)?.takenAt ?? -Infinity);

  return {
    async refresh(nodes, maxAge = resolution) {
      await Promise.all(nodes.filter((node) => age(node) >= maxAge).map((node) => {
        const reading = readOnce(node);
        return failing.has(node.metadata.name!) ? Promise.race([reading, patience(lastingPatience)]) : reading;
      }));
    },
    prefetch: (node) => readOnce(node, false),
    forget(node) {
      readings.delete(node);
      failing.delete(node);
    },
    nodeUsage(node) {
      const known = readings.get(node);
      return known && usageOf(known.latest.node, known.previous.node);
    },
    podUsage(node, pod) {
      const known = readings.get(node);
      const before = known?.previous.pods.get(pod);
      const usages = [...(known?.latest.pods.get(pod) ?? [])].map(([name, reading]) => [name, usageOf(reading, before?.get(name))] as const);
      const complete = usages.filter((entry): entry is readonly [string, Usage] => entry[1] !== undefined);
      return usages.length && complete.length === usages.length ? new Map(complete) : undefined;
    },
  };
}
