/** exec, attach, port-forward, cp and logs over WebSockets, by the real kubectl and by clients that speak the protocol themselves. */
import { type ChildProcess, spawn } from "node:child_process";
import { dirname, join } from "node:path";
import { describe, expect, test } from "vitest";
import { eventually, httpGet } from "../kit/cluster.ts";
import { sandboxUnavailable } from "../kit/sandbox.ts";
import { tool } from "../kit/tools.ts";
import { useCluster } from "./use-cluster.ts";

const reason = sandboxUnavailable();
if (reason) console.log(`skipped: streams ${reason}`);

const root = dirname(dirname(import.meta.dirname));
const node26 = join(root, "node_modules/node/bin/node");

/** Prints the protocol that was agreed on and the messages that came, for a path and the protocols to offer. */
const rawClient = `
  const [path, protocols] = process.argv.slice(1);
  const { WebSocket } = require(${JSON.stringify(join(root, "node_modules/ws"))});
  const config = require(${JSON.stringify(join(root, "node_modules/yaml"))}).parse(require("fs").readFileSync("/etc/rancher/k3s/k3s.yaml", "utf8"));
  const text = (value) => Buffer.from(value, "base64").toString();
  const { "client-certificate-data": cert, "client-key-data": key } = config.users[0].user;
  const { server, "certificate-authority-data": ca } = config.clusters[0].cluster;
  const client = new WebSocket(server.replace("https", "wss") + path, protocols.split(","), { ca: text(ca), cert: text(cert), key: text(key) });
  const got = [];
  client.on("open", () => {
    const base64 = client.protocol.includes("base64");
    if (path.includes("/exec?")) client.send(base64 ? "0" + Buffer.from("through\\n").toString("base64") : Buffer.from("\\0through\\n"));
  });
  client.on("message", (data) => data.length > 1 ? got.push(data.toString()) : undefined);
  client.on("error", (error) => console.error(error.message));
  client.on("close", () => process.stdout.write([client.protocol, ...got].join("|")));
`;

const manifest = `
apiVersion: v1
kind: Pod
metadata: { name: p }
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: main
    image: docker.io/library/busybox:e2e
    command: [sh, -c, "mkdir -p /tmp/w; echo hello > /tmp/w/index.html; head -c 8000000 /dev/zero > /tmp/w/large; exec httpd -f -p 8080 -h /tmp/w"]
  - name: echo
    image: docker.io/library/busybox:e2e
    command: [cat]
    stdin: true
`;

