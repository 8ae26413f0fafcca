/**
 * How an agent joins: it finds its server, makes sure that it is the one that the token is for, takes over the cluster's
 * settings, and gets a certificate as this node. It waits for a server that is away, and ends when the server refuses.
 */
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { k3spError, caHash, certificatesOf, isK3spError, type JoinToken, type Logger } from "@k3s-p/plugin-api";
import type { Pki } from "@k3s-p/plugin-api/slots";
import type { Settings } from "../config/load.ts";
import { isLoopback, refused } from "../node/checks.ts";
import { makeDataFolders } from "../node/data-folders.ts";
import { nodeInfo } from "../node/identity.ts";
import { createAgentPki } from "../pki/agent-pki.ts";
import { kubernetesVersion, version } from "../version.ts";
import { nodeFolder as usualFolder, nodePassword, withNodeId } from "./node-password.ts";
import { refusalOf, waitReason, type Door } from "./join-errors.ts";
import { joinSettings } from "./join-settings.ts";
import { withCluster, type ForAgents } from "./shared-settings.ts";
import { createSupervisorClient, nodeCertificate, readCacerts, type SupervisorClient } from "./supervisor-client.ts";

/** What `/v1-k3s/config` says. */
export interface ServerConfig extends ForAgents {
  /** Of k3s-p, and of the Kubernetes that it serves. */
  readonly version: string;
  readonly kubernetes: string;
}

interface Server extends ServerConfig {
  readonly url: string;
}

export interface Joined {
  readonly settings: Settings;
  readonly pki: Pki;
  readonly server: Server;
}

export interface JoinOptions {
  readonly log: Logger;
  /** Ends the waiting; the join rejects then. */
  readonly signal: AbortSignal;
  /** Default `/etc/rancher/node`. */
  readonly nodeFolder?: string;
  readonly random?: () => number;
  readonly sleep?: (ms: number) => Promise<unknown>;
  /** Of this node's kubelet. */
  readonly kubernetes?: string;
}

/** Milliseconds between attempts: doubled each time, a random part of it so that not all nodes come at once. */
const FIRST_PAUSE = 1000;
const LONGEST_PAUSE = 30_000;
/** What a server is known by when there is no token. */
const SERVER_CA = "server-ca.crt";
/** How often in a row a server must refuse to be believed: while it starts it knows nobody yet. */
const STARTING = 3;

export async function joinCluster(settings: Settings, options: JoinOptions): Promise<Joined> {
  const { log, nodeFolder = usualFolder } = options;
  const { url, token } = await joinSettings(settings);
  const named = await withNodeId(settings, nodeFolder);
  const { name, ip, paths } = nodeInfo(named, [], "agent");
  if (!token && !(nodeCertificate(paths.agent, name) && existsSync(join(paths.agent, SERVER_CA)))) {
    throw k3spError("K3SP_FLAG_INVALID", {
      message: "token: an agent needs the token of its server", fix: "--token, --token-file or K3S_TOKEN: see /var/lib/rancher/k3s/server/node-token on the server",
    });
  }
  if (isLoopback(ip)) throw refused("node-ip", ip, settings, "is no address that other nodes reach", "give --node-ip an address of this machine on their network");
  await makeDataFolders(paths, "agent");
  log.info(`k3s-p ${version} agent starting on node ${name} (${ip}), data in ${paths.dataDir}`);
  if (token && !token.caHash) log.warn(`the token names no CA, so whoever answers at ${url} is believed; use the whole token of the server's node-token`);
  const node = { name, password: await nodePassword(nodeFolder) };
  const wanted = { url, token, node, folder: paths.agent };
  const { supervisor, server } = await patiently(() => findServer(wanted, options), wanted, STARTING, options);
  const pki = await patiently(() => ownPki(supervisor, wanted, log), wanted, 1, options);
  log.info(`joined ${url} (k3s-p ${server.version}, Kubernetes ${server.kubernetes})`);
  return { settings: withCluster(named, server, url), pki, server };
}

interface Attempt extends Door {
  readonly token: JoinToken | undefined;
  readonly node: { readonly name: string; readonly password: string };
  /** `agent`, below the data directory. */
  readonly folder: string;
}

