/** What agents may get from their server, and what nobody may get by posing as one. */
import { scryptSync, X509Certificate } from "node:crypto";
import { readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { nodes, persistentVolumes, secrets, type PersistentVolume } from "@k3s-p/plugin-api/kube";
import type { UserInfo } from "@k3s-p/plugin-api/slots";
import { planServer } from "../../core/src/plan.ts";
import { basicOf, joinableCluster, makeRequest, tampered, type Answer, type Credentials, type JoinableCluster } from "../kit/joinable-cluster.ts";

const REJECTED = "Node password rejected, duplicate hostname or contents of '/etc/rancher/node/password' may not match server node-passwd entry, try enabling a unique node name with the --with-node-id flag";

let joinable: JoinableCluster;
const request = makeRequest();

beforeAll(async () => {
  joinable = await joinableCluster({
    agentPlugins: ["flannel", "kube-proxy"], shared: { "cluster-cidr": ["10.42.0.0/16"] }, nodeSlots: { cni: "flannel" },
    tlsSan: ["api.example.com", "192.0.2.9"],
  });
  for (const name of ["node-1", "other"]) {
    await joinable.cluster.kube.create(nodes, { metadata: { name }, status: { addresses: [{ type: "InternalIP", address: name === "other" ? "192.0.2.50" : "127.0.0.1" }], conditions: [{ type: "Ready", status: "True" }] } });
  }
});
afterAll(() => joinable[Symbol.asyncDispose]());

const certificate = ({ text }: Answer): X509Certificate => new X509Certificate(text);

/** Joins as a node and returns its own certificate. */
async function joined(node: string, password = `password-of-${node}`): Promise<Credentials> {
  const answer = await joinable.sign("client-kubelet.crt", request.csr, { authorization: joinable.basic.node, node, password });
  expect(answer.status, answer.text).toBe(200);
  return { cert: answer.text, key: request.key };
}

describe("who may ask for what", () => {
  test("each credential opens what it is for, and nothing else", async () => {
    const { basic, admin, cluster, call } = joinable;
    await cluster.kube.create(secrets, {
      metadata: { name: "bootstrap-token-abcdef", namespace: "kube-system" }, type: "bootstrap.kubernetes.io/token",
      stringData: { "token-id": "abcdef", "token-secret": "0123456789abcdef", "usage-bootstrap-authentication": "true", "auth-extra-groups": "system:bootstrappers:k3s:default-node-token" },
    });
    await cluster.kube.create(secrets, {
      metadata: { name: "bootstrap-token-fedcba", namespace: "kube-system" }, type: "bootstrap.kubernetes.io/token",
      stringData: { "token-id": "fedcba", "token-secret": "0123456789abcdef", "usage-bootstrap-authentication": "true", "auth-extra-groups": "system:bootstrappers:others" },
    });
    const serverPassword = Buffer.from(basic.server.slice(6), "base64").toString().split(":")[1]!;
    const paths = ["/v1-k3s/config", "/v1-k3s/server-ca.crt", "/v1-k3s/readyz", "/v1-k3s/nothing", "/v1-k3s/encrypt/status", "/api/v1/nodes", "/version", "/api", "/livez"];
    const joiner = [200, 200, 200, 404, 403, 401, 401, 401, 401];
    const nobody = paths.map(() => 401);
    const table: readonly [who: string, credentials: Credentials, codes: readonly number[]][] = [
      ["the servers' password", { authorization: basic.server }, joiner],
      ["the agents' password", { authorization: basic.node }, joiner],
      ["a node with the servers' password", { authorization: basicOf("node", serverPassword) }, joiner],
      ["a server with the agents' password", { authorization: basicOf("server", "of-agents") }, nobody],
      ["a wrong password", { authorization: basicOf("node", "of-agent") }, nobody],
      ["an empty password", { authorization: basicOf("node", "") }, nobody],
      ["another user", { authorization: basicOf("toString", "of-agents") }, nobody],
      ["no user", { authorization: `Basic ${Buffer.from("of-agents").toString("base64")}` }, nobody],
      ["a password as bearer", { authorization: "Bearer of-agents" }, nobody],
      ["a bootstrap token for nodes", { authorization: "Bearer abcdef.0123456789abcdef" }, [200, 200, 200, 404, 403, 403, 200, 200, 200]],
      ["a bootstrap token for others", { authorization: "Bearer fedcba.0123456789abcdef" }, [403, 403, 403, 403, 403, 403, 200, 200, 200]],
      ["nobody", {}, nobody],
      ["a node", await joined("alpha"), [200, 200, 200, 404, 403, 403, 200, 200, 200]],
      ["the administrator", admin, [200, 200, 200, 404, 200, 200, 200, 200, 200]],
    ];
    for (const [who, credentials, codes] of table) {
      expect(await Promise.all(paths.map(async (path) => (await call("GET", path, credentials)).status)), who).toEqual(codes);
    }
  });

  test("the passwords name nobody when the path only looks like theirs", async () => {
    const { basic, call } = joinable;
    const paths = ["/v1-k3s/../api/v1/secrets", "/v1-k3s/%2e%2e/api/v1/secrets", "//v1-k3s/config", "/v1-k3s", "/api/v1/secrets?/v1-k3s/", "/api/v1/namespaces/kube-system/secrets"];
    expect(await Promise.all(paths.map(async (path) => (await call("GET", path, { authorization: basic.server })).status))).toEqual([404, 404, 401, 401, 401, 401]);
    expect((await call("GET", "/v1-k3s/config", { authorization: basic.server }, undefined, { "impersonate-user": "system:admin", "impersonate-group": "system:masters" })).status).toBe(403);
  });

  test("the configuration tells versions and what agents take over", async () => {
    const { text } = await joinable.call("GET", "/v1-k3s/config", { authorization: joinable.basic.node });
    expect(JSON.parse(text)).toEqual({
      version: "0.1.0", kubernetes: expect.stringMatching(/^v1\.36\.\d/), shared: { "cluster-cidr": ["10.42.0.0/16"] }, nodeSlots: { cni: "flannel" }, agentPlugins: ["flannel", "kube-proxy"],
    });
  });

  test("the authorities are those of the server", async () => {
    const read = (name: string): string => readFileSync(join(joinable.dir, "server/tls", name), "utf8");
    for (const name of ["client-ca.crt", "server-ca.crt"]) expect((await joinable.call("GET", `/v1-k3s/${name}`, { authorization: joinable.basic.node })).text).toBe(read(name));
  });

  test("a path answers one method alone", async () => {
    const { call, basic: { node: authorization } } = joinable;
    expect(await call("POST", "/v1-k3s/config", { authorization }, "x")).toMatchObject({ status: 405, message: "/v1-k3s/config answers GET alone" });
    expect(await call("GET", "/v1-k3s/client-kubelet.crt", { authorization })).toMatchObject({ status: 405, message: "/v1-k3s/client-kubelet.crt answers POST alone" });
    expect((await call("DELETE", "/v1-k3s/config", { authorization })).status).toBe(405);
  });
});

describe("certificates", () => {
  test("a node's are for the subject, the names and the addresses that were proven, whatever the request says", async () => {
    const { sign, basic: { node: authorization } } = joinable;
    const { csr } = makeRequest("ec", "/O=system:masters/CN=system:admin", "DNS:kubernetes,IP:192.0.2.1");
    const client = certificate(await sign("client-kubelet.crt", csr, { authorization, node: "Beta", password: "b" }));
    expect([client.subject, client.subjectAltName, client.keyUsage]).toEqual(["O=system:nodes\nCN=system:node:beta", undefined, ["1.3.6.1.5.5.7.3.2"]]);
    const serving = certificate(await sign("serving-kubelet.crt", csr, { authorization, node: "beta", password: "b", ips: "192.0.2.60, 2001:db8:0:0::7" }));
    expect([serving.subject, serving.keyUsage]).toEqual(["CN=beta", ["1.3.6.1.5.5.7.3.1"]]);
    expect(serving.subjectAltName).toBe("DNS:beta, DNS:localhost, IP Address:127.0.0.1, IP Address:192.0.2.60, IP Address:2001:DB8:0:0:0:0:0:7");
    const authority = (name: string) => new X509Certificate(readFileSync(join(joinable.dir, `server/tls/${name}.crt`)));
    expect([client.verify(authority("client-ca").publicKey), serving.verify(authority("server-ca").publicKey)]).toEqual([true, true]);
  });

  test("a plugin's is for its account, and says on which node it runs", async () => {
    const { sign, basic: { node: authorization } } = joinable;
    const { subject, issuer } = certificate(await sign("client-kube-proxy.crt", request.csr, { authorization, node: "beta", password: "b" }));
    expect(subject.split("\n").sort()).toEqual(["CN=system:serviceaccount:kube-system:k3s-p-kube-proxy", "O=k3sp:node:beta", "O=system:serviceaccounts", "O=system:serviceaccounts:kube-system"]);
    expect(issuer).toContain("k3s-client-ca");
  });

  test("of other plugins there is none", async () => {
    const { sign, basic: { node: authorization } } = joinable;
    for (const plugin of ["traefik", "admin", "constructor"]) {
      const message = `agents have no account for a plugin "${plugin}": give the server its --plugin, too, so that it knows what the plugin may do`;
      expect(await sign(`client-${plugin}.crt`, request.csr, { authorization, node: "beta", password: "b" })).toMatchObject({ status: 404, message });
    }
    for (const file of ["client-.crt", "client-flannel", "serving-flannel.crt", "toString.crt"]) {
      expect(await sign(file, request.csr, { authorization, node: "beta", password: "b" }), file).toMatchObject({ status: 404, message: `/v1-k3s/${file} is nothing that agents of this cluster may ask for` });
    }
  });

  test("keys of either kind are certified", async () => {
    const rsa = makeRequest("rsa");
    const signed = await joinable.sign("client-kubelet.crt", rsa.csr, { authorization: joinable.basic.node, node: "beta", password: "b" });
    expect(certificate(signed).publicKey.asymmetricKeyType).toBe("rsa");
    expect((await joinable.call("GET", "/v1-k3s/readyz", { cert: signed.text, key: rsa.key })).text).toBe("ok");
  });

  test("a request that is none, is not signed by its key or is too large is refused", async () => {
    const { sign, call, basic: { node: authorization } } = joinable;
    const asked = { authorization, node: "beta", password: "b" };
    expect(await sign("client-kubelet.crt", "", asked)).toMatchObject({ status: 400, message: "a certificate signing request in PEM is expected as the body" });
    expect((await sign("client-kubelet.crt", "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n", asked)).status).toBe(400);
    expect((await sign("client-kubelet.crt", tampered(request.csr), asked)).status).toBe(400);
    const answered = await call("POST", "/v1-k3s/client-kubelet.crt", { authorization }, "x".repeat(1024 * 1024), { "k3s-Node-Name": "beta" }).catch((error: NodeJS.ErrnoException) => error.code);
    expect(answered === "EPIPE" || answered === "ECONNRESET" || (answered as Answer).status === 413, JSON.stringify(answered)).toBe(true);
  });
});

describe("node passwords", () => {
  test("the first one is the node's, and another is refused in K3s's words", async () => {
    const { sign, basic: { node: authorization, server }, cluster } = joinable;
    const ask = (node: string | undefined, password: string | undefined, file = "client-kubelet.crt") =>
      sign(file, request.csr, { authorization, ...(node !== undefined && { node }), ...(password !== undefined && { password }) });
    expect((await ask("gamma", "first")).status).toBe(200);
    expect((await ask("gamma", "first", "serving-kubelet.crt")).status).toBe(200);
    for (const file of ["client-kubelet.crt", "serving-kubelet.crt", "client-flannel.crt"]) expect(await ask("GAMMA", "second", file), file).toMatchObject({ status: 403, message: REJECTED });
    expect((await sign("client-kubelet.crt", request.csr, { authorization: server, node: "gamma", password: "second" })).status).toBe(403);
    expect(await ask("gamma", undefined)).toMatchObject({ status: 400, message: "node password not set" });
    expect(await ask("gamma", "")).toMatchObject({ status: 400, message: "node password not set" });
    expect(await ask(undefined, "first")).toMatchObject({ status: 400, message: "node name not set" });
    const { data, immutable, type } = await cluster.kube.get(secrets, "gamma.node-password.k3s", "kube-system");
    expect({ immutable, type }).toEqual({ immutable: true, type: "k3s.cattle.io/node-password" });
    expect(Buffer.from(data!.hash!, "base64").toString()).toMatch(/^\$1:[0-9a-f]{16}:15:8:1:[A-Za-z0-9+/]{86}$/);
  });

  test("of two that come at once one has the name", async () => {
    const ask = (password: string) => joinable.sign("client-kubelet.crt", request.csr, { authorization: joinable.basic.node, node: "delta", password });
    const answers = await Promise.all(["one", "two"].map(ask));
    expect(answers.map(({ status }) => status).sort()).toEqual([200, 403]);
  });

  test("a hash that K3s has written is as good", async () => {
    const { cluster, sign, basic: { node: authorization } } = joinable;
    const key = scryptSync("theirs", Buffer.from("0011223344556677", "hex"), 64, { N: 2 ** 15, r: 8, p: 1, maxmem: 2 ** 26 }).toString("base64").replaceAll("=", "");
    await cluster.kube.create(secrets, { metadata: { name: "epsilon.node-password.k3s", namespace: "kube-system" }, stringData: { hash: `$1:0011223344556677:15:8:1:${key}` } });
    const ask = async (password: string) => (await sign("client-kubelet.crt", request.csr, { authorization, node: "epsilon", password })).status;
    expect([await ask("theirs"), await ask("ours")]).toEqual([200, 403]);
    for (const hash of ["", "$1:00:30:8:1:AAAA", "$2:0011223344556677:15:8:1:AAAA", "$1:0011223344556677:15:8:1:AAAA"]) {
      await cluster.kube.delete(secrets, "epsilon.node-password.k3s", { namespace: "kube-system" });
      await cluster.kube.create(secrets, { metadata: { name: "epsilon.node-password.k3s", namespace: "kube-system" }, stringData: { hash } });
      expect(await ask("theirs"), hash).toBe(403);
    }
  });

  test("a node's own certificate needs none, and is good for its own name alone", async () => {
    const { sign, cluster } = joinable;
    const alpha = await joined("alpha");
    expect((await sign("serving-kubelet.crt", request.csr, { ...alpha, node: "alpha", ips: "192.0.2.61" })).status).toBe(200);
    expect((await sign("client-flannel.crt", request.csr, { ...alpha, node: "alpha", password: "wrong" })).status).toBe(200);
    await joined("zeta");
    for (const file of ["client-kubelet.crt", "serving-kubelet.crt", "client-flannel.crt"]) {
      expect(await sign(file, request.csr, { ...alpha, node: "zeta", password: "password-of-zeta" }), file).toMatchObject({ status: 403, message: "header node name does not match auth node name: zeta is not alpha" });
    }
    const flannel = await sign("client-flannel.crt", request.csr, { ...alpha, node: "alpha" });
    expect((await sign("client-kubelet.crt", request.csr, { cert: flannel.text, key: request.key, node: "alpha" })).status).toBe(403);
    expect((await cluster.kube.list(nodes)).items.map(({ metadata }) => metadata.name)).toEqual(["node-1", "other"]);
  });

  test("a node that has a certificate takes its name again, which its Secret has lost", async () => {
    const { cluster, sign, basic: { node: authorization } } = joinable;
    const lambda = await joined("lambda", "first");
    await cluster.kube.delete(secrets, "lambda.node-password.k3s", { namespace: "kube-system" });
    expect((await sign("client-flannel.crt", request.csr, { ...lambda, node: "lambda", password: "first" })).status).toBe(200);
    expect((await sign("client-kubelet.crt", request.csr, { authorization, node: "lambda", password: "second" })).status).toBe(403);
  });

  test("the name goes with the Node, and whoever comes next has it", async () => {
    const { cluster, sign, basic: { node: authorization } } = joinable;
    await joined("eta", "old");
    await cluster.kube.create(nodes, { metadata: { name: "eta" } });
    await cluster.kube.delete(nodes, "eta");
    await expect.poll(async () => (await sign("client-kubelet.crt", request.csr, { authorization, node: "eta", password: "new" })).status).toBe(200);
    expect((await sign("client-kubelet.crt", request.csr, { authorization, node: "eta", password: "old" })).status).toBe(403);
  });

  test("a Node that is deleted under its machine is nobody else's, before it is registered again and after", async () => {
    const { cluster, sign, basic: { node: authorization } } = joinable;
    const rho = () => cluster.kube.create(nodes, { metadata: { name: "rho" }, status: { conditions: [{ type: "Ready", status: "True" }] } });
    const steal = async () => (await sign("client-kubelet.crt", request.csr, { authorization, node: "rho", password: "stolen" })).status;
    await joined("rho", "own");
    await rho();
    await cluster.kube.delete(nodes, "rho");
    expect(await steal()).toBe(403);
    await rho();
    expect(await steal()).toBe(403);
    await joined("rho", "own");
    await cluster.kube.delete(nodes, "rho");
  });

  test("the server takes its own node's name once it is ready", async () => {
    const { cluster, passwordFile } = joinable;
    await expect.poll(() => cluster.kube.get(secrets, "node-1.node-password.k3s", "kube-system").then(() => true, () => false)).toBe(true);
    expect([readFileSync(passwordFile, "utf8"), (statSync(passwordFile).mode & 0o777).toString(8)]).toEqual([expect.stringMatching(/^[0-9a-f]{32}\n$/), "600"]);
  });
});

describe("names and addresses", () => {
  test("no node has a name under which clients look for something else", async () => {
    const { sign, basic: { node: authorization } } = joinable;
    const own = ["node-1", "NODE-1", "kubernetes", "localhost", "api.example.com", "kubernetes.default", "metrics-server.kube-system.svc", "kubernetes.default.svc.cluster.local", "cluster.local"];
    for (const node of own) {
      for (const file of ["client-kubelet.crt", "serving-kubelet.crt"]) {
        expect(await sign(file, request.csr, { authorization, node, password: "p" }), node).toMatchObject({ status: 403, message: `node name "${node.toLowerCase()}" is one of the server's own: choose another with --node-name` });
      }
    }
    for (const node of ["a b", "-a", "a..b", "a_b", "192.0.2.1", "a,b", `${"a".repeat(250)}.abc`, "*.example.com", "system:node:x"]) {
      expect((await sign("client-kubelet.crt", request.csr, { authorization, node, password: "p" })).status, node).toBe(400);
    }
  });

  test("no node has an address under which clients look for something else", async () => {
    const theta = await joined("theta");
    const ask = (ips: string) => joinable.sign("serving-kubelet.crt", request.csr, { ...theta, node: "theta", ips });
    const refusals: readonly (readonly [ips: string, status: number, message: string])[] = [
      ["192.0.2.1", 403, "node address 192.0.2.1 is one of the server's own"],
      ["192.0.2.60,192.0.2.9", 403, "node address 192.0.2.9 is one of the server's own"],
      ["10.43.0.1", 403, "node address 10.43.0.1 is one of the server's own"],
      ["10.43.7.7", 403, "node address 10.43.7.7 is one of the cluster's pods or services"],
      ["10.42.1.1", 403, "node address 10.42.1.1 is one of the cluster's pods or services"],
      ["192.0.2.50", 403, 'node address 192.0.2.50 is that of node "other", which is ready: if this machine had that name, stop it or delete the Node'],
      ...["127.0.0.1", "127.1.2.3", "0.0.0.0", "::", "::1", "::ffff:192.0.2.1", "::ffff:c000:201", "fe80::1%eth0", "224.0.0.1", "255.255.255.255", "ff02::1", "node", "192.0.2.60/24"]
        .map((ips) => [ips, 400, `node address ${JSON.stringify(ips)} is not valid: an IP address of one machine is expected`] as const),
      [Array.from({ length: 9 }, (_, i) => `192.0.2.${100 + i}`).join(), 400, "node addresses: at most 8 are possible"],
    ];
    for (const [ips, status, message] of refusals) expect(await ask(ips), ips).toMatchObject({ status, message });
    expect((await ask("192.0.2.62")).status).toBe(200);
    expect((await ask("")).status).toBe(200);
  });

  test("a node may have the address that it has, and that which it had under another name", async () => {
    const { cluster, sign } = joinable;
    await cluster.kube.create(nodes, { metadata: { name: "before" }, status: { addresses: [{ type: "InternalIP", address: "192.0.2.70" }], conditions: [{ type: "Ready", status: "Unknown" }] } });
    expect((await sign("serving-kubelet.crt", request.csr, { ...(await joined("after")), node: "after", ips: "192.0.2.70" })).status).toBe(200);
    const other = { authorization: joinable.basic.node, node: "other", password: "p", ips: "192.0.2.50" };
    expect((await sign("serving-kubelet.crt", request.csr, other)).status).toBe(200);
  });
});

describe("plugins on agents", () => {
  const onBeta: UserInfo = { name: "system:serviceaccount:kube-system:k3s-p-flannel", groups: ["system:serviceaccounts", "k3sp:node:beta", "system:authenticated"] };

  test("write no Node but that on which they run", async () => {
    const { cluster } = joinable;
    const subject = { ...onBeta, groups: [...onBeta.groups, "system:masters"] };
    await cluster.kube.create(nodes, { metadata: { name: "beta" } });
    const kube = cluster.as(subject);
    await kube.patch(nodes, "beta", { metadata: { annotations: { a: "b" } } });
    await kube.patch(nodes, "beta", { status: { phase: "Running" } }, { subresource: "status" });
    const refused = { code: 403, message: 'nodes "other" is forbidden: on node "beta" a plugin may write that Node alone' };
    await expect(kube.patch(nodes, "other", { metadata: { annotations: { a: "b" } } })).rejects.toMatchObject({ status: refused });
    await expect(kube.patch(nodes, "other", { status: { phase: "Running" } }, { subresource: "status" })).rejects.toMatchObject({ status: refused });
    await expect(kube.delete(nodes, "other")).rejects.toMatchObject({ status: refused });
    await expect(kube.create(nodes, { metadata: { name: "iota" } })).rejects.toMatchObject({ status: { code: 403 } });
    await cluster.kube.patch(nodes, "other", { metadata: { annotations: { a: "b" } } });
  });

  test("make and remove volumes on the disk of that node alone", async () => {
    const { cluster } = joinable;
    const kube = cluster.as({ ...onBeta, groups: [...onBeta.groups, "system:masters"] });
    const tied = (...hosts: string[]) => ({ required: { nodeSelectorTerms: hosts.map((host) => ({ matchExpressions: [{ key: "kubernetes.io/hostname", operator: "In", values: host.split(" ") }] })) } });
    const volume = (name: string, source: object, nodeAffinity?: object) =>
      ({ metadata: { name }, spec: { capacity: { storage: "1Gi" }, accessModes: ["ReadWriteOnce"], persistentVolumeReclaimPolicy: "Retain", ...source, nodeAffinity } }) as PersistentVolume;
    const disk = { hostPath: { path: "/etc" } };
    await kube.create(persistentVolumes, volume("own", { local: { path: "/data" } }, tied("beta")));
    await kube.create(persistentVolumes, volume("net", { nfs: { server: "192.0.2.1", path: "/" } }));
    const others = [tied("other"), tied("beta", "other"), tied("beta other"), undefined];
    for (const [i, affinity] of others.entries()) {
      const refused = { code: 403, message: `persistentvolumes "pv${i}" is forbidden: on node "beta" a plugin may write no volumes on the disks of others` };
      await expect(kube.create(persistentVolumes, volume(`pv${i}`, disk, affinity))).rejects.toMatchObject({ status: refused });
      await cluster.kube.create(persistentVolumes, volume(`pv${i}`, disk, affinity));
      await expect(kube.delete(persistentVolumes, `pv${i}`)).rejects.toMatchObject({ status: refused });
      await expect(kube.patch(persistentVolumes, `pv${i}`, { metadata: { labels: { a: "b" } } })).rejects.toMatchObject({ status: refused });
    }
    for (const name of ["own", "net"]) await kube.delete(persistentVolumes, name);
  });
});

test("neither tokens nor node passwords stand in the log or the audit log", async () => {
  const { cluster, basic, sign, audited } = joinable;
  await joined("kappa", "password-of-kappa");
  const refusals = (): number => audited().match(/client-kubelet.crt.*"code":403/g)?.length ?? 0;
  await expect.poll(refusals).toBeGreaterThan(0);
  const before = refusals();
  await sign("client-kubelet.crt", request.csr, { authorization: basic.node, node: "kappa", password: "password-of-none" });
  await expect.poll(refusals).toBe(before + 1);
  const lines = [...cluster.logged, audited()].join("\n");
  for (const secret of ["of-agents", "password-of-", ...Object.values(basic).map((header) => header.slice(6))]) expect(lines).not.toContain(secret);
});

test("a server without a node of its own lets agents join, too", async () => {
  const { plan } = await planServer(["--disable-agent"], {});
  const { plan: api } = await planServer(["--profile", "api"], {});
  expect([plan, api].map(({ plugins }) => plugins.some(({ id }) => id === "supervisor"))).toEqual([true, false]);
});
