/** Asks a node's kubelet for its summary, over HTTPS with a client certificate. */
import { request } from "node:https";
import type { Node } from "@k3s-p/plugin-api/kube";
import { parseSummary, type NodeReading } from "./summary.ts";

export interface KubeletCredentials {
  readonly cert: string;
  readonly key: string;
  /** CA of the kubelets' serving certificates, PEM. */
  readonly ca: string;
}

const timeout = 10_000;
const longestBody = 64 * 1024 * 1024;
const defaultPort = 10250;

export async function scrapeKubelet(node: Node, credentials: KubeletCredentials, signal: AbortSignal): Promise<NodeReading> {
  const host = node.status?.addresses?.find((a) => a.type === "InternalIP")?.address;
  if (!host) throw new Error(`node ${node.metadata.name} has no InternalIP`);
  const port = node.status?.daemonEndpoints?.kubeletEndpoint?.Port ?? defaultPort;
  const text = await get({ host, port, path: "/stats/summary", ...credentials }, signal);
  return parseSummary(JSON.parse(text));
}

function get(options: KubeletCredentials & { host: string; port: number; path: string }, signal: AbortSignal): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  const call = request({ ...options, agent: false, timeout, signal }, (response) => {
    const chunks: Buffer[] = [];
    let size = 0;
    response.on("data", (chunk: Buffer) => {
      size += chunk.length;
      if (size > longestBody) call.destroy(new Error("the kubelet's answer is too long"));
      else chunks.push(chunk);
    });
    response.on("end", () => {
      const text = Buffer.concat(chunks).toString("utf8");
      if (response.statusCode === 200) resolve(text);
      else reject(new Error(`the kubelet answered ${response.statusCode}: ${text.slice(0, 200)}`));
    });
    response.on("error", reject);
  });
  call.on("timeout", () => call.destroy(new Error(`the kubelet did not answer within ${timeout / 1000} s`)));
  call.on("error", reject);
  call.end();
  return promise;
}
