/** The server's certificates, the admin kubeconfig and the join token, with K3s's names, forms and modes. */
import { randomBytes } from "node:crypto";
import { chmod, chown, lstat, mkdir, readFile, readlink, rm, symlink } from "node:fs/promises";
import { dirname, join } from "node:path";
import { formatJoinToken, k3spError, makeFolder, parseJoinToken, replaceFile, replaceFileDurably } from "@k3s-p/plugin-api";
import { addressAt, parseCidr } from "@k3s-p/plugin-api/net";
import type { ClusterSettings, KeyPair, NodeInfo, Pki, Renewal } from "@k3s-p/plugin-api/slots";

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

export const servingCertificate = (pki: Pki, sans: readonly string[], renewal: Renewal): Promise<KeyPair> =>
  pki.issue({ name: "serving-kube-apiserver", ca: "server-ca", commonName: "kube-apiserver", usage: "server", sans }, renewal);

/** Client certificates that are asked for at every use: issued once, and followed until the signal. */
export function keepingFresh(pki: Pki, signal: AbortSignal): Pick<Pki, "ca" | "issue"> {
  const pairs = new Map<string, Promise<KeyPair>>();
  return {
    ca: pki.ca,
    issue(request) {
      let pair = pairs.get(request.name);
      if (!pair) {
        pair = pki.issue(request, { signal, onRenewed: (renewed) => pairs.set(request.name, Promise.resolve(renewed)) });
        pairs.set(request.name, pair);
        pair.catch(() => pairs.delete(request.name));
      }
      return pair;
    },
  };
}

/** Address that a client on this machine uses. */
export function localAddress(bindAddress: string): string {
  if (!bindAddress || bindAddress === "0.0.0.0" || bindAddress === "::") return "127.0.0.1";
  return bindAddress.includes(":") ? `[${bindAddress}]` : bindAddress;
}

/** Written again when the administrator's certificate is renewed. */
export async function writeKubeconfig(pki: Pki, url: string, target: ClusterSettings["kubeconfig"], renewal: Pick<Renewal, "signal"> & { readonly onError: (error: unknown) => void }): Promise<void> {
  const write = async (admin: KeyPair): Promise<void> => {
    await replaceFile(target.path, kubeconfigText(url, pki.ca("server-ca").cert, admin), target.mode);
    if (target.gid !== undefined) await chown(target.path, process.getuid!(), target.gid);
  };
  const admin = await pki.issue(
    { name: "client-admin", ca: "client-ca", commonName: "system:admin", organizations: ["system:masters"], usage: "client" },
    { signal: renewal.signal, onRenewed: (renewed) => void write(renewed).catch(renewal.onError) },
  );
  try {
    await makeFolder(dirname(target.path));
    await write(admin);
  } catch (cause) {
    throw k3spError("K3SP_PERMISSION_DENIED", { message: `write-kubeconfig: ${target.path} cannot be written`, cause, fix: "name a file that this user may write with --write-kubeconfig" });
  }
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

/** K3s's `server/token`, `node-token` (a link to it) and `agent-token` (a link too, unless agents have a token of their own). */
export async function writeTokens(path: string, serverCa: string, given: { readonly server?: string | undefined; readonly agent?: string | undefined }): Promise<void> {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  await writeToken(path, serverCa, "server", given.server);
  const agentToken = join(dirname(path), "agent-token");
  await linkTo(path, join(dirname(path), "node-token"));
  if (given.agent === undefined) return linkTo(path, agentToken);
  if (await isLink(agentToken)) await rm(agentToken);
  await writeToken(agentToken, serverCa, "node", given.agent);
}

/** The full token binds a password to the server's CA; without a given one an existing file keeps its password. */
async function writeToken(path: string, serverCa: string, user: "server" | "node", given = ""): Promise<void> {
  const before = await readFile(path, "utf8").catch(() => "");
  const password = parseJoinToken(given).password || parseJoinToken(before.trim()).password || randomBytes(16).toString("hex");
  const text = `${formatJoinToken(serverCa, `${user}:${password}`)}\n`;
  if (text === before) await chmod(path, 0o600);
  else await replaceFileDurably(path, text);
}

const isLink = async (path: string): Promise<boolean> => (await lstat(path).catch(() => undefined))?.isSymbolicLink() ?? false;

async function linkTo(target: string, path: string): Promise<void> {
  if (await isLink(path) && (await readlink(path)) === target) return;
  await rm(path, { force: true });
  await symlink(target, path);
}
