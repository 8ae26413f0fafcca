/** One reading of a node's usage, from the kubelet's `/stats/summary`. */

/** Cumulative and momentary figures of one node or container. */
export interface Reading {
  /** Unix milliseconds of the CPU figures. */
  readonly time: number;
  /** CPU used since the start, nanoseconds of one core. */
  readonly coreNanoSeconds?: number;
  /** CPU use now as the kubelet sees it, nanocores. */
  readonly nanoCores?: number;
  readonly workingSetBytes: number;
  readonly startTime?: number;
}

export interface NodeReading {
  readonly node: Reading;
  /** `namespace/name` -> container -> reading. */
  readonly pods: ReadonlyMap<string, ReadonlyMap<string, Reading>>;
}

interface Stats {
  readonly startTime?: string;
  readonly cpu?: { readonly time?: string; readonly usageNanoCores?: number; readonly usageCoreNanoSeconds?: number };
  readonly memory?: { readonly time?: string; readonly workingSetBytes?: number };
}

interface Summary {
  readonly node?: Stats;
  readonly pods?: readonly {
    readonly podRef: { readonly name: string; readonly namespace: string };
    readonly containers?: readonly (Stats & { readonly name: string })[];
  }[];
}

/** Pods with a container that has no figures yet are left out; throws when the node itself has none. */
export function parseSummary(body: unknown): NodeReading {
  const summary = body as Summary;
  const node = summary.node && readingOf(summary.node);
  if (!node) throw new Error("the kubelet's summary has no figures of the node");
  const pods = new Map<string, ReadonlyMap<string, Reading>>();
  for (const { podRef, containers = [] } of summary.pods ?? []) {
    const readings = containers.map((c) => [c.name, readingOf(c)] as const);
    const complete = readings.filter((entry): entry is readonly [string, Reading] => entry[1] !== undefined);
    if (complete.length && complete.length === readings.length) pods.set(`${podRef.namespace}/${podRef.name}`, new Map(complete));
  }
  return { node, pods };
}

function readingOf({ cpu, memory, startTime }: Stats): Reading | undefined {
  const time = Date.parse(cpu?.time ?? memory?.time ?? "");
  const { usageCoreNanoSeconds: coreNanoSeconds, usageNanoCores: nanoCores } = cpu ?? {};
  const workingSetBytes = memory?.workingSetBytes;
  if (Number.isNaN(time) || workingSetBytes === undefined) return undefined;
  if (coreNanoSeconds === undefined && nanoCores === undefined) return undefined;
  const started = Date.parse(startTime ?? "");
  return {
    time, workingSetBytes,
    ...(coreNanoSeconds !== undefined && { coreNanoSeconds }), ...(nanoCores !== undefined && { nanoCores }),
    ...(!Number.isNaN(started) && { startTime: started }),
  };
}
