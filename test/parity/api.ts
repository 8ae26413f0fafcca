/** Speaks plain HTTPS with a test cluster, as any client does: status, headers and body of each answer, and watches. */
import { execFile } from "node:child_process";
import type { IncomingMessage } from "node:http";
import { Agent, request } from "node:https";
import { afterAll, beforeAll } from "vitest";
import { parse } from "yaml";
import { createTestCluster, type TestCluster, type TestClusterOptions } from "../kit/index.ts";
import { tool } from "../kit/tools.ts";

// oxlint-disable-next-line no-explicit-any -- answers are read by path in assertions
export type Body = any;

export interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | readonly string[] | undefined>>;
  readonly body: Body;
}

export interface Event {
  readonly type: "ADDED" | "MODIFIED" | "DELETED" | "BOOKMARK" | "ERROR";
  readonly object: Body;
}

export interface Watch {
  /** Every event so far. */
  readonly events: readonly Event[];
  /** The next event that nobody took yet; rejects after five seconds without one. */
  next(): Promise<Event>;
  /** Takes events until one fits. */
  until(fits: (event: Event) => boolean): Promise<Event>;
  close(): void;
}

export type PatchKind = "json" | "merge" | "strategic" | "apply";

export interface Api {
  call(method: string, path: string, body?: object | string, headers?: Readonly<Record<string, string>>): Promise<Answer>;
  /** These fail the test unless the status is 2xx, and return the body. */
  get(path: string): Promise<Body>;
  post(path: string, body: object): Promise<Body>;
  put(path: string, body: object): Promise<Body>;
  patch(path: string, body: object, kind?: PatchKind): Promise<Body>;
  del(path: string, options?: object): Promise<Body>;
  watch(path: string): Promise<Watch>;
}

export interface Parity extends Api {
  readonly cluster: TestCluster;
  /** What a command prints, both streams, and its exit code. */
  kubectl(args: readonly string[], stdin?: string): Promise<{ readonly code: number; readonly out: string }>;
}

const patchTypes: Readonly<Record<PatchKind, string>> = {
  json: "application/json-patch+json", merge: "application/merge-patch+json",
  strategic: "application/strategic-merge-patch+json", apply: "application/apply-patch+yaml",
};

/** One cluster for the tests of a file; its members are there once the tests run. */
export function useCluster(options: TestClusterOptions = {}): Parity {
  let live: Parity | undefined;
  beforeAll(async () => {
    const cluster = await createTestCluster(options);
    live = { ...connect(cluster), cluster, kubectl: (args, stdin) => kubectl(cluster, args, stdin) };
    if (options.controllers) await usable(live, "default");
  });
  afterAll(() => live?.cluster.stop());
  return new Proxy({} as Parity, { get: (_, key) => live![key as keyof Parity] });
}

/** Resolves when pods can be created in the namespace: its controller has made the ServiceAccount that they take. */
export async function usable(api: Api, namespace: string): Promise<void> {
  const watch = await api.watch(`/api/v1/namespaces/${namespace}/serviceaccounts?fieldSelector=metadata.name=default`);
  await watch.next();
  watch.close();
}

/** A client with the certificates of the cluster's kubeconfig. */
function connect(cluster: TestCluster): Api {
  const { clusters, users } = parse(cluster.kubeconfig) as Body;
  const decode = (text: string): Buffer => Buffer.from(text, "base64");
  const ca = decode(clusters[0].cluster["certificate-authority-data"]);
  const user = users[0].user;
  const agent = new Agent({ keepAlive: true, ca, cert: decode(user["client-certificate-data"]), key: decode(user["client-key-data"]) });
  const open = (method: string, path: string, body: object | string | undefined, headers: object) =>
    new Promise<IncomingMessage>((resolve, reject) => {
      const text = typeof body === "string" ? body : body === undefined ? "" : JSON.stringify(body);
      const length = text !== "" && { "content-length": Buffer.byteLength(text) };
      const outgoing = request(`${cluster.url}${path}`, { method, agent, headers: { accept: "application/json", ...length, ...headers } }, resolve);
      outgoing.on("error", reject);
      outgoing.end(text);
    });
  const call: Api["call"] = async (method, path, body, headers = {}) => {
    const type = body === undefined ? {} : { "content-type": "application/json" };
    const incoming = await open(method, path, body, { ...type, ...headers });
    let text = "";
    for await (const chunk of incoming.setEncoding("utf8")) text += chunk;
    const isJson = incoming.headers["content-type"]?.startsWith("application/json") && text !== "";
    return { status: incoming.statusCode!, headers: incoming.headers, body: isJson ? JSON.parse(text) : text };
  };
  const must = async (method: string, path: string, body?: object, headers = {}): Promise<Body> => {
    const answer = await call(method, path, body, headers);
    if (answer.status < 300) return answer.body;
    throw new Error(`${method} ${path}: ${answer.status} ${answer.body.message ?? JSON.stringify(answer.body)}`);
  };
  return {
    call,
    get: (path) => must("GET", path),
    post: (path, body) => must("POST", path, body),
    put: (path, body) => must("PUT", path, body),
    patch: (path, body, kind = "strategic") => must("PATCH", path, body, { "content-type": patchTypes[kind] }),
    del: (path, options) => must("DELETE", path, options),
    watch: async (path) => watchOf(await open("GET", `${path}${path.includes("?") ? "&" : "?"}watch=true`, undefined, {})),
  };
}

function watchOf(incoming: IncomingMessage): Watch {
  const events: Event[] = [];
  let taken = 0;
  let rest = "";
  let wake = () => {};
  incoming.setEncoding("utf8").on("error", () => {}).on("data", (chunk: string) => {
    const lines = (rest + chunk).split("\n");
    rest = lines.pop()!;
    events.push(...lines.filter(Boolean).map((line) => JSON.parse(line) as Event));
    wake();
  });
  const next = async (): Promise<Event> => {
    for (const end = Date.now() + 5_000; taken >= events.length; ) {
      const left = end - Date.now();
      if (left <= 0) throw new Error(`no event within 5 s after ${events.map(({ type, object }) => `${type} ${object.metadata?.name}`).join(", ") || "the start"}`);
      await new Promise<void>((resolve) => { const timer = setTimeout(resolve, left); wake = () => { clearTimeout(timer); resolve(); }; });
    }
    return events[taken++]!;
  };
  const until: Watch["until"] = async (fits) => {
    for (;;) {
      const event = await next();
      if (fits(event)) return event;
    }
  };
  return { events, next, until, close: () => void incoming.destroy() };
}

function kubectl(cluster: TestCluster, args: readonly string[], stdin = ""): Promise<{ code: number; out: string }> {
  return new Promise((resolve) => {
    const child = execFile(tool("kubectl"), ["--kubeconfig", cluster.kubeconfigPath, ...args], { timeout: 30_000 }, (error, stdout, stderr) =>
      resolve({ code: error ? Number(error.code ?? 1) : 0, out: stdout + stderr }));
    child.stdin!.on("error", () => {});
    child.stdin!.end(stdin);
  });
}
