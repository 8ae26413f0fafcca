/** One-shot checks over the network, for probes and lifecycle hooks: HTTP, TCP and the gRPC health protocol. */
import https from "node:https";
import http2 from "node:http2";
import net from "node:net";
import { http } from "@k3s-p/plugin-api/http";

export interface HttpRequest {
  readonly scheme: "http" | "https";
  readonly host: string;
  readonly port: number;
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  /** Milliseconds. */
  readonly timeout: number;
}

export interface HttpReply {
  readonly status: number;
  /** At most 10 KiB. */
  readonly body: string;
  readonly location?: string;
}

const MAX_BODY = 10 * 1024;

/** A GET that does not verify certificates and does not keep the connection. Rejects when there is no answer in time. */
export function httpGet(request: HttpRequest): Promise<HttpReply> {
  const { scheme, host, port, path, headers, timeout } = request;
  const shown = `${scheme}://${net.isIPv6(host) ? `[${host}]` : host}:${port}${path}`;
  return new Promise((resolve, reject) => {
    const options = { host, port, path, headers, agent: false as const, rejectUnauthorized: false, setHost: !("Host" in headers) };
    const req = (scheme === "https" ? https : http).get(options, (res) => {
      const chunks: Buffer[] = [];
      let size = 0;
      const done = (): void => {
        clearTimeout(timer);
        const body = Buffer.concat(chunks).subarray(0, MAX_BODY).toString("utf8");
        const { location } = res.headers;
        resolve({ status: res.statusCode ?? 0, body, ...(location && { location }) });
      };
      res.on("data", (chunk: Buffer) => {
        chunks.push(chunk);
        size += chunk.length;
        if (size <= MAX_BODY) return;
        done();
        res.destroy();
      });
      res.on("end", done);
      res.on("error", reject);
    });
    const timer = setTimeout(() => {
      req.destroy(new Error("context deadline exceeded (Client.Timeout exceeded while awaiting headers)"));
    }, timeout);
    req.on("error", (error) => {
      clearTimeout(timer);
      reject(new Error(`Get "${shown}": ${dialError(error, host, port)}`));
    });
  });
}

export function tcpConnect(host: string, port: number, timeout: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = net.connect({ host, port });
    const timer = setTimeout(() => socket.destroy(Object.assign(new Error(), { code: "ETIMEDOUT" })), timeout);
    socket.on("connect", () => {
      clearTimeout(timer);
      socket.destroy();
      resolve();
    });
    socket.on("error", (error) => {
      clearTimeout(timer);
      reject(new Error(dialError(error, host, port)));
    });
  });
}

const dialWords: Readonly<Record<string, string>> = {
  ECONNREFUSED: "connect: connection refused", ETIMEDOUT: "i/o timeout", EHOSTUNREACH: "connect: no route to host",
  ENETUNREACH: "connect: network is unreachable",
};

function dialError(error: Error, host: string, port: number): string {
  const words = dialWords[(error as NodeJS.ErrnoException).code ?? ""];
  return words ? `dial tcp ${host}:${port}: ${words}` : error.message || String((error as NodeJS.ErrnoException).code);
}

const SERVING = 1;

/** `grpc.health.v1.Health/Check`; resolves when the service is SERVING, rejects with the reason otherwise. */
export function grpcHealth(host: string, port: number, service: string, timeout: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const session = http2.connect(`http://${net.isIPv6(host) ? `[${host}]` : host}:${port}`);
    const end = (error?: Error): void => {
      clearTimeout(timer);
      session.destroy();
      if (error) reject(error);
      else resolve();
    };
    const timer = setTimeout(() => end(new Error(`timeout: health rpc did not complete within ${timeout / 1000}s`)), timeout);
    const unreachable = (error: Error): void => end(new Error(`failed to connect service "${host}:${port}": ${dialError(error, host, port)}`));
    session.on("error", unreachable);
    const stream = session.request({
      ":method": "POST", ":path": "/grpc.health.v1.Health/Check", "content-type": "application/grpc", te: "trailers",
      "user-agent": "kube-probe/1.36",
    });
    const chunks: Buffer[] = [];
    let status = "0";
    let text = "";
    const note = (headers: http2.IncomingHttpHeaders): void => {
      status = String(headers["grpc-status"] ?? status);
      text = String(headers["grpc-message"] ?? text);
    };
    stream.on("response", note);
    stream.on("trailers", note);
    stream.on("data", (chunk: Buffer) => chunks.push(chunk));
    // A session that fails cancels its streams first, with what went wrong as the cause.
    stream.on("error", (error) => (error.cause instanceof Error ? unreachable(error.cause) : end(error)));
    stream.on("end", () => end(grpcVerdict(status, text, Buffer.concat(chunks))));
    stream.end(healthRequest(service));
  });
}

/** A length-prefixed `HealthCheckRequest { service = 1 }`. */
function healthRequest(service: string): Buffer {
  const name = Buffer.from(service);
  const message = service ? Buffer.concat([Buffer.from([0x0a, name.length]), name]) : Buffer.alloc(0);
  const head = Buffer.alloc(5);
  head.writeUInt32BE(message.length, 1);
  return Buffer.concat([head, message]);
}

function grpcVerdict(status: string, text: string, reply: Buffer): Error | undefined {
  if (status === "12") return new Error("this server does not implement the grpc health protocol (grpc.health.v1.Health)");
  if (status !== "0") return new Error(`health rpc probe failed: rpc error: code = ${status} desc = ${decodeURIComponent(text)}`);
  const message = reply.subarray(5);
  if (message[0] === 0x08 && message[1] === SERVING) return undefined;
  return new Error(`service unhealthy (responded with "${message[0] === 0x08 ? "NOT_SERVING" : "UNKNOWN"}")`);
}
