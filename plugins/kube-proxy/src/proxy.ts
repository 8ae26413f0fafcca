/** Follows Services and EndpointSlices and keeps the table, the flows and the health check ports in step. */
import { messageOf, type Logger } from "@k3s-p/plugin-api";
import { endpointSlices, keyOf, nodes, services, type EndpointSlice, type KubeClient, type Node, type Service } from "@k3s-p/plugin-api/kube";
import { serviceKeysOf, type Endpoint } from "./endpoints.ts";
import type { HealthPorts } from "./health-ports.ts";
import { noRules, serviceRules, type Flow, type RuleContext, type ServiceRules } from "./rules.ts";
import type { Nft } from "./nft.ts";
import type { Table } from "./table.ts";
import type { ProxyWatch } from "./watch.ts";

export interface ProxyOptions {
  readonly kube: Pick<KubeClient, "informer">;
  readonly context: RuleContext;
  readonly table: Table;
  readonly tableName: string;
  readonly nft: Pick<Nft, "apply" | "clients">;
  readonly health: Pick<HealthPorts, "set">;
  readonly watch: Pick<ProxyWatch, "serviceChanged" | "endpointsChanged" | "applied" | "refused">;
  /** Forgets flows of connectionless protocols, best effort. */
  readonly forgetFlows: (flows: readonly StaleFlow[]) => Promise<void>;
  readonly log: Logger;
}

/** Flows to one address; without `endpoint` those that nobody answered. */
export interface StaleFlow {
  readonly address: string | undefined;
  readonly port: number;
  readonly endpoint: string | undefined;
}

export interface Proxy {
  /** Resolves when everything known at the time of the call is in the kernel. */
  synced(): Promise<void>;
  /** Whether a load balancer may send new connections here: not while the node is about to go. */
  isEligible(): boolean;
  /** Replaces the whole table, as after someone else changed it. */
  reload(): Promise<void>;
  stop(): void;
}

const retryDelays = [100, 1000, 5000, 30_000];

