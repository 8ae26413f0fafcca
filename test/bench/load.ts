/**
 * The load generator, in its own process: node load.ts '{"port":..,"clients":..,"seconds":..,"kind":"get|list|create|update|patch",...}'
 * Prints one JSON line. It speaks HTTP/1.1 over bare TLS sockets, one request at a time on each, so that it costs a
 * fraction of what it measures.
 */
import { connect, type TLSSocket } from "node:tls";
import { percentile } from "./report.ts";
import { cpuSeconds } from "./process.ts";

export interface Load {
  readonly port: number;
  readonly tls: { readonly ca: string; readonly cert?: string; readonly key?: string };
  readonly clients: number;
  readonly seconds: number;
  /** Ends the run earlier than `seconds`. */
  readonly requests?: number;
  readonly kind: "get" | "list" | "create" | "update" | "patch";
  readonly path: string;
  /** Prefix of names, so that runs do not collide. */
  readonly prefix?: string;
  /** Process whose CPU time is read at both ends of the run. */
  readonly pid?: number;
}

export interface LoadResult {
  readonly requests: number;
  readonly failed: number;
  readonly seconds: number;
  readonly p50: number;
  readonly p99: number;
  readonly bytes: number;
  /** CPU microseconds per request of process `pid`, all its threads; 0 without `pid`. */
  readonly cpu: number;
}

/** A pod of about 3 KB, as real ones are. */
export function pod(name: string): { readonly metadata: object } {
  const env = Array.from({ length: 16 }, (_, i) => ({ name: `SETTING_${i}`, value: `value-${i}-${"x".repeat(40)}` }));
  return {
    apiVersion: "v1", kind: "Pod",
    metadata: { name, namespace: "default", labels: { app: "bench", tier: "web", "pod-template-hash": "5d4f8c7b9" }, annotations: { "example.com/note": "n".repeat(200) } },
    spec: {
      nodeName: "nowhere", serviceAccountName: "default", automountServiceAccountToken: false,
      containers: [{ name: "main", image: "docker.io/library/busybox:latest", command: ["sleep", "100"], env, resources: { requests: { cpu: "100m", memory: "64Mi" }, limits: { memory: "128Mi" } }, ports: [{ containerPort: 8080, name: "http" }], readinessProbe: { httpGet: { path: "/", port: "http" } } }],
    },
  } as { readonly metadata: object };
}

export interface Answer {
  readonly status: number;
  readonly bytes: number;
  /** When the connection was opened for them. */
  readonly body?: string;
}

/** One keep-alive connection with at most one request under way. */
export interface Connection {
  send(request: string): Promise<Answer>;
  end(): void;
}

export async function open({ port, tls }: Pick<Load, "port" | "tls">, withBodies = false): Promise<Connection> {
  const socket = connect({ port, host: "127.0.0.1", ...tls });
  socket.setNoDelay(true);
  await new Promise<void>((resolve, reject) => socket.once("secureConnect", resolve).once("error", reject));
  let waiting: { resolve: (answer: Answer) => void; reject: (error: Error) => void } | undefined;
  const fail = (error?: Error): void => waiting?.reject(error ?? new Error("the server closed the connection"));
  readAnswers(socket, withBodies, (answer) => {
    const { resolve } = waiting!;
    waiting = undefined;
    resolve(answer);
  });
  socket.on("error", fail).on("close", () => fail());
  return {
    send: (request) => new Promise((resolve, reject) => {
      waiting = { resolve, reject };
      socket.write(request, "utf8");
    }),
    end: () => void socket.destroy(),
  };
}

