/** The promises of the `cni` slot: what the runtime gets when it runs the list for pods, and that they then reach each other. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { addressAt, cidrContains, parseCidr } from "../net.ts";
import type { Cni } from "../slots/node.ts";
import type { Netns } from "../testing-netns.ts";
import { dataPlane, type DataPlane } from "./data-plane.ts";
import { cniPrograms, type Requirement } from "./requirements.ts";
import { startSubject, type Started, type Subject } from "./subject.ts";
import { test, type ConformanceContext, type ConformanceTest } from "./suite.ts";

interface Place extends DataPlane {
  readonly subject: Subject;
  readonly ctx: ConformanceContext;
  readonly started: Started<Cni>;
  attach(pod: Netns): Promise<Attachment>;
  detach(pod: Netns, path?: string): Promise<void>;
}

interface Attachment {
  readonly ips?: readonly { readonly address: string; readonly gateway?: string }[];
}

/** Versions of the specification that containerd 1.6 and later understand. */
const versions = ["0.3.1", "0.4.0", "1.0.0", "1.1.0"];
const requires: readonly Requirement[] = ["netns", "cni-programs"];

export function cniSuite(subject: Subject): readonly ConformanceTest[] {
  const each = (name: string, run: (place: Place, ctx: ConformanceContext) => Promise<void> | void): ConformanceTest =>
    test(name, requires, async (ctx) => run(await begin(subject, ctx), ctx));
  return [
    each("the list is a valid CNI configuration whose programs are installed", lint),
    each("start writes the list where the runtime looks, and stop takes it back", written),
    each("status says that it is ready", async ({ started }) => {
      const { ready, message = "status() says that it is not ready" } = await started.impl.status();
      assert.ok(ready, message);
    }),
    each("ADD gives each pod an address of its own, in one range, and never the gateway's", uniqueAddresses),
    each("10 parallel ADDs give 10 addresses", async (place) => {
      const pods = Array.from({ length: 10 }, () => place.add());
      const addresses = (await Promise.all(pods.map((pod) => place.attach(pod)))).map(addressOf);
      assert.equal(new Set(addresses).size, 10, addresses.join(", "));
    }),
    each("DEL twice is as good as once", async (place) => {
      const pod = place.add();
      await place.attach(pod);
      await place.detach(pod);
      await place.detach(pod);
    }),
    each("DEL works when the pod's namespace is gone, and without an ADD before", async (place) => {
      const pod = place.add();
      await place.attach(pod);
      await place.detach(pod, "");
      await place.detach(place.add());
    }),
    each("pod to pod, with the pod's own address as the sender", async (place) => {
      const [a, b] = [place.add(), place.add()];
      const [ipA, ipB] = [addressOf(await place.attach(a)), addressOf(await place.attach(b))];
      await b.serve(80, "b");
      assert.equal(a.ask(ipB, 80), `b ${ipA}`);
    }),
    each("node to pod, pod to node, and a pod to itself", reachNode),
    each("a pod reaches what is outside of the cluster", async (place) => {
      const pod = place.add();
      await place.attach(pod);
      await place.outside.serve(80, "outside");
      assert.match(pod.ask("192.0.2.20", 80) ?? "no answer", /^outside /);
    }),
    each("DEL leaves no link of the pod on the node, and its address is free again", leftovers),
    each("addresses stay taken over a stop and a start of the plugin, and running pods stay connected", restart),
  ];
}

async function begin(subject: Subject, ctx: ConformanceContext): Promise<Place> {
  const plane = dataPlane(ctx);
  const started = await startSubject<Cni>(subject, ctx, plane.place);
  ctx.defer(() => started.stop());
  const run = (command: "ADD" | "DEL", pod: Netns, path: string) => runList(command, started.impl, plane.node, pod, path, started.world.node.paths.cniBin);
  return {
    ...plane, subject, started, ctx,
    attach: (pod) => run("ADD", pod, pod.path),
    detach: async (pod, path = pod.path) => void (await run("DEL", pod, path)),
  };
}

/** As libcni does: each program in turn, the result of one given to the next; a DEL goes backwards. */
async function runList(command: "ADD" | "DEL", { confList }: Cni, node: Netns, pod: Netns, path: string, binDir: string): Promise<Attachment> {
  let prevResult: Attachment | undefined;
  for (const plugin of command === "ADD" ? confList.plugins : [...confList.plugins].reverse()) {
    const program = [binDir, cniPrograms!].map((dir) => join(dir, String(plugin.type))).find((file) => existsSync(file));
    const env = { ...process.env, CNI_COMMAND: command, CNI_CONTAINERID: pod.name, CNI_NETNS: path, CNI_IFNAME: "eth0", CNI_PATH: `${binDir}:${cniPrograms}` };
    const input = JSON.stringify({ cniVersion: confList.cniVersion, name: confList.name, ...plugin, prevResult });
    const output = await execute([...node.prefix, program ?? String(plugin.type)], env, input);
    if (output.trim()) prevResult = JSON.parse(output) as Attachment;
  }
  return prevResult ?? {};
}

