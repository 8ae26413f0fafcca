/** What the directive `prometheus` promises: requests, answers and their time, under CoreDNS's names. */
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { http } from "@k3s-p/plugin-api/http";
import { Rcode, Type } from "./wire.ts";

export interface Observation {
  readonly transport: "udp" | "tcp";
  /** The zone of the server block that answered, `.` for the root. */
  readonly zone: string;
  readonly type: number;
  readonly rcode: number;
  readonly seconds: number;
}

export interface DnsMetrics {
  observe(observation: Observation): void;
  /** Prometheus text. */
  text(): string;
}

/** CoreDNS's: 16 buckets from 0.25 ms, each twice the one before. */
const buckets = Array.from({ length: 16 }, (_, i) => 0.00025 * 2 ** i);
const typeNames: ReadonlyMap<number, string> = new Map(Object.entries(Type).map(([name, number]) => [number, name]));
const rcodeNames: ReadonlyMap<number, string> = new Map(Object.entries(Rcode).map(([name, number]) => [number, name.toUpperCase()]));
/** The server as CoreDNS writes it: every block here is for port 53. */
const SERVER = 'server="dns://:53"';

interface Durations {
  readonly counts: number[];
  sum: number;
  count: number;
}

/** `family` is that of the listener: `1` for IPv4, `2` for IPv6. */
export function dnsMetrics(family: "1" | "2"): DnsMetrics {
  const requests = new Map<string, number>();
  const responses = new Map<string, number>();
  const durations = new Map<string, Durations>();
  const add = (map: Map<string, number>, labels: string): void => void map.set(labels, (map.get(labels) ?? 0) + 1);

  return {
    observe({ transport, zone, type, rcode, seconds }) {
      const common = `${SERVER},zone="${zone}"`;
      add(requests, `${common},view="",proto="${transport}",family="${family}",type="${typeNames.get(type) ?? "other"}"`);
      add(responses, `${common},view="",rcode="${rcodeNames.get(rcode) ?? rcode}"`);
      const spent = durations.get(common) ?? { counts: buckets.map(() => 0), sum: 0, count: 0 };
      durations.set(common, spent);
      spent.sum += seconds;
      spent.count++;
      const bucket = buckets.findIndex((limit) => seconds <= limit);
      if (bucket >= 0) spent.counts[bucket]!++;
    },
    text: () => [
      ...metric("coredns_dns_requests_total", "counter", "Counter of DNS requests made per zone, protocol and family.", counters(requests)),
      ...metric("coredns_dns_responses_total", "counter", "Counter of response status codes.", counters(responses)),
      ...metric("coredns_dns_request_duration_seconds", "histogram", "Histogram of the time each request took.", [...durations].flatMap(histogram)),
      "",
    ].join("\n"),
  };
}

type Sample = readonly [suffix: string, labels: string, value: number];

const counters = (map: ReadonlyMap<string, number>): Sample[] => [...map].sort().map(([labels, value]) => ["", labels, value]);

function histogram([labels, { counts, sum, count }]: [string, Durations]): Sample[] {
  let below = 0;
  const limits = counts.map((each, i): Sample => ["_bucket", `${labels},view="",le="${buckets[i]}"`, (below += each)]);
  return [...limits, ["_bucket", `${labels},view="",le="+Inf"`, count], ["_sum", `${labels},view=""`, sum], ["_count", `${labels},view=""`, count]];
}

const metric = (name: string, type: string, help: string, samples: readonly Sample[]): string[] =>
  [`# HELP ${name} ${help}`, `# TYPE ${name} ${type}`, ...samples.map(([suffix, labels, value]) => `${name}${suffix}{${labels}} ${value}`)];

/** `GET /metrics` on any free port of the address; 404 while the Corefile has no `prometheus`. */
export async function serveMetrics(address: string, text: () => string | undefined): Promise<{ readonly port: number; close(): Promise<void> }> {
  const server = http.createServer((request, response) => {
    const body = request.url?.split("?")[0] === "/metrics" ? text() : undefined;
    if (body === undefined) return void response.writeHead(404, { "content-type": "text/plain; charset=utf-8" }).end("404 page not found\n");
    response.writeHead(200, { "content-type": "text/plain; version=0.0.4; charset=utf-8" }).end(body);
  });
  server.listen(0, address);
  await once(server, "listening");
  return {
    port: (server.address() as AddressInfo).port,
    close: () => new Promise((resolve) => {
      server.close(() => resolve());
      server.closeAllConnections();
    }),
  };
}
