/** The promises of the `cni` slot: what the runtime gets when it runs the list for pods, and that they then reach each other. */
import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { agreedCni, atLeastCni, cniVersions, offeredCni } from "../cni/version.ts";
import { addressAt, cidrContains, parseCidr } from "../net.ts";
import type { Cni } from "../slots/node.ts";
import { cniRun, join2, type CniAttachment, type Netns } from "../testing-netns.ts";
import { dataPlane, twoNodes, type DataPlane } from "./data-plane.ts";
import { cniPrograms, type Requirement } from "./requirements.ts";
import { startSubject, type Started, type Subject } from "./subject.ts";
import { NotApplicable, test, within, type ConformanceContext, type ConformanceTest } from "./suite.ts";
import type { WorldOptions } from "./world.ts";

interface Place extends DataPlane {
  readonly subject: Subject;
  readonly ctx: ConformanceContext;
  readonly started: Started<Cni>;
  /** `args` are for the capabilities of the list. */
  attach(pod: Netns, args?: object): Promise<CniAttachment>;
  detach(pod: Netns, path?: string): Promise<void>;
  /** `prevResult` is what ADD returned. */
  check(pod: Netns, prevResult: CniAttachment): Promise<void>;
  /** Everything but the attachments of these pods is to go. */
  collect(valid: readonly Netns[]): Promise<void>;
}

const PARALLEL = 50;
/** For 13 pods at a time, where the provider takes the node's range. */
const smallRange: WorldOptions = { podCidr: "10.42.0.0/28" };
const MORE_THAN_FIT = 16;
const requires: readonly Requirement[] = ["netns", "cni-programs"];

export function cniSuite(subject: Subject): readonly ConformanceTest[] {
  const each = (name: string, run: (place: Place, ctx: ConformanceContext) => Promise<void> | void): ConformanceTest =>
    test(name, requires, async (ctx) => run(await begin(subject, ctx), ctx));
  return [
    each("the list is a valid CNI configuration whose programs are installed, and speak the versions that it offers", lint),
    each("start writes the list where the runtime looks, and stop takes it back", written),
    each("status says that it is ready; where the list offers CNI 1.1, STATUS says so too, until the plugin stops", status),
    each("ADD gives each pod an address of its own, in one range, and never the gateway's", uniqueAddresses),
    each(`${PARALLEL} parallel ADDs give ${PARALLEL} addresses`, async (place) => {
      const pods = Array.from({ length: PARALLEL }, () => place.add());
      const addresses = (await Promise.all(pods.map((pod) => place.attach(pod)))).map(addressOf);
      assert.equal(new Set(addresses).size, PARALLEL, addresses.join(", "));
    }),
    each("CHECK agrees with what ADD made, and fails when somebody took the pod's address away", check),
    each("GC takes away what strangers left, and leaves valid attachments alone", collect),
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
    each("the pod's MTU fits the node's, and full packets arrive", mtu),
    each("a pod reaches a Service, also when the endpoint is its neighbour on the node", service),
    test("pods of two nodes reach each other with their own addresses, and nodes reach the pods of others", requires, (ctx) => acrossNodes(subject, ctx)),
    each("a pod reaches what is outside of the cluster", async (place) => {
      const pod = place.add();
      await place.attach(pod);
      await place.outside.serve(80, "outside");
      assert.match(pod.ask("192.0.2.20", 80) ?? "no answer", /^outside /);
    }),
    each("a port of the node leads to the pod that asks for it, until DEL", hostPort),
    test("DEL leaves no link of the pod on the node, and its address is free again", requires, async (ctx) => leftovers(await begin(subject, ctx, smallRange))),
    each("further starts and stops add no link, route or rule", repeated),
    each("addresses stay taken over a stop and a start of the plugin, and running pods stay connected", restart),
  ];
}

const cniPath = ({ world }: Pick<Started<Cni>, "world">): string => `${world.node.paths.cniBin}:${cniPrograms}`;

async function begin(subject: Subject, ctx: ConformanceContext, options: WorldOptions = {}): Promise<Place> {
  const plane = dataPlane(ctx);
  const started = await startSubject<Cni>(subject, ctx, { ...plane.place, ...options });
  ctx.defer(() => started.stop());
  const run = (command: "ADD" | "DEL" | "CHECK" | "GC", { name }: Netns, path: string, more: object = {}, args: object = {}) =>
    cniRun(command, started.impl.confList, plane.node, { name, path }, cniPath(started), args, more);
  return {
    ...plane, subject, started, ctx,
    attach: (pod, args) => run("ADD", pod, pod.path, {}, args),
    detach: async (pod, path = pod.path) => void (await run("DEL", pod, path)),
    check: async (pod, prevResult) => void (await run("CHECK", pod, pod.path, { prevResult })),
    collect: async (valid) => void (await run("GC", plane.node, "", { "cni.dev/valid-attachments": valid.map(({ name }) => ({ containerID: name, ifname: "eth0" })) })),
  };
}

function addressOf(attachment: CniAttachment): string {
  const [address] = attachment.ips ?? [];
  assert.ok(address, "the result of ADD has no ips");
  return address.address.split("/")[0]!;
}