function execute([program = "", ...args]: readonly string[], env: NodeJS.ProcessEnv, input: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { env });
    let output = "";
    for (const stream of [child.stdout, child.stderr]) stream.setEncoding("utf8").on("data", (chunk: string) => (output += chunk));
    child.on("error", reject);
    child.on("close", (code) => (code === 0 ? resolve(output) : reject(new Error(`CNI ${env.CNI_COMMAND} by ${args.at(-1)}: ${output}`))));
    child.stdin.on("error", () => {});
    child.stdin.end(input);
  });
}

function addressOf(attachment: Attachment): string {
  const [address] = attachment.ips ?? [];
  assert.ok(address, "the result of ADD has no ips");
  return address.address.split("/")[0]!;
}

function lint({ started }: Place): void {
  const { cniVersion, name, plugins } = started.impl.confList;
  assert.ok(versions.includes(cniVersion), `cniVersion ${cniVersion}; known: ${versions.join(", ")}`);
  assert.match(name, /^[a-zA-Z0-9][\w.-]*$/, "name of the list");
  assert.ok(plugins.length > 0, "the list has no plugins");
  const dirs = [started.world.node.paths.cniBin, cniPrograms!];
  for (const { type } of plugins) assert.ok(dirs.some((dir) => existsSync(join(dir, String(type)))), `the program ${String(type)} is in none of ${dirs.join(", ")}`);
}

async function written({ started }: Place): Promise<void> {
  const dir = started.world.node.paths.cniConf;
  const lists = () => (existsSync(dir) ? readdirSync(dir).filter((name) => name.endsWith(".conflist")) : []);
  const [file, ...more] = lists();
  assert.ok(file && !more.length, `one .conflist in ${dir}, found: ${lists().join(", ") || "none"}`);
  assert.deepEqual(JSON.parse(readFileSync(join(dir, file), "utf8")), started.impl.confList);
  await started.stop();
  assert.deepEqual(lists(), []);
}

async function uniqueAddresses(place: Place): Promise<void> {
  const attachments = [];
  for (let i = 0; i < 3; i++) attachments.push(await place.attach(place.add()));
  const addresses = attachments.map(addressOf);
  assert.equal(new Set(addresses).size, 3, addresses.join(", "));
  const range = parseCidr(attachments[0]!.ips![0]!.address)!;
  const network = addressAt(range, 0);
  for (const { ips } of attachments) {
    const { address = "", gateway } = ips![0]!;
    const ip = address.split("/")[0]!;
    assert.ok(cidrContains(range, ip), `${ip} is not in ${network}/${range.prefix}`);
    assert.ok(ip !== gateway && ip !== network, `${ip} is the gateway or the network itself`);
  }
}

async function reachNode(place: Place): Promise<void> {
  const pod = place.add();
  const ip = addressOf(await place.attach(pod));
  await pod.serve(80, "pod");
  await place.node.serve(81, "node");
  assert.match(place.node.ask(ip, 80) ?? "no answer", /^pod /);
  assert.match(pod.ask("192.0.2.10", 81) ?? "no answer", /^node /);
  assert.match(pod.ask(ip, 80) ?? "no answer", /^pod /);
}

async function leftovers(place: Place): Promise<void> {
  const links = () => place.node.run("ip", "-o", "link", "show", "type", "veth").split("\n").filter(Boolean).length;
  // The first pod may make the bridge.
  await place.attach(place.add());
  const before = links();
  for (let i = 0; i < 3; i++) {
    const pod = place.add();
    await place.attach(pod);
    await place.detach(pod);
    assert.doesNotMatch(pod.run("ip", "-o", "link", "show"), /eth0/, "the pod still has its eth0");
  }
  assert.equal(links(), before, "links left on the node");
}

async function restart(place: Place): Promise<void> {
  const { started } = place;
  const [a, b] = [place.add(), place.add()];
  const ipA = addressOf(await place.attach(a));
  await a.serve(80, "a");
  await started.stop();
  assert.match(place.node.ask(ipA, 80) ?? "no answer", /^a /, "the pod lost its network on stop");
  const again = await startSubject<Cni>(place.subject, place.ctx, { ...place.place, world: started.world });
  try {
    const ipB = addressOf(await runList("ADD", again.impl, place.node, b, b.path, started.world.node.paths.cniBin));
    assert.notEqual(ipB, ipA);
    assert.match(b.ask(ipA, 80) ?? "no answer", /^a /);
  } finally {
    await again.stop();
  }
}