/** Reached, believed, and in agreement about the credentials. */
async function findServer({ url, token, node, folder }: Attempt, { signal, kubernetes = kubernetesVersion }: JoinOptions): Promise<{ readonly supervisor: SupervisorClient; readonly server: Server }> {
  const ca = await trustedCa(url, token, folder, signal);
  const supervisor = createSupervisorClient({ url, ca, node, folder, token, signal });
  const server = { ...(JSON.parse(await supervisor.get("/v1-k3s/config")) as ServerConfig), url };
  checkSkew(kubernetes, server.kubernetes);
  checkReach(server);
  return { supervisor, server };
}

/** Before anything starts: whether this machine may have the name shows here. */
async function ownPki(supervisor: SupervisorClient, { node, folder }: Attempt, log: Logger): Promise<Pki> {
  const pki = await createAgentPki({ folder, supervisor, warn: (message) => log.warn(message) });
  await pki.issue({ name: "client-kubelet", ca: "client-ca", commonName: `system:node:${node.name}`, organizations: ["system:nodes"], usage: "client" });
  return pki;
}

/** Without a token, that of the time when there was one. */
async function trustedCa(url: string, token: JoinToken | undefined, folder: string, signal: AbortSignal): Promise<string> {
  if (!token) return readFile(join(folder, SERVER_CA), "utf8");
  const pem = await readCacerts(url, signal);
  if (certificatesOf(pem).length === 0) {
    throw k3spError("K3SP_JOIN_UNTRUSTED", { message: `${url} is no server to join: it has no CA at /cacerts`, fix: "give --server the URL of a k3s-p server" });
  }
  const hash = caHash(pem);
  if (token.caHash === undefined || token.caHash === hash) return pem;
  throw k3spError("K3SP_JOIN_UNTRUSTED", { message: `token CA hash does not match the Cluster CA certificate hash: ${token.caHash} != ${hash}` });
}

/** As the kubelet's skew policy has it: never newer than the API server, and at most three minor versions older. */
function checkSkew(mine: string, servers: string): void {
  const [own, its] = [mine, servers].map((text) => Number(/^v?\d+\.(\d+)/.exec(text)?.[1])) as [number, number];
  if (own <= its && its - own <= 3) return;
  const message = own > its ? `this node's Kubernetes ${mine} is newer than the server's ${servers}` : `this node's Kubernetes ${mine} is more than three minor versions older than the server's ${servers}`;
  throw k3spError("K3SP_JOIN_REFUSED", { message, fix: own > its ? "upgrade the server first" : "upgrade this node" });
}

/** Where the Service `kubernetes` leads to is for pods of all nodes. */
function checkReach({ shared: { "advertise-address": address } }: Server): void {
  if (typeof address !== "string" || !isLoopback(address)) return;
  throw k3spError("K3SP_JOIN_REFUSED", { message: `the server advertises ${address}, which is another machine for each node`, fix: "start the server with --advertise-address and an address that this machine reaches" });
}

/** Tries until it works, or until the server has refused `believed` times in a row; says why it waits, once a reason. */
async function patiently<T>(step: () => Promise<T>, door: Door, believed: number, options: JoinOptions): Promise<T> {
  const { log, signal, random = Math.random, sleep = (ms: number) => delay(ms, undefined, { signal }) } = options;
  let said = "";
  let refusals = 0;
  for (let pause = FIRST_PAUSE; ; pause = Math.min(2 * pause, LONGEST_PAUSE)) {
    try {
      return await step();
    } catch (error) {
      signal.throwIfAborted();
      if (isK3spError(error)) throw error;
      const refusal = refusalOf(error, door);
      refusals = refusal ? refusals + 1 : 0;
      if (refusal && (refusal.code === "K3SP_JOIN_UNTRUSTED" || refusals >= believed)) throw refusal;
      const reason = refusal ? said : waitReason(error);
      if (reason === undefined) throw error;
      if (reason !== said) log.warn(`waiting for ${door.url}: ${reason}`);
      said = reason;
    }
    await sleep(pause * (0.5 + random() / 2));
  }
}