async function lint({ started, node }: Place): Promise<void> {
  const { cniVersion, name, plugins } = started.impl.confList;
  const offered = offeredCni(started.impl.confList);
  assert.ok(cniVersions.includes(cniVersion), `cniVersion ${cniVersion}; known: ${cniVersions.join(", ")}`);
  assert.match(name, /^[a-zA-Z0-9][\w.-]*$/, "name of the list");
  assert.ok(plugins.length > 0, "the list has no plugins");
  const dirs = [started.world.node.paths.cniBin, cniPrograms!];
  for (const { program, speaks } of await programsOf(started, node)) {
    assert.ok(dirs.some((dir) => existsSync(join(dir, program))), `the program ${program} is in none of ${dirs.join(", ")}`);
    for (const version of offered) assert.ok(speaks.includes(version), `the list offers ${version}, and the program ${program} speaks ${speaks.join(", ")}`);
  }
}

interface Program {
  readonly program: string;
  /** What it answers to VERSION; nothing when it is not installed. */
  readonly speaks: readonly string[];
}

/** Also those that a program of the list runs for the addresses. */
async function programsOf({ impl, world }: Started<Cni>, node: Netns): Promise<readonly Program[]> {
  const names = impl.confList.plugins.flatMap(({ type, ipam }) => [type, (ipam as { type?: unknown } | undefined)?.type].filter(Boolean).map(String));
  return Promise.all([...new Set(names)].map(async (program) => {
    const answer = cniRun("VERSION", { ...impl.confList, plugins: [{ type: program }] }, node, { name: "", path: "" }, cniPath({ world }));
    return { program, speaks: await answer.then(({ supportedVersions = [] }) => supportedVersions, () => []) };
  }));
}