describe.skipIf(reason)("streams over WebSockets", () => {
  const cluster = useCluster({ manifest, until: ["wait", "--for=condition=Ready", "pod/p"] });

  const exec = (args: readonly string[], stdin?: string) =>
    cluster.tryKubectl(["exec", "-v=8", ...args], stdin === undefined ? {} : { stdin });

  test("kubectl exec gets v5 at once, and does not ask for SPDY", async () => {
    const { code, stdout, stderr } = await exec(["p", "-c", "main", "--", "sh", "-c", "echo out; echo err >&2; exit 7"]);
    expect([code, stdout]).toEqual([7, "out\n"]);
    expect(stderr).toMatch(/101 Switching Protocols/);
    expect(stderr).toMatch(/v5\.channel\.k8s\.io/);
    expect(stderr).not.toMatch(/SPDY|fallback/i);
  });

  test("the end of standard input reaches the command", async () => {
    const text = "0123456789\n".repeat(200_000);
    const { code, stdout, stderr } = await cluster.tryKubectl(["exec", "-i", "p", "-c", "main", "--", "sh", "-c", "wc -c; echo after"], { stdin: text });
    expect([code, stdout, stderr]).toEqual([0, "2200000\nafter\n", ""]);
  });

  test("much output arrives whole", async () => {
    const { stdout } = await cluster.tryKubectl(["exec", "p", "-c", "main", "--", "sh", "-c", "seq 1 300000"]);
    expect(stdout.length).toBe(1_988_895);
    expect(stdout.endsWith("\n299999\n300000\n")).toBe(true);
  });

  test("a terminal has the caller's size, and follows a resize", async () => {
    const kubectl = `${tool("kubectl")} --kubeconfig /etc/rancher/k3s/k3s.yaml`;
    const script = `stty rows 31 cols 97; T=$(tty); (sleep 2; stty rows 40 cols 120 < $T) & ${kubectl} exec -it p -c main -- sh -c 'for i in 1 2 3 4; do stty size; sleep 1; done'`;
    const { stdout } = await cluster.sandbox.run(["script", "-qec", script, "/dev/null"]);
    expect(stdout).toContain("31 97");
    expect(stdout).toContain("40 120");
  });

  test("kubectl attach writes to the container and reads from it", async () => {
    const [command = "", ...args] = [...cluster.sandbox.enter, tool("kubectl"), "--kubeconfig", "/etc/rancher/k3s/k3s.yaml", "attach", "-v=8", "-i", "p", "-c", "echo"];
    const attach = spawn(command, args);
    const seen = collect(attach);
    await eventually(async () => seen().includes("101 Switching Protocols"), "attach", 15_000);
    attach.stdin.write("to the container\n");
    await eventually(async () => seen().includes("to the container\n"), "an echo", 15_000);
    attach.kill();
    expect(seen()).not.toMatch(/SPDY|fallback/i);
  });

  test("kubectl cp copies both ways", async () => {
    const run = (...command: string[]) => cluster.sandbox.run(command);
    await run("sh", "-c", "mkdir -p /tmp/copy && head -c 3000000 /dev/urandom > /tmp/copy/a");
    await cluster.kubectl("cp", "/tmp/copy/a", "p:/tmp/b", "-c", "main");
    await cluster.kubectl("cp", "p:/tmp/b", "/tmp/copy/c", "-c", "main");
    expect((await run("cmp", "/tmp/copy/a", "/tmp/copy/c")).code).toBe(0);
  });

  test("kubectl port-forward goes through a tunnel, several connections at once", async () => {
    const [command = "", ...args] = [...cluster.sandbox.enter, tool("kubectl"), "--kubeconfig", "/etc/rancher/k3s/k3s.yaml", "port-forward", "-v=8", "pod/p", "18081:8080"];
    const forward = spawn(command, args);
    const seen = collect(forward);
    const get = (path: string) => httpGet((c) => cluster.sandbox.run(c), "127.0.0.1", 18081, path);
    await eventually(async () => seen().includes("Forwarding from"), "port-forward", 15_000);
    const answers = await Promise.all(["/", "/large", "/", "/none"].map(get));
    forward.kill();
    expect(answers.map(({ status, body }) => [status, body.length])).toEqual([[200, 6], [200, 8_000_000], [200, 6], [404, expect.any(Number)]]);
    expect(seen()).toMatch(/SPDY\/3\.1\+portforward\.k8s\.io/);
    expect(seen()).not.toMatch(/fallback/i);
  });

  test.each([
    [["exec", "p", "-c", "nope", "--", "true"], "error: container nope is not valid for pod p out of: main, echo\n"],
    [["exec", "nope", "--", "true"], 'Error from server (NotFound): pods "nope" not found\n'],
    [["exec", "p", "-c", "main", "--", "/no/such/program"], /OCI runtime exec failed.*\/no\/such\/program.*no such file or directory/],
  ])("%j says what is wrong", async (args, message) => {
    const { code, stderr } = await cluster.tryKubectl(args);
    expect(code).not.toBe(0);
    expect(stderr).toMatch(message);
  });

  test.each([
    ["v5.channel.k8s.io", ["v5.channel.k8s.io"], "\\u0001through|\\u0003{\"metadata\":{},\"status\":\"Success\"}"],
    ["v4.channel.k8s.io", ["v4.channel.k8s.io"], "\\u0001through|\\u0003{\"metadata\":{},\"status\":\"Success\"}"],
    ["the newest of several", ["v5.channel.k8s.io", "v4.channel.k8s.io", "channel.k8s.io"], "\\u0001through|\\u0003{\"metadata\":{},\"status\":\"Success\"}"],
    ["channel.k8s.io, which tells of failures alone", ["channel.k8s.io"], "\\u0001through"],
    ["base64.channel.k8s.io", ["base64.channel.k8s.io"], "1dGhyb3VnaA=="],
  ])("a client of its own speaks %s", async (_, protocols, expected) => {
    // The command ends by itself after one line: only v5 can say that there is no more.
    const path = `/api/v1/namespaces/default/pods/p/exec?container=main&stdin=1&stdout=1&command=sh&command=-c&command=${encodeURIComponent("read a; printf $a")}`;
    const { stdout, stderr } = await cluster.sandbox.run([node26, "-e", rawClient, path, protocols.join(",")]);
    expect(stdout, stderr).toBe(`${protocols[0]}|${expected}`.replaceAll("\\u0001", "\u0001").replaceAll("\\u0003", "\u0003"));
  });

  test("a log goes over a WebSocket", async () => {
    const { stdout, stderr } = await cluster.sandbox.run([node26, "-e", rawClient, "/api/v1/namespaces/default/pods/p/log?container=echo", "binary.k8s.io"]);
    expect(stdout, stderr).toBe("binary.k8s.io|to the container\n");
  });

  test("a container that does not run is refused over the open socket", async () => {
    await cluster.apply(JSON.stringify({
      apiVersion: "v1", kind: "Pod", metadata: { name: "over" },
      spec: { restartPolicy: "Never", terminationGracePeriodSeconds: 0, containers: [["c", ["true"]], ["d", ["sleep", "1000"]]].map(([name, command]) => ({ name, command, image: "docker.io/library/busybox:e2e" })) },
    }));
    await cluster.kubectl("wait", "--for=jsonpath={.status.containerStatuses[0].state.terminated.exitCode}=0", "pod/over", "--timeout=30s");
    const { code, stderr } = await cluster.tryKubectl(["exec", "over", "-c", "c", "--", "true"]);
    expect([code, stderr]).toEqual([1, 'error: Internal error occurred: unable to upgrade connection: container not found ("c")\n']);
  });
});

function collect(child: ChildProcess): () => string {
  let text = "";
  for (const stream of [child.stdout!, child.stderr!]) stream.setEncoding("utf8").on("data", (chunk: string) => (text += chunk));
  return () => text;
}
