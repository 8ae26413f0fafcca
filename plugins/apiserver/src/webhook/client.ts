/** Sends reviews to webhooks: over HTTPS, on connections that are kept, straight to an endpoint of a Service. */
import type { IncomingMessage } from "node:http";
import { Agent, request as httpsRequest, type RequestOptions } from "node:https";
import { isIP } from "node:net";
import type { CacheView, Obj } from "../resources/types.ts";
import { serviceEndpoint } from "../subresources/locations.ts";

export interface ClientConfig {
  readonly url?: string;
  readonly service?: { readonly name: string; readonly namespace: string; readonly path?: string; readonly port?: number };
  /** Base64 of PEM, as are the client's own certificate and key. */
  readonly caBundle?: string;
  readonly cert?: string;
  readonly key?: string;
  readonly token?: string;
}

export interface WebhookClient {
  /** The decoded body of the answer; rejects with an Error in upstream's words. */
  post(config: ClientConfig, body: string, timeoutSeconds: number): Promise<unknown>;
  close(): void;
}

const MAX_ANSWER = 8 * 1024 * 1024;
const IDLE = 90_000;
const HTTPS = 443;

export function createWebhookClient(view: CacheView): WebhookClient {
  const agent = new Agent({ keepAlive: true, maxFreeSockets: 16, timeout: IDLE });
  const bundles = new Map<string, string>();
  const pem = (bundle: string): string => {
    let text = bundles.get(bundle);
    if (!text) {
      if (bundles.size >= 64) bundles.clear();
      bundles.set(bundle, (text = Buffer.from(bundle, "base64").toString("utf8")));
    }
    return text;
  };
  return {
    async post(config, body, timeoutSeconds) {
      const shown = shownUrl(config, timeoutSeconds);
      const signal = AbortSignal.timeout(timeoutSeconds * 1000);
      try {
        const options: RequestOptions = {
          ...whereTo(view, config, timeoutSeconds), agent, method: "POST", signal,
          allowPartialTrustChain: true, ...(config.caBundle && { ca: pem(config.caBundle) }),
          ...(config.cert && config.key && { cert: pem(config.cert), key: pem(config.key) }),
        };
        if (config.token) options.headers = { ...options.headers as object, authorization: `Bearer ${config.token}` };
        const answer = await send(options, body);
        return decode(answer.statusCode ?? 500, await readAll(answer));
      } catch (error) {
        if (error instanceof AnswerError) throw error;
        throw new Error(`Post ${JSON.stringify(shown)}: ${signal.aborted ? "context deadline exceeded" : reason(error as Error, config)}`, { cause: error });
      }
    },
    close: () => agent.destroy(),
  };
}

/** The webhook was reached, and its answer is no answer. */
class AnswerError extends Error {}

function shownUrl({ url, service }: ClientConfig, timeoutSeconds: number): string {
  if (!service) return withTimeout(url!, timeoutSeconds);
  const { name, namespace, port = HTTPS, path = "" } = service;
  return withTimeout(`https://${name}.${namespace}.svc:${port}${path || "/"}`, timeoutSeconds);
}

const withTimeout = (url: string, seconds: number): string => `${url}${url.includes("?") ? "&" : "?"}timeout=${seconds}s`;

function whereTo(view: CacheView, { url, service }: ClientConfig, timeoutSeconds: number): RequestOptions {
  if (service) {
    const { name, namespace, port = HTTPS, path = "" } = service;
    const servername = `${name}.${namespace}.svc`;
    const external = externalName(view.get("", "services", name, namespace));
    const { host, port: number } = external ? { host: external, port } : serviceEndpoint(view, namespace, name, String(port));
    return { host, port: number, servername, path: withTimeout(path || "/", timeoutSeconds), headers: { host: `${servername}:${port}` } };
  }
  const { hostname, port, pathname, search } = new URL(url!);
  const host = hostname.replace(/^\[|\]$/g, "");
  return {
    host, port: port ? Number(port) : HTTPS, path: withTimeout(`${pathname}${search}`, timeoutSeconds),
    ...(isIP(host) === 0 && { servername: host }),
  };
}

const externalName = (service: Obj | undefined): string | undefined => (service?.spec?.type === "ExternalName" ? service.spec.externalName : undefined);

/** A kept connection may have been closed by the other side meanwhile; then a new one is made, once. */
function send(options: RequestOptions, body: string, again = true): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const request = httpsRequest({
      ...options,
      headers: { ...options.headers as object, "content-type": "application/json", accept: "application/json", "content-length": Buffer.byteLength(body) },
    }, resolve);
    request.on("error", (error: NodeJS.ErrnoException) => {
      if (again && request.reusedSocket && (error.code === "ECONNRESET" || error.code === "EPIPE")) resolve(send(options, body, false));
      else reject(error);
    });
    request.end(body);
  });
}

async function readAll(answer: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of answer as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > MAX_ANSWER) {
      answer.destroy();
      throw new Error(`the answer is larger than ${MAX_ANSWER} bytes`);
    }
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString("utf8");
}

const statusTexts: Readonly<Record<number, string>> = {
  400: "the server rejected our request for an unknown reason", 401: "the server has asked for the client to provide credentials",
  403: "forbidden", 404: "the server could not find the requested resource",
  405: "the server does not allow this method on the requested resource", 429: "the server has received too many requests and has asked us to try again later",
  503: "the server is currently unable to handle the request",
};

function decode(status: number, text: string): unknown {
  if (status < 200 || status > 299) {
    const known = statusTexts[status] ?? (status >= 500
      ? `an error on the server (${JSON.stringify(text.slice(0, 1024).trim())}) has prevented the request from succeeding`
      : `the server responded with the status code ${status} but did not return more information`);
    throw new AnswerError(known);
  }
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new AnswerError(`couldn't get version/kind; json parse error: ${(error as Error).message}`, { cause: error });
  }
}

const untrusted = new Set(["DEPTH_ZERO_SELF_SIGNED_CERT", "SELF_SIGNED_CERT_IN_CHAIN", "UNABLE_TO_VERIFY_LEAF_SIGNATURE", "UNABLE_TO_GET_ISSUER_CERT", "UNABLE_TO_GET_ISSUER_CERT_LOCALLY"]);

/** Go's words for what Node found. */
function reason(error: NodeJS.ErrnoException & { readonly address?: string; readonly port?: number }, { service }: ClientConfig): string {
  const { code = "", message } = error;
  if (untrusted.has(code)) return "tls: failed to verify certificate: x509: certificate signed by unknown authority";
  if (code === "CERT_HAS_EXPIRED" || code === "CERT_NOT_YET_VALID") return "tls: failed to verify certificate: x509: certificate has expired or is not yet valid";
  if (code === "ERR_TLS_CERT_ALTNAME_INVALID") {
    const name = service ? `${service.name}.${service.namespace}.svc` : "the host";
    return `tls: failed to verify certificate: x509: certificate is not valid for ${name}: ${message}`;
  }
  if (code === "ECONNREFUSED") return `dial tcp ${error.address}:${error.port}: connect: connection refused`;
  if (code === "ENOTFOUND") return `dial tcp: lookup ${(error as { hostname?: string }).hostname}: no such host`;
  if (code === "ECONNRESET") return "EOF";
  return message;
}