async function status({ started, node }: Place): Promise<void> {
  const { ready, message = "status() says that it is not ready" } = await started.impl.status();
  assert.ok(ready, message);
  const { confList } = started.impl;
  if (!atLeastCni(agreedCni(confList), "1.1.0")) return;
  const asked = () => cniRun("STATUS", confList, node, { name: "", path: "" }, cniPath(started));
  await asked();
  await started.stop();
  await assert.rejects(asked(), "STATUS passed although the plugin has stopped");
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

async function check(place: Place): Promise<void> {
  const { confList } = place.started.impl;
  if (confList.disableCheck) throw new NotApplicable("the list says disableCheck, so no runtime calls it");
  if (!atLeastCni(agreedCni(confList), "0.4.0")) throw new NotApplicable(`the list offers CNI ${agreedCni(confList)} at most, and CHECK came with 0.4.0`);
  const pod = place.add();
  const result = await place.attach(pod);
  await place.check(pod, result);
  pod.run("ip", "address", "flush", "dev", "eth0");
  await assert.rejects(place.check(pod, result), "CHECK passed although the pod has lost its address");
}

async function collect(place: Place): Promise<void> {
  await mustOfferGc(place);
  const [known, stranger, other] = [place.add(), place.add(), place.add()];
  const ip = addressOf(await place.attach(known));
  await place.attach(stranger);
  // Somebody else's, and nothing that this network made.
  join2(place.node, "other0", "198.18.0.1/30", other, "eth0", "198.18.0.2/30");
  await known.serve(80, "known");
  const links = () => place.node.run("ip", "-o", "link", "show", "type", "veth").split("\n").filter(Boolean).length;
  const before = links();
  for (let i = 0; i < 2; i++) await place.collect([known]);
  assert.doesNotMatch(stranger.run("ip", "-o", "link", "show"), / eth0@/, "the stranger still has its eth0");
  assert.equal(links(), before - 1, "links on the node, of which the stranger's was to go");
  assert.match(other.run("ip", "-o", "link", "show"), / eth0@/, "a link that is none of this network's has gone");
  assert.match(place.node.ask(ip, 80) ?? "no answer", /^known /);
  const pods = Array.from({ length: 5 }, () => place.add());
  const given = (await Promise.all(pods.map((pod) => place.attach(pod)))).map(addressOf);
  assert.ok(!given.includes(ip), `${ip} was given a second time`);
  await place.collect([]);
  assert.equal(links(), 2, "links of this network on the node, of which none is valid, beside the two of others");
}

/** The programs of distributions speak 1.0.0 until containernetworking-plugins 1.6, and do nothing for GC in later ones. */
async function mustOfferGc({ started, node }: Place): Promise<void> {
  const offered = agreedCni(started.impl.confList);
  if (atLeastCni(offered, "1.1.0")) return;
  const older = (await programsOf(started, node)).filter(({ speaks }) => !speaks.includes("1.1.0"));
  const which = older.map(({ program, speaks }) => `${program} in ${cniPrograms} speaks ${speaks.at(-1) ?? "nothing"} at most`);
  throw new NotApplicable(`GC came with CNI 1.1.0, and the list offers ${offered}${which.length ? `: ${which.join(", ")}` : ", though its programs speak 1.1.0"}`);
}

async function mtu(place: Place): Promise<void> {
  const of = (net: Netns): number => Number(/ mtu (\d+)/.exec(net.run("ip", "-o", "link", "show", "eth0"))?.[1]);
  const [a, b] = [place.add(), place.add()];
  await place.attach(a);
  const ip = addressOf(await place.attach(b));
  assert.ok(of(a) <= of(place.node), `the pod's MTU ${of(a)} is larger than the ${of(place.node)} of the node's link`);
  assert.equal(of(a), of(b));
  const answer = "x".repeat(3 * of(a));
  await b.serve(80, answer);
  assert.equal(a.ask(ip, 80)?.split(" ")[0], answer);
}

/** A Service is an address that the node translates, and the answer must come back through the node for that. */
async function service(place: Place): Promise<void> {
  const [client, server] = [place.add(), place.add()];
  await place.attach(client);
  const ip = addressOf(await place.attach(server));
  await server.serve(80, "server");
  place.node.run("nft", "add table ip conformance; add chain ip conformance pre { type nat hook prerouting priority dstnat; }; " +
    `add rule ip conformance pre ip daddr 10.43.0.99 tcp dport 80 dnat to ${ip}:80`);
  assert.match(client.ask("10.43.0.99", 80) ?? "no answer", /^server /);
}

async function acrossNodes(subject: Subject, ctx: ConformanceContext): Promise<void> {
  const plane = dataPlane(ctx);
  const pair = twoNodes(plane);
  const first = await startSubject<Cni>(subject, ctx, pair.first);
  ctx.defer(() => first.stop());
  const second = await startSubject<Cni>(subject, { dir: join(ctx.dir, "node-2"), defer: ctx.defer }, pair.second(first.world.kube));
  ctx.defer(() => second.stop());
  const attach = async (started: Started<Cni>, node: Netns, pod: Netns) => addressOf(await cniRun("ADD", started.impl.confList, node, pod, cniPath(started)));
  const [a, b] = [plane.add(), plane.add()];
  const [ipA, ipB] = [await attach(first, plane.node, a), await attach(second, pair.net, b)];
  if (!cidrContains(parseCidr("10.42.1.0/24")!, ipB)) throw new NotApplicable("it gives addresses of its own and not of the node's podCIDR, so it is for one node");
  const answer = "b".repeat(4000);
  await b.serve(80, answer);
  await within(5000, () => assert.equal(a.ask(ipB, 80), `${answer} ${ipA}`, "from pod to pod"));
  assert.match(plane.node.ask(ipB, 80) ?? "no answer", /^b+ /, "from the node to a pod of the other");
  await a.serve(80, "a");
  assert.equal(b.ask(ipA, 80), `a ${ipB}`, "the other way");
}

async function repeated(place: Place): Promise<void> {
  const { started, node } = place;
  const traces = () => [["ip", "-o", "link"], ["ip", "-4", "route", "show", "table", "all"], ["ip", "rule"], ["nft", "list", "ruleset"], ["iptables-save"]]
    .map(([program = "", ...args]) => tracesOf(node, program, args));
  await started.stop();
  const before = traces();
  for (let i = 0; i < 3; i++) await (await startSubject<Cni>(place.subject, place.ctx, { ...place.place, world: started.world })).stop();
  assert.deepEqual(traces(), before);
}

/** Lines without counters, in order; none where the program is not installed. */
function tracesOf(node: Netns, program: string, args: readonly string[]): readonly string[] {
  try {
    const lines = node.run(program, ...args).split("\n").filter((line) => !line.startsWith("#"));
    return lines.map((line) => line.replace(/\[\d+:\d+\]|counter packets \d+ bytes \d+/g, "").trim()).sort();
  } catch {
    return [];
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

/** As containerd writes it, in capitals. */
async function hostPort(place: Place): Promise<void> {
  const { plugins } = place.started.impl.confList;
  if (!plugins.some(({ capabilities }) => (capabilities as { portMappings?: boolean } | undefined)?.portMappings)) throw new NotApplicable("no program of the list has the capability portMappings");
  const pod = place.add();
  await place.attach(pod, { portMappings: [{ HostPort: 8080, ContainerPort: 80, Protocol: "tcp", HostIP: "" }] });
  await pod.serve(80, "pod");
  assert.match(place.outside.ask("192.0.2.10", 8080) ?? "no answer", /^pod /);
  await place.detach(pod);
  assert.equal(place.outside.ask("192.0.2.10", 8080), undefined);
}

async function leftovers(place: Place): Promise<void> {
  const links = () => place.node.run("ip", "-o", "link", "show", "type", "veth").split("\n").filter(Boolean).length;
  // The first pod may make the bridge.
  await place.attach(place.add());
  const before = links();
  const pod = place.add();
  for (let i = 0; i < MORE_THAN_FIT; i++) {
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
    const ipB = addressOf(await cniRun("ADD", again.impl.confList, place.node, b, cniPath(again)));
    assert.notEqual(ipB, ipA);
    assert.match(b.ask(ipA, 80) ?? "no answer", /^a /);
  } finally {
    await again.stop();
  }
}
