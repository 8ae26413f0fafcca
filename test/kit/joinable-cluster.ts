/** A cluster with the supervisor behind true TLS, keys and requests made by openssl, and a client that shows what it got. */
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { request } from "node:https";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseJoinToken } from "@k3s-p/plugin-api";
import { createTestCluster, type TestCluster, type TestClusterOptions } from "./test-cluster.ts";

export interface Answer {
  readonly status: number;
  readonly text: string;
  /** Of a Status. */
  readonly message: string;
}

export interface Credentials {
  readonly authorization?: string;
  readonly cert?: string;
  readonly key?: string;
}

export interface Signing extends Credentials {
  readonly node?: string;
  readonly password?: string;
  readonly ips?: string;
}

export interface JoinableCluster extends AsyncDisposable {
  readonly cluster: TestCluster;
  /** Of the server. */
  readonly dir: string;
  readonly passwordFile: string;
  /** Everything that was asked, with headers of requests and answers as far as they are written down, and bodies. */
  audited(): string;
  readonly basic: Readonly<Record<"server" | "node", string>>;
  readonly admin: Credentials;
  call(method: string, path: string, credentials?: Credentials, body?: string, headers?: Readonly<Record<string, string>>): Promise<Answer>;
  sign(file: string, csr: string, signing: Signing): Promise<Answer>;
}

/** Agents have the password `of-agents`. */
export async function joinableCluster(cluster: TestClusterOptions["cluster"] = {}): Promise<JoinableCluster> {
  const own = mkdtempSync(join(tmpdir(), "k3sp-supervisor-"));
  const [policy, log] = [join(own, "policy.yaml"), join(own, "audit.log")];
  writeFileSync(policy, "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{ level: RequestResponse }]\n");
  const passwordFile = join(own, "node/password");
  const started = await createTestCluster({
    cluster, plugins: { supervisor: fileURLToPath(new URL("../../plugins/supervisor", import.meta.url)) },
    config: {
      supervisor: { nodePasswordFile: passwordFile },
      apiserver: { agentToken: "of-agents", args: [`audit-policy-file=${policy}`, `audit-log-path=${log}`] },
    },
  });
  const dir = dirname(started.kubeconfigPath);
  const pem = (key: string): string => Buffer.from(new RegExp(`${key}: (\\S+)`).exec(started.kubeconfig)![1]!, "base64").toString();
  const ca = pem("certificate-authority-data");
  const token = (user: string, file: string): string => basicOf(user, parseJoinToken(readFileSync(join(dir, "server", file), "utf8").trim()).password);
  const { port } = new URL(started.url);

  const call: JoinableCluster["call"] = (method, path, { authorization, cert, key } = {}, body, headers) => new Promise((resolve, reject) => {
    const sent = request({
      host: "127.0.0.1", port, method, path, ca, agent: false, ...(cert && { cert, key }),
      headers: { ...(authorization && { authorization }), ...headers },
    }, (res) => {
      let text = "";
      res.setEncoding("utf8").on("data", (chunk: string) => (text += chunk)).on("end", () => resolve({ status: res.statusCode!, text, message: messageOf(text) })).on("error", reject);
    });
    sent.on("error", reject).end(body);
  });

  return {
    cluster: started, dir, passwordFile, call,
    audited: () => readFileSync(log, "utf8"),
    basic: { server: token("server", "token"), node: token("node", "agent-token") },
    admin: { cert: pem("client-certificate-data"), key: pem("client-key-data") },
    sign: (file, csr, { node, password, ips, ...credentials }) => call("POST", `/v1-k3s/${file}`, credentials, csr, {
      ...(node !== undefined && { "k3s-Node-Name": node }), ...(password !== undefined && { "k3s-Node-Password": password }), ...(ips !== undefined && { "k3s-Node-IP": ips }),
    }),
    async [Symbol.asyncDispose]() {
      await started.stop();
      rmSync(own, { recursive: true });
    },
  };
}

export const basicOf = (user: string, password: string): string => `Basic ${Buffer.from(`${user}:${password}`).toString("base64")}`;

function messageOf(text: string): string {
  try {
    return (JSON.parse(text) as { readonly message?: string }).message ?? "";
  } catch {
    return "";
  }
}

/** A key and a request for it in PEM. `kind` as in `openssl req -newkey`. */
export function makeRequest(kind: "ec" | "rsa" = "ec", subject = "/CN=whoever", san = ""): { readonly key: string; readonly csr: string } {
  const own = mkdtempSync(join(tmpdir(), "k3sp-csr-"));
  const newKey = kind === "ec" ? ["ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"] : ["rsa:2048"];
  try {
    execFileSync("openssl", ["req", "-new", "-newkey", ...newKey, "-nodes", "-subj", subject, ...(san ? ["-addext", `subjectAltName=${san}`] : []), "-keyout", "k", "-out", "c"], { cwd: own, stdio: "pipe" });
    return { key: readFileSync(join(own, "k"), "utf8"), csr: readFileSync(join(own, "c"), "utf8") };
  } finally {
    rmSync(own, { recursive: true });
  }
}

/** The same request with one bit of its signature changed. */
export function tampered(csr: string): string {
  const bytes = Buffer.from(csr.replaceAll(/-----.*-----|\s/g, ""), "base64");
  bytes[bytes.length - 1]! ^= 1;
  return `-----BEGIN CERTIFICATE REQUEST-----\n${bytes.toString("base64")}\n-----END CERTIFICATE REQUEST-----\n`;
}
