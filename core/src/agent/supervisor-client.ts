/** What an agent asks of its server before, and beside, the Kubernetes API: settings and certificates. */
import { X509Certificate } from "node:crypto";
import { readFileSync } from "node:fs";
import { request as httpsRequest, type RequestOptions } from "node:https";
import { join } from "node:path";
import { createSecureContext } from "node:tls";
import { bootstrapTokenPattern, type JoinToken } from "@k3s-p/plugin-api";

export interface SupervisorClient {
  /** `https://HOST:6443` */
  readonly url: string;
  /** PEM of the server's CA, which was checked. */
  readonly ca: string;
  /** The body of an answer of 200; another answer rejects with a `SupervisorError`, none at all with the error of the connection. */
  get(path: string): Promise<string>;
  /**
   * Has the key of a PKCS#10 request signed: `client-kubelet`, `serving-kubelet` (for `ips`) or `client-PLUGIN`. Resolves to
   * PEM, the leaf first. The node's name and its password go with it.
   */
  certificate(name: string, csr: string, ips?: readonly string[]): Promise<string>;
}

export interface SupervisorOptions {
  readonly url: string;
  readonly ca: string;
  readonly node: { readonly name: string; readonly password: string };
  /** Where `client-kubelet.crt` lies once the node has one. */
  readonly folder: string;
  readonly token?: JoinToken | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** An answer that is not 200; `message` is that of the server. */
export class SupervisorError extends Error {
  override readonly name = "SupervisorError";
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

/** Milliseconds for an answer, from the connect on. */
const DEADLINE = 30_000;
/** No answer is longer. */
const MAX_BYTES = 1 << 20;

/** The node's own certificate goes first: bootstrap tokens expire, and the certificate opens nothing but this node's affairs. */
export function createSupervisorClient({ url, ca, node, folder, token, signal }: SupervisorOptions): SupervisorClient {
  async function call(path: string, options: RequestOptions, body?: string): Promise<string> {
    const own = nodeCertificate(folder, node.name);
    const credentials: RequestOptions[] = [...(own ? [own] : []), ...(token ? [{ headers: { authorization: authorizationOf(token) } }] : [])];
    let refused = new SupervisorError(401, "no credentials");
    for (const credential of credentials) {
      const { status, text } = await ask(new URL(path, url), { ca, ...options, ...credential, headers: { ...options.headers, ...credential.headers } }, body, signal);
      if (status === 200) return text;
      refused = new SupervisorError(status, messageIn(text) || `the server answered ${status}`);
      if (status !== 401) break;
    }
    throw refused;
  }

  return {
    url, ca,
    get: (path) => call(path, { method: "GET" }),
    certificate: (name, csr, ips = []) => call(`/v1-k3s/${name}.crt`, {
      method: "POST",
      headers: { "k3s-node-name": node.name, "k3s-node-password": node.password, ...(ips.length > 0 && { "k3s-node-ip": ips.join(",") }) },
    }, csr),
  };
}

/** What anybody may read; whether it is to be believed is for the caller to find out. */
export async function readCacerts(url: string, signal: AbortSignal): Promise<string> {
  const { status, text } = await ask(new URL("/cacerts", url), { rejectUnauthorized: false }, undefined, signal);
  if (status === 200) return text;
  throw new SupervisorError(status, `/cacerts: the server answered ${status}`);
}

/** Undefined also for one of another name, and for files that are no pair. */
export function nodeCertificate(folder: string, node: string): { readonly cert: string; readonly key: string } | undefined {
  try {
    const [cert, key] = ["crt", "key"].map((extension) => readFileSync(join(folder, `client-kubelet.${extension}`), "utf8")) as [string, string];
    createSecureContext({ cert, key });
    return new X509Certificate(cert).subject.split("\n").includes(`CN=system:node:${node}`) ? { cert, key } : undefined;
  } catch {
    return undefined;
  }
}

/** A password alone is that of the agents. */
function authorizationOf({ user, password }: JoinToken): string {
  if (!user && bootstrapTokenPattern.test(password)) return `Bearer ${password}`;
  return `Basic ${Buffer.from(`${user || "node"}:${password}`).toString("base64")}`;
}

function ask(url: URL, options: RequestOptions, body: string | undefined, signal: AbortSignal | undefined): Promise<{ readonly status: number; readonly text: string }> {
  const deadline = AbortSignal.timeout(DEADLINE);
  return new Promise((resolve, reject) => {
    const fail = (error: Error): void => reject(deadline.aborted ? new Error(`no answer in ${DEADLINE / 1000} s`, { cause: error }) : error);
    const request = httpsRequest(url, { ...options, agent: false, signal: signal ? AbortSignal.any([deadline, signal]) : deadline }, (response) => {
      let text = "";
      response.setEncoding("utf8").on("data", (chunk: string) => {
        text += chunk;
        if (text.length > MAX_BYTES) request.destroy(new Error("the answer is too long"));
      });
      response.on("error", fail).on("end", () => resolve({ status: response.statusCode!, text }));
    });
    request.on("error", fail).end(body);
  });
}

/** Of a Status, as the API server answers; else the first line. */
function messageIn(text: string): string {
  try {
    return String((JSON.parse(text) as { message?: unknown }).message ?? "");
  } catch {
    return text.trim().split("\n")[0]!;
  }
}
