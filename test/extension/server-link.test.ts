/** An agent's plugins on a server elsewhere: a real kernel with the plugin server-link, certificates of the cluster's own CA. */
import { X509Certificate } from "node:crypto";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:https";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, onTestFinished, test, vi } from "vitest";
import { definePlugin, type Plugin } from "@k3s-p/plugin-api";
import { clusterRoleBindings, clusterRoles, isForbidden, nodes, secrets, type KubeClient } from "@k3s-p/plugin-api/kube";
import { createHttpsClient } from "@k3s-p/plugin-api/kube/https";
import { kube, pluginAccount, type ApiServer, type LeafRequest, type Pki, type Renewal } from "@k3s-p/plugin-api/slots";
import { testNode, testPaths } from "@k3s-p/plugin-api/testing";
import { createAgentPki } from "../../core/src/pki/agent-pki.ts";
import { createPki } from "../../core/src/pki/pki.ts";
import type { SupervisorClient } from "../../core/src/agent/supervisor-client.ts";
import { manualClock } from "../kit/clock.ts";
import { createTestCluster, createTestKernel, type TestCluster, type TestKernelOptions } from "../kit/index.ts";

const NODE = "node2";
const folder = fileURLToPath(new URL("../../plugins/server-link", import.meta.url));
const account = pluginAccount("watcher");
const groups = ["system:serviceaccounts", "system:serviceaccounts:kube-system", `k3sp:node:${NODE}`];
const subjects: Readonly<Record<string, Omit<LeafRequest, "name" | "ca" | "usage">>> = {
  "client-kubelet": { commonName: `system:node:${NODE}`, organizations: ["system:nodes"] },
  "client-watcher": { commonName: account.user, organizations: groups },
};

let cluster: TestCluster;
let dir: string;
beforeAll(async () => {
  dir = mkdtempSync(join(tmpdir(), "server-link-"));
  cluster = await createTestCluster();
  const { kube: admin } = cluster;
  for (const name of ["node1", NODE]) await admin.create(nodes, { metadata: { name } });
  await admin.create(clusterRoles, { metadata: { name: "watcher" }, rules: [{ apiGroups: [""], resources: ["nodes"], verbs: ["get", "list", "watch"] }] });
  await admin.create(clusterRoleBindings, {
    metadata: { name: "watcher" }, roleRef: { apiGroup: "rbac.authorization.k8s.io", kind: "ClusterRole", name: "watcher" },
    subjects: [{ kind: "ServiceAccount", namespace: account.namespace, name: account.name }],
  });
});
afterAll(async () => {
  await cluster?.stop();
  rmSync(dir, { recursive: true });
});

/** Signs with the CAs that the cluster's server made at its start. */
function supervisorOf({ kubeconfigPath, url }: TestCluster): SupervisorClient {
  const pki = createPki(testPaths(dirname(kubeconfigPath)).tls);
  return {
    url, ca: pki.ca("server-ca").cert,
    get: async (path) => pki.ca(basename(path, ".crt") as "server-ca").cert,
    certificate: async (name, csr) => {
      const subject = subjects[name];
      if (!subject) throw new Error(`${name} is not for agents`);
      return pki.certify(csr, { ...subject, ca: "client-ca", usage: "client" });
    },
  };
}

/** The kernel of an agent with plugins beside server-link; each hands out the client that it got. */
async function startAgent(pki: Pki, server: string, plugins: Readonly<Record<string, Plugin>>, more: Partial<TestKernelOptions> = {}) {
  return createTestKernel({
    role: "agent", node: (root) => testNode(root, { role: "agent", name: NODE }), slots: { pki },
    plugins: { "server-link": folder, ...plugins }, config: { "server-link": { server } }, ...more,
  });
}

function holder(permissions: object) {
  let client: KubeClient | undefined;
  const plugin = definePlugin({
    needs: { kube }, manifest: { name: "x", version: "1.0.0", permissions },
    start: ({ needs }) => {
      client = needs.kube;
      // As whoever works at its start does: the client is made on first use.
      void client.get;
    },
  });
  return { plugin, client: () => client! };
}

