/** For tests of data-plane plugins: network namespaces as nodes, pods and outsiders, and a CNI list run by hand. */
import { spawn, spawnSync, type ChildProcess } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { agreedCni } from "./cni/version.ts";
import type { CniConfList } from "./slots/node.ts";

export interface Netns {
  readonly name: string;
  readonly path: string;
  /** Command prefix that enters the namespace. */
  readonly prefix: readonly string[];
  /** Stdout; throws with stderr when the command fails. */
  run(command: string, ...args: string[]): string;
  /** A TCP (or UDP) server that answers each connection (or datagram) with `answer` and the peer's address. */
  serve(port: number, answer: string, protocol?: "tcp" | "udp"): Promise<ChildProcess>;
  /** What a server at `host:port` answers; undefined when it does not. */
  ask(host: string, port: number, options?: { readonly protocol?: "tcp" | "udp"; /** TCP only. */ readonly from?: string }): string | undefined;
  /** Kills what was started here and deletes the namespace. */
  remove(): void;
}

/** Undefined when the machine can run such tests, else what is missing. */
export function netnsUnavailable(programs: readonly string[] = ["ip", "nft"]): string | undefined {
  const missing = programs.filter((name) => spawnSync(name, ["-V"]).error);
  if (process.getuid?.() !== 0) missing.unshift("root");
  if (!existsSync("/usr/bin/busybox") && !existsSync("/bin/busybox")) missing.push("busybox-static");
  return missing.length ? missing.join(", ") : undefined;
}

export function netns(name: string): Netns {
  const prefix = ["ip", "netns", "exec", name];
  const children: ChildProcess[] = [];
  spawnSync("ip", ["netns", "delete", name]);
  call(["ip", "netns", "add", name]);
  call([...prefix, "ip", "link", "set", "lo", "up"]);
  return {
    name,
    path: `/run/netns/${name}`,
    prefix,
    run: (command, ...args) => call([...prefix, command, ...args]),
    async serve(port, answer, protocol = "tcp") {
      const [program = "", ...args] = [...prefix, process.execPath, "-e", protocol === "tcp" ? tcpServer : udpServer, String(port), answer];
      const child = spawn(program, args, { stdio: ["ignore", "pipe", "inherit"] });
      children.push(child);
      await new Promise((resolve) => child.stdout.once("data", resolve));
      return child;
    },
    ask(host, port, { protocol = "tcp", from } = {}) {
      // busybox starts faster than Node, but its nc speaks TCP alone and cannot choose the source address.
      const script = protocol === "udp" ? udpClient : from ? tcpClient : undefined;
      const client = script ? [process.execPath, "-e", script, host, String(port), from ?? ""] : ["busybox", "nc", "-w", "2", host, String(port)];
      const [program = "", ...args] = [...prefix, ...client];
      const result = spawnSync(program, args, { input: "ping\n", encoding: "utf8", timeout: 3000 });
      return result.stdout.trim() || undefined;
    },
    remove() {
      for (const child of children) child.kill("SIGKILL");
      spawnSync("ip", ["netns", "delete", name]);
    },
  };
}

const tcpServer = `
  const [port, answer] = process.argv.slice(1);
  require("node:net").createServer((s) => { s.on("error", () => {}); s.end(answer + " " + s.remoteAddress.replace("::ffff:", "") + "\\n"); })
    .listen(+port, "0.0.0.0", () => console.log("up"));`;
const tcpClient = `
  const [host, port, localAddress] = process.argv.slice(1);
  require("node:net").connect({ host, port: +port, localAddress }).on("error", () => {}).pipe(process.stdout);`;
const udpClient = `
  const [host, port] = process.argv.slice(1);
  const s = require("node:dgram").createSocket("udp4").on("message", (m) => { console.log(String(m)); s.close(); }).on("error", () => s.close());
  s.connect(+port, host, () => s.send("ping"));
  setTimeout(() => process.exit(), 1000).unref();`;
const udpServer = `
  const [port, answer] = process.argv.slice(1);
  const s = require("node:dgram").createSocket("udp4");
  s.on("message", (m, from) => s.send(answer + " " + from.address + "\\n", from.port, from.address));
  s.bind(+port, () => console.log("up"));`;

/** Joins two namespaces by a pair of links; the addresses are given with their prefix length. */
export function join2(a: Netns, aLink: string, aAddress: string, b: Netns, bLink: string, bAddress: string): void {
  a.run("ip", "link", "add", aLink, "type", "veth", "peer", "name", bLink, "netns", b.name);
  for (const [ns, link, address] of [[a, aLink, aAddress], [b, bLink, bAddress]] as const) {
    ns.run("ip", "address", "add", address, "dev", link);
    ns.run("ip", "link", "set", link, "up");
  }
}

/** The result of a list's last program. */
export interface CniAttachment {
  readonly ips?: readonly { readonly address: string; readonly gateway?: string }[];
  /** Of VERSION. */
  readonly supportedVersions?: readonly string[];
}

/**
 * Runs a CNI list inside the namespace `node` as a runtime of the specification 1.1 does: each program in turn, found in
 * the folders of `cniPath`, the result of one given to the next; a DEL goes backwards. An empty path stands for a namespace that has gone.
 * `args` are what the runtime adds for the programs' capabilities, `more` is added to the configuration of each program.
 */
export async function cniRun(
  command: "ADD" | "DEL" | "CHECK" | "STATUS" | "GC" | "VERSION", list: CniConfList, node: Netns, pod: Pick<Netns, "name" | "path">, cniPath: string, args: object = {},
  more: object = {},
): Promise<CniAttachment> {
  let prevResult: CniAttachment | undefined;
  for (const plugin of command === "DEL" ? [...list.plugins].reverse() : list.plugins) {
    const wanted = Object.keys((plugin.capabilities as object | undefined) ?? {});
    const runtimeConfig = Object.fromEntries(Object.entries(args).filter(([name]) => wanted.includes(name)));
    const input = JSON.stringify({ cniVersion: agreedCni(list), name: list.name, ...plugin, runtimeConfig, prevResult, ...more });
    const env = { ...process.env, CNI_COMMAND: command, CNI_CONTAINERID: pod.name, CNI_NETNS: pod.path, CNI_IFNAME: "eth0", CNI_PATH: cniPath };
    const program = cniPath.split(":").map((dir) => join(dir, String(plugin.type))).find((file) => existsSync(file));
    const output = await execute([...node.prefix, program ?? String(plugin.type)], env, input);
    if (output.trim()) prevResult = JSON.parse(output) as CniAttachment;
  }
  return prevResult ?? {};
}

/** Not at once but by and by: the program may call back into this process. */
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

function call(argv: readonly string[]): string {
  const [program = "", ...args] = argv;
  const result = spawnSync(program, args, { encoding: "utf8" });
  if (result.error) throw result.error;
  if (result.status !== 0) throw new Error(`${argv.join(" ")}: ${result.stderr || result.stdout}`);
  return result.stdout;
}
