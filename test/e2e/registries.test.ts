/** Images come from where registries.yaml and pull secrets say, with real containerd and a registry on the node's network. */
import type { ChildProcess } from "node:child_process";
import { existsSync, readFileSync, readdirSync, statSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createCluster, dataDir, eventually, type Cluster } from "../kit/cluster.ts";
import type { RegistryOptions } from "../kit/registry.ts";
import { sandboxUnavailable } from "../kit/sandbox.ts";

const reason = sandboxUnavailable() ?? (existsSync("/bin/busybox") ? undefined : "needs busybox-static");
if (reason) console.log(`skipped: registries ${reason}`);

const [username, password, wrong] = ["puller", "pull-secret-1", "pull-secret-2"];
const node26 = join(dirname(dirname(import.meta.dirname)), "node_modules/node/bin/node");

describe.skipIf(reason)("registries", () => {
  let cluster: Cluster;
  let registry: ChildProcess;
  let requests = "";
  let ip: string;
  const own = (path: string) => join(cluster.sandbox.dir, "private", path);
  const file = "/etc/rancher/k3s/registries.yaml";
  const certs = `${dataDir}/agent/etc/containerd/certs.d`;
  const configure = (yaml: string): void => writeFileSync(own(file), yaml);
  const made = (name: string) => join(cluster.sandbox.dir, name);
  const tls = (more = "") => `tls: { ca_file: ${made("ca.crt")}${more} }`;

  beforeAll(async () => {
    cluster = await createCluster({ config: "disable: [traefik, metrics-server, local-storage, servicelb, coredns]\ndisable-default-registry-endpoint: true\n" });
    const { sandbox } = cluster;
    ip = sandbox.ip;
    const options: RegistryOptions = { ip, dir: sandbox.dir, ports: { 5001: "open", 5002: "basic", 5003: "token", 5004: "token", 5005: "certificate", 5006: "open" }, username, password };
    registry = sandbox.spawn([node26, join(import.meta.dirname, "../kit/registry.ts"), JSON.stringify(options)]);
    await new Promise<void>((resolve, reject) => {
      registry.stdout!.setEncoding("utf8").on("data", (text: string) => { if ((requests += text).includes("ready\n")) resolve(); });
      registry.stderr!.setEncoding("utf8").on("data", (text: string) => (requests += text));
      registry.on("close", (code) => reject(new Error(`the registry ended with ${code}\n${requests}`)));
    });
    configure(`
mirrors:
  docker.io: { endpoint: ["https://${ip}:5001"] }
  renamed.example.com: { endpoint: ["https://${ip}:5004"], rewrite: { "^old/(.*)": "new/$1" } }
  gone.example.com: { endpoint: ["https://${ip}:5001"] }
  strange.example.com: { endpoints: ["https://${ip}:5001"] }
configs:
  "${ip}:5001": { ${tls()} }
  "${ip}:5002": { auth: { username: ${username}, password: ${password} }, ${tls()} }
  "${ip}:5003": { ${tls()} }
  "${ip}:5004": { auth: { username: ${username}, password: ${password} }, ${tls()} }
  "${ip}:5005": { ${tls(`, cert_file: ${made("client.crt")}, key_file: ${made("client.key")}`)} }
  "${ip}:5006": { tls: { insecure_skip_verify: true } }
`);
    await cluster.start();
    await cluster.kubectl("wait", "--for=condition=Ready", "node/node1", "--timeout=30s");
  }, 90_000);
  afterAll(async () => {
    registry?.kill();
    await cluster?.dispose();
  });

  const pod = (name: string, image: string, more = "") => `---
apiVersion: v1
kind: Pod
metadata: { name: ${name} }
spec: { terminationGracePeriodSeconds: 0, ${more} containers: [{ name: main, image: "${image}", command: [sleep, "100000"] }] }
`;
  const secret = (name: string, auths: object) => cluster.apply(JSON.stringify({
    apiVersion: "v1", kind: "Secret", metadata: { name }, type: "kubernetes.io/dockerconfigjson", stringData: { ".dockerconfigjson": JSON.stringify({ auths }) },
  }));
  const running = (...names: readonly string[]) => cluster.kubectl("wait", "--for=condition=Ready", ...names.map((name) => `pod/${name}`), "--timeout=20s");
  const waiting = async (name: string, wanted: string) => eventually(async () => {
    const { state } = JSON.parse(await cluster.kubectl("get", "pod", name, "-o", "jsonpath={.status.containerStatuses[0]}")) as { state: { waiting?: { reason: string; message: string } } };
    return state.waiting?.reason === wanted && state.waiting.message;
  }, `${name} waits with ${wanted}`, 20_000);
  const containerOf = (name: string) => cluster.kubectl("get", "pod", name, "-o", "jsonpath={.status.containerStatuses[0].containerID} {.status.containerStatuses[0].restartCount}");

  test("a mirror stands in for docker.io, and a registry of one's own is asked with its authority and credentials", async () => {
    await cluster.apply(pod("mirrored", "busybox:1.35") + pod("basic", `${ip}:5002/team/app:1`));
    await running("mirrored", "basic");
    expect(requests).toMatch(/^5001 HEAD \/v2\/library\/busybox\/manifests\/1\.35\?ns=docker\.io 200$/m);
    expect(requests).toMatch(/^5002 HEAD \/v2\/team\/app\/manifests\/1 200$/m);
  }, 40_000);

  test("a registry that wants a certificate gets it, and one may be trusted without an authority", async () => {
    await cluster.apply(pod("certified", `${ip}:5005/team/certified:1`) + pod("trusted", `${ip}:5006/team/trusted:1`));
    await running("certified", "trusted");
  }, 40_000);

  test("a mirror may have repositories under other names", async () => {
    await cluster.apply(pod("renamed", "renamed.example.com/old/app:1"));
    await running("renamed");
    expect(requests).toMatch(/^5004 HEAD \/v2\/new\/app\/manifests\/1\?ns=renamed\.example\.com 200$/m);
  }, 40_000);

  test("a pod's pull secrets and those of its service account are taken", async () => {
    await secret("pull", { [`https://${ip}:5003/v2/`]: { username, password }, "other.example.com": { username: "x", password: "y" } });
    await cluster.apply('apiVersion: v1\nkind: ServiceAccount\nmetadata: { name: puller }\nimagePullSecrets: [{ name: pull }]\n');
    await cluster.apply(pod("by-secret", `${ip}:5003/team/secret:1`, "imagePullSecrets: [{ name: pull }],") + pod("by-account", `${ip}:5003/team/account:1`, "serviceAccountName: puller,"));
    await running("by-secret", "by-account");
    // The image is here now: but not for a pod that has no credentials for it.
    await cluster.apply(pod("without", `${ip}:5003/team/secret:1`));
    expect(await waiting("without", "ImagePullBackOff")).toContain("401 Unauthorized");
    await cluster.apply(pod("with", `${ip}:5003/team/secret:1`, "imagePullSecrets: [{ name: pull }],"));
    await running("with");
    expect(await cluster.kubectl("get", "events", "--field-selector", "involvedObject.name=with,reason=Pulled", "-o", "jsonpath={.items[0].message}"))
      .toBe(`Container image "${ip}:5003/team/secret:1" already present on machine and can be accessed by the pod`);
  }, 40_000);

  test("a pull that the registry refuses is told in its words, and is tried again later", async () => {
    const image = `${ip}:5003/team/refused:1`;
    await secret("stale", { [`${ip}:5003`]: { username, password: wrong } });
    await cluster.apply(pod("refused", image, "imagePullSecrets: [{ name: stale }, { name: nowhere }],") + pod("missing", "docker.io/team/missing:1"));
    const words = `failed to pull and unpack image "${image}": failed to resolve reference "${image}": failed to authorize: failed to fetch oauth token: unexpected status: 401 Unauthorized`;
    expect(await waiting("refused", "ImagePullBackOff")).toBe(`Back-off pulling image "${image}": ErrImagePull: ${words}`);
    // Only the mirror was asked: the registry itself cannot be reached from here.
    const notFound = 'rpc error: code = NotFound desc = failed to pull and unpack image "docker.io/team/missing:1": failed to resolve reference "docker.io/team/missing:1": docker.io/team/missing:1: not found';
    expect(await waiting("missing", "ImagePullBackOff")).toBe(`Back-off pulling image "docker.io/team/missing:1": ErrImagePull: ${notFound}`);
    const events = await cluster.kubectl("get", "events", "--field-selector", "involvedObject.name=refused,type=Warning", "-o", "jsonpath={range .items[*]}{.reason}: {.message}{'\\n'}{end}");
    expect(events.split("\n")).toEqual(expect.arrayContaining([
      `Failed: Failed to pull image "${image}": ${words}`, "Failed: Error: ErrImagePull", "Failed: Error: ImagePullBackOff",
      "FailedToRetrieveImagePullSecret: Unable to retrieve some image pull secrets (nowhere); attempting to pull the image may not succeed.",
    ]));
  }, 40_000);

  test("what is not used is said at the start, and no password is in a log", () => {
    expect(cluster.output()).toContain(`${file}:6: mirrors.\\"strange.example.com\\".endpoints is unknown and ignored`);
    const config = own(`${dataDir}/agent/etc/containerd/config.toml`);
    expect(readFileSync(config, "utf8")).toContain(password);
    expect(statSync(config).mode & 0o777).toBe(0o600);
    for (const log of [cluster.output(), readFileSync(own(`${dataDir}/agent/containerd/containerd.log`), "utf8")]) expect(log).not.toMatch(new RegExp(`${password}|${wrong}`));
  });

  test("a change counts after a restart of the plugin alone, under which pods go on", async () => {
    const before = await containerOf("mirrored");
    configure(`
mirrors:
  "*": { endpoint: ["https://${ip}:5001"] }
configs:
  "${ip}:5001": { ${tls()} }
  "${ip}:5002": { auth: { username: ${username}, password: ${wrong} }, ${tls()} }
`);
    await cluster.sandbox.run([node26, join(import.meta.dirname, "../../core/src/cli/main.ts"), "plugin", "reload", "containerd"]);
    expect(readdirSync(own(certs)).sort()).toEqual([`${ip}:5001`, `${ip}:5002`, "_default"]);
    await cluster.apply(pod("anywhere", "somewhere.example.com/team/app:1") + pod("wrong", `${ip}:5002/team/other:1`));
    await running("anywhere");
    expect(await waiting("wrong", "ImagePullBackOff")).toMatch(/: ErrImagePull: .*: 401 Unauthorized$/);
    expect(await containerOf("mirrored")).toBe(before);
  }, 40_000);

  test("a file that cannot be used stops the start and names the line; a start with another file finds the pods, and the system's registry", async () => {
    const before = await containerOf("mirrored");
    await cluster.stop();
    configure(`configs:\n  "${ip}:5001":\n    tls:\n      ca_file: /none/ca.crt\n`);
    await expect(cluster.start()).rejects.toThrow(`${file}:4: configs."${ip}:5001".tls.ca_file /none/ca.crt: no such file`);
    writeFileSync(own("/etc/rancher/k3s/mine.yaml"), `configs: { "${ip}:5001": { ${tls()} } }\n`);
    await cluster.start({ args: ["--private-registry", "/etc/rancher/k3s/mine.yaml", "--system-default-registry", `${ip}:5001`, "--pause-image", "team/pause:1"] });
    await cluster.apply(pod("paused", `${ip}:5001/team/paused:1`));
    await running("paused");
    expect(requests).toMatch(/^5001 HEAD \/v2\/team\/pause\/manifests\/1 200$/m);
    expect(await containerOf("mirrored")).toBe(before);
  }, 60_000);
});
