/**
 * The load generator, in its own process: node load.ts '{"port":..,"clients":..,"seconds":..,"kind":"get|list|create|update|patch",...}'
 * Prints one JSON line: requests, seconds, p50 and p99 in milliseconds, bytes.
 */
import { Agent, request } from "node:https";
import { percentile } from "./report.ts";

export interface Load {
  readonly port: number;
  readonly tls: { readonly ca: string; readonly cert?: string; readonly key?: string };
  readonly clients: number;
  readonly seconds: number;
  readonly kind: "get" | "list" | "create" | "update" | "patch";
  readonly path: string;
  /** Prefix of names, so that runs do not collide. */
  readonly prefix?: string;
}

export interface LoadResult {
  readonly requests: number;
  readonly failed: number;
  readonly seconds: number;
  readonly p50: number;
  readonly p99: number;
  readonly bytes: number;
}

/** A pod of about 3 KB, as real ones are. */
export function pod(name: string): object {
  const env = Array.from({ length: 16 }, (_, i) => ({ name: `SETTING_${i}`, value: `value-${i}-${"x".repeat(40)}` }));
  return {
    apiVersion: "v1", kind: "Pod",
    metadata: { name, namespace: "default", labels: { app: "bench", tier: "web", "pod-template-hash": "5d4f8c7b9" }, annotations: { "example.com/note": "n".repeat(200) } },
    spec: {
      nodeName: "nowhere", serviceAccountName: "default", automountServiceAccountToken: false,
      containers: [{ name: "main", image: "docker.io/library/busybox:latest", command: ["sleep", "100"], env, resources: { requests: { cpu: "100m", memory: "64Mi" }, limits: { memory: "128Mi" } }, ports: [{ containerPort: 8080, name: "http" }], readinessProbe: { httpGet: { path: "/", port: "http" } } }],
    },
  };
}

function call(load: Load, agent: Agent, method: string, path: string, body?: string, type = "application/json"): Promise<{ status: number; bytes: number }> {
  return new Promise((resolve, reject) => {
    const headers = body === undefined ? {} : { "content-type": type, "content-length": Buffer.byteLength(body) };
    const out = request({ port: load.port, host: "127.0.0.1", method, path, agent, headers, ...load.tls }, (response) => {
      let bytes = 0;
      response.on("data", (chunk: Buffer) => (bytes += chunk.length));
      response.on("end", () => resolve({ status: response.statusCode ?? 0, bytes }));
    });
    out.on("error", reject);
    out.end(body);
  });
}

async function client(load: Load, id: number, until: number, times: number[], totals: { bytes: number; failed: number }): Promise<void> {
  const agent = new Agent({ keepAlive: true, maxSockets: 1, ...load.tls });
  const own = `${load.prefix ?? "p"}-${id}`;
  if (load.kind === "update" || load.kind === "patch") await call(load, agent, "POST", load.path, JSON.stringify(pod(own)));
  for (let i = 0; performance.now() < until; i++) {
    const start = performance.now();
    const { status, bytes } = await step(load, agent, own, i);
    times.push(performance.now() - start);
    totals.bytes += bytes;
    if (status >= 300) totals.failed++;
  }
  agent.destroy();
}

function step(load: Load, agent: Agent, own: string, i: number): Promise<{ status: number; bytes: number }> {
  if (load.kind === "create") return call(load, agent, "POST", load.path, JSON.stringify(pod(`${own}-${i}`)));
  if (load.kind === "patch") return call(load, agent, "PATCH", `${load.path}/${own}/status`, JSON.stringify({ status: { message: `m${i}` } }), "application/merge-patch+json");
  if (load.kind === "update") return call(load, agent, "PUT", `${load.path}/${own}`, JSON.stringify({ ...pod(own), metadata: { ...(pod(own) as { metadata: object }).metadata, annotations: { n: String(i) } } }));
  return call(load, agent, "GET", load.path);
}

/** The API profile has no controllers that would make it, and pods need it. */
async function ensureServiceAccount(load: Load): Promise<void> {
  const agent = new Agent(load.tls);
  const account = { apiVersion: "v1", kind: "ServiceAccount", metadata: { name: "default" } };
  await call(load, agent, "POST", load.path.replace(/pods$/, "serviceaccounts"), JSON.stringify(account));
  agent.destroy();
}

if (import.meta.main) {
  const load = JSON.parse(process.argv[2]!) as Load;
  if (load.kind !== "get" && load.kind !== "list") await ensureServiceAccount(load);
  const times: number[] = [];
  const totals = { bytes: 0, failed: 0 };
  const start = performance.now();
  await Promise.all(Array.from({ length: load.clients }, (_, id) => client(load, id, start + load.seconds * 1000, times, totals)));
  const result: LoadResult = { requests: times.length, ...totals, seconds: (performance.now() - start) / 1000, p50: percentile(times, 50), p99: percentile(times, 99) };
  process.stdout.write(`${JSON.stringify(result)}\n`);
}
