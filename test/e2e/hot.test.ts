/** Plugins change on a running server, and what runs on it does not notice. */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createCluster, eventually, httpGet, type Cluster } from "../kit/cluster.ts";
import { busyboxImage } from "../kit/images.ts";
import { sandboxUnavailable } from "../kit/sandbox.ts";
import { tool } from "../kit/tools.ts";

const reason = sandboxUnavailable();
if (reason) console.log(`skipped: hot changes ${reason}`);
const root = join(import.meta.dirname, "../..");
const myCni = join(root, "plugin-api/examples/my-cni");
/** They say who answers names, each in another isolation mode. */
const witnesses = ["dns-witness", "dns-witness-rpc", "dns-witness-exec"];

const pod = (name: string, script: string) => `
apiVersion: v1
kind: Pod
metadata: { name: ${name} }
spec:
  terminationGracePeriodSeconds: 0
  containers: [{ name: c, image: "docker.io/library/busybox:e2e", command: [sh, -c, "${script}"] }]
`;

describe.skipIf(reason)("hot changes", () => {
  let cluster: Cluster;
  let watched = "";
  let received = async (): Promise<number[]> => [];

  /** `k3s-p plugin ...` as an operator would type it on the node. */
  const plugin = (...args: readonly string[]) =>
    cluster.sandbox.run([join(root, "node_modules/node/bin/node"), join(root, "core/src/cli/main.ts"), "plugin", ...args]);
  async function must(...args: readonly string[]): Promise<string> {
    const { code, stdout, stderr } = await plugin(...args);
    if (code !== 0) throw new Error(`plugin ${args.join(" ")}: ${stdout}${stderr}`);
    return stdout;
  }

  interface Status {
    readonly id: string;
    readonly state: string;
    readonly pid?: number;
    readonly restarts: number;
  }
  const page = async () => JSON.parse(await cluster.kubectl("get", "--raw", "/debug/plugins")) as { plugins: Status[]; timeline: { criticalPath: object[] } };
  const status = async (id: string): Promise<Status> => (await page()).plugins.find((p) => p.id === id)!;
  /** Ends its process, if it has one, and returns what becomes of it: its state, and how often it was started again. */
  async function kill(id: string): Promise<string> {
    const before = await status(id);
    if (before.pid !== undefined) await cluster.sandbox.run(["kill", "-KILL", String(before.pid)]);
    return eventually(async () => {
      const { state, pid, restarts } = await status(id);
      const settled = state === "quarantined" || (state === "ready" && pid !== before.pid);
      return settled && `${state} ${restarts}`;
    }, `${id} was ended`, 10_000);
  }
  /** What a plugin says in the log, in order. */
  const saidBy = (id: string) => [...cluster.output().matchAll(new RegExp(`"plugin":"${id}","msg":"(.*?)"`, "g"))].map(([, message]) => message!);

  beforeAll(async () => {
    const args = witnesses.flatMap((name) => ["--plugin", join(root, "test/fixtures/plugins", name)]);
    cluster = await createCluster({ args, images: [busyboxImage({ name: "docker.io/library/busybox", tag: "e2e" })] });
    await cluster.start();
    await cluster.apply(pod("listener", "mkdir -p /tmp; sleep 100000 | nc -l -p 9000 > /tmp/received"));
    await cluster.kubectl("wait", "--for=condition=Ready", "pod/listener", "--timeout=60s");
    const ip = await cluster.kubectl("get", "pod", "listener", "-o", "jsonpath={.status.podIP}");
    await cluster.apply(pod("talker", `i=0; while true; do echo $i; i=$((i+1)); sleep 0.2; done | nc ${ip} 9000`));
    await cluster.kubectl("wait", "--for=condition=Ready", "pod/talker", "--timeout=60s");
    received = async () => (await cluster.kubectl("exec", "listener", "--", "cat", "/tmp/received")).trim().split("\n").map(Number);
    await eventually(async () => (await received()).length > 3, "the stream flows");
    const watch = cluster.sandbox.spawn([tool("kubectl"), "--kubeconfig", "/etc/rancher/k3s/k3s.yaml", "get", "configmaps", "-w", "-o", "name"]);
    watch.stdout!.setEncoding("utf8").on("data", (chunk: string) => (watched += chunk));
  });
  afterAll(() => cluster?.dispose());

  /** The TCP stream lost nothing and goes on; the watch that was open all the time sees a new object. */
  async function nothingNoticed(mark: string): Promise<void> {
    const before = await received();
    expect(before).toEqual(before.map((_, i) => i));
    await eventually(async () => (await received()).length > before.length + 3, "the stream goes on", 10_000);
    await cluster.kubectl("create", "configmap", mark);
    await eventually(async () => watched.includes(`configmap/${mark}`), "the watch goes on", 10_000);
  }

  /** What a pod is told when it asks for the address of a name. */
  const ask = async (name: string) => (await cluster.tryKubectl(["exec", "talker", "--", "nslookup", "-type=a", `${name}.cluster.local`, "10.43.0.10"])).stdout;
  const answers = (name: string, ip: string) => eventually(async () => (await ask(name)).includes(`Address: ${ip}`), `${name} is ${ip}`, 20_000);

  test("list, inspect, graph, timeline and logs tell what runs", async () => {
    const list = await must("list");
    for (const name of ["apiserver", "kubelet", "flannel"]) expect(list).toMatch(new RegExp(`^${name} +0\\.1\\.0 +\\S+ +inline +ready `, "m"));
    expect(await must("inspect", "flannel")).toMatch(/^provides: +\{"cni":"1\.0"\}$/m);
    expect(await must("graph", "--format", "dot")).toContain('"kubelet" -> "containerd";');
    expect(await must("graph", "--format", "mermaid")).toContain("kubelet --> containerd");
    expect(await must("timeline")).toMatch(/^critical path \(#\): .+ \d+ ms -> .+ \d+ ms$/m);
    expect(await must("logs", "deployer")).toMatch(/INFO /);
    const { plugins, timeline } = await page();
    expect(plugins.map((p) => `${p.id} ${p.state}`)).toContain("flannel ready");
    expect(timeline.criticalPath.length).toBeGreaterThan(1);
    expect((JSON.parse(await must("list", "--json")) as { plugins: Status[] }).plugins.map((p) => p.id)).toEqual(plugins.map((p) => p.id));
    const refused = await cluster.tryKubectl(["get", "--raw", "/debug/plugins", "--as", "system:serviceaccount:default:default"]);
    expect(refused.stderr).toContain('User "system:serviceaccount:default:default" cannot get path "/debug/plugins"');
  });

  test("what others need is not taken away, unless it is forced", async () => {
    const { code, stderr } = await plugin("disable", "deployer");
    expect([code, stderr]).toEqual([1, "K3SP_PLUGIN_NEEDED  deployer is needed by coredns, helm-controller, metrics-server, traefik\n  fix: disable them first, or stop them as well: k3s-p plugin disable deployer --force\n"]);
    expect((await plugin("reload", "corednss")).stderr).toContain('K3SP_PLUGIN_UNKNOWN  no plugin is named "corednss"; did you mean "coredns"?');
  });

  test("the CNI is replaced under running pods: new pods get their address from my-cni, and back", async () => {
    expect(await must("replace", "flannel", myCni)).toContain("cni: my-cni 0.3.0 (replaces flannel)");
    expect(await must("list")).toMatch(/^my-cni +0\.3\.0 +cni +process +ready /m);
    await cluster.apply(pod("fresh", "sleep 100000"));
    await cluster.kubectl("wait", "--for=condition=Ready", "pod/fresh", "--timeout=60s");
    expect(await cluster.kubectl("get", "pod", "fresh", "-o", "jsonpath={.status.podIP}")).toMatch(/^10\.77\.0\./);
    await nothingNoticed("after-cni");
    expect(await must("replace", "my-cni", "flannel")).toContain("cni: flannel 0.1.0 (replaces my-cni)");
    await cluster.apply(pod("fresh2", "sleep 100000"));
    await cluster.kubectl("wait", "--for=condition=Ready", "pod/fresh2", "--timeout=60s");
    expect(await cluster.kubectl("get", "pod", "fresh2", "-o", "jsonpath={.status.podIP}")).toMatch(/^10\.42\./);
  });

  test("a plugin process that is killed comes back twice, then it is quarantined until it is enabled", async () => {
    await must("replace", "flannel", myCni);
    expect([await kill("my-cni"), await kill("my-cni")]).toEqual(["ready 1", "ready 2"]);
    const figures = await cluster.kubectl("get", "--raw", "/metrics");
    for (const line of ['k3sp_plugin_state{plugin="my-cni",state="ready"} 1', 'k3sp_plugin_restarts_total{plugin="my-cni"} 2']) expect(figures).toContain(`${line}\n`);
    for (const name of ["start_seconds", "cpu_seconds_total"]) expect(figures).toMatch(new RegExp(`^k3sp_plugin_${name}\\{plugin="my-cni"\\} \\d+\\.?\\d*$`, "m"));
    expect(figures).toMatch(/^k3sp_plugin_resident_memory_bytes\{plugin="my-cni"\} \d{7,}$/m);
    expect(figures).toMatch(/^k3sp_plugin_hook_seconds_count\{hook="\w+",plugin="\w+"\} [1-9]\d*$/m);
    expect(await cluster.kubectl("get", "--raw", "/readyz")).toBe("ok");
    expect(await kill("my-cni")).toBe("quarantined 2");
    expect((await cluster.tryKubectl(["get", "--raw", "/readyz?verbose"])).stderr).toContain("[-]plugins failed");
    await nothingNoticed("after-crashes");
    expect(await must("enable", "my-cni")).toBe("my-cni 0.3.0 is ready\n");
    expect(await cluster.kubectl("get", "--raw", "/readyz")).toBe("ok");
    await must("replace", "my-cni", "flannel");
  });

  test("the DNS provider is replaced under running pods: they ask the same address, and another answers", async () => {
    const folder = join(cluster.sandbox.dir, "my-dns");
    await must("new", folder, "--slot", "dns");
    const [zone, manifest] = [join(folder, "src/dns-zone.ts"), join(folder, "package.json")];
    writeFileSync(manifest, readFileSync(manifest, "utf8").replace('"criticality": "required"', '"criticality": "optional"'));
    writeFileSync(zone, readFileSync(zone, "utf8").replace("  return (name) => {", '$&\n    if (name === `hello.${domain}`) return [address("192.0.2.1")];'));
    await answers("kubernetes.default.svc", "10.43.0.1");
    expect(await must("replace", "coredns", folder)).toContain("dns: my-dns 0.1.0 (replaces coredns)");
    await answers("hello", "192.0.2.1");
    await answers("kubernetes.default.svc", "10.43.0.1");
    await nothingNoticed("after-dns");
  });

  test("who uses the DNS provider heard of the other one, in its own way of running", async () => {
    const ports = (id: string) => saidBy(id).filter((text) => text.startsWith("dns is at port "));
    for (const id of ["dns-witness", "dns-witness-rpc"]) {
      await eventually(async () => ports(id).length > 1, `${id} heard of it`, 10_000);
      const [before, after] = ports(id);
      expect([after === before, (await status(id)).restarts]).toEqual([false, 0]);
    }
    await eventually(async () => saidBy("dns-witness-exec").filter((text) => text === "a program was started").length === 2, "dns-witness-exec was run anew", 10_000);
    expect(await must("reload", "dns-witness-rpc")).toContain("dns-witness-rpc");
    await must("disable", "dns-witness-rpc");
    expect(saidBy("dns-witness-rpc").filter((text) => text.startsWith("its end"))).toEqual(["its end: restarting", "its end: retired"]);
  });

  test("an optional plugin is killed four times: restarted, restarted, quarantined, nothing left to end; the server is ready and nobody noticed", async () => {
    const states = [];
    for (const mark of ["first", "second", "third", "fourth"]) {
      states.push(await kill("my-dns"));
      expect(await cluster.kubectl("get", "--raw", "/readyz")).toBe("ok");
      await nothingNoticed(`after-${mark}-kill`);
    }
    expect(states).toEqual(["ready 1", "ready 2", "quarantined 2", "quarantined 2"]);
    expect((await status("my-dns")).pid).toBeUndefined();
    expect(await must("enable", "my-dns")).toBe("my-dns 0.1.0 is ready\n");
    await answers("hello", "192.0.2.1");
  });

  test("the first DNS provider takes its place again", async () => {
    expect(await must("replace", "my-dns", "coredns")).toContain("dns: coredns 0.1.0 (replaces my-dns)");
    await eventually(async () => !(await ask("hello")).includes("192.0.2.1"), "hello is gone", 20_000);
    await answers("kubernetes.default.svc", "10.43.0.1");
    await nothingNoticed("after-dns-back");
  });

  test("an ingress that is disabled takes its objects with it, and brings them back", async () => {
    const ingressClass = async () => cluster.kubectl("get", "ingressclass/traefik", "addon/traefik", "-n", "kube-system", "--ignore-not-found", "-o", "name");
    await eventually(async () => (await ingressClass()).includes("ingressclass"), "the objects of traefik");
    expect(await must("disable", "traefik")).toContain("stopped traefik 0.1.0");
    await eventually(async () => (await ingressClass()) === "", "the objects are gone", 20_000);
    expect(await must("list")).toMatch(/^traefik .*left out .*k3s-p plugin disable traefik$/m);
    expect(await must("enable", "traefik")).toContain("started traefik 0.1.0");
    await eventually(async () => (await ingressClass()).includes("ingressclass"), "the objects are back", 20_000);
    await nothingNoticed("after-ingress");
  });

  test("one plugin takes a new configuration, and a wrong one changes nothing", async () => {
    const config = join(cluster.sandbox.dir, "private/etc/rancher/k3s/config.yaml");
    writeFileSync(config, "plugins:\n  coredns:\n    config:\n      port: 5454\n");
    expect(await must("reload", "coredns")).toBe("coredns: the new configuration is in force\n");
    expect(await must("inspect", "coredns")).toMatch(/^config: +\{"port":5454\}$/m);
    writeFileSync(config, "plugins:\n  coredns:\n    config:\n      port: none\n");
    expect((await plugin("reload", "coredns")).stderr).toContain("K3SP_CONFIG_INVALID  plugins.coredns.config.port:");
    expect(await must("list")).toMatch(/^coredns .* ready /m);
    await nothingNoticed("after-reload");
  });

  test("network-policy takes its rules along when it is disabled, so that nobody is kept out by what nobody maintains", async () => {
    const tables = async () => (await cluster.sandbox.run(["nft", "list", "tables"])).stdout;
    expect(await tables()).toContain("table ip k3sp-policy");
    expect(await must("disable", "network-policy")).toContain("stopped network-policy");
    expect(await tables()).not.toContain("k3sp-policy");
    expect(await must("enable", "network-policy")).toContain("started network-policy");
    expect(await tables()).toContain("table ip k3sp-policy");
    await nothingNoticed("after-network-policy");
  });

  test("the proxy is replaced under running pods: its rules go, Services answer by those of the other one, and back", async () => {
    const folder = join(cluster.sandbox.dir, "my-proxy");
    await must("new", folder, "--slot", "proxy");
    const web = (name: string) => pod(name, `mkdir -p /tmp/w; echo ${name} > /tmp/w/index.html; exec httpd -f -p 80 -h /tmp/w`).replace("metadata: {", "metadata: { labels: { app: web },");
    await cluster.apply(`${web("web-1")}---\napiVersion: v1\nkind: Service\nmetadata: { name: web }\nspec: { clusterIP: 10.43.0.80, selector: { app: web }, ports: [{ port: 80 }] }\n`);
    const answer = async (name: string) => eventually(async () => (await httpGet((command) => cluster.tryKubectl(["exec", "talker", "--", ...command.slice(1)]), "10.43.0.80", 80)).body === `${name}\n`, `${name} answers for the Service`, 20_000);
    const tables = async () => (await cluster.sandbox.run(["nft", "list", "tables"])).stdout.match(/k3sp-\S*proxy/g);
    await answer("web-1");
    expect(await must("replace", "kube-proxy", folder)).toContain("proxy: my-proxy 0.1.0 (replaces kube-proxy)");
    expect(await tables()).toEqual(["k3sp-my-proxy"]);
    await cluster.kubectl("delete", "pod", "web-1", "--now");
    await cluster.apply(web("web-2"));
    await answer("web-2");
    expect(await must("replace", "my-proxy", "kube-proxy")).toContain("proxy: kube-proxy 0.1.0 (replaces my-proxy)");
    await answer("web-2");
    expect(await tables()).toEqual(["k3sp-proxy"]);
    await nothingNoticed("after-proxy");
    expect(cluster.output()).not.toMatch(/K3SP_PLUGIN_CRASHED (?!my-cni|my-dns)/);
  });
});
