/** What the proxy tells of its work: whether it keeps up with the API, and upstream's metrics of it. */
import type { Page, PageTable } from "@k3s-p/plugin-api/pages";
import { counter, exponential, exposition, histogram, linear, processFamilies, PROMETHEUS, single } from "@k3s-p/plugin-api/prometheus";

export interface ProxyWatch {
  serviceChanged(): void;
  /** `trigger` = Unix milliseconds of what changed the endpoints, when they say it. */
  endpointsChanged(trigger?: number): void;
  /** Everything that had changed when the pass began is in the kernel. */
  applied(isFull: boolean, begun: number): void;
  /** nft did not take a transaction. */
  refused(): void;
  /** False while a change has waited for too long. */
  isHealthy(): boolean;
  /** Port 10256; `isEligible` = whether new connections may be led to this node. */
  healthPages(isEligible: () => boolean): PageTable;
  /** Port 10249. */
  metricPages(): PageTable;
}

/** Upstream's: twice its sync period. */
const TIMEOUT = 60_000;
const IPV4 = { ip_family: "IPv4" };

export function proxyWatch(now: () => number = Date.now): ProxyWatch {
  const figures = proxyFigures();
  const started = now();
  let waitingSince: number | undefined;
  let lastApplied = started;
  let lastQueued = 0;
  let triggers: number[] = [];
  const pending = { services: 0, endpoints: 0 };

  function queued(): void {
    lastQueued = now();
    waitingSince ??= lastQueued;
  }

  const isHealthy = (): boolean => waitingSince === undefined || now() - waitingSince < TIMEOUT;
  const iso = (ms: number): string => new Date(ms).toISOString();

  function health(ok: boolean, nodeEligible: boolean): Page {
    const body = { lastUpdated: iso(isHealthy() ? now() : lastApplied), currentTime: iso(now()), nodeEligible };
    return { status: ok ? 200 : 503, type: "application/json", body: JSON.stringify(body) };
  }
  function counted(page: Page, answers: typeof figures.healthz): Page {
    answers.add({ code: String(page.status) });
    return page;
  }

  return {
    isHealthy,
    serviceChanged() {
      pending.services++;
      figures.services.add();
      queued();
    },
    endpointsChanged(trigger) {
      pending.endpoints++;
      figures.endpoints.add();
      if (trigger !== undefined && trigger >= started) triggers.push(trigger);
      queued();
    },
    applied(isFull, begun) {
      lastApplied = now();
      const seconds = (lastApplied - begun) / 1000;
      for (const times of [figures.all, isFull ? figures.full : figures.partial]) times.observe(seconds, IPV4);
      for (const trigger of triggers.splice(0)) figures.programming.observe(Math.max(0, lastApplied - trigger) / 1000, IPV4);
      pending.services = pending.endpoints = 0;
      waitingSince = undefined;
    },
    refused() {
      figures.failures.add(IPV4);
      waitingSince ??= now();
    },
    healthPages: (isEligible) => ({
      "/healthz": () => counted(health(isHealthy() && isEligible(), isEligible()), figures.healthz),
      "/livez": () => counted(health(isHealthy(), isEligible()), figures.livez),
    }),
    metricPages: () => ({
      "/healthz": () => ({ body: "ok" }),
      "/proxyMode": () => ({ body: "nftables" }),
      "/metrics": () => ({
        type: PROMETHEUS,
        body: exposition([
          ...Object.values(figures).map((each) => each.family()),
          single("kubeproxy_sync_proxy_rules_last_timestamp_seconds", "gauge", "The last time proxy rules were successfully synced", lastApplied / 1000),
          single("kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds", "gauge", "The last time a sync of proxy rules was queued", lastQueued / 1000),
          single("kubeproxy_sync_proxy_rules_service_changes_pending", "gauge", "Pending proxy rules Service changes", pending.services),
          single("kubeproxy_sync_proxy_rules_endpoint_changes_pending", "gauge", "Pending proxy rules Endpoint changes", pending.endpoints),
          ...processFamilies(),
        ]),
      }),
    }),
  };
}

const syncBounds = exponential(0.001, 2, 15);
const programmingBounds = [...linear(0.25, 0.25, 2), ...linear(1, 1, 59), ...linear(60, 5, 12), ...linear(120, 30, 7)];

const proxyFigures = () => ({
  all: histogram("kubeproxy_sync_proxy_rules_duration_seconds", "SyncProxyRules latency in seconds", syncBounds),
  full: histogram("kubeproxy_sync_full_proxy_rules_duration_seconds", "SyncProxyRules latency in seconds for full resyncs", syncBounds),
  partial: histogram("kubeproxy_sync_partial_proxy_rules_duration_seconds", "SyncProxyRules latency in seconds for partial resyncs", syncBounds),
  programming: histogram("kubeproxy_network_programming_duration_seconds", "In Cluster Network Programming Latency in seconds", programmingBounds),
  services: counter("kubeproxy_sync_proxy_rules_service_changes_total", "Cumulative proxy rules Service changes"),
  endpoints: counter("kubeproxy_sync_proxy_rules_endpoint_changes_total", "Cumulative proxy rules Endpoint changes"),
  failures: counter("kubeproxy_sync_proxy_rules_nftables_sync_failures_total", "Cumulative proxy nftables sync failures"),
  healthz: counter("kubeproxy_proxy_healthz_total", "Cumulative proxy healthz HTTP status"),
  livez: counter("kubeproxy_proxy_livez_total", "Cumulative proxy livez HTTP status"),
});
