/** The server's certificates, the admin kubeconfig and the join token, with K3s's names, forms and modes. */
import { createHash, randomBytes } from "node:crypto";
import { chmod, mkdir, readFile, rename, writeFile } from "node:fs/promises";
import { dirname } from "node:path";
import { addressAt, parseCidr } from "@k3s-p/plugin-api/net";
import type { ClusterSettings, KeyPair, NodeInfo, Pki } from "@k3s-p/plugin-api/slots";

/** Everything under which clients may reach the server. */
export function servingNames(node: Pick<NodeInfo, "name" | "ip" | "externalIp">, cluster: ClusterSettings): string[] {
  const services = cluster.serviceCidr.map((text) => parseCidr(text)).filter((cidr) => cidr !== undefined);
  const names = [
    "kubernetes", "kubernetes.default", "kubernetes.default.svc", `kubernetes.default.svc.${cluster.clusterDomain}`, "localhost",
    "127.0.0.1", "::1", node.name, node.ip, node.externalIp, cluster.advertiseAddress,
    ...services.map((cidr) => addressAt(cidr, 1)), ...cluster.tlsSan,
  ];
  return [...new Set(names.filter((name): name is string => Boolean(name) && name !== "0.0.0.0" && name !== "::"))];
}

export const servingCertificate = (pki: Pki, sans: readonly string[]): Promise<KeyPair> =>
  pki.issue({ name: "serving-kube-apiserver", ca: "server-ca", commonName: "kube-apiserver", usage: "server", sans });

/** Address that a client on this machine uses. */
export function localAddress(bindAddress: string): string {
  if (!bindAddress || bindAddress === "0.0.0.0" || bindAddress === "::") return "127.0.0.1";
  return bindAddress.includes(":") ? `[${bindAddress}]` : bindAddress;
}

export async function writeKubeconfig(pki: Pki, url: string, target: ClusterSettings["kubeconfig"]): Promise<void> {
  const admin = await pki.issue({
    name: "client-admin", ca: "client-ca", commonName: "system:admin", organizations: ["system:masters"], usage: "client",
  });
  const text = kubeconfigText(url, pki.ca("server-ca").cert, admin);
  await mkdir(dirname(target.path), { recursive: true });
  await writeSafely(target.path, text, target.mode);
}

const base64 = (text: string): string => Buffer.from(text).toString("base64");

export const kubeconfigText = (url: string, ca: string, admin: Pick<KeyPair, "cert" | "key">): string => `apiVersion: v1
clusters:
- cluster:
    certificate-authority-data: ${base64(ca)}
    server: ${url}
  name: default
contexts:
- context:
    cluster: default
    user: default
  name: default
current-context: default
kind: Config
users:
- name: default
  user:
    client-certificate-data: ${base64(admin.cert)}
    client-key-data: ${base64(admin.key)}
`;

/** The full token binds a password to the server's CA; an existing file keeps its password. */
export async function writeToken(path: string, serverCa: string, given?: string): Promise<void> {
  const hash = createHash("sha256").update(serverCa).digest("hex");
  const before = await readFile(path, "utf8").catch(() => "");
  const password = passwordOf(given ?? "") || passwordOf(before.trim()) || randomBytes(16).toString("hex");
  const text = `K10${hash}::server:${password}\n`;
  if (text === before) return void (await chmod(path, 0o600));
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  await writeSafely(path, text, 0o600);
}

/** Password of a full (`K10...::server:x`) or short token. */
function passwordOf(token: string): string {
  const credentials = token.startsWith("K10") ? token.slice(token.indexOf("::") + 2) : token;
  return credentials.startsWith("server:") ? credentials.slice("server:".length) : credentials;
}

/** Readers see the old file or the new one, never half of it. */
async function writeSafely(path: string, text: string, mode: number): Promise<void> {
  const temporary = `${path}.tmp`;
  await writeFile(temporary, text, { mode });
  await chmod(temporary, mode);
  await rename(temporary, path);
}