/** Counts the bytes of answers by their content-length; they are looked at only on demand. */
function readAnswers(socket: TLSSocket, withBodies: boolean, onAnswer: (answer: Answer) => void): void {
  let head = "";
  let status = 0;
  let bytes = 0;
  let left = -1;
  let body = "";
  socket.on("data", (chunk: Buffer) => {
    if (left < 0) {
      head += chunk.toString("latin1");
      const end = head.indexOf("\r\n\r\n");
      if (end < 0) return;
      status = Number(head.slice(9, 12));
      bytes = Number(/content-length: (\d+)/i.exec(head)![1]);
      left = bytes - (head.length - end - 4);
      if (withBodies) body = head.slice(end + 4);
      head = "";
    } else {
      left -= chunk.length;
      if (withBodies) body += chunk.toString("latin1");
    }
    if (left > 0) return;
    left = -1;
    onAnswer({ status, bytes, ...(withBodies && { body }) });
  });
}

const JSON_TYPE = "application/json";

export function text(method: string, path: string, body = "", type = JSON_TYPE): string {
  const content = body && `content-type: ${type}\r\ncontent-length: ${Buffer.byteLength(body)}\r\n`;
  return `${method} ${path} HTTP/1.1\r\nhost: bench\r\nuser-agent: bench\r\n${content}\r\n${body}`;
}

/** Makes the requests of one client; what does not change is made before the run. */
function requestsOf(load: Load, own: string): (i: number) => string {
  const { path, kind } = load;
  if (kind === "get" || kind === "list") {
    const request = text("GET", path);
    return () => request;
  }
  const [before, after] = JSON.stringify(pod("@NAME@")).split("@NAME@") as [string, string];
  if (kind === "create") return (i) => text("POST", path, `${before}${own}-${i}${after}`);
  if (kind === "patch") return (i) => text("PATCH", `${path}/${own}/status`, `{"status":{"message":"m${i}"}}`, "application/merge-patch+json");
  const body = pod(own);
  const [head, tail] = JSON.stringify({ ...body, metadata: { ...body.metadata, annotations: { n: "@N@" } } }).split("@N@") as [string, string];
  return (i) => text("PUT", `${path}/${own}`, `${head}${i}${tail}`);
}

/** The API profile has no controllers that would make it, and pods need it. */
async function ensureServiceAccount(load: Load): Promise<void> {
  const connection = await open(load);
  const account = { apiVersion: "v1", kind: "ServiceAccount", metadata: { name: "default" } };
  await connection.send(text("POST", load.path.replace(/pods$/, "serviceaccounts"), JSON.stringify(account)));
  connection.end();
}

async function run(load: Load): Promise<LoadResult> {
  const writes = load.kind !== "get" && load.kind !== "list";
  if (writes) await ensureServiceAccount(load);
  const clients = await Promise.all(Array.from({ length: load.clients }, async (_, id) => {
    const own = `${load.prefix ?? "p"}-${id}`;
    const connection = await open(load);
    if (load.kind === "update" || load.kind === "patch") await connection.send(text("POST", load.path, JSON.stringify(pod(own))));
    return { connection, request: requestsOf(load, own) };
  }));
  const times: number[] = [];
  let [bytes, failed, left] = [0, 0, load.requests ?? Number.POSITIVE_INFINITY];
  const cpuBefore = load.pid ? cpuSeconds(load.pid) : 0;
  const start = performance.now();
  const until = start + load.seconds * 1000;
  await Promise.all(clients.map(async ({ connection, request }) => {
    for (let i = 0, now = performance.now(); now < until && left-- > 0; i++) {
      const answer = await connection.send(request(i));
      const end = performance.now();
      times.push(end - now);
      now = end;
      bytes += answer.bytes;
      if (answer.status >= 300) failed++;
    }
  }));
  const seconds = (performance.now() - start) / 1000;
  const cpu = load.pid ? ((cpuSeconds(load.pid) - cpuBefore) / times.length) * 1e6 : 0;
  for (const { connection } of clients) connection.end();
  return { requests: times.length, failed, bytes, seconds, cpu, p50: percentile(times, 50), p99: percentile(times, 99) };
}

if (import.meta.main) process.stdout.write(`${JSON.stringify(await run(JSON.parse(process.argv[2]!) as Load))}\n`);