export function startProxy(options: ProxyOptions): Proxy {
  const { kube, table, nft, log, watch } = options;
  const serviceInformer = kube.informer(services);
  const sliceInformer = kube.informer(endpointSlices, { indexes: { service: serviceKeysOf } });
  const nodeInformer = kube.informer(nodes, { fieldSelector: `metadata.name=${options.context.nodeName}` });
  const dirty = new Set<string>();
  const waiting: (() => void)[] = [];
  let stale: StaleFlow[] = [];
  let running: Promise<void> | undefined;
  let fullNeeded = true;
  let failures = 0;
  let timer: NodeJS.Timeout | undefined;
  let stopped = false;
  const ready = Promise.all([serviceInformer.synced, sliceInformer.synced, nodeInformer.synced]).then(() => undefined);

  const touch = (keys: readonly string[]) => {
    for (const key of keys) dirty.add(key);
    schedule();
  };
  const touchService = (each: Service) => {
    watch.serviceChanged();
    touch([keyOf(each)]);
  };
  const touchSlice = (slice: EndpointSlice, previous?: EndpointSlice) => {
    const trigger = triggerOf(slice);
    watch.endpointsChanged(previous && triggerOf(previous) === trigger ? undefined : trigger);
    touch([...(previous ? serviceKeysOf(previous) : []), ...serviceKeysOf(slice)]);
  };
  serviceInformer.on({ added: touchService, updated: touchService, deleted: touchService });
  sliceInformer.on({ added: (each) => touchSlice(each), updated: touchSlice, deleted: (each) => touchSlice(each, each) });

  const zoneOf = (node: Node | undefined): string | undefined => node?.metadata.labels?.["topology.kubernetes.io/zone"];
  const touchAll = () => touch(serviceInformer.list().map(keyOf));
  nodeInformer.on({
    added: (node) => zoneOf(node) !== undefined && touchAll(),
    updated: (node, previous) => zoneOf(node) !== zoneOf(previous) && touchAll(),
  });

  /** One pass at a time; what comes in meanwhile makes the next one. */
  function schedule(): void {
    if (running || timer || stopped) return;
    running = ready.then(() => new Promise(setImmediate)).then(pass).finally(() => {
      running = undefined;
      if (dirty.size || fullNeeded) schedule();
      else waiting.splice(0).forEach((done) => done());
    });
  }

  async function pass(): Promise<void> {
    const keys = [...dirty];
    const begun = Date.now();
    const isFull = fullNeeded;
    dirty.clear();
    for (const key of keys) refreshAlone(key);
    try {
      // Clients keep their endpoints over a restart of the server.
      const clients = fullNeeded ? await nft.clients(options.tableName, table.affinitySets()) : undefined;
      for (const transaction of clients ? [table.full(clients)] : table.drain()) await nft.apply(transaction);
      fullNeeded = false;
      failures = 0;
      watch.applied(isFull, begun);
    } catch (error) {
      fail(error as Error);
      return;
    }
    const flows = stale.splice(0);
    if (flows.length) await options.forgetFlows(flows).catch((error) => log.debug({ error: String(error) }, "conntrack failed"));
  }

  /** An incremental change that failed (somebody else removed the table, say) is followed by a full load. */
  function fail(error: Error): void {
    watch.refused();
    const delay = fullNeeded ? retryDelays[Math.min(failures++, retryDelays.length - 1)]! : 0;
    log[delay ? "error" : "warn"]({ error: error.message.slice(0, 500) }, delay ? `nft refused the rules: again in ${delay} ms` : "nft refused a change: loading all rules");
    fullNeeded = true;
    if (!delay || stopped) return;
    timer = setTimeout(() => ((timer = undefined), schedule()), delay);
  }

  /** An object that cannot be understood keeps the rules it had, and costs the others nothing. */
  function refreshAlone(key: string): void {
    try {
      refresh(key);
    } catch (error) {
      log.error({ error: messageOf(error) }, `no new rules for Service ${key}`);
    }
  }

  function refresh(key: string): void {
    const [namespace = "", name = ""] = key.split("/");
    const service = serviceInformer.get(name, namespace);
    const before = table.get(key);
    const { context } = options;
    const here = { ...context, zone: zoneOf(nodeInformer.get(context.nodeName)) };
    const after = service ? serviceRules(service, sliceInformer.byIndex("service", key), here) : undefined;
    table.set(key, after);
    options.health.set(key, after?.health);
    stale.push(...staleFlows(before, after ?? noRules));
  }

  return {
    async synced() {
      await ready;
      if (!running && !fullNeeded && !dirty.size) return;
      schedule();
      await new Promise<void>((done) => waiting.push(done));
    },
    isEligible: () => isStaying(nodeInformer.get(options.context.nodeName)),
    reload() {
      fullNeeded = true;
      schedule();
      return this.synced();
    },
    stop() {
      stopped = true;
      clearTimeout(timer);
      waiting.splice(0).forEach((done) => done());
      serviceInformer.stop();
      sliceInformer.stop();
      nodeInformer.stop();
    },
  };
}

/** When what an EndpointSlice tells of happened, Unix milliseconds. */
function triggerOf({ metadata }: EndpointSlice): number | undefined {
  const time = metadata.annotations?.["endpoints.kubernetes.io/last-change-trigger-time"];
  return time === undefined ? undefined : Date.parse(time);
}

const SCALE_DOWN = "ToBeDeletedByClusterAutoscaler";

const isStaying = (node: Node | undefined): boolean =>
  node?.metadata.deletionTimestamp === undefined && !node?.spec?.taints?.some(({ key }) => key === SCALE_DOWN);

/** What conntrack must forget: flows to endpoints that are gone, and flows that were let through while there was none. */
export function staleFlows(before: ServiceRules, after: ServiceRules): StaleFlow[] {
  const id = (flow: Flow) => `${flow.address ?? "*"} ${flow.port}`;
  const endpointId = ({ ip, port }: Endpoint) => `${ip}:${port}`;
  const now = new Map(after.udp.map((flow) => [id(flow), flow]));
  const then = new Map(before.udp.map((flow) => [id(flow), flow]));
  const gone = before.udp.flatMap((flow) => {
    const left = new Set(now.get(id(flow))?.endpoints.map(endpointId));
    return flow.endpoints.filter((each) => !left.has(endpointId(each))).map(({ ip }) => ({ address: flow.address, port: flow.port, endpoint: ip }));
  });
  const opened = after.udp
    .filter((flow) => flow.endpoints.length > 0 && !then.get(id(flow))?.endpoints.length)
    .map(({ address, port }) => ({ address, port, endpoint: undefined }));
  return [...gone, ...opened];
}