describe("on the server of a cluster", () => {
  const agentPki = () => createAgentPki({ folder: join(dir, "agent"), supervisor: supervisorOf(cluster) });

  test("a plugin's informer sees the nodes, also those that come later, with the rights of its account and no more", async () => {
    const watcher = holder({ kube: [{ groups: [""], resources: ["nodes"], verbs: ["get", "list", "watch"] }] });
    await using _ = await startAgent(await agentPki(), cluster.url, { watcher: watcher.plugin });
    const informer = watcher.client().informer(nodes);
    await informer.synced;
    const names = () => informer.list().map(({ metadata }) => metadata.name).sort();
    expect(names()).toEqual(["node1", NODE]);
    await cluster.kube.create(nodes, { metadata: { name: "node3" } });
    await vi.waitFor(() => expect(names()).toEqual(["node1", NODE, "node3"]));
    const refused: unknown = await watcher.client().list(secrets).catch((error: unknown) => error);
    expect([isForbidden(refused), (refused as Error).message]).toEqual([true, expect.stringContaining(`User "${account.user}" cannot list resource "secrets"`)]);
    expect(existsSync(join(dir, "agent/client-watcher.key"))).toBe(true);
  });

  test("what acts as the node is the node", async () => {
    const agent = holder({ kube: "node" });
    await using _ = await startAgent(await agentPki(), cluster.url, { agent: agent.plugin });
    expect((await agent.client().get(nodes, NODE)).metadata.name).toBe(NODE);
    await expect(agent.client().patch(nodes, "node1", { metadata: { labels: { a: "b" } } })).rejects.toSatisfy(isForbidden);
  });

  test("a plugin in a process of its own gets the same certificate as a connection", async () => {
    await using running = await startAgent(await agentPki(), cluster.url, {});
    const link = await running.slot<Required<ApiServer>>("apiserver").link({ name: account.user, groups: [...groups.slice(0, 2), "system:authenticated"] });
    expect([link.url, new X509Certificate(link.cert!).subject]).toEqual([cluster.url, `${groups.map((group) => `O=${group}`).join("\n")}\nCN=${account.user}`]);
    const client = createHttpsClient(structuredClone(link));
    expect((await client.list(nodes)).items.length).toBeGreaterThan(1);
    client.close();
  });

  test("a plugin that asks for all rights does not start, and says why", async () => {
    const root = holder({ kube: "admin" });
    await expect(startAgent(await agentPki(), cluster.url, { root: root.plugin })).rejects.toThrow(/on an agent no plugin can have all rights/);
  });

  test("a certificate that the server refuses is told to whoever asks for something, and asked for again", async () => {
    const other = holder({ kube: [] });
    const supervisor = supervisorOf(cluster);
    const asked: string[] = [];
    const noted: SupervisorClient = { ...supervisor, certificate: (name, csr) => (asked.push(name), supervisor.certificate(name, csr)) };
    await using _ = await startAgent(await createAgentPki({ folder: join(dir, "agent"), supervisor: noted }), cluster.url, { other: other.plugin });
    for (let i = 0; i < 2; i++) await expect(other.client().list(nodes)).rejects.toThrow("client-other is not for agents");
    expect(asked).toEqual(["client-other", "client-other"]);
  });
});

describe("on a server that notes who comes", () => {
  /** Certificates of a CA of its own, and renewals when the test says so. */
  async function createFront() {
    const pki = createPki(join(dir, "front"));
    const pair = await pki.issue({ name: "serving", ca: "server-ca", commonName: "x", usage: "server", sans: ["127.0.0.1"] });
    const state = { status: 200, seen: [] as string[] };
    const server = createServer({ ...pair, ca: pki.ca("client-ca").cert, requestCert: true, rejectUnauthorized: true }, (req, res) => {
      const { serialNumber, subject } = (req.socket as import("node:tls").TLSSocket).getPeerCertificate();
      state.seen.push(`${String(subject.CN)} ${serialNumber}`);
      res.writeHead(state.status).end("ok");
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const renewals: Renewal[] = [];
    const issue: Pki["issue"] = (request, renewal) => (renewal && renewals.push(renewal), pki.issue(request));
    const close = (): void => {
      server.closeAllConnections();
      server.close();
    };
    onTestFinished(close);
    return { state, pki, agentPki: { ...pki, issue }, renewals, url: `https://127.0.0.1:${(server.address() as AddressInfo).port}`, server, close };
  }

  test("the renewed certificate is the one of the next request", async () => {
    const front = await createFront();
    const agent = holder({ kube: "node" });
    await using _ = await startAgent(front.agentPki, front.url, { agent: agent.plugin });
    for (let i = 0; i < 2; i++) await agent.client().request("GET", "/a");
    const renewed = await front.pki.issue({ name: "renewed", ca: "client-ca", commonName: `system:node:${NODE}`, organizations: ["system:nodes"], usage: "client" });
    front.renewals[0]!.onRenewed(renewed);
    await agent.client().request("GET", "/a");
    const [first, second, third] = front.state.seen;
    expect([second, third]).toEqual([first, `system:node:${NODE} ${new X509Certificate(renewed.cert).serialNumber}`]);
    expect(third).not.toBe(first);
  });

  test("without an answer it is degraded, not failed, and ready again when there is one; its users keep their clients", async () => {
    const front = await createFront();
    const clock = manualClock();
    const agent = holder({ kube: "node" });
    await using running = await startAgent(front.agentPki, front.url, { agent: agent.plugin }, { clock });
    const becomes = (state: string) => vi.waitFor(async () => {
      await clock.pass(10_000);
      expect(running.kernel.status().find(({ id }) => id === "server-link")?.state).toBe(state);
    });
    front.state.status = 503;
    await becomes("degraded");
    expect(running.logged).toContain(`server-link warn degraded: ${front.url} is not ready: it answers 503`);
    front.state.status = 200;
    await becomes("ready");
    const { port } = front.server.address() as AddressInfo;
    front.close();
    await becomes("degraded");
    expect(running.logged).toContainEqual(expect.stringMatching(/server-link warn degraded: https:\S+ does not answer: connect ECONNREFUSED/));
    await new Promise<void>((resolve) => front.server.listen(port, "127.0.0.1", resolve));
    await becomes("ready");
    expect((await agent.client().request("GET", "/a")).status).toBe(200);
    expect(running.kernel.status().filter(({ state, restarts }) => state !== "ready" || restarts > 0)).toEqual([]);
  });

  test("a server that is gone is one line, however many plugins miss it", async () => {
    const front = await createFront();
    front.close();
    const [agent, watcher] = [holder({ kube: "node" }), holder({ kube: [] })];
    await using running = await startAgent(front.agentPki, front.url, { agent: agent.plugin, watcher: watcher.plugin });
    for (const { client } of [agent, watcher]) for (const resource of [nodes, secrets]) client().informer(resource);
    for (const { client } of [agent, watcher]) await expect(client().list(nodes)).rejects.toThrow("ECONNREFUSED");
    expect(running.logged.filter((line) => line.includes("ECONNREFUSED"))).toEqual([expect.stringMatching(/^server-link warn \S+ of (nodes|secrets): connect ECONNREFUSED/)]);
  });
});
