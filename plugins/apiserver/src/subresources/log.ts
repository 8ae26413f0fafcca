/** `pods/log`: the kubelet's log, streamed to HTTP clients and over WebSockets. */
import type { IncomingMessage } from "node:http";
import type { Duplex, Writable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { apiError, badRequest } from "@k3s-p/plugin-api/kube";
import type { ApiRequest, ApiResponse } from "../server/request.ts";
import { sendHead } from "../server/respond.ts";
import { open, type Target, unreachable } from "./forward.ts";

const MAX_REFUSAL = 2048;

/** Streams the kubelet's answer; what the kubelet refuses becomes a Status with its words. */
export async function serveLog(req: ApiRequest, res: ApiResponse, target: Target): Promise<void> {
  const answer = await openLog(req, target);
  sendHead(res, 200, { "content-type": "text/plain" });
  res.flushHeaders();
  await pipeline(answer, res as unknown as Writable).catch(() => res.destroy());
}

/** The protocols of a log over WebSocket: every message is a piece of the log, as bytes or in base64. */
const protocols = ["binary.k8s.io", "base64.binary.k8s.io"] as const;

/** For clients in browsers and for upstream's tests. Without a target the log is empty. */
export async function logOverWebSocket(req: ApiRequest, socket: Duplex, head: Buffer, target: Target | undefined): Promise<void> {
  const answer = target && (await openLog(req, target));
  const { WebSocketServer } = await import("ws");
  const server = new WebSocketServer({
    noServer: true,
    handleProtocols: (offered) => protocols.find((protocol) => offered.has(protocol)) ?? false,
  });
  const request = { method: req.method, url: req.url, headers: req.headers } as IncomingMessage;
  server.handleUpgrade(request, socket, head, (client) => {
    const base64 = client.protocol === "base64.binary.k8s.io";
    if (!answer) return client.close(1000);
    answer.on("data", (chunk: Buffer) => client.send(base64 ? chunk.toString("base64") : chunk));
    answer.on("end", () => client.close(1000));
    answer.on("error", () => client.close(1011));
    client.on("close", () => answer.destroy());
    client.on("error", () => answer.destroy());
  });
}

/** The kubelet's answer, when it is a log. */
async function openLog(req: ApiRequest, target: Target): Promise<IncomingMessage> {
  let answer: IncomingMessage;
  try {
    answer = await open(target, { method: "GET", headers: {}, signal: req.signal });
  } catch (error) {
    throw apiError(500, "InternalError", `Get "https://${target.host}:${target.port}${target.path}": ${unreachable(target, error as Error).message.replace("error trying to reach service: ", "")}`);
  }
  const code = answer.statusCode ?? 500;
  if (code >= 300) throw refusal(code, await readText(answer), req.info.name);
  return answer;
}

async function readText(answer: IncomingMessage): Promise<string> {
  let text = "";
  for await (const chunk of answer.setEncoding("utf8") as AsyncIterable<string>) {
    text += chunk;
    if (text.length > MAX_REFUSAL) break;
  }
  return text.slice(0, MAX_REFUSAL).trim();
}

function refusal(code: number, text: string, name: string) {
  if (code === 400) return badRequest(text);
  if (code === 404) return apiError(404, "NotFound", `the server could not find the requested resource ( pods/log ${name})`, { name, kind: "pods/log", causes: [{ reason: "UnexpectedServerResponse", message: text }] });
  const known = code === 401 ? "the server has asked for the client to provide credentials" : text || "unknown";
  return apiError(code >= 500 ? 500 : code, "InternalError", `an error on the server (${JSON.stringify(known)}) has prevented the request from succeeding ( pods/log ${name})`, {
    name, kind: "pods/log", causes: [{ reason: "UnexpectedServerResponse", message: text }],
  });
}
