/** The `api` profile as a process of its own, and one HTTP/2 connection to it: for tests that kill it or take its disk. */
import { spawn, type ChildProcess } from "node:child_process";
import { readFileSync } from "node:fs";
import { connect, type ClientHttp2Session, type IncomingHttpHeaders, type IncomingHttpStatusHeader } from "node:http2";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";

const root = dirname(dirname(import.meta.dirname));
const main = join(root, "core/src/cli/main.ts");
/** As the installed command has it: starts are many here. */
const env = { ...process.env, NODE_COMPILE_CACHE: join(root, "node_modules/.cache/k3s-p") };

export interface ApiProcess {
  readonly child: ChildProcess;
  /** Everything that it printed. */
  readonly output: () => string;
  /** As the administrator. Rejects when the connection ends before the answer is complete. */
  request(method: string, path: string, body?: object): Promise<Answer>;
  /** Hands over each line of a watch; resolves with the status when the watch ends, 0 when the connection does. */
  watch(path: string, onEvent: (event: any) => void): Promise<number>;
  /** Resolves with the exit code, 137 after SIGKILL. */
  stop(signal?: "SIGTERM" | "SIGKILL"): Promise<number>;
}

export interface Answer {
  readonly status: number;
  /** Parsed if it is JSON, else text. */
  readonly body: any;
}

export interface ApiProcessOptions {
  /** Data directory; the kubeconfig goes there as well. */
  readonly dir: string;
  readonly port: number;
  readonly args?: readonly string[];
  /** Options of Node, such as `--inspect=0`. */
  readonly node?: readonly string[];
}

/** Arguments after `k3s-p`. */
export const apiArguments = ({ dir, port, args = [] }: ApiProcessOptions): string[] => [
  "server", "--profile", "api", "--data-dir", dir, "--bind-address", "127.0.0.1", "--https-listen-port", String(port),
  "--node-name", "node1", "--write-kubeconfig", join(dir, "k3s.yaml"), ...args,
];

/** The command line, for what ends by itself. */
export function k3sp(args: readonly string[]): Promise<{ readonly code: number; readonly stdout: string; readonly stderr: string }> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [main, ...args], { env, stdio: ["ignore", "pipe", "pipe"], timeout: 30_000, killSignal: "SIGKILL" });
    const output = { stdout: "", stderr: "" };
    child.stdout.setEncoding("utf8").on("data", (chunk: string) => (output.stdout += chunk));
    child.stderr.setEncoding("utf8").on("data", (chunk: string) => (output.stderr += chunk));
    child.on("error", reject).on("close", (code) => resolve({ code: code ?? 137, ...output }));
  });
}

/** Resolves when it is ready; rejects with its output when it ends before. */
export async function startApiProcess(options: ApiProcessOptions): Promise<ApiProcess> {
  const child = spawn(process.execPath, [...options.node ?? [], main, ...apiArguments(options)], { env, stdio: ["ignore", "pipe", "pipe"] });
  let output = "";
  const exited = new Promise<number>((resolve) => child.on("close", (code, signal) => resolve(code ?? (signal === "SIGKILL" ? 137 : 143))));
  await new Promise<void>((resolve, reject) => {
    const look = (chunk: Buffer): void => {
      output += chunk.toString();
      if (/ready in /.test(output)) resolve();
    };
    child.stdout.on("data", look);
    child.stderr.on("data", look);
    void exited.then((code) => reject(new Error(`the server ended with ${code}\n${output}`)));
  });
  const session = open(options);
  return {
    child, output: () => output,
    request: (method, path, body) => request(session, method, path, body),
    watch: (path, onEvent) => watch(session, path, onEvent),
    async stop(signal = "SIGTERM") {
      child.kill(signal);
      const code = await exited;
      session.destroy();
      return code;
    },
  };
}

/** What the administrator's kubeconfig holds, for a connection. */
export function credentials(dir: string): { readonly ca: string; readonly cert: string; readonly key: string } {
  const text = readFileSync(join(dir, "k3s.yaml"), "utf8");
  const pem = (key: string): string => Buffer.from(new RegExp(`${key}: (\\S+)`).exec(text)![1]!, "base64").toString();
  return { ca: pem("certificate-authority-data"), cert: pem("client-certificate-data"), key: pem("client-key-data") };
}

function open({ dir, port }: ApiProcessOptions): ClientHttp2Session {
  const session = connect(`https://127.0.0.1:${port}`, credentials(dir));
  // Each request says by itself that the connection ended.
  session.on("error", () => {});
  return session;
}

function request(session: ClientHttp2Session, method: string, path: string, body?: object): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const stream = session.request({ ":method": method, ":path": path, "content-type": method === "PATCH" ? "application/merge-patch+json" : "application/json" });
    let head: IncomingHttpHeaders & IncomingHttpStatusHeader = {};
    let text = "";
    stream.on("response", (headers) => (head = headers));
    stream.setEncoding("utf8").on("data", (chunk: string) => (text += chunk));
    stream.on("error", reject).on("close", () => {
      // A connection that ends leaves what has come so far, which is no answer.
      if (Buffer.byteLength(text) !== Number(head["content-length"])) return reject(new Error("the connection ended"));
      resolve({ status: head[":status"]!, body: head["content-type"]?.startsWith("application/json") ? JSON.parse(text) : text });
    });
    stream.end(body && JSON.stringify(body));
  });
}

function watch(session: ClientHttp2Session, path: string, onEvent: (event: any) => void): Promise<number> {
  return new Promise((resolve) => {
    const stream = session.request({ ":method": "GET", ":path": path });
    let status = 0;
    stream.on("response", (headers) => (status = Number(headers[":status"])));
    stream.on("error", () => {}).on("close", () => resolve(status));
    createInterface({ input: stream }).on("error", () => {}).on("line", (line) => {
      const event = parsed(line);
      if (event) onEvent(event);
    });
  });
}

/** Undefined for the last line of a connection that was cut. */
function parsed(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    return undefined;
  }
}
