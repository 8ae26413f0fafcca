/** Identities of a running server: certificates that are rotated, tokens, and a kubelet that is no more than its node. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { dataDir, eventually, runServer } from "../kit/cluster.ts";
import { sandboxUnavailable } from "../kit/sandbox.ts";
import { useCluster } from "./use-cluster.ts";

const reason = sandboxUnavailable();
if (reason) console.log(`skipped: identity ${reason}`);
const root = join(import.meta.dirname, "../..");
const cli = [join(root, "node_modules/node/bin/node"), join(root, "core/src/cli/main.ts")];

describe.skipIf(reason)("identities", () => {
  const cluster = useCluster({ args: ["--disable", "traefik,metrics-server,servicelb,local-storage,network-policy", "--flannel-backend", "none"] });

  const k3sp = async (...args: string[]): Promise<string> => {
    const { code, stdout, stderr } = await cluster.sandbox.run([...cli, ...args]);
    if (code !== 0) throw new Error(`k3s-p ${args.join(" ")} ended with ${code}: ${stderr}`);
    return stdout;
  };
  const shell = async (script: string): Promise<string> => (await cluster.sandbox.run(["sh", "-c", script])).stdout.trim();
  const serial = (): Promise<string> => shell(`openssl x509 -noout -serial -in ${dataDir}/server/tls/serving-kube-apiserver.crt`);

  test("the kubelet is system:node:node1, and the server marks the node", async () => {
    const role = await eventually(async () => (await cluster.kubectl("get", "node", "node1", "-o", "jsonpath={.metadata.labels.node-role\\.kubernetes\\.io/control-plane}")) || undefined, "the role label", 20_000);
    expect(role).toBe("true");
    const writers = await cluster.kubectl("get", "node", "node1", "-o", "jsonpath={.metadata.managedFields[*].manager}", "--show-managed-fields");
    expect(writers.split(" ")).toContain("node1");
    expect(await cluster.kubectl("auth", "can-i", "list", "secrets", "-A", "--as", "system:node:node1", "--as-group", "system:nodes").catch((error: Error) => error.message)).toContain("no");
  });

  test("a static pod runs, and its mirror belongs to the node", async () => {
    const pod = { apiVersion: "v1", kind: "Pod", metadata: { name: "fixed" }, spec: { hostNetwork: true, containers: [{ name: "c", image: "docker.io/library/busybox:e2e", command: ["sleep", "3600"] }] } };
    writeFileSync(join(cluster.sandbox.dir, "private", dataDir, "agent/pod-manifests/fixed.yaml"), JSON.stringify(pod));
    const owner = await eventually(async () => (await cluster.kubectl("get", "pod", "fixed-node1", "-o", "jsonpath={.metadata.ownerReferences[0].kind}/{.metadata.ownerReferences[0].name} {.status.phase}")), "the mirror", 30_000);
    expect(owner).toMatch(/^Node\/node1/);
    await eventually(async () => (await cluster.kubectl("get", "pod", "fixed-node1", "-o", "jsonpath={.status.phase}")) === "Running", "the static pod", 30_000);
  });

  test("the API server reaches the kubelet with a certificate that is no administrator's", async () => {
    expect(await cluster.kubectl("exec", "fixed-node1", "--", "echo", "hello")).toBe("hello\n");
    expect(await cluster.kubectl("logs", "fixed-node1")).toBe("");
    expect(await cluster.kubectl("get", "--raw", "/api/v1/nodes/node1/proxy/healthz")).toBe("ok");
    expect(await shell(`openssl x509 -noout -subject -in ${dataDir}/server/tls/client-kube-apiserver.crt`)).toMatch(/^subject= ?CN ?= ?kube-apiserver$/);
  });

  test("nothing of this was forbidden", () => {
    expect(cluster.output().split("\n").filter((line) => /forbidden/i.test(line))).toEqual([]);
  });

  test("token create lets a machine in, and delete shuts it out", async () => {
    const token = (await k3sp("token", "create", "--ttl", "10m")).trim();
    expect(token).toMatch(/^K10[0-9a-f]{64}::[a-z0-9]{6}\.[a-z0-9]{16}$/);
    const bearer = token.split("::")[1]!;
    const enter = () => cluster.tryKubectl(["--kubeconfig", "/dev/null", "--server", "https://127.0.0.1:6443", "--insecure-skip-tls-verify", "--token", bearer, "get", "--raw", "/version"]);
    expect((await enter()).code).toBe(0);
    expect(await k3sp("token", "delete", bearer)).toBe(`bootstrap token "${bearer.slice(0, 6)}" deleted\n`);
    expect((await enter()).stderr).toContain("Unauthorized");
  });

  test("whoami names the certificate or the token by which one came, that of a Secret too", async () => {
    expect(await cluster.kubectl("auth", "whoami")).toMatch(/credential-id +\[X509SHA256=[0-9a-f]{64}\]/);
    await cluster.kubectl("create", "serviceaccount", "robot");
    const who = async (token: string): Promise<string> => {
      const { stdout, stderr } = await cluster.tryKubectl(["--kubeconfig", "/dev/null", "--server", "https://127.0.0.1:6443", "--insecure-skip-tls-verify", "--token", token, "auth", "whoami"]);
      return stdout + stderr;
    };
    const bound = await who((await cluster.kubectl("create", "token", "robot")).trim());
    expect(bound).toContain("system:serviceaccount:default:robot");
    expect(bound).toMatch(/credential-id +\[JTI=[0-9a-f-]{36}\]/);
    const secret = { apiVersion: "v1", kind: "Secret", type: "kubernetes.io/service-account-token", metadata: { name: "robot", annotations: { "kubernetes.io/service-account.name": "robot" } } };
    await cluster.apply(JSON.stringify(secret));
    const token = await eventually(async () => (await cluster.kubectl("get", "secret", "robot", "-o", "jsonpath={.data.token}")) || undefined, "the token", 10_000);
    expect(await who(Buffer.from(token, "base64").toString())).toContain("system:serviceaccount:default:robot");
    expect(await cluster.kubectl("get", "--raw", "/metrics")).toContain("serviceaccount_legacy_tokens_total 1\n");
  });

  test("rotated certificates come with the next start, and the old ones go to a backup", async () => {
    const before = await serial();
    expect(await k3sp("certificate", "check", "--output", "table")).toMatch(/^serving-kube-apiserver\.crt +CN=kube-apiserver +ServerAuth .* OK$/m);
    await cluster.stop();
    expect(await k3sp("certificate", "rotate")).toMatch(/please restart k3s-p server to rotate certificates\n$/);
    await k3sp("token", "rotate", "--new-token", "fresh");
    await cluster.start();
    expect(await serial()).not.toBe(before);
    expect(await shell(`ls -d ${dataDir}/server/tls-*/serving-kube-apiserver.key | wc -l`)).toBe("1");
    expect(await shell(`cat ${dataDir}/server/node-token`)).toMatch(/^K10[0-9a-f]{64}::server:fresh$/);
    expect(await cluster.kubectl("get", "--raw", "/readyz")).toBe("ok");
    expect(await cluster.kubectl("get", "pod", "fixed-node1", "-o", "jsonpath={.status.phase}")).toBe("Running");
  });

  test("a key that others can read, or that is a link, keeps the server from starting", async () => {
    await cluster.stop();
    const key = `${dataDir}/server/tls/client-ca.key`;
    await shell(`chmod 644 ${key}`);
    const open = await runServer(cluster.sandbox, []);
    expect([open.code, open.stderr]).toEqual([1, expect.stringContaining(`K3SP_KEY_UNSAFE  the private key ${key} can be used by others (mode 0644)`)]);
    await shell(`chmod 600 ${key}; mv ${key} /tmp/elsewhere.key; ln -s /tmp/elsewhere.key ${key}`);
    const link = await runServer(cluster.sandbox, []);
    expect([link.code, link.stderr]).toEqual([1, expect.stringContaining(`K3SP_KEY_UNSAFE  the private key ${key} is a symbolic link`)]);
    await shell(`rm ${key}; mv /tmp/elsewhere.key ${key}`);
  });
});
