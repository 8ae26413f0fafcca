/** Plain requests to a test cluster as its administrator, for bodies that clients do not make. */
import { once } from "node:events";
import type { IncomingMessage } from "node:http";
import { request, type RequestOptions } from "node:https";
import { KubeConfig } from "@kubernetes/client-node";
import type { TestCluster } from "../kit/index.ts";

export interface RawRequest {
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Buffer;
}

/** The answer's head; its body is still to be read. */
export async function openRaw({ url, kubeconfig }: TestCluster, path: string, { method = "GET", headers = {}, body }: RawRequest = {}): Promise<IncomingMessage> {
  const config = new KubeConfig();
  config.loadFromString(kubeconfig);
  const options: RequestOptions = {};
  await config.applyToHTTPSOptions(options as never);
  const req = request(new URL(path, url), { ...options, method, headers: { ...headers, ...(body && { "content-length": body.length }) } }).end(body);
  const [res] = (await once(req, "response")) as [IncomingMessage];
  return res;
}

export async function raw(cluster: TestCluster, path: string, options?: RawRequest): Promise<{ readonly status: number; readonly bytes: Buffer }> {
  const res = await openRaw(cluster, path, options);
  const chunks: Buffer[] = [];
  for await (const chunk of res) chunks.push(chunk as Buffer);
  return { status: res.statusCode!, bytes: Buffer.concat(chunks) };
}
