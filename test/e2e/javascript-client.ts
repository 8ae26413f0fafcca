/**
 * A program with the JavaScript client, run on the machine of the cluster under test: does what controllers and tools
 * do with a pod named `talker`, and prints what it saw as one JSON object.
 */
import { once } from "node:events";
import { createConnection, createServer, type AddressInfo } from "node:net";
import { PassThrough, Writable } from "node:stream";
import {
  AppsV1Api, CoreV1Api, Exec, KubeConfig, Log, makeInformer, Metrics, PatchStrategy, PortForward, setHeaderOptions, Watch,
} from "@kubernetes/client-node";

const config = new KubeConfig();
config.loadFromDefault();
const core = config.makeApiClient(CoreV1Api);
const namespace = "default";

/** Collects what is written into it. */
function sink(): { readonly stream: Writable; readonly text: () => string } {
  let text = "";
  return { stream: new Writable({ write(chunk: Buffer, _encoding, done) { text += chunk.toString(); done(); } }), text: () => text };
}

async function until<T>(look: () => T | undefined | false | Promise<T | undefined | false>): Promise<T> {
  for (const end = Date.now() + 20_000; ;) {
    const value = await look();
    if (value) return value;
    if (Date.now() > end) throw new Error(`not within 20 s: ${look.toString()}`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

const maps = (name: string, data: Record<string, string>) => ({ metadata: { name, labels: { by: "informer" } }, data });

async function informer(): Promise<string[]> {
  const seen: string[] = [];
  const path = `/api/v1/namespaces/${namespace}/configmaps`;
  const list = makeInformer(config, path, () => core.listNamespacedConfigMap({ namespace, labelSelector: "by=informer" }), "by=informer");
  for (const event of ["add", "update", "delete"] as const) list.on(event, (object) => void seen.push(`${event} ${object.metadata!.name} ${object.data!["n"]}`));
  await core.createNamespacedConfigMap({ namespace, body: maps("before", { n: "0" }) });
  await list.start();
  await core.createNamespacedConfigMap({ namespace, body: maps("later", { n: "1" }) });
  await until(() => seen.includes("add later 1"));
  await core.replaceNamespacedConfigMap({ namespace, name: "later", body: maps("later", { n: "2" }) });
  await core.deleteNamespacedConfigMap({ namespace, name: "before" });
  await until(() => seen.length >= 4);
  const left = list.list().map((object) => object.metadata!.name);
  await list.stop();
  return [...seen, `left ${left}`];
}

async function watch(): Promise<string[]> {
  const seen: string[] = [];
  const { metadata } = await core.listNamespacedConfigMap({ namespace });
  const request = await new Watch(config).watch(`/api/v1/namespaces/${namespace}/configmaps`, { resourceVersion: metadata!.resourceVersion, labelSelector: "by=informer" }, (type, object) => void seen.push(`${type} ${object.metadata.name}`), () => {});
  await core.deleteCollectionNamespacedConfigMap({ namespace, labelSelector: "by=informer" });
  await until(() => seen.length > 0);
  request.abort();
  return seen;
}

async function patches(): Promise<unknown[]> {
  const apps = config.makeApiClient(AppsV1Api);
  const labels = { app: "patched" };
  const container = { name: "c", image: "example.com/c" };
  const name = "patched";
  await apps.createNamespacedDeployment({ namespace, body: { metadata: { name }, spec: { replicas: 0, selector: { matchLabels: labels }, template: { metadata: { labels }, spec: { containers: [container] } } } } });
  const send = async (strategy: (typeof PatchStrategy)[keyof typeof PatchStrategy], body: object, more: object = {}) =>
    apps.patchNamespacedDeployment({ namespace, name, body, ...more }, setHeaderOptions("Content-Type", strategy));
  const jsonPatched = await send(PatchStrategy.JsonPatch, [{ op: "add", path: "/spec/minReadySeconds", value: 5 }]);
  const merged = await send(PatchStrategy.MergePatch, { metadata: { annotations: { a: "b" } } });
  const strategic = await send(PatchStrategy.StrategicMergePatch, { spec: { template: { spec: { containers: [{ name: "c", env: [{ name: "A", value: "1" }] }] } } } });
  const applied = await send(PatchStrategy.ServerSideApply, { apiVersion: "apps/v1", kind: "Deployment", metadata: { name }, spec: { revisionHistoryLimit: 3 } }, { fieldManager: "me", force: true });
  const failed = await apps.readNamespacedDeployment({ namespace, name: "none" }).catch((error: { code: number; body: string }) => [error.code, JSON.parse(error.body).reason]);
  await apps.deleteNamespacedDeployment({ namespace, name });
  return [
    jsonPatched.spec!.minReadySeconds, merged.metadata!.annotations!["a"], strategic.spec!.template.spec!.containers[0],
    [applied.spec!.revisionHistoryLimit, applied.metadata!.managedFields!.filter(({ operation }) => operation === "Apply").map(({ manager }) => manager)], failed,
  ];
}

async function exec(): Promise<unknown> {
  const [out, errors] = [sink(), sink()];
  const input = new PassThrough();
  const status = new Promise((resolve) => {
    void new Exec(config).exec(namespace, "talker", "main", ["sh", "-c", "read line; echo got $line; echo bad >&2; exit 3"], out.stream, errors.stream, input, false, resolve);
  });
  input.write("this\n");
  const { status: end, details } = (await status) as { status: string; details?: { causes?: { message: string }[] } };
  return { out: out.text(), errors: errors.text(), end, code: details?.causes?.[0]?.message };
}

async function log(): Promise<unknown> {
  const whole = await core.readNamespacedPodLog({ namespace, name: "talker", tailLines: 1 });
  const followed = sink();
  await new Log(config).log(namespace, "talker", "main", followed.stream, { follow: true, tailLines: 1, timestamps: true });
  await until(() => followed.text().split("\n").length > 2);
  return { whole, followed: followed.text() };
}

async function portForward(): Promise<string> {
  const forward = new PortForward(config);
  const server = createServer((socket) => void forward.portForward(namespace, "talker", [8080], socket, null, socket));
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const socket = createConnection((server.address() as AddressInfo).port, "127.0.0.1");
  let answer = "";
  socket.on("data", (chunk: Buffer) => void (answer += chunk.toString()));
  socket.write("GET / HTTP/1.0\r\n\r\n");
  await until(() => answer.includes("hello"));
  socket.destroy();
  server.close();
  return answer.split("\r\n")[0]!;
}

async function metrics(): Promise<unknown> {
  const client = new Metrics(config);
  const node = await until(async () => (await client.getNodeMetrics().catch(() => undefined))?.items[0]);
  const pod = await until(async () => (await client.getPodMetrics(namespace).catch(() => undefined))?.items.find(({ metadata }) => metadata.name === "talker"));
  return { node: node.metadata.name, cpu: node.usage.cpu, containers: pod.containers.map(({ name }) => name) };
}

const result = {
  informer: await informer(), watch: await watch(), patches: await patches(),
  exec: await exec(), log: await log(), portForward: await portForward(), metrics: await metrics(),
};
console.log(JSON.stringify(result));
process.exit(0);
